"""Whether what surrounds an object stood still with it while the camera moved, or the object was turned."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray

from agsrec.matching.matches import PairMatches
from agsrec.matching.two_view import Hypothesis

__all__ = ["stands_still"]

_BELIEVED = 0.5
_FEWEST = 16  # matches of a pair by whose share a background is said not to move in the picture
_STILL = 0.01  # of the focal length: what points move that do not
_TURNED_DEG = 10.0  # object turns from which a pair tells anything
_ALIKE_DEG = 15.0  # between turns that are one, but half the turn at most
_WALKED_DEG = 8.0  # turn of a camera that was walked around something

Solver = Callable[[PairMatches], Sequence[Hypothesis]]
"""What a pair's matches say of how its views are turned."""


def stands_still(
    around: Sequence[PairMatches],
    found: Sequence[PairMatches],
    solve: Solver,
    focals: NDArray[np.float64],
    size: tuple[int, int],
) -> bool | None:
    """Whether background and object move as one; None where the background tells nothing.

    Pairs vote in which both are known. Where there are none, a background that is seen from clearly
    different directions was walked around: on a turntable it would not move.

    Args:
        around: Matches off the object.
        found: Matches on the object.
        solve: Hypotheses of a pair's matches.
        focals: Focal lengths [V] in pixels of the views, to a quarter.
        size: Width and height of the views.
    """
    turns: dict[tuple[int, int], list[NDArray[np.float64]]] = {}
    for f in around:
        if _is_same_picture(f, focals, size):
            turns[f.first, f.second] = [np.eye(3)]
        elif believed := [h.rotation for h in solve(f) if h.belief > _BELIEVED]:
            turns[f.first, f.second] = believed
    if not turns:
        return None
    agree, contradict = 0, 0
    for f in (f for f in found if (f.first, f.second) in turns):
        told = [h.rotation for h in solve(f) if h.belief > _BELIEVED]
        told = [R for R in told if _angle_deg(R) > _TURNED_DEG]
        near = [
            _angle_deg(R @ known.T) < min(_ALIKE_DEG, 0.5 * _angle_deg(R))
            for R in told
            for known in turns[f.first, f.second]
        ]
        agree, contradict = agree + any(near), contradict + (bool(near) and not any(near))
    if agree or contradict:
        return agree >= contradict
    return median(min(map(_angle_deg, rotations)) for rotations in turns.values()) > _WALKED_DEG


def _is_same_picture(found: PairMatches, focals: NDArray[np.float64], size: tuple[int, int]) -> bool:
    """Whether most points are where they were in the photo."""
    if len(found) < _FEWEST:
        return False
    seen = found.points - 0.5 * np.asarray(size) - found.away
    slopes = seen / focals[[found.first, found.second]][:, None]
    return bool(np.median(np.linalg.norm(slopes[:, 1] - slopes[:, 0], axis=1)) < _STILL)


def _angle_deg(rotation: NDArray[np.float64]) -> float:
    return math.degrees(math.acos(min(1.0, max(-1.0, 0.5 * (float(np.trace(rotation)) - 1)))))
