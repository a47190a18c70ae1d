"""Cameras and focal lengths from matches: exact ones, noisy ones, and ones that are wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from agsrec.cameras import Cameras
from agsrec.matching import (
    ROUGH,
    Correspondences,
    EpipolarTerm,
    Rig,
    adjust,
    consistent_matches,
    epipolar_distances,
    largest_turn,
    pair_hypotheses,
    supporting_matches,
)
from tests.matching.scenes import FOCAL, SIZE, exact_matches, ring

SCALES = (0.03, 0.01, 0.003)


def rig(cameras: Cameras, *, zoom: float = 1.0, off_deg: float = 0.0) -> Rig:
    cameras = cameras.perturbed(off_deg, torch.Generator().manual_seed(0))
    centers = cameras.viewmats[:, :3, 3] * torch.tensor([1.0, 1.0, zoom])
    return Rig(cameras.rotations, centers, zoom * cameras.focal_lengths.mean(1))


def test_exact_matches_lie_on_their_epipolar_lines() -> None:
    cameras = ring(5)
    found = Correspondences.of(exact_matches(cameras), SIZE, SIZE)
    assert float(epipolar_distances(rig(cameras), found).abs().max()) < 1e-3


@pytest.mark.parametrize("zoom", [0.7, 1.4])
def test_poses_and_focal_length_are_recovered(zoom: float) -> None:
    cameras = ring(8)
    found = Correspondences.of(exact_matches(cameras), SIZE, SIZE)
    start = rig(cameras, zoom=zoom, off_deg=6.0)
    assert largest_turn(start.rotations, cameras.rotations) > 5
    after = adjust(
        start, found, replace(ROUGH, turn=10.0, center=10.0, depth=10.0, focal=10.0), scales=SCALES
    )
    assert largest_turn(after.rotations, cameras.rotations) < 0.05
    assert float(after.focals.mean()) == pytest.approx(FOCAL, rel=0.002)


def test_wrong_matches_do_little() -> None:
    cameras, chance = ring(8), np.random.default_rng(1)
    found = exact_matches(cameras, noise=0.5)
    for f in found:
        lost = chance.random(len(f)) < 0.3
        f.points[lost, 1] += chance.normal(scale=60, size=(int(lost.sum()), 2)).astype(np.float32)
    after = adjust(
        rig(cameras, off_deg=3.0), Correspondences.of(found, SIZE, SIZE), ROUGH, scales=(0.01, 0.004)
    )
    assert largest_turn(after.rotations, cameras.rotations) < 1.0


def test_known_focal_lengths_stay() -> None:
    cameras = ring(6)
    found = Correspondences.of(exact_matches(cameras), SIZE, SIZE)
    start = rig(cameras, zoom=1.1)
    after = adjust(start, found, replace(ROUGH, focal=0.0), scales=SCALES)
    assert torch.allclose(after.focals, start.focals, rtol=1e-4)


def test_hypotheses_hold_the_truth_and_name_their_matches() -> None:
    cameras = ring(8)
    found = exact_matches(cameras, noise=0.3)
    near = next(f for f in found if len(f) > 60)
    near.points[::4, 1] += 40
    lengths, apart = np.full(2, FOCAL), np.full(2, 4.0)
    best = max(pair_hypotheses(near, lengths, (SIZE, SIZE), apart), key=lambda h: h.support)
    turn = cameras.rotations[near.second] @ cameras.rotations[near.first].mT
    cosine = (float((torch.from_numpy(best.rotation) * turn).sum()) - 1) / 2
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))) < 2.0
    assert not best.agreeing[::4].any() and best.agreeing.mean() > 0.6
    kept = supporting_matches([best], cameras.rotations)
    assert [len(k) for k in kept] == [best.support]
    elsewhere = cameras.perturbed(60.0, torch.Generator().manual_seed(0)).rotations
    assert supporting_matches([best], elsewhere) == []


def test_consistent_matches_are_more_than_chance() -> None:
    cameras, chance = ring(4), np.random.default_rng(0)
    found = exact_matches(cameras)
    noise = replace(found[0], points=chance.uniform(150, 350, (200, 2, 2)).astype(np.float32))
    noise = replace(noise, ids=np.zeros((200, 2), np.int64), scores=np.ones(200, np.float32))
    kept = consistent_matches([*found, noise], rig(cameras), (SIZE, SIZE), 0.005)
    assert [(k.first, k.second, len(k)) for k in kept] == [(f.first, f.second, len(f)) for f in found]


def test_the_term_of_a_fit_falls_with_the_error_and_then_silent() -> None:
    cameras = ring(6)
    cameras = cameras.to(dtype=torch.float32)
    term = EpipolarTerm(
        Correspondences.of(exact_matches(cameras.to(dtype=torch.float64)), SIZE, SIZE), weight=0.5, until=0.5
    )
    losses = [
        float(term(cameras.perturbed(d, torch.Generator().manual_seed(0)), 0.0)) for d in (0.0, 2.0, 10.0)
    ]
    assert losses[0] < 1e-4 and losses[0] < losses[1] < losses[2] < 0.5
    assert float(term(cameras.perturbed(10.0, torch.Generator().manual_seed(0)), 0.5)) == 0.0
    moved = replace(cameras, viewmats=cameras.viewmats.clone().requires_grad_())
    term(replace(moved, viewmats=moved.viewmats * 1.0), 0.2).backward()
    assert moved.viewmats.grad is not None and moved.viewmats.grad.isfinite().all()


def test_matches_follow_views_that_are_counted_anew() -> None:
    found = Correspondences.of(exact_matches(ring(5)), SIZE, SIZE)
    order = [3, 0, 4]
    few = found.renumbered(order)
    wanted = sorted({tuple(sorted(p)) for p in found.pairs.tolist() if set(p) <= set(order)})
    back = {tuple(sorted((order[i], order[j]))) for i, j in few.pairs.tolist()}
    assert sorted(back) == wanted and len(few) < len(found)
    assert len(found.renumbered([0, 0, 1, 2, 3, 4])) == len(found)  # a picture that is there twice
    assert len(found.renumbered([2])) == 0
