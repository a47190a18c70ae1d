"""From photos to cameras with a matching network that knows the answer."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from agsrec.errors import CheckpointError, OptionError
from agsrec.metrics.poses import align_cameras, pairwise_rotation_errors, rotation_errors_after_alignment
from agsrec.pose_init import initialize
from agsrec.pose_init.dust3r.initializer import align_views
from agsrec.pose_init.mast3r.arranging import arranged
from agsrec.pose_init.mast3r.dense import DenseMatches
from agsrec.pose_init.mast3r.initializer import initialize_mast3r
from agsrec.pose_init.mast3r.localizing import resect
from agsrec.pose_init.stereo.config import DUSt3RConfig
from tests.exact_dust3r import exact_scene
from tests.exact_mast3r import ExactMatcher


@pytest.mark.parametrize("shared", [True, False])
def test_cameras_come_out_right(shared: bool) -> None:
    scene = exact_scene(4, 64, 2, shared=shared)
    found = initialize_mast3r(scene.views, model=ExactMatcher(scene), iterations=30)
    assert found.placed.all() and found.metres_per_unit is None
    assert pairwise_rotation_errors(found.cameras, scene.cameras).max() < 0.2
    torch.testing.assert_close(found.cameras.Ks, scene.cameras.Ks, rtol=0.01, atol=0.3)
    assert found.matches is not None and len(found.matches) > 100
    assert float(found.confidence.min()) > 0.8 and float(found.confidence.max()) <= 1
    assert found.points is not None
    truth = scene.points[scene.views.masks >= 0.5]
    carried = align_cameras(found.cameras, scene.cameras).points(found.points.points)
    torch.testing.assert_close(carried, truth, atol=0.03, rtol=0)


def test_matches_are_pixels_of_the_views() -> None:
    """What the fit is given agrees with the cameras, principal points and all."""
    from agsrec.matching import EpipolarTerm

    scene = exact_scene(4, 64, 2, shared=False)
    found = initialize_mast3r(scene.views, model=ExactMatcher(scene), iterations=30)
    assert found.matches is not None
    term = EpipolarTerm(found.matches, weight=1.0, tolerance=(0.04, 0.04))
    wrong = found.cameras.to(dtype=torch.float64).perturbed(10.0, torch.Generator().manual_seed(0))
    right, off = (float(term(cameras, 0.5)) for cameras in (found.cameras, wrong.to(dtype=torch.float32)))
    assert right < 0.1 * off


def test_a_metric_checkpoint_keeps_its_scale() -> None:
    scene = exact_scene(4, 64, 2)
    estimate = initialize(scene.views, "mast3r", model=ExactMatcher(scene, metric=True), device="cpu")
    assert estimate.metres_per_unit is not None
    # The scene's unit plays the metre.
    distances = scene.cameras.centers[0].dist(scene.cameras.centers[2])
    found = estimate.cameras.centers[0].dist(estimate.cameras.centers[2])
    assert float(found) * estimate.metres_per_unit == pytest.approx(float(distances), rel=0.02)


def test_a_spoiled_pair_does_not_spoil_the_rest() -> None:
    scene = exact_scene(5, 64, 2)
    network = ExactMatcher(scene, spoiled=frozenset({(0, 1), (1, 0)}))
    found = initialize_mast3r(scene.views, model=network, iterations=40)
    assert found.placed.all()
    assert pairwise_rotation_errors(found.cameras, scene.cameras).max() < 0.2


def test_matches_move_a_view_that_the_alignment_put_elsewhere() -> None:
    scene = exact_scene(4, 64, 2)
    dense = DenseMatches()
    aligned = align_views(scene.views, ExactMatcher(scene), iterations=10, watch=dense.watch, batch=2)
    found = dense.of_pairs(aligned.to_views, 64)
    estimate = aligned.estimate()
    viewmats = estimate.cameras.viewmats.clone()
    turn = torch.tensor([[0.0, 0, 1, 0], [0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1]])  # about the vertical
    viewmats[3] = viewmats[3] @ turn
    confidence = torch.tensor([0.9, 0.9, 0.9, 0.1])
    wrong = replace(estimate, cameras=replace(estimate.cameras, viewmats=viewmats), confidence=confidence)
    assert float(rotation_errors_after_alignment(wrong.cameras, scene.cameras)[3]) > 40
    after = arranged(wrong, found, error=0.01, focal_known=False)
    assert float(pairwise_rotation_errors(after.cameras, scene.cameras).max()) < 6
    assert float(after.confidence[3]) > 0.5


def test_where_no_match_is_sure_the_alignment_stays() -> None:
    scene = exact_scene(4, 40)
    blind = frozenset((i, j) for i in range(4) for j in range(4))
    found = initialize_mast3r(scene.views, model=ExactMatcher(scene, blind=blind), iterations=20)
    assert found.matches is None
    assert pairwise_rotation_errors(found.cameras, scene.cameras).max() < 0.2


def test_a_known_focal_length_stays() -> None:
    scene = exact_scene(4, 64, 2)
    focal = float(scene.cameras.Ks[0, 0, 0])
    found = initialize_mast3r(scene.views, model=ExactMatcher(scene), iterations=10, focal=focal)
    torch.testing.assert_close(found.cameras.focal_lengths, torch.full((4, 2), focal), rtol=1e-3, atol=0)


def test_of_forty_photos_the_pair_graph_is_thinned_and_that_is_said() -> None:
    scene = exact_scene(40, 32)
    network = ExactMatcher(scene)
    found = initialize_mast3r(scene.views, model=network, iterations=5)
    assert sum(network.batches) == 400 and max(network.batches) <= 2
    assert found.placed.all()
    assert pairwise_rotation_errors(found.cameras, scene.cameras).max() < 0.5
    assert "looked at 200 of the 780 pairs of 40 photos" in found.remarks[0]


def test_one_photo() -> None:
    scene = exact_scene(4, 40)
    with pytest.raises(OptionError, match="--method mast3r needs at least 2 photos"):
        initialize_mast3r(scene.views[[0]], model="nowhere")
    with pytest.raises(OptionError, match="cannot be posed"):
        initialize(scene.views[[0]], "mast3r", model="nowhere")


def test_no_such_checkpoint() -> None:
    scene = exact_scene(4, 40)
    with pytest.raises(CheckpointError, match=r"no such model; .*naver/MASt3R_"):
        initialize(scene.views, "mast3r", model="nowhere.pth", device="cpu")


def test_an_untrained_network_ends_in_a_sentence_or_in_cameras() -> None:
    from agsrec.errors import CameraError
    from agsrec.pose_init.stereo.model import DUSt3R

    config = DUSt3RConfig(
        image_size=(64, 64), square_images=False, enc_width=16, enc_depth=1, enc_heads=2, dec_width=16,
        dec_depth=4, dec_heads=2, head="catmlp+dpt", dpt_width=8, dpt_last_width=4,
        dpt_level_widths=(4, 4, 6, 8), descriptor_width=6,
    )  # fmt: skip
    network = DUSt3R(config).initialize(torch.Generator().manual_seed(0)).eval()
    scene = exact_scene(4, 64, 2)
    try:
        found = initialize_mast3r(scene.views, model=network, iterations=3)
    except CameraError:
        return
    assert found.cameras.viewmats.isfinite().all()


# ---------------------------------------------------------------- a photo among views


def test_a_photo_is_posed_by_the_surface_of_views() -> None:
    scene = exact_scene(6, 64, 2)
    others = [0, 2, 3, 4, 5]
    depths = torch.stack([
        scene.points[v] @ scene.cameras.viewmats[v, 2, :3] + scene.cameras.viewmats[v, 2, 3] for v in others
    ])  # fmt: skip
    depths = torch.where(scene.views.masks[others] >= 0.5, depths, torch.nan)
    photo, K = scene.views.images[1], scene.cameras.Ks[1]
    known = scene.views[others], scene.cameras[others], depths
    found = resect(photo, K, *known, model=ExactMatcher(scene))
    assert found.viewmat is not None and found.agreeing > 0.6 * found.matches
    turned = found.viewmat[:3, :3] @ scene.cameras.rotations[1].T
    assert float(((turned.trace() - 1) / 2).clamp(-1, 1).acos().rad2deg()) < 1.0
    torch.testing.assert_close(found.viewmat[:3, 3], scene.cameras.viewmats[1, :3, 3], atol=0.05, rtol=0)
    blind = ExactMatcher(scene, blind=frozenset((i, j) for i in range(6) for j in range(6)))
    assert resect(photo, K, *known, model=blind).viewmat is None
