"""Arrangements from contradicting hypotheses: wrong edges, twins, and a network that may know nothing."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from agsrec.lie import so3_exp
from agsrec.matching import Agreement, Hypothesis, PairMatches, Votes, largest_turn
from tests.matching.scenes import ring

HALF_TURN = torch.diag(torch.tensor([-1.0, 1.0, -1.0]))


def hypothesis(
    first: int, second: int, rotation: Tensor, support: int = 90, matches: int = 100
) -> Hypothesis:
    points = np.zeros((matches, 2, 2), np.float32)
    found = PairMatches(first, second, points, np.zeros((matches, 2), np.int64), np.ones(matches, np.float32))
    return Hypothesis(found, rotation.double().numpy(), np.arange(matches) < support)


def votes(rotations: Tensor, *, knows: bool, weight: float = 0.5) -> Votes:
    """A network that is right to some ten degrees, or says that everything is possible."""
    backward = -rotations[:, 2]
    azimuth = torch.atan2(backward[:, 0], backward[:, 2]).rad2deg()
    zero = torch.zeros_like(azimuth)
    tilts = rotations @ so3_exp(torch.stack([zero, azimuth.deg2rad(), zero], -1))
    off = (torch.arange(360) - (azimuth[None, :] - azimuth[:, None])[..., None] + 180) % 360 - 180
    likely = (-0.5 * (off / 12) ** 2).exp() + 1e-2
    return Votes(tilts, ((likely if knows else likely * 0 + 1) / likely.sum(-1, keepdim=True)).log(), weight)


def worst(found: Tensor, truth: Tensor) -> float:
    return largest_turn(found, truth)


def relative(rotations: Tensor, i: int, j: int) -> Tensor:
    return rotations[j] @ rotations[i].mT


@pytest.mark.parametrize("knows", [True, False])
def test_exact_with_forty_percent_wrong_edges(knows: bool) -> None:
    truth = ring(8).rotations.float()
    generator = torch.Generator().manual_seed(1)
    pairs = list(combinations(range(8), 2))
    wrong = set(torch.randperm(len(pairs), generator=generator)[: round(0.4 * len(pairs))].tolist())
    listed = []
    for k, (i, j) in enumerate(pairs):
        anything = so3_exp(2.0 * torch.randn(3, generator=generator))
        listed.append(hypothesis(i, j, anything if k in wrong else relative(truth, i, j)))
    best = Agreement(listed, votes(truth, knows=knows)).arrangements()[0]
    assert worst(best.rotations, truth) < 1.0


def test_opposite_sides_that_match_as_one_do_not_decide() -> None:
    """Every pair more than 120 degrees apart matches its twin, confidently; neighbours are right."""
    truth = ring(8, seed=3).rotations.float()
    listed = []
    for i, j in combinations(range(8), 2):
        turn = relative(truth, i, j)
        degrees = float(((turn.trace() - 1) / 2).clamp(-1, 1).acos().rad2deg())
        if degrees > 120:
            turn = truth[j] @ HALF_TURN @ truth[i].mT
        elif degrees > 75:
            continue
        listed.append(hypothesis(i, j, turn))
    best = Agreement(listed, votes(truth, knows=True)).arrangements()[0]
    assert worst(best.rotations, truth) < 2.0


def test_the_order_of_views_does_not_matter() -> None:
    truth = ring(6, seed=2).rotations.float()
    noise = torch.Generator().manual_seed(0)
    turns = {
        (i, j): so3_exp(0.05 * torch.randn(3, generator=noise)) @ relative(truth, i, j)
        for i, j in combinations(range(6), 2)
    }
    order = [3, 5, 0, 2, 4, 1]
    place = {view: k for k, view in enumerate(order)}
    straight = [hypothesis(i, j, t) for (i, j), t in turns.items()]
    shuffled = [
        hypothesis(min(a, b), max(a, b), t if a < b else t.mT)
        for (i, j), t in turns.items()
        for a, b in [(place[i], place[j])]
    ]
    first = Agreement(straight, votes(truth, knows=True)).arrangements()[0]
    second = Agreement(shuffled, votes(truth[order], knows=True)).arrangements()[0]
    assert worst(second.rotations, first.rotations[order]) < 0.5
    assert second.score == pytest.approx(first.score, abs=0.02)


def test_without_matches_the_votes_decide() -> None:
    truth = ring(5).rotations.float()
    best = Agreement([], votes(truth, knows=True)).arrangements()[0]
    assert worst(best.rotations, truth) < 10.0


def test_belief_grows_with_evidence() -> None:
    eye = torch.eye(3)
    few, contested, many = (hypothesis(0, 1, eye, s, m).belief for s, m in ((8, 10), (60, 200), (190, 200)))
    assert few < 0.05 and contested < 0.05 and many > 0.8
