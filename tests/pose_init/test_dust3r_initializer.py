"""From photos to cameras with a network that knows the answer."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from agsrec.cameras import CAMERA_DISTANCE, Cameras
from agsrec.errors import CameraError, OptionError
from agsrec.metrics.poses import align_cameras, pairwise_rotation_errors
from agsrec.pose_init.dust3r.initializer import initialize_dust3r
from agsrec.pose_init.dust3r.pairs import Pairs, pair_graph
from agsrec.pose_init.stereo.config import DUSt3RConfig
from agsrec.pose_init.stereo.model import DUSt3R
from agsrec.views import Views
from tests.exact_dust3r import ExactNetwork, ExactScene, exact_maps, exact_scene


def _blanked(scene: ExactScene, *lost: int) -> Views:
    images = scene.views.images.clone()
    images[list(lost)] = 0.0
    return Views(images, scene.views.names)


@pytest.mark.parametrize("shared", [True, False])
def test_cameras_in_our_conventions(shared: bool) -> None:
    scene = exact_scene(6, seed=2, shared=shared)
    found = initialize_dust3r(scene.views, model=ExactNetwork(scene), iterations=100)
    assert found.placed.all()
    assert found.indices == list(range(6))
    assert pairwise_rotation_errors(found.cameras, scene.cameras).max() < 0.2
    torch.testing.assert_close(found.cameras.Ks[:, :2, :2], scene.cameras.Ks[:, :2, :2], rtol=5e-3, atol=0.01)
    torch.testing.assert_close(found.cameras.Ks[:, :2, 2], scene.cameras.Ks[:, :2, 2], rtol=0, atol=0.2)
    assert (found.cameras.width, found.cameras.height) == (40, 40)
    assert found.cameras.centers.norm(dim=-1).mean() == pytest.approx(CAMERA_DISTANCE, rel=1e-4)
    again = found.cameras.normalized()  # the azimuth's zero is free
    torch.testing.assert_close(again.rotations[:, :, 1], found.cameras.rotations[:, :, 1], atol=1e-3, rtol=0)
    torch.testing.assert_close(again.centers[:, 1], found.cameras.centers[:, 1], atol=1e-3, rtol=0)
    assert ((found.confidence > 0.5) & (found.confidence <= 1)).all()


def test_points_seed_the_surface() -> None:
    scene = exact_scene(5)
    found = initialize_dust3r(scene.views, model=ExactNetwork(scene), iterations=20)
    assert found.points is not None
    inside = scene.views.masks >= 0.5
    assert len(found.points.points) == inside.sum()
    to_truth = align_cameras(found.cameras, scene.cameras)
    truth = scene.points[inside]
    torch.testing.assert_close(to_truth.points(found.points.points), truth, atol=0.02, rtol=0)
    torch.testing.assert_close(
        found.points.colors, scene.views.composited(torch.ones(3))[inside], atol=3e-3, rtol=0
    )
    assert (found.points.confidence > 1).all()


def test_a_known_focal_length_stays() -> None:
    scene = exact_scene(4)
    focal = float(scene.cameras.Ks[0, 0, 0])
    found = initialize_dust3r(scene.views, model=ExactNetwork(scene), iterations=30, focal=focal)
    torch.testing.assert_close(found.cameras.focal_lengths, torch.full((4, 2), focal), rtol=1e-5, atol=0)
    assert pairwise_rotation_errors(found.cameras, scene.cameras).max() < 0.2


def test_views_of_another_size_than_the_network() -> None:
    scene = exact_scene(4, 48)
    # Twice as large, with 24 clear columns on either side: a long picture.
    large = scene.views.images.repeat_interleave(2, 1).repeat_interleave(2, 2)
    wide = torch.nn.functional.pad(large, (0, 0, 24, 24))
    network = _Recognising(scene)
    found = initialize_dust3r(Views(wide, scene.views.names), model=network, iterations=30)
    # The square around the wide picture has 144 pixels a side, of which the network shows one in three.
    truth = scene.cameras.Ks[:, :2, 2] * 3
    truth[:, 1] -= 24
    assert (found.cameras.width, found.cameras.height) == (144, 96)
    torch.testing.assert_close(found.cameras.Ks[:, :2, 2], truth, atol=0.5, rtol=0)
    torch.testing.assert_close(found.cameras.Ks[:, 0, 0], 3 * scene.cameras.Ks[:, 0, 0], rtol=5e-3, atol=0)


class _Recognising(ExactNetwork):
    """Answers in the order of the views, whatever they look like, as if each filled the picture."""

    def encode(self, images: Tensor, *, batch: int | None = None) -> list[int]:
        assert images.shape[1:] == (48, 48, 3)
        return list(range(len(images)))


def test_large_point_maps_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agsrec.pose_init.dust3r.initializer._MAX_GRID", 32)
    scene = exact_scene(5, 64)
    found = initialize_dust3r(scene.views, model=ExactNetwork(scene), iterations=30)
    assert pairwise_rotation_errors(found.cameras, scene.cameras).max() < 0.2
    torch.testing.assert_close(found.cameras.Ks, scene.cameras.Ks, rtol=5e-3, atol=0.2)
    assert found.points is not None
    inside = scene.views.masks[:, ::2, ::2] >= 0.5
    colors = scene.views.composited(torch.ones(3))[:, ::2, ::2][inside]
    torch.testing.assert_close(found.points.colors, colors, atol=3e-3, rtol=0)


def test_order_of_the_views_does_not_matter() -> None:
    scene = exact_scene(6, seed=3)
    order = [4, 2, 0, 5, 1, 3]
    network = ExactNetwork(scene)
    one = initialize_dust3r(scene.views, model=network, iterations=40)
    two = initialize_dust3r(scene.views[order], model=network, iterations=40)
    assert pairwise_rotation_errors(two.cameras, one.cameras[order]).max() < 0.2
    torch.testing.assert_close(two.confidence, one.confidence[order], atol=0.02, rtol=0)
    assert pairwise_rotation_errors(two.cameras, one.cameras).max() > 20


@pytest.mark.parametrize("spoiled", [{(2, 1)}, {(0, 3), (3, 0)}, {(4, 0), (1, 2), (3, 4)}])
def test_spoiled_pairs_do_not_spoil_the_rest(spoiled: set[tuple[int, int]]) -> None:
    scene = exact_scene(5)
    network = ExactNetwork(scene, spoiled=frozenset(spoiled))
    found = initialize_dust3r(scene.views, model=network, iterations=60)
    assert found.placed.all()
    assert pairwise_rotation_errors(found.cameras, scene.cameras).max() < 0.2


def test_a_view_that_agrees_with_none_is_less_sure() -> None:
    scene = exact_scene(6)
    wrong = {pair for v in range(6) if v != 2 for pair in ((2, v), (v, 2))}
    network = ExactNetwork(scene, spoiled=frozenset(wrong))
    found = initialize_dust3r(scene.views, model=network, iterations=120)
    others = [0, 1, 3, 4, 5]
    assert found.confidence[2] < 0.5 * found.confidence[others].min()
    cameras = found.cameras[[found.indices.index(v) for v in others]]
    assert pairwise_rotation_errors(cameras, scene.cameras[others]).max() < 1.0


def test_blank_and_unsure_views_are_marked(caplog: pytest.LogCaptureFixture) -> None:
    scene = exact_scene(6)
    network = ExactNetwork(scene, unsure=frozenset({4}))
    found = initialize_dust3r(_blanked(scene, 1), model=network, iterations=30)
    assert found.placed.tolist() == [True, False, True, True, False, True]
    assert found.confidence[[1, 4]].tolist() == [0.0, 0.0]
    assert pairwise_rotation_errors(found.cameras, scene.cameras[[0, 2, 3, 5]]).max() < 0.2
    assert "001, 004" in caplog.text
    # The blank view is not even shown to the network.
    assert sum(network.batches) == 20


def test_identical_views() -> None:
    scene = exact_scene(3).of([0, 0])
    found = initialize_dust3r(scene.views, model=ExactNetwork(scene), iterations=30)
    assert found.placed.all()
    assert pairwise_rotation_errors(found.cameras, scene.cameras).max() < 0.2
    assert found.cameras.viewmats.isfinite().all()
    assert found.cameras.centers.norm(dim=-1).mean() == pytest.approx(CAMERA_DISTANCE, rel=1e-3)
    assert (found.cameras.rotations[:, 1, 1] < -0.5).all()  # upright: the pictures' y axis points down
    assert found.points is not None
    assert found.points.points.norm(dim=-1).max() < CAMERA_DISTANCE


def test_two_views_are_upright() -> None:
    scene = exact_scene(6).of([0, 1])
    found = initialize_dust3r(scene.views, model=ExactNetwork(scene), iterations=30)
    assert pairwise_rotation_errors(found.cameras, scene.cameras).max() < 0.2
    up = found.cameras.rotations[:, 1, 1]
    torch.testing.assert_close(up, scene.cameras.rotations[:, 1, 1], atol=0.25, rtol=0)


def test_forty_views_ask_for_a_bounded_number_of_pairs() -> None:
    scene = exact_scene(40, 32)
    network = ExactNetwork(scene)
    found = initialize_dust3r(scene.views, model=network, iterations=20)
    assert sum(network.batches) == len(pair_graph(40)) == 400
    assert max(network.batches) <= 8
    assert found.placed.all()
    assert pairwise_rotation_errors(found.cameras, scene.cameras).max() < 0.3


def test_refusals() -> None:
    scene = exact_scene(4)
    network = ExactNetwork(scene)
    with pytest.raises(OptionError, match="at least 2 photos"):
        initialize_dust3r(scene.views[[0]], model=network)
    with pytest.raises(OptionError, match="focal length must be a positive"):
        initialize_dust3r(scene.views, model=network, focal=-1.0)
    with pytest.raises(OptionError, match="steps must not be negative"):
        initialize_dust3r(scene.views, model=network, iterations=-1)
    with pytest.raises(CameraError, match=r"no two of the 4 photos .*\(3 are blank\)"):
        initialize_dust3r(_blanked(scene, 0, 1, 3), model=network)
    with pytest.raises(CameraError, match=r"no two of the 4 photos .*\(0 are blank\)"):
        initialize_dust3r(scene.views, model=replace(network, unsure=frozenset(range(4))))


def test_an_untrained_network_ends_in_a_sentence_or_in_cameras() -> None:
    config = DUSt3RConfig(
        image_size=(48, 48), square_images=True, enc_width=32, enc_depth=1, enc_heads=2, dec_width=32,
        dec_depth=1, dec_heads=2,
    )  # fmt: skip
    network = DUSt3R(config).initialize(torch.Generator().manual_seed(0)).eval()
    scene = exact_scene(4)
    try:
        found = initialize_dust3r(scene.views, model=network, iterations=5)
    except CameraError:
        return
    assert found.cameras.viewmats.isfinite().all()
    assert isinstance(found.cameras, Cameras)


def test_nothing_is_told_from_the_padding() -> None:
    """Views of very different mask sizes share padded arrays."""
    scene = exact_scene(5)
    images = scene.views.images.clone()
    images[2, :, :20, 3] = 0.0
    half = Views(images, scene.views.names)
    index = pair_graph(5)
    pairs = Pairs.from_maps(index, exact_maps(scene, index), half.masks)
    assert pairs.valid[2].sum() < 0.8 * pairs.valid.shape[1]
    found = initialize_dust3r(half, model=_InOrder(scene), iterations=60)
    assert pairwise_rotation_errors(found.cameras, scene.cameras).max() < 0.2


class _InOrder(ExactNetwork):
    def encode(self, images: Tensor, *, batch: int | None = None) -> list[int]:
        return list(range(len(images)))
