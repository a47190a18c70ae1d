"""Photos that are mirrored, turned or of something else, where matching is perfect for those that are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from agsrec.matching import Lenses, Oddity, PairMatches, find_oddities, oddities, turned_back
from agsrec.views import Views
from tests.matching.scenes import FOCAL, SIZE, exact_matches, ring

COUNT, ODD = 8, 3
nothing: Any = None
Key = tuple[float, ...]
Find = Callable[[Tensor], tuple[Oddity, ...]]


def pictures(count: int = COUNT) -> Tensor:
    """Views [V, SIZE, SIZE, 4] that differ in their corners alone, as do those of each."""
    images = torch.zeros(count, SIZE, SIZE, 4)
    corners = torch.arange(4 * count).reshape(count, 2, 2) / (4 * count)
    images[:, :: SIZE - 1, :: SIZE - 1] = corners[..., None]
    return images


def key(image: Tensor) -> Key:
    return tuple(image[:: SIZE - 1, :: SIZE - 1, 0].flatten().tolist())


class PerfectMatching:
    """Exact matches of the views whose pictures are as they should be; their features are their corners."""

    def __init__(self, count: int, without: Sequence[int] = ()) -> None:
        self._views = {key(image): view for view, image in enumerate(pictures(count))}
        self._exact = {
            (f.first, f.second): f
            for f in exact_matches(ring(count), count=1200)
            if f.first not in without and f.second not in without
        }

    def describe(self, views: Views, _: object) -> list[Key]:
        return [key(image) for image in views.images]

    def match(
        self, features: Sequence[Key], _: object, pairs: Sequence[tuple[int, int]]
    ) -> list[PairMatches]:
        found = []
        for i, j in pairs:
            a, b = self._views.get(features[i]), self._views.get(features[j])
            if a is None or b is None:
                continue
            f = self._exact.get((min(a, b), max(a, b)))
            if f is not None:
                points = f.points if a < b else f.points[:, ::-1].copy()
                found.append(replace(f, first=i, second=j, points=points))
        return found

    def likeness(self, a: Key, b: Key) -> int:
        if a not in self._views or b not in self._views:
            return 1
        first, second = sorted((self._views[a], self._views[b]))
        return 4 + len(self._exact.get((first, second), ())) // 4


@pytest.fixture
def find(monkeypatch: pytest.MonkeyPatch) -> Find:
    def found(images: Tensor, without: Sequence[int] = ()) -> tuple[Oddity, ...]:
        count = len(images)
        matching = PerfectMatching(count, without)
        monkeypatch.setattr(oddities, "describe_views", matching.describe)
        monkeypatch.setattr(oddities, "match_features", matching.match)
        monkeypatch.setattr(oddities, "likeness", matching.likeness)
        views = Views(images, tuple(str(k) for k in range(count)))
        features: Any = matching.describe(views, None)
        pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
        lenses = Lenses(torch.full((1, count), FOCAL), torch.full((1, count), 4.0))
        return find_oddities(views, features, matching.match(features, None, pairs), nothing, lenses)

    return found


def test_views_that_belong_together_are_not_odd(find: Find) -> None:
    assert find(pictures()) == ()


def test_a_mirrored_view_is_found(find: Find) -> None:
    images = pictures()
    images[ODD] = images[ODD].flip(1)
    assert find(images) == (Oddity(ODD, "mirrored"),)


@pytest.mark.parametrize("turned_deg", [90, 180, 270])
def test_a_turned_view_is_found_with_its_turn(find: Find, turned_deg: int) -> None:
    images = pictures()
    images[ODD] = images[ODD].rot90(turned_deg // 90, (0, 1))  # counter-clockwise
    assert find(images) == (Oddity(ODD, "turned", turned_deg),)
    assert torch.equal(turned_back(images[[ODD]], turned_deg)[0], pictures()[ODD])


def test_a_view_of_something_else_is_found(find: Find) -> None:
    images = pictures()
    images[ODD] = 0.0
    assert find(images) == (Oddity(ODD, "foreign"),)


def test_a_view_that_matches_nothing_but_looks_alike_is_not_of_something_else(
    find: Callable[..., tuple[Oddity, ...]],
) -> None:
    assert find(pictures(), without=[ODD]) == ()


def test_two_views_have_nobody_to_judge_them(find: Find) -> None:
    images = pictures(2)
    images[1] = 0.0
    assert find(images) == ()
