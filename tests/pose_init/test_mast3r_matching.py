"""Matches are mutual nearest neighbours, found from seeds as by a full search, and lie between pixels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec.pose_init.mast3r.dense import DenseMatches, matching_pixels
from agsrec.pose_init.mast3r.reciprocal import fast_mutual_neighbours, mutual_neighbours
from agsrec.pose_init.mast3r.subpixel import peak_offsets
from agsrec.pose_init.stereo.model import PairPrediction
from tests.exact_dust3r import exact_scene
from tests.exact_mast3r import ExactMatcher


def smooth(height: int, width: int, seed: int = 0) -> Tensor:
    """Unit vectors [H, W, 8] that change slowly."""
    coarse = torch.randn(1, 8, 4, 4, generator=torch.Generator().manual_seed(seed))
    return F.normalize(F.interpolate(coarse, (height, width), mode="bicubic")[0].movedim(0, -1), dim=-1)


def noisy(vectors: Tensor, noise: float) -> Tensor:
    added = noise * torch.randn(vectors.shape, generator=torch.Generator().manual_seed(1))
    return F.normalize(vectors + added, dim=-1)


def pairs_of(index: Tensor) -> set[tuple[int, ...]]:
    return {tuple(row) for row in index.tolist()}


def test_the_full_search_finds_what_is_mutual() -> None:
    first = torch.eye(3)
    second = F.normalize(torch.tensor([[0.0, 1.0, 0.1], [0.9, 0.2, 0.0], [1.0, 0.1, 0.0]]), dim=1)
    # The third vector's nearest has a nearer one.
    assert mutual_neighbours(first, second).tolist() == [[0, 2], [1, 0]]


def test_mutual_by_a_search_without_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = smooth(12, 15).flatten(0, 1), noisy(smooth(12, 15), 0.1).flatten(0, 1)[:150]
    similar = first @ second.T
    expected = {(i, int(j)) for i, j in enumerate(similar.argmax(1)) if int(similar[:, j].argmax()) == i}
    assert len(expected) > 20
    assert pairs_of(mutual_neighbours(first, second)) == expected
    monkeypatch.setattr("agsrec.pose_init.mast3r.reciprocal._BLOCK", 7 * 150)
    assert pairs_of(mutual_neighbours(first, second)) == expected


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.5])
def test_seeds_lead_to_mutual_neighbours_only(noise: float) -> None:
    first, second = smooth(40, 48).flatten(0, 1), noisy(smooth(40, 48), noise).roll(3, 0).flatten(0, 1)
    everything = pairs_of(mutual_neighbours(first, second))
    seeds = torch.arange(40 * 48).view(40, 48)[::4, ::4].flatten()
    found = fast_mutual_neighbours(first, second, seeds)
    assert pairs_of(found) <= everything
    assert 0 < len(found) <= len(seeds) and len(pairs_of(found)) == len(found)
    # From all pixels there is no mutual pair that is not found.
    assert pairs_of(fast_mutual_neighbours(first, second, torch.arange(40 * 48))) == everything


def test_a_trail_goes_on_until_it_returns() -> None:
    angles = torch.tensor([0.0, 10.0, 20.0]).deg2rad()
    others = torch.tensor([6.0, 14.0, 21.0]).deg2rad()
    first, second = (torch.stack([a.cos(), a.sin()], 1) for a in (angles, others))
    # 0 degrees: to 6, back to 10, which 6 and 10 are to each other.
    assert fast_mutual_neighbours(first, second, torch.tensor([0])).tolist() == [[1, 0]]


def test_nothing_to_match() -> None:
    some, none = smooth(2, 2).flatten(0, 1), torch.zeros(0, 8)
    seeds = torch.arange(4)
    for first, second in ((some, none), (none, some), (none, none)):
        assert mutual_neighbours(first, second).shape == (0, 2)
        assert fast_mutual_neighbours(first, second, seeds[: len(first)]).shape == (0, 2)
    assert fast_mutual_neighbours(some, some, seeds[:0]).shape == (0, 2)


def test_equal_descriptors_end() -> None:
    same = torch.ones(50, 1)
    assert fast_mutual_neighbours(same, same, torch.arange(50)).tolist() == [[0, 0]]


# ---------------------------------------------------------------- between pixels


def test_peaks_between_pixels() -> None:
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(11.0), indexing="ij")

    def vectors(x: Tensor, y: Tensor) -> Tensor:
        return F.normalize(torch.stack([0.03 * x, 0.03 * y, torch.ones_like(x)], -1), dim=-1)

    field, usable = vectors(x, y), torch.ones(9, 11, dtype=torch.bool)
    at = torch.tensor([[4.3, 5.2], [6.0, 3.0], [2.6, 6.9], [10.0, 4.2]])
    pixels = (at[:, 1].round() * 11 + at[:, 0].round()).long()
    found = peak_offsets(vectors(*at.unbind(1)), field, pixels, usable)
    torch.testing.assert_close(found[:3], (at - at.round())[:3], atol=0.05, rtol=0)
    # At the border, and beside pixels that tell nothing, the pixel itself is all that is known.
    assert found[3].tolist() == [0.0, 0.0]
    usable[5, 5] = False
    assert peak_offsets(vectors(*at[:1].unbind(1)), field, pixels[:1], usable).tolist() == [[0.0, 0.0]]
    assert peak_offsets(torch.ones(1, 3), torch.ones(9, 11, 3), pixels[:1], usable).isfinite().all()


def test_points_of_matches_are_the_same_point() -> None:
    scene = exact_scene(6, 64, 2)
    dense = DenseMatches()
    index = torch.tensor([(0, 1), (1, 0)])
    maps = ExactMatcher(scene).decode_pairs(list(range(6)), index)
    dense.watch(index, maps, scene.views.masks)
    (found,) = dense.of_pairs(lambda points: points, 64)
    assert (found.first, found.second) == (0, 1) and len(found) > 200
    assert found.grain == pytest.approx(8.0)
    assert all(len(set(found.ids[:, side].tolist())) == len(found) for side in (0, 1))
    # One end is a pixel's centre, of which the surface point is known.
    whole = found.ids[:, 0] < 64 * 64
    assert 0.2 < whole.mean() < 1
    points = scene.points[0].flatten(0, 1)[found.ids[whole, 0].tolist()]
    expected = scene.cameras[[1]].project(points)[0][0]
    off = (torch.from_numpy(found.points[whole, 1]) - expected).norm(dim=1)
    assert float(off.median()) < 0.2 and float(off.quantile(0.95)) < 1.0


def test_only_sure_pixels_inside_masks_are_matched() -> None:
    scene = exact_scene(6, 64, 2)
    maps = ExactMatcher(scene).decode_pairs(list(range(6)), torch.tensor([(0, 1)]))
    inside = scene.views.masks >= 0.5
    left = inside[0].clone()
    left[:, 32:] = False
    found = matching_pixels(maps, 0, left, inside[1])
    assert len(found) > 20 and bool(left.flatten()[found.index[:, 0]].all())
    assert bool(inside[1].flatten()[found.index[:, 1]].all())
    assert bool(((found.scores > 0) & (found.scores < 1)).all())
    blind = ExactMatcher(scene, blind=frozenset({(0, 1)}))
    assert not len(matching_pixels(blind.decode_pairs([0, 1], torch.tensor([(0, 1)])), 0, *inside[:2]))
    assert not len(matching_pixels(maps, 0, torch.zeros_like(left), inside[1]))


def test_descriptors_that_are_no_numbers_take_no_part() -> None:
    scene = exact_scene(6, 64, 2)
    maps = ExactMatcher(scene).decode_pairs(list(range(6)), torch.tensor([(0, 1)]))
    assert isinstance(maps, PairPrediction) and maps.descriptors1 is not None
    maps.descriptors1[0, :, :32] = float("nan")
    inside = scene.views.masks >= 0.5
    found = matching_pixels(maps, 0, *inside[:2])
    assert len(found) > 20 and bool((found.index[:, 0] % 64 >= 32).all())
