"""The first pass through a video: how sharp each frame is, how far the view has moved, where shots end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agsrec.frames.film import undecodable
from agsrec.frames.motion import Small, Step, step_between

if TYPE_CHECKING:
    from collections.abc import Callable

    from agsrec.frames.film import Film

__all__ = ["NEW", "Survey", "surveyed"]

NEW = 0.003
"""Parallax, as a share of the picture's longer side, from which a frame shows something new: more than what
noise and compression make of a still picture."""

_MOMENT = 1.0  # seconds before and after in which something has to become visible for the view to move
_MOST = 3000  # frames looked at; of longer videos every second, every third, ...
_AWAY = 0.1  # shift from which frames are no longer compared with the one before
_LOST = 0.6  # share of pixels found again from which on, likewise
_CUT = 0.35  # share of pixels found again below which another shot may begin
_ALIKE = 0.8  # correlation without detail from which it is the same shot all the same
_SUDDEN = 0.5  # of what is found again in the frames around
_AROUND = 5  # frames


@dataclass(frozen=True)
class Survey:
    """What is known of the frames of a video that were looked at, N of them.

    Attributes:
        index: Their numbers in the video [N].
        seconds: When they are shown [N].
        sharpness: See `Small.of` [N].
        path: How far the view has moved up to there [N], not decreasing; see `Step.parallax`.
        known: Share of the pixels of the frame before that are found again [N]; 1 for the first.
    """

    index: NDArray[np.int64]
    seconds: NDArray[np.float64]
    sharpness: NDArray[np.float64]
    path: NDArray[np.float64]
    known: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.index)

    def part(self, which: slice) -> Survey:
        """Some of the frames, one after the other."""
        return Survey(
            self.index[which],
            self.seconds[which],
            self.sharpness[which],
            self.path[which] - self.path[which][0],
            self.known[which],
        )

    def way(self) -> NDArray[np.float64]:
        """How much of the way each frame has behind it [N], from 0 to 1.

        Half of it is the path, half the time in which the view moves: a path is measured as too short where
        what moves has little texture. A camera that stands still stays where it is.
        """
        ahead, behind = (np.interp(self.seconds + d, self.seconds, self.path) for d in (_MOMENT, -_MOMENT))
        moving = ahead - behind >= NEW
        time = np.r_[0.0, np.cumsum(np.diff(self.seconds) * (moving[1:] & moving[:-1]))]
        return (self.path / max(self.path[-1], 1e-12) + time / max(time[-1], 1e-12)) / 2

    def shots(self) -> list[slice]:
        """The parts between hard cuts: where suddenly nothing of the frame before is found again."""
        ends = [0]
        for k in range(1, len(self)):
            low, high = max(1, k - _AROUND), min(len(self), k + _AROUND + 1)
            others = np.r_[self.known[low:k], self.known[k + 1 : high]]
            usual = float(np.median(others)) if len(others) else 1.0
            if self.known[k] < min(_CUT, _SUDDEN * usual):
                ends.append(k)
        return [slice(a, b) for a, b in zip(ends, [*ends[1:], len(self)], strict=True)]


class _Path:
    """How far the view has moved: in steps from frame to frame that are large enough to be no noise."""

    def __init__(self, first: Small) -> None:
        self._mark, self._length = first, 0.0
        self.reached = 0.0

    def went(self, small: Small) -> None:
        """Go on to the next frame."""
        step = step_between(self._mark, small)
        new = step.parallax if step.parallax > NEW / 2 else 0.0
        self.reached = max(self.reached, self._length + new)
        if step.parallax >= NEW or step.shift > _AWAY or step.known < _LOST:
            self._mark, self._length = small, self.reached


def surveyed(film: Film, report: Callable[[float], object] = lambda _: None) -> Survey:
    """Look at the frames of a video, one at a time.

    Args:
        film: The video.
        report: Told how many seconds of it have been looked at.

    Raises:
        ImageError: No frame can be decoded.
    """
    every = max(1, -(-film.count // _MOST))
    rows: list[tuple[float, ...]] = []
    before: Small | None = None
    path: _Path | None = None
    for frame in film.frames(lambda index: index % every == 0):
        small = Small.of(frame.picture)
        if before is None or path is None or small.grey.shape != before.grey.shape:
            step, path = Step(0.0, 0.0, 1.0 if before is None else 0.0), _Path(small)
        else:
            step = step_between(before, small)
            path.went(small)
            if step.known < _CUT and small.likeness(before) > _ALIKE:
                step = replace(step, known=_CUT)  # suddenly blurred, but the same
        rows.append((frame.index, frame.seconds, small.sharpness, path.reached, step.known))
        before = small
        report(frame.seconds)
    if not rows:
        raise undecodable(film.path)
    table = np.array(rows, dtype=np.float64)
    return Survey(table[:, 0].astype(np.int64), *table[:, 1:].T)
