"""How pictures of a film move: what they show from another side, and where one shot ends."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Small", "Step", "step_between"]

Picture = NDArray[np.uint8]
Flow = NDArray[np.float32]

_SIZE = 160  # longer side in pixels of the pictures that are compared
_COARSE = 16, 9  # of pictures that may be the same
_SHARP_SIZE = 960  # of those whose sharpness is measured
_TEXTURE = 3.0  # slope of grey levels per pixel from which a pixel says where it went
_RETURNS = 1.0  # pixels by which the way there and back may differ
_FEWEST = 0.01  # share of a picture with texture below which nothing is known of its motion


@dataclass(frozen=True)
class Small:
    """A small grey copy of a picture [h, w] uint8, and how sharp the picture is."""

    grey: Picture
    sharpness: float

    @staticmethod
    def of(frame: Picture) -> Small:
        """Of a picture [H, W, 3] uint8, blue first.

        Sharpness is the standard deviation of the Laplacian (Pech-Pacheco et al., "Diatom autofocusing in
        brightfield microscopy", 2000), as a share of that of the grey levels.
        """
        medium = _within(frame, _SHARP_SIZE)
        grey = np.asarray(cv2.cvtColor(medium, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
        edges = float(cv2.Laplacian(grey, cv2.CV_32F).std())
        return Small(_within(grey, _SIZE), edges / max(float(grey.std()), 1.0))

    def likeness(self, other: Small) -> float:
        """Correlation of the two pictures without detail, from -1 to 1."""
        a, b = (cv2.resize(s.grey, _COARSE, interpolation=cv2.INTER_AREA).ravel() for s in (self, other))
        a, b = a - a.mean(dtype=np.float64), b - b.mean(dtype=np.float64)
        return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1.0))

    @cached_property
    def textured(self) -> NDArray[np.bool_]:
        """Pixels [h, w] that say where they went."""
        across, down = (cv2.Sobel(self.grey, cv2.CV_32F, dx, 1 - dx, scale=1 / 8) for dx in (1, 0))
        return np.hypot(across, down) > _TEXTURE


@dataclass(frozen=True)
class Step:
    """What happened between two pictures, lengths as shares of the longer side.

    Attributes:
        parallax: Root mean square of the motion, without what moving, turning or scaling the whole picture
            explains: a shaking or panning camera sees nothing new.
        shift: Median length of the motion.
        known: Share of the textured pixels that are found again, where they came from.
    """

    parallax: float
    shift: float
    known: float


def step_between(first: Small, second: Small) -> Step:
    """The motion from one picture to another of the same size, by optical flow there and back.

    Flow is that of Kroeger et al., "Fast optical flow using dense inverse search" (2016).
    """
    ahead, back = _flow(first.grey, second.grey), _flow(second.grey, first.grey)
    height, width = first.grey.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    there = columns + ahead[..., 0], rows + ahead[..., 1]
    returned = cv2.remap(back, *there, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(99, 99))
    found = np.linalg.norm(ahead + returned, axis=-1) < _RETURNS
    textured = first.textured
    if textured.mean() < _FEWEST:
        return Step(0.0, 0.0, float(second.textured.mean() < _FEWEST))
    used = textured & found
    known = float(used.sum() / textured.sum())
    if used.sum() < _FEWEST * used.size:
        return Step(0.0, 0.0, known)
    places, moves = np.stack([columns[used], rows[used]], axis=1), ahead[used]
    longer = max(height, width)
    return Step(
        float(np.sqrt((_unexplained(places, moves) ** 2).sum(axis=1).mean())) / longer,
        float(np.median(np.linalg.norm(moves, axis=1))) / longer,
        known,
    )


def _flow(first: Picture, second: Picture) -> Flow:
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    return np.asarray(method.calc(first, second, np.zeros((*first.shape, 2), np.float32)), dtype=np.float32)


def _unexplained(places: Flow, moves: Flow) -> NDArray[np.float64]:
    """Moves [N, 2] of places [N, 2] less the similarity that explains most of them (least squares)."""
    z, w = (values.astype(np.float64) @ np.array([1, 1j]) for values in (places, moves))
    z, w = z - z.mean(), w - w.mean()  # a similarity of the plane is a complex factor and a shift
    rest = w - z * (np.vdot(z, w) / max(np.vdot(z, z).real, 1e-9))
    return np.stack([rest.real, rest.imag], axis=1)


def _within(picture: Picture, size: int) -> Picture:
    """A picture made smaller, unless its longer side has no more pixels than `size`."""
    height, width = picture.shape[:2]
    scale = size / max(height, width)
    if scale >= 1:
        return picture
    wanted = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(picture, wanted, interpolation=cv2.INTER_AREA), dtype=np.uint8)
