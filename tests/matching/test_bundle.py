"""Cameras and points adjusted to each other: exact tracks, wrong ones, ones that contradict themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from agsrec.cameras import Cameras
from agsrec.matching import (
    CLOSE,
    Bundle,
    PairMatches,
    Rig,
    Spread,
    adjust_bundle,
    largest_turn,
    reprojection_errors,
    tracks_of,
    triangulated,
)
from agsrec.matching.bundle import _Problem
from tests.matching.scenes import FOCAL, SIZE, exact_matches, ring

ANY = Spread(turn=2.0, center=1.0, depth=1.0, focal=2.0)
SCALES = (0.03, 0.003)


def rig(cameras: Cameras, *, zoom: float = 1.0, off_deg: float = 0.0) -> Rig:
    cameras = cameras.perturbed(off_deg, torch.Generator().manual_seed(0))
    centers = cameras.viewmats[:, :3, 3] * torch.tensor([1.0, 1.0, zoom])
    return Rig(cameras.rotations, centers, zoom * cameras.focal_lengths.mean(1))


def pair(first: int, second: int, ids: list[tuple[int, int]], scores: list[float]) -> PairMatches:
    """Matches of features that are where their numbers say."""
    numbers = np.array(ids, dtype=np.int64)
    points = np.repeat(numbers[..., None], 2, axis=-1).astype(np.float32)
    return PairMatches(first, second, points, numbers, np.array(scores, dtype=np.float32))


def test_tracks_join_matches_of_all_views() -> None:
    cameras = ring(6)
    tracks = tracks_of(exact_matches(cameras), SIZE, SIZE)
    assert tracks.lengths.min() >= 2 and tracks.lengths.max() >= 3
    assert len(tracks) == len(tracks.lengths) and int(tracks.lengths.sum()) == len(tracks.views)
    points = triangulated(rig(cameras), tracks)
    assert float(reprojection_errors(Bundle(rig(cameras), points), tracks).max()) < 1.0


def test_a_track_has_one_feature_of_a_view() -> None:
    found = [
        pair(0, 1, [(0, 10), (5, 15)], [0.9, 0.9]),
        pair(1, 2, [(10, 20), (15, 25)], [0.8, 0.9]),
        pair(0, 2, [(1, 20), (5, 25)], [0.3, 0.9]),  # (1, 20) would make feature 1 the same as feature 0
    ]
    tracks = tracks_of(found, SIZE, SIZE)
    listed = [
        sorted(zip(tracks.views[of].tolist(), tracks.pixels[of, 0].tolist(), strict=True))
        for of in (tracks.points == k for k in range(len(tracks)))
    ]
    assert sorted(listed) == [[(0, 0.0), (1, 10.0), (2, 20.0)], [(0, 5.0), (1, 15.0), (2, 25.0)]]


@pytest.mark.parametrize("zoom", [0.8, 1.3])
def test_poses_and_focal_length_are_recovered(zoom: float) -> None:
    cameras = ring(8)
    tracks = tracks_of(exact_matches(cameras, count=120), SIZE, SIZE)
    start = rig(cameras, zoom=zoom, off_deg=5.0)
    assert largest_turn(start.rotations, cameras.rotations) > 4
    after = adjust_bundle(start, tracks, ANY, scales=SCALES)
    assert largest_turn(after.rig.rotations, cameras.rotations) < 0.02
    assert float(after.rig.focals.mean()) == pytest.approx(FOCAL, rel=0.001)
    assert float(reprojection_errors(after, tracks).max()) < 0.1


def test_wrong_matches_do_little() -> None:
    cameras, chance = ring(8), np.random.default_rng(1)
    found = []
    for f in exact_matches(cameras, noise=0.3):
        lost = chance.random(len(f)) < 0.3
        ids = f.ids.copy()
        ids[lost, 1] = chance.permutation(ids[lost, 1]) + 1000  # another feature, elsewhere
        points = f.points.copy()
        points[lost, 1] += chance.normal(scale=40, size=(int(lost.sum()), 2)).astype(np.float32)
        scores = chance.uniform(size=len(f)).astype(np.float32)
        found.append(replace(f, points=points, ids=ids, scores=scores))
    after = adjust_bundle(
        rig(cameras, zoom=1.1, off_deg=3.0), tracks_of(found, SIZE, SIZE), ANY, scales=SCALES
    )
    assert largest_turn(after.rig.rotations, cameras.rotations) < 0.5
    assert float(after.rig.focals.mean()) == pytest.approx(FOCAL, rel=0.02)


def test_known_focal_lengths_stay_and_ratios_always() -> None:
    cameras = ring(6)
    tracks = tracks_of(exact_matches(cameras, count=120), SIZE, SIZE)
    start = rig(cameras, zoom=1.1)
    start = replace(start, focals=start.focals * torch.linspace(0.9, 1.1, 6))
    known = adjust_bundle(start, tracks, replace(ANY, focal=0.0), scales=SCALES).rig
    torch.testing.assert_close(known.focals, start.focals, rtol=1e-4, atol=0.0)
    free = adjust_bundle(start, tracks, ANY, scales=SCALES).rig
    ratios = free.focals / start.focals
    torch.testing.assert_close(ratios, ratios[:1].expand(6))


def test_a_view_without_tracks_stays() -> None:
    cameras = ring(6)
    found = [f for f in exact_matches(cameras) if 5 not in (f.first, f.second)]
    start = rig(cameras, off_deg=2.0)
    after = adjust_bundle(start, tracks_of(found, SIZE, SIZE), CLOSE, scales=SCALES).rig
    torch.testing.assert_close(after.rotations[5], start.rotations[5])
    torch.testing.assert_close(after.centers[5], start.centers[5])
    assert not torch.allclose(after.rotations[0], start.rotations[0], atol=1e-4)


def test_nothing_to_triangulate() -> None:
    start = rig(ring(3))
    tracks = tracks_of([], SIZE, SIZE)
    after = adjust_bundle(start, tracks, CLOSE, scales=SCALES)
    assert len(tracks) == 0 and after.rig is start and after.points.shape == (0, 3)
    assert triangulated(start, tracks).shape == (0, 3)


def test_derivatives() -> None:
    cameras = ring(4)
    tracks = tracks_of(exact_matches(cameras, count=12), SIZE, SIZE)
    problem = _Problem(rig(cameras, zoom=1.1, off_deg=2.0), tracks, CLOSE)
    problem.tolerance = 5.0
    x = problem.start()
    told, step = problem.jacobian(x).toarray(), 1e-6
    for k in range(len(x)):
        ahead = np.eye(len(x))[k] * step
        slope = (problem.residuals(x + ahead) - problem.residuals(x - ahead)) / (2 * step)
        np.testing.assert_allclose(told[:, k], slope, rtol=1e-5, atol=1e-5)
