"""Which frames of a video become photos: sharp ones, spread by how far the view moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agsrec.frames.survey import NEW

if TYPE_CHECKING:
    from agsrec.frames.survey import Survey

__all__ = ["Choice", "choose_frames", "longest_shot"]

_OFF = 0.4  # by how much a frame counts less that is at the edge of its stretch of the way
_BESIDE = 2  # stretches on each side that say how sharp a frame can be
_SHARP = 75.0  # percentile of sharpness that is usual for a sharp frame
_BLURRED, _HOPELESS = 0.5, 0.45  # of that, in the stretches around and in all of the shot


@dataclass(frozen=True)
class Choice:
    """Frames chosen from a shot.

    Attributes:
        rows: Their rows in the survey of the shot, increasing.
        stretches: Parts of equal way that the shot was divided into.
        blurred: Stretches in which no frame is sharp.
    """

    rows: tuple[int, ...]
    stretches: int
    blurred: int


def longest_shot(survey: Survey, shots: list[slice]) -> slice:
    """The shot that takes the most time, the first of several."""
    return max(shots, key=lambda shot: (survey.seconds[shot][-1] - survey.seconds[shot][0], -shot.start))


def choose_frames(shot: Survey, count: int) -> Choice:
    """The sharpest frame of each of at most `count` stretches of equal way; none of blurred ones.

    The way is what the view moves, not time: a camera that stands still gives one frame.
    """
    stretches = min(count, 1 + int(shot.path[-1] / NEW))
    place = shot.way() * stretches
    stretch = np.minimum(place.astype(np.int64), stretches - 1)
    off = np.abs(place - stretch - 0.5) * 2
    usual = float(np.percentile(shot.sharpness, _SHARP))
    rows, blurred = [], 0
    for k in range(stretches):
        own = np.flatnonzero(stretch == k)
        if not len(own):
            continue  # the view jumped over it
        best = int(own[np.argmax(shot.sharpness[own] * (1 - _OFF * off[own]))])
        if shot.sharpness[best] < max(_HOPELESS * usual, _BLURRED * _sharp_around(shot, stretch, k)):
            blurred += 1
        else:
            rows.append(best)
    return Choice(tuple(rows), stretches, blurred)


def _sharp_around(shot: Survey, stretch: NDArray[np.int64], k: int) -> float:
    """How sharp a frame of a stretch can be, by those around it."""
    return float(np.percentile(shot.sharpness[np.abs(stretch - k) <= _BESIDE], _SHARP))
