"""Views are placed by what the network says of them, however many there are."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import pytest
import torch

from agsrec.cameras import Cameras
from agsrec.config import Stage
from agsrec.errors import CameraError, OptionError
from agsrec.metrics.poses import pairwise_rotation_errors
from agsrec.pose_init import initialize
from agsrec.pose_init.noposplat import SplatScene, initialize_noposplat, poses, splat_views
from agsrec.pose_init.noposplat.groups import view_groups
from agsrec.pose_init.noposplat.poses import Sightings, refined_cameras, resected
from agsrec.render import render_scene
from agsrec.views import Views
from tests.exact_dust3r import ExactScene, exact_scene
from tests.exact_noposplat import ExactSplats


def focals(scene: ExactScene) -> list[float]:
    return scene.cameras.Ks[:, 0, 0].tolist()


def placed(network: ExactSplats, **options: Any) -> SplatScene:
    scene = network.scene
    return splat_views(scene.views, **{"model": network, "focals": focals(scene), "refine": False} | options)


def worst_deg(found: SplatScene, scene: ExactScene) -> float:
    chosen = found.placed.nonzero()[:, 0].tolist()
    return float(pairwise_rotation_errors(found.cameras, scene.cameras[chosen]).max())


@lru_cache(maxsize=1)
def pair() -> tuple[ExactScene, SplatScene]:
    scene = exact_scene(2, 64, 4)
    return scene, placed(ExactSplats(scene))


def test_two_views_come_back() -> None:
    scene, found = pair()
    assert found.placed.tolist() == [True, True] and found.confidence.tolist() == [1.0, 1.0]
    assert worst_deg(found, scene) < 0.01
    # In the first view's frame.
    torch.testing.assert_close(found.cameras.viewmats[0], torch.eye(4), atol=1e-4, rtol=0)
    assert torch.equal(found.cameras.Ks, scene.cameras.Ks)


def test_the_scene_looks_like_the_photos() -> None:
    """Positions, sizes, colours and opacities are right all at once where the renders are."""
    scene, found = pair()
    assert len(found.gaussians) == int((scene.views.masks >= 0.5).sum()) == len(found.camera)
    rendered = render_scene(found.gaussians, found.cameras, torch.ones(2, 3), fitted_size=64)
    photos = scene.views.composited(torch.ones(3))
    inside = torch.nn.functional.avg_pool2d(scene.views.masks[:, None], 7, 1, 3)[:, 0] > 0.99
    assert float((rendered.rgb - photos)[inside].abs().mean()) < 0.02
    assert float(((rendered.alpha > 0.5) != (scene.views.masks > 0.5)).float().mean()) < 0.06
    # The other way round would not do.
    swapped = render_scene(found.gaussians, found.cameras[[1, 0]], torch.ones(2, 3), fitted_size=64)
    assert float((swapped.rgb - photos)[inside].abs().mean()) > 0.06


@pytest.mark.parametrize("together", [2, 3])
def test_more_views_are_joined(together: int) -> None:
    network = ExactSplats(exact_scene(4, 40), views=together)
    found = placed(network)
    assert bool(found.placed.all()) and worst_deg(found, network.scene) < 0.01
    # One world for all: Gaussians lie where the cameras saw them.
    for i in range(4):
        own = found.gaussians.means[found.camera == i]
        depth = found.cameras[i].project(own)[1][0]
        truth = network.scene.cameras[i].project(
            network.scene.points[i][network.scene.views.masks[i] >= 0.5].float()
        )[1][0]
        ratio = depth / truth
        assert float(ratio.std() / ratio.mean()) < 1e-3


def test_a_spoiled_pair_does_not_spoil_the_rest() -> None:
    network = ExactSplats(exact_scene(4, 40), spoiled=frozenset({(1, 0), (2, 3)}))
    found = placed(network)
    assert worst_deg(found, network.scene) < 0.01
    triples = ExactSplats(exact_scene(4, 40), views=3, spoiled=frozenset({(1, 0, 2)}))
    assert worst_deg(placed(triples), triples.scene) < 0.01
    assert any([1, 0, 2] in batch for batch in triples.asked)  # it was asked, and not believed


def test_noise_is_not_placed() -> None:
    network = ExactSplats(exact_scene(4, 40), unsure=frozenset({2}))
    found = placed(network)
    assert found.placed.tolist() == [True, True, False, True]
    assert float(found.confidence[2]) == 0 and worst_deg(found, network.scene) < 0.01
    assert set(found.camera.tolist()) == {0, 1, 2}  # of the cameras that there are
    alone = ExactSplats(exact_scene(2, 40), unsure=frozenset({0, 1}))
    with pytest.raises(CameraError, match="could place only 0 of the 2 photos"):
        placed(alone)


@pytest.mark.parametrize(("views", "together"), [(2, 3), (3, 3), (4, 2), (4, 3), (5, 3), (20, 2), (20, 3)])
def test_groups_hold_all_views_together(views: int, together: int) -> None:
    groups = view_groups(views, together)
    assert groups.shape[1] == min(views, together)
    assert all(len(set(row)) == len(row) for row in groups.tolist())
    if views > together:
        # Every view is the frame of some, and a partner in some, so that pairs check each other.
        assert set(groups[:, 0].tolist()) == set(groups[:, 1:].flatten().tolist()) == set(range(views))
    assert len(groups) <= 10 * views


def test_long_pictures_and_known_lenses() -> None:
    """The network gets squares with the intrinsics that go with them; cameras are for the pictures."""
    scene = exact_scene(2, 64, 4)
    network = ExactSplats(scene)
    cut = Views(scene.views.images[:, 8:-8], scene.views.names)  # only air
    found = splat_views(cut, model=network, focals=focals(scene), refine=False)
    assert (found.cameras.width, found.cameras.height) == (64, 48)
    assert found.cameras.Ks[0, :2, 2].tolist() == [32.0, 24.0]
    assert worst_deg(found, scene) < 0.01
    told = network.intrinsics
    assert told is not None
    torch.testing.assert_close(told[0, 0, 0], scene.cameras.Ks[0, 0, 0].double() / 64)
    torch.testing.assert_close(told[0, :2, 2], torch.tensor([0.5, 0.5]).double())


def test_initialize_gives_the_usual_world() -> None:
    scene = exact_scene(3, 40)
    estimate = initialize(
        scene.views, "noposplat", model=ExactSplats(scene), focal=focals(scene), device="cpu", refine=False
    )
    assert float(pairwise_rotation_errors(estimate.cameras, scene.cameras).max()) < 0.01
    assert estimate.focal_known and estimate.points is not None and estimate.points.camera is not None
    assert float(estimate.cameras.centers.norm(dim=-1).mean()) == pytest.approx(1.85, rel=1e-3)
    # The points came along: each camera sees its own ones on the object.
    for i in range(3):
        own = estimate.points.points[estimate.points.camera == i]
        pixels = estimate.cameras[i].project(own)[0][0].floor().long()
        assert float((scene.views.masks[i][pixels[:, 1], pixels[:, 0]] > 0.3).float().mean()) > 0.99


# ---------------------------------------------------------------- poses


def sightings(noise: float = 0.0) -> tuple[ExactScene, list[Sightings]]:
    scene = exact_scene(2, 64, 4)
    seen = []
    for i in range(2):
        mask = scene.views.masks[i] >= 0.5
        rows, columns = mask.nonzero().T
        points = scene.points[i][mask].double()
        points = points + noise * torch.randn(points.shape, generator=torch.Generator().manual_seed(i))
        pixels = torch.stack([columns, rows], -1).double()
        center = scene.cameras.Ks[i, :2, 2].double() - 0.5
        seen.append(Sightings(points, pixels, float(scene.cameras.Ks[i, 0, 0]), center, 64))
    return scene, seen


def test_resection() -> None:
    scene, seen = sightings()
    viewmat, share = resected(seen[1]) or pytest.fail("not placed")
    torch.testing.assert_close(viewmat, scene.cameras.viewmats[1].double(), atol=1e-4, rtol=0)
    assert share == 1.0 and float(seen[1].distances(viewmat).max()) < 0.01
    behind = torch.diag(torch.tensor([1.0, 1.0, -1.0, 1.0]).double()) @ viewmat
    assert bool(seen[1].distances(behind).isinf().all())
    few = Sightings(seen[1].points[:3], seen[1].pixels[:3], seen[1].focal, seen[1].center, 64)
    assert resected(few) is None


def test_refinement_makes_nothing_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact cameras are not led away from what they see."""
    monkeypatch.setattr(poses, "_STAGES", (Stage(64, 25),))
    scene, found = pair()
    frame, centers = scene.cameras.viewmats[0].double(), scene.cameras.centers
    scale = float(found.cameras.centers[1].norm() / (centers[1] - centers[0]).norm())
    seen = [replace(s, points=scale * (s.points @ frame[:3, :3].T + frame[:3, 3])) for s in sightings()[1]]

    def away(cameras: Cameras) -> list[float]:
        return [float(s.distances(v).median()) for s, v in zip(seen, cameras.viewmats, strict=True)]

    assert max(away(found.cameras)) < 0.05
    assert max(away(refined_cameras(found.gaussians, scene.views, found.cameras, seen, 64))) <= 64 / 256


# ---------------------------------------------------------------- bad input


def test_without_focal_lengths() -> None:
    scene = exact_scene(2, 40)
    with pytest.raises(OptionError, match=r"--init-focal \(agsrec run\), --focal \(agsrec poses\)"):
        initialize(scene.views, "noposplat", model=ExactSplats(scene), device="cpu")
    with pytest.raises(OptionError, match="positive focal length for each of the 2"):
        placed(ExactSplats(scene), focals=[50.0, float("nan")])


def test_one_photo_and_blank_ones() -> None:
    scene = exact_scene(2, 40)
    with pytest.raises(OptionError, match="at least 2 photos"):
        initialize_noposplat(scene.views[[0]], model=ExactSplats(scene), focals=[50.0])
    with pytest.raises(OptionError, match=r"one view \(000\) cannot be posed"):
        initialize(scene.views[[0]], "noposplat", model=ExactSplats(scene), focal=50.0)
    blank = scene.views.images.clone()
    blank[1, ..., 3] = 0
    with pytest.raises(CameraError, match="2 photos that show the object, and of 2 only 1 do"):
        splat_views(Views(blank, scene.views.names), model=ExactSplats(scene), focals=focals(scene))
