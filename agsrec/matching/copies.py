"""Photos that are the same picture twice: saved again, resized, or cut a little differently."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agsrec.matching.matches import PairMatches

__all__ = ["Copy", "find_copies"]

_FEWEST = 30  # matches that have to agree
_TOLERANCE = 0.005  # of the picture's longer side; an object turned by a degree or two moves its points more
_SHARE = 0.6  # of a pair's matches
_ROUNDS = 10
_LEAST_SPREAD = 0.3  # pixels; matches are no better


@dataclass(frozen=True)
class Copy:
    """A view that shows what another one does, without parallax.

    Attributes:
        view: The later one.
        of: The earlier one.
        scale: Size of what `view` shows over its size in `of`.
        shift: Where the corner (0, 0) of `of` is in `view` [2], pixels.
    """

    view: int
    of: int
    scale: float
    shift: tuple[float, float]


def find_copies(found: Sequence[PairMatches], size: int) -> list[Copy]:
    """Views whose matches with an earlier view are that view's points, scaled and shifted alike.

    Args:
        found: Matches of pairs of views.
        size: Longer side of the views in pixels.
    """
    copies: dict[int, Copy] = {}
    for f in sorted(found, key=lambda f: (f.second, f.first)):
        if f.second in copies or f.first in copies or len(f) < _FEWEST:
            continue
        scale, shift, off = _scaled_and_shifted(*f.points.astype(np.float64).transpose(1, 0, 2))
        near = int((off < _TOLERANCE * size).sum())
        if near >= max(_FEWEST, _SHARE * len(f)):
            copies[f.second] = Copy(f.second, f.first, scale, (float(shift[0]), float(shift[1])))
    return list(copies.values())


def _scaled_and_shifted(
    a: NDArray[np.float64], b: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Scale, shift [2] and distances [M] of the map from points [M, 2] to others, by reweighted squares."""
    weights = np.ones((len(a), 1))
    scale, shift, off = 1.0, np.zeros(2), np.zeros(len(a))
    for _ in range(_ROUNDS):
        middle_a, middle_b = ((weights * p).sum(0) / weights.sum() for p in (a, b))
        spread = float((weights * (a - middle_a) ** 2).sum())
        scale = float((weights * (a - middle_a) * (b - middle_b)).sum()) / max(spread, 1e-9)
        shift = middle_b - scale * middle_a
        off = np.linalg.norm(scale * a + shift - b, axis=1)
        weights = 1 / (1 + (off / max(float(np.median(off)), _LEAST_SPREAD)) ** 2)[:, None]
    return scale, shift, off
