"""The same picture again is found by its matches, which have no parallax; neighbouring views are none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from agsrec.cameras import Cameras
from agsrec.matching import PairMatches
from agsrec.matching.copies import find_copies
from tests.matching.scenes import SIZE, exact_matches


def copied(scale: float, shift: tuple[float, float], *, wrong: int = 0) -> PairMatches:
    chance = np.random.default_rng(3)
    first = chance.uniform(100, 400, (90, 2))
    second = scale * first + shift + chance.normal(scale=0.7, size=first.shape)
    second[:wrong] = chance.uniform(100, 400, (wrong, 2))
    points = np.stack([first, second], 1).astype(np.float32)
    ids = np.repeat(np.arange(90)[:, None], 2, 1)
    return PairMatches(1, 4, points, ids, np.ones(90, np.float32))


@pytest.mark.parametrize(("scale", "shift"), [(1.0, (0.0, 0.0)), (1.0, (3.0, -2.0)), (0.6, (95.0, 110.0))])
def test_a_copy_is_found_with_how_it_was_cut(scale: float, shift: tuple[float, float]) -> None:
    (copy,) = find_copies([copied(scale, shift, wrong=25)], SIZE)
    assert (copy.view, copy.of) == (4, 1)
    assert copy.scale == pytest.approx(scale, abs=0.01)
    assert copy.shift == pytest.approx(shift, abs=3.0)


def test_a_copy_of_a_copy_is_one_of_the_first() -> None:
    again = [replace(copied(1.0, (0.0, 0.0)), first=a, second=b) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert [(c.view, c.of) for c in find_copies(again, SIZE)] == [(1, 0), (2, 0)]


@pytest.mark.parametrize("apart_deg", [4.0, 15.0])
def test_neighbouring_views_are_no_copies(apart_deg: float) -> None:
    Ks = Cameras.intrinsics(torch.full((2,), 900.0, dtype=torch.float64), SIZE, SIZE)
    azimuth = torch.tensor([0.0, apart_deg], dtype=torch.float64)
    found = exact_matches(Cameras.orbit(-10.0, azimuth, 4.0, Ks=Ks, width=SIZE, height=SIZE))
    assert found and not find_copies(found, SIZE)


def test_a_few_matches_say_nothing() -> None:
    few = copied(1.0, (0.0, 0.0)).only(np.arange(90) < 20)
    assert not find_copies([few], SIZE)
