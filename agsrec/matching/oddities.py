"""Photos that do not belong with the others as they are: mirrored, turned on their side, of something else.

A photo is odd only by what ties it to the others: as it is, too little does; mirrored or turned, more does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from agsrec.matching.copies import Copy, find_copies
from agsrec.matching.matches import (
    Features,
    PairMatches,
    describe_views,
    likeness,
    match_features,
)
from agsrec.matching.two_view import Hypothesis, pair_hypotheses
from agsrec.views import Views

if TYPE_CHECKING:
    from agsrec.matching.networks import Matcher

__all__ = ["Lenses", "OddKind", "Oddity", "find_oddities", "turned_back"]

OddKind = Literal["mirrored", "turned", "copy", "foreign"]

_TIED = 0.9  # belief from which a hypothesis ties a view to another
_KNOWN = 0.5  # the same for views that judge others
_UPRIGHT_DEG = 60.0  # photos are taken with less roll than this
_AGREE_DEG = 25.0  # that two ways from one view to another may differ
_PARTNERS = 3  # views that a variant is matched with, those most like it
_ENOUGH = 3  # views, half of all at least, that know what is of something else
_UNLIKE, _LIKE = 3, 10  # what `likeness` is between photos of two objects, and usually of one
_NOT_AT_ALL = 0.3  # belief that is none


@dataclass(frozen=True)
class Oddity:
    """What is odd about a view.

    Attributes:
        view: Its index.
        kind: "mirrored", "turned", "copy" of another, or "foreign": it shows something else.
        turned_deg: For "turned", and copies of such views: the picture is turned counter-clockwise by so
            much, 90, 180 or 270.
        of: For "copy": the view that is the same picture.
        scale: For "copy": size of what it shows over its size there.
        shift: For "copy": where the corner (0, 0) of that view is in it (x, y), pixels.
    """

    view: int
    kind: OddKind
    turned_deg: int = 0
    of: int | None = None
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Lenses:
    """Guesses at focal lengths.

    Attributes:
        focals: Of V cameras in pixels, G guesses [G, V].
        distances: Of the cameras from the object, in any unit [G, V].
    """

    focals: Tensor
    distances: Tensor

    def of(self, first: int, second: int) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Focal lengths [2] and distances [2] of two cameras, by each guess."""
        pair = [first, second]
        rows = zip(self.focals[:, pair].double(), self.distances[:, pair].double(), strict=True)
        return [(focals.numpy(), distances.numpy()) for focals, distances in rows]


@dataclass(frozen=True)
class _Variant:
    """A view mirrored or turned back, and the ties it then has.

    Attributes:
        oddity: What the view is if this is how it should be.
        ties: Upright hypotheses that tie other views to it, one per view.
        likeness: The most that any other view is like it.
    """

    oddity: Oddity
    ties: list[Hypothesis]
    likeness: int

    @property
    def strength(self) -> tuple[int, int]:
        """How much ties it: the number of views, then of matches."""
        return len(self.ties), sum(tie.support for tie in self.ties)


def find_oddities(
    views: Views,
    features: Sequence[Features],
    found: Sequence[PairMatches],
    matcher: Matcher,
    lenses: Lenses,
) -> tuple[Oddity, ...]:
    """The views that do not belong with the others as they are, in their order.

    Args:
        views: V cut-outs.
        features: Of each of them.
        found: Their matches.
        matcher: What matched them.
        lenses: Guesses at the focal lengths; a few are enough.
    """
    copies = find_copies(found, max(views.width, views.height))
    again = {copy.view for copy in copies}
    different = [v for v in range(len(views)) if v not in again]
    odd = {o.view: o for o in _Search(views, features, found, matcher, lenses, different).oddities()}
    for copy in copies:
        odd[copy.view] = _copied(copy, odd.get(copy.of))
    return tuple(odd[view] for view in sorted(odd))


def _copied(copy: Copy, odd: Oddity | None) -> Oddity:
    """What a copy of a view is that may be odd itself."""
    if odd is not None and odd.kind in ("mirrored", "foreign"):
        return replace(odd, view=copy.view)
    turned_deg = 0 if odd is None else odd.turned_deg
    return Oddity(copy.view, "copy", turned_deg, copy.of, copy.scale, copy.shift)


def turned_back(images: Tensor, turned_deg: int) -> Tensor:
    """Pictures [V, H, W, 4], turned counter-clockwise by a multiple of 90 degrees, as they should be."""
    return images.rot90(-turned_deg // 90, (1, 2))


class _Search:
    """Views, how they are tied, and those that are tied in another way than they came."""

    def __init__(
        self,
        views: Views,
        features: Sequence[Features],
        found: Sequence[PairMatches],
        matcher: Matcher,
        lenses: Lenses,
        different: Sequence[int],
    ) -> None:
        self._views, self._features, self._matcher = views, features, matcher
        self._lenses = lenses
        self._size = (views.width, views.height)
        self._different = different
        self._best: dict[tuple[int, int], Hypothesis] = {}
        for f in found:
            if f.first in different and f.second in different:
                self._note(f)

    def _note(self, found: PairMatches) -> None:
        """Keep a pair's best hypothesis."""
        best = self._upright(found, found.first, found.second)
        pair = found.first, found.second
        if best is not None and (pair not in self._best or best.belief > self._best[pair].belief):
            self._best[pair] = best

    def _upright(self, found: PairMatches, first: int, second: int) -> Hypothesis | None:
        """The best hypothesis of matches for the cameras of two views by which neither is on its side."""
        said = [
            h
            for focals, distances in self._lenses.of(first, second)
            for h in pair_hypotheses(found, focals, self._size, distances)
            if abs(_roll_deg(h.rotation)) < _UPRIGHT_DEG
        ]
        return max(said, key=lambda h: h.belief, default=None)

    def oddities(self) -> list[Oddity]:
        """Those that are mirrored, turned or foreign."""
        found = []
        for view in self._suspects():
            judges = self._judges(view)
            if not judges:
                continue
            variants = [self._variant(view, oddity, judges) for oddity in self._possible(view)]
            odd = [v for v in variants if self._is_tied(v)]
            if odd:
                found.append(max(odd, key=lambda v: v.strength).oddity)
            elif self._is_foreign(view, judges, variants):
                found.append(Oddity(view, "foreign"))
        return found

    def _belief(self, a: int, b: int) -> float:
        best = self._best.get((min(a, b), max(a, b)))
        return 0.0 if best is None else best.belief

    def _likeness(self, view: int, others: Sequence[int]) -> int:
        """The most that any of some other views is like one."""
        mine = self._features[view]
        return max((likeness(mine, self._features[v]) for v in others if v != view), default=0)

    def _partners(self, view: int, belief: float) -> list[int]:
        """The views that are tied to one as it is."""
        return [v for v in self._different if v != view and self._belief(v, view) >= belief]

    def _suspects(self) -> list[int]:
        """The views that nothing ties to others; at most every fourth, those with the least of it."""
        loose = [v for v in self._different if not self._partners(v, _TIED)]
        held = {v: sum(self._belief(v, other) for other in self._different if other != v) for v in loose}
        return sorted(loose, key=held.__getitem__)[: math.ceil(len(self._different) / 4)]

    def _judges(self, view: int) -> list[int]:
        """The other views that are tied to one another: if one of two does not belong, it is not these."""
        others = [v for v in self._different if v != view]
        return [v for v in others if any(p != view for p in self._partners(v, _KNOWN))]

    def _possible(self, view: int) -> list[Oddity]:
        """What a view may be instead of upright."""
        turns = (90, 180, 270) if self._views.width == self._views.height else (180,)
        return [Oddity(view, "mirrored"), *(Oddity(view, "turned", turned_deg=deg) for deg in turns)]

    def _variant(self, view: int, oddity: Oddity, judges: Sequence[int]) -> _Variant:
        """A view as it should be if it is odd in that way, matched with the views that are most like it."""
        image = self._views.images[[view]]
        image = image.flip(2) if oddity.kind == "mirrored" else turned_back(image, oddity.turned_deg)
        features = describe_views(Views(image, ("variant",)), self._matcher)[0]
        alike = {v: likeness(features, self._features[v]) for v in judges}
        most = max(alike.values(), default=0)
        nearest = sorted((v for v in judges if alike[v] > _UNLIKE), key=lambda v: (-alike[v], v))[:_PARTNERS]
        if most <= self._likeness(view, judges):
            nearest = []  # as it came it is more like the others
        ties = []
        last = len(self._features)
        for other in nearest:
            pairs = match_features([*self._features, features], self._matcher, [(other, last)])
            best = [h for h in (self._upright(f, other, view) for f in pairs) if h and h.belief >= _TIED]
            ties += sorted(best, key=lambda h: -h.belief)[:1]
        return _Variant(oddity, ties, most)

    def _is_tied(self, variant: _Variant) -> bool:
        """Whether a variant is tied to the others, which the view as it came is not.

        A symmetric object's other side looks like a mirrored photo: two views have to say so, and agree.
        """
        if variant.oddity.kind == "turned":
            return bool(variant.ties)
        for k, a in enumerate(variant.ties):
            turns = self._turns_from(a.found.first, without=variant.oddity.view)
            for b in variant.ties[k + 1 :]:
                turn = turns.get(b.found.first)
                if turn is not None and _angle_deg(b.rotation @ turn @ a.rotation.T) < _AGREE_DEG:
                    return True
        return False

    def _turns_from(self, start: int, *, without: int) -> dict[int, NDArray[np.float64]]:
        """Rotations [3, 3] from a camera to those that ties connect with it, the shortest way."""
        turns, reached = {start: np.eye(3)}, [start]
        for view in reached:  # grows as it goes
            for other in self._partners(view, _KNOWN):
                if other != without and other not in turns:
                    best = self._best[min(view, other), max(view, other)].rotation
                    turns[other] = (best if view < other else best.T) @ turns[view]
                    reached.append(other)
        return turns

    def _is_foreign(self, view: int, judges: Sequence[int], variants: Sequence[_Variant]) -> bool:
        """Whether a view has nothing in common with many that have much in common."""
        many = max(_ENOUGH, len(self._different) / 2)
        if len(judges) < many or any(self._belief(view, v) > _NOT_AT_ALL for v in self._different):
            return False
        usual = np.median([self._likeness(other, judges) for other in judges])
        own = self._likeness(view, self._different)
        return bool(max(own, *(v.likeness for v in variants)) <= _UNLIKE and usual >= _LIKE)


def _roll_deg(rotation: NDArray[np.float64]) -> float:
    """By how much a rotation [3, 3] turns the picture about its middle."""
    return math.degrees(
        math.atan2(rotation[1, 0] - rotation[0, 1], rotation[0, 0] + rotation[1, 1]),
    )


def _angle_deg(rotation: NDArray[np.float64]) -> float:
    return math.degrees(math.acos(min(1.0, max(-1.0, 0.5 * (float(np.trace(rotation)) - 1)))))
