"""Focal lengths, matches, registration, pair graphs and the trust in pairs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from agsrec.errors import OptionError, ShapeError
from agsrec.lie import so3_exp
from agsrec.pose_init.dust3r.focal import estimate_focal, estimate_intrinsics, pixel_grid
from agsrec.pose_init.dust3r.matches import masked_matches, reciprocal_matches
from agsrec.pose_init.dust3r.pairs import (
    COMPLETE_LIMIT,
    Pairs,
    complete_graph,
    pair_graph,
    predict_pairs,
    sparse_graph,
)
from agsrec.pose_init.dust3r.registration import (
    apply_similarity,
    quaternion_to_rotation,
    register,
    rotation_to_quaternion,
    signed_expm1,
    signed_log1p,
)
from agsrec.pose_init.dust3r.spanning_tree import resect
from agsrec.pose_init.dust3r.trust import components, pair_trust, trusted_pairs
from tests.exact_dust3r import exact_maps, exact_scene, spoil


@pytest.fixture(scope="module")
def published(shared_dir: Path) -> dict[str, Tensor]:
    path = shared_dir / "parity" / "dust3r_focal_matches.safetensors"
    if not path.is_file():
        pytest.skip("no parity fixture dust3r_focal_matches")
    return load_file(path)


def _centred(data: dict[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    points = data[f"in.{name}_pts3d"]
    pixels = pixel_grid(points.shape[1], points.shape[2]) - data["in.pp"][:, None, None]
    return points.flatten(1, 2), pixels.flatten(1, 2)


# ---------------------------------------------------------------- focal length


@pytest.mark.parametrize("name", ["exact", "noisy"])
@pytest.mark.parametrize("mode", ["weiszfeld", "median"])
def test_published_focals(published: dict[str, Tensor], name: str, mode) -> None:
    found = estimate_focal(*_centred(published, name), mode=mode)
    torch.testing.assert_close(found, published[f"out.{name}.{mode}"], rtol=1e-4, atol=0)


def test_published_focal_limits(published: dict[str, Tensor]) -> None:
    points, pixels = _centred(published, "noisy")
    points = points * torch.tensor([0.1, 1.0, 1.0])
    free = estimate_focal(points, pixels)
    torch.testing.assert_close(free, published["out.noisy_x0.1.weiszfeld_unclipped"], rtol=1e-4, atol=0)
    base = 32 / (2 * np.tan(np.deg2rad(30)))
    found = estimate_focal(points, pixels, limits=(0.5 * base, 3.5 * base))
    expected = published["out.noisy.weiszfeld_min0.5_max3.5"]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


def _camera_points(focal: float, center: tuple[float, float]) -> tuple[Tensor, Tensor]:
    pixels = pixel_grid(20, 30).flatten(0, 1)
    depth = 2 + 0.5 * torch.rand(len(pixels), 1, generator=torch.Generator().manual_seed(0))
    rays = torch.cat([(pixels - torch.tensor(center)) / focal, torch.ones(len(pixels), 1)], -1)
    return depth * rays, pixels


@pytest.mark.parametrize("mode", ["weiszfeld", "median"])
def test_focal_ignores_points_without_weight(mode) -> None:
    points, pixels = _camera_points(40.0, (15.0, 10.0))
    weights = (pixels[:, 0] > 8).float()
    points[weights == 0] = torch.tensor([9.0, -3.0, 1.0])
    found = estimate_focal(points, pixels - torch.tensor([15.0, 10.0]), weights, mode=mode)
    assert found == pytest.approx(40.0, rel=1e-4)


def test_focal_of_outliers_and_points_at_infinity() -> None:
    points, pixels = _camera_points(40.0, (15.0, 10.0))
    points[::4, :2] *= 2.0
    points[1::50, 2] = 0.0
    found = estimate_focal(points, pixels - torch.tensor([15.0, 10.0]))
    assert found == pytest.approx(40.0, rel=0.02)


def test_intrinsics_off_the_middle() -> None:
    points, pixels = _camera_points(40.0, (11.0, 14.5))
    weights = torch.ones(len(points))
    points[::5] += 0.8
    focal, center = estimate_intrinsics(points, pixels, weights)
    assert focal == pytest.approx(40.0, rel=0.01)
    assert center.tolist() == pytest.approx([11.0, 14.5], abs=0.2)
    focal, center = estimate_intrinsics(points, pixels, weights, 40.0)
    assert (focal, *center.tolist()) == pytest.approx((40.0, 11.0, 14.5), abs=0.2)


def test_intrinsics_among_points_beside_and_behind_the_camera() -> None:
    points, pixels = _camera_points(40.0, (11.0, 14.5))
    points[::10] = 5 * torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    points[0, 2], points[10, 2] = 0.0, 1e-6
    focal, center = estimate_intrinsics(points, pixels, torch.ones(len(points)))
    assert focal == pytest.approx(40.0, rel=0.01)
    assert center.tolist() == pytest.approx([11.0, 14.5], abs=0.1)
    focal, center = estimate_intrinsics(-points, pixels, torch.zeros(len(points)))
    assert not bool(focal.isfinite())


def test_focal_refusals() -> None:
    points, pixels = _camera_points(40.0, (15.0, 10.0))
    with pytest.raises(OptionError, match="weiszfeld or median"):
        estimate_focal(points, pixels, mode="mean")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="do not match"):
        estimate_focal(points, pixels[:5])


# ---------------------------------------------------------------- matches


def test_published_matches(published: dict[str, Tensor]) -> None:
    found, nearest = reciprocal_matches(published["in.P1"].numpy(), published["in.P2"].numpy())
    np.testing.assert_array_equal(found, published["out.reciprocal_in_P2"].numpy())
    np.testing.assert_array_equal(nearest, published["out.nn2_in_P1"].numpy())
    assert found.sum() == published["out.num_matches"].item()


def test_matches_respect_masks() -> None:
    y, x = torch.meshgrid(torch.arange(4.0), torch.arange(5.0), indexing="ij")
    points = torch.stack([x, y, 0 * x], -1)
    mask = torch.ones(4, 5)
    mask[:, :2] = 0
    first, second = masked_matches(points, mask, points + 0.1, torch.ones(4, 5))
    assert len(first) == 12
    assert torch.equal(first, second)
    assert first[:, 0].min() == 2
    assert len(masked_matches(points, torch.zeros(4, 5), points, mask)[0]) == 0


# ---------------------------------------------------------------- registration


def test_registration_recovers_a_similarity() -> None:
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(3, 50, 3, generator=generator)
    rotation = so3_exp(torch.tensor([[0.1, 2.0, -1.0], [3.1, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    scale, shift = torch.tensor([0.3, 2.0, 1.0]), torch.randn(3, 3, generator=generator)
    target = apply_similarity((scale, rotation, shift), source)
    weights = torch.ones(3, 50)
    weights[:, 40:] = 0
    target[:, 40:] += 100.0
    found = register(source, target, weights)
    for a, b in zip(found, (scale, rotation, shift), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_registration_never_mirrors_and_stays_finite() -> None:
    source = torch.randn(2, 30, 3, generator=torch.Generator().manual_seed(1))
    target = source * torch.tensor([1.0, 1.0, -1.0])
    target[1] = 0.0
    _, rotation, _ = found = register(source, target, torch.ones(2, 30))
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(2))
    assert all(x.isfinite().all() for x in found)
    assert all(x.isfinite().all() for x in register(source, target, torch.zeros(2, 30)))


def test_quaternions_and_signed_logarithm() -> None:
    omega = torch.tensor([[0.0, 0.0, 0.0], [3.14159, 0.0, 0.0], [0.0, 3.1, 0.1], [0.3, 0.2, -3.0]])
    rotation = so3_exp(omega)
    quaternion = rotation_to_quaternion(rotation)
    torch.testing.assert_close(quaternion_to_rotation(7 * quaternion), rotation, atol=1e-6, rtol=0)
    assert quaternion[0].tolist() == [0.0, 0.0, 0.0, 1.0]
    x = torch.tensor([-5.0, -0.1, 0.0, 2.0])
    torch.testing.assert_close(signed_expm1(signed_log1p(x)), x)
    assert signed_log1p(torch.tensor(-1.0)) == pytest.approx(-np.log(2.0))


def test_resection() -> None:
    scene = exact_scene(4)
    inside = scene.views.masks[2] > 0.5
    pixels = pixel_grid(40, 40)[inside]
    K = scene.cameras.Ks[2]
    found = resect(scene.points[2][inside], pixels, K[0, 0], K[:2, 2] - 0.5)
    assert found is not None
    torch.testing.assert_close(found.float(), scene.cameras.c2w[2], atol=2e-3, rtol=0)
    assert resect(scene.points[2][inside][:3], pixels[:3], K[0, 0], K[:2, 2]) is None
    nonsense = torch.randn(len(pixels), 3, generator=torch.Generator().manual_seed(0))
    assert resect(nonsense, pixels, K[0, 0], K[:2, 2]) is None
    assert resect(torch.zeros(len(pixels), 3), pixels, K[0, 0], K[:2, 2]) is None


# ---------------------------------------------------------------- graphs and pairs


def test_small_graphs_are_complete() -> None:
    assert complete_graph(3).tolist() == [[1, 0], [2, 0], [2, 1], [0, 1], [0, 2], [1, 2]]
    assert len(pair_graph(COMPLETE_LIMIT)) == COMPLETE_LIMIT * (COMPLETE_LIMIT - 1)
    assert complete_graph(1).shape == (0, 2)


@pytest.mark.parametrize("num_views", [13, 14, 27, 40, 200])
def test_large_graphs_are_bounded_and_connected(num_views: int) -> None:
    index = pair_graph(num_views)
    pairs = {tuple(pair) for pair in index.tolist()}
    assert len(pairs) == len(index) <= 10 * num_views
    assert all((j, i) in pairs and i != j for i, j in pairs)
    assert components(index, num_views).max() == 0
    degree = index.flatten().bincount(minlength=num_views) // 2
    assert degree.min() >= 8
    assert degree.max() <= 10
    # Every pair closes a triangle, so that it can be checked against others.
    neighbours = [{j for i, j in pairs if i == v} for v in range(num_views)]
    assert all(neighbours[i] & neighbours[j] for i, j in pairs)
    assert torch.equal(sparse_graph(num_views), index)


def test_pairs_hold_what_lies_inside_the_masks() -> None:
    index = complete_graph(3)
    masks = torch.zeros(3, 4, 5)
    masks[0, 1, 2:4], masks[1, 3, 0], masks[2, :2, 1] = 1, 1, 1
    points = torch.randn(6, 4, 5, 3, generator=torch.Generator().manual_seed(0))
    maps = exact_maps(exact_scene(4), torch.tensor([[0, 1]]))
    maps = replace(maps, points1=points, points2=-points, confidence1=points[..., 0] + 9,
                   confidence2=points[..., 1] + 9)  # fmt: skip
    points[1, 0, 1, 2] = float("nan")
    pairs = Pairs.from_maps(index, maps, masks)
    assert pairs.valid.tolist() == [[True, True], [True, False], [True, True]]
    assert pairs.pixels[0].tolist() == [[2, 1], [3, 1]]
    # Pair 0 is (1, 0): the first image is view 1.
    assert torch.equal(pairs.points1[0, 0], points[0, 3, 0])
    assert torch.equal(pairs.points2[0], -points[0, 1, 2:4])
    assert pairs.confidence1[0, 1] == 0
    assert pairs.confidence1[1].tolist() == [0.0, pytest.approx(float(points[1, 1, 1, 0]) + 9)]
    assert pairs.points1.isfinite().all()
    sure = (points[0, 3, 0, 0] + 9) * (points[0, 1, 2:4, 1] + 9).mean()
    assert pairs.scores[0] == pytest.approx(float(sure))
    some = pairs.restricted(torch.tensor([2, 0]))
    assert some.index.tolist() == [[0, 1], [1, 0]]
    assert torch.equal(some.points1[0], pairs.points1[1])


def test_pairs_are_asked_for_in_batches() -> None:
    scene, index = exact_scene(4), complete_graph(4)
    sizes = []

    def predict(some: Tensor):
        sizes.append(len(some))
        return exact_maps(scene, some)

    pairs = predict_pairs(predict, index, scene.views.masks, batch=5)
    whole = Pairs.from_maps(index, exact_maps(scene, index), scene.views.masks)
    assert sizes == [5, 5, 2]
    assert torch.equal(pairs.points2, whole.points2)
    coarse = predict_pairs(predict, index, scene.views.masks, stride=2)
    assert (coarse.height, coarse.width) == (20, 20)
    first = exact_maps(scene, index[:1]).points1[0, ::2, ::2][scene.views.masks[1, ::2, ::2] > 0.5]
    assert torch.equal(coarse.points1[0, : len(first)], first)
    with pytest.raises(ShapeError, match="point maps must be"):
        Pairs.from_maps(index[:1], exact_maps(scene, index), scene.views.masks)


# ---------------------------------------------------------------- trust


def test_wrong_pairs_are_told_from_right_ones() -> None:
    scene, index = exact_scene(5), complete_graph(5)
    maps = exact_maps(scene, index)
    wrong = [3, 11, 17]
    for row in wrong:
        maps = spoil(maps, row)
    maps.points1[7] = torch.randn(maps.points1[7].shape, generator=torch.Generator().manual_seed(0))
    pairs = Pairs.from_maps(index, maps, scene.views.masks)
    trust = pair_trust(pairs)
    bad = torch.zeros(len(index), dtype=torch.bool)
    bad[[*wrong, 7]] = True
    assert trust[bad].max() < 0.1
    assert trust[~bad].min() > 0.25
    assert torch.equal(trusted_pairs(pairs, trust), ~bad)


def test_a_weak_pair_is_kept_where_it_is_the_only_bridge() -> None:
    scene = exact_scene(4)
    index = torch.tensor([[0, 1], [1, 0], [1, 2], [2, 1], [0, 2], [2, 0], [2, 3], [3, 2]])
    pairs = Pairs.from_maps(index, exact_maps(scene, index), scene.views.masks)
    trust = torch.tensor([1.0, 1.0, 0.01, 1.0, 1.0, 1.0, 1.0, 1.0])
    assert trusted_pairs(pairs, trust).tolist() == [True, True, False, True, True, True, True, True]
    trust[6:] = 0.01
    assert trusted_pairs(pairs, trust).all()
