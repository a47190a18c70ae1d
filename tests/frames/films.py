"""Small videos of something in front of something else, both moving."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 160, 120


def _painted(chance: np.random.Generator, width: int, height: int) -> NDArray[np.uint8]:
    """Large patches of colour with small ones on them [h, w, 3]."""
    painted = np.zeros((height, width, 3))
    for cell, share in ((24, 0.75), (4, 0.25)):
        cells = chance.integers(0, 256, (height // cell + 1, width // cell + 1, 3)).astype(np.uint8)
        painted += share * cv2.resize(cells, (width, height), interpolation=cv2.INTER_LINEAR)
    return painted.astype(np.uint8)


def scene(seed: int, at: float) -> NDArray[np.uint8]:
    """A card before a wall [H, W, 3], the camera so many pixels to the right."""
    chance = np.random.default_rng(seed)
    wall, card = _painted(chance, 4 * WIDTH, HEIGHT), _painted(chance, 64, 48)
    moved = np.array([[1, 0, -at], [0, 1, 0]], dtype=np.float32)
    picture = cv2.warpAffine(wall, moved, (WIDTH, HEIGHT), borderMode=cv2.BORDER_WRAP)
    x = 40 + at
    cv2.warpAffine(
        card, np.array([[1, 0, x], [0, 1, 36]], np.float32), (WIDTH, HEIGHT), picture,
        borderMode=cv2.BORDER_TRANSPARENT,
    )  # fmt: skip
    return np.asarray(picture, dtype=np.uint8)


def walk(seed: int = 1, start: float = 0.0, end: float = 30.0, frames: int = 30) -> list[NDArray[np.uint8]]:
    """The camera going sideways."""
    return [scene(seed, float(at)) for at in np.linspace(start, end, frames)]


def blurred(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.blur(picture, (25, 5)), dtype=np.uint8)


def write_film(path: Path, pictures: Iterable[np.ndarray], *, fps: float = 10.0, codec: str = "MJPG") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # as for reading; the first one counts
    writer: cv2.VideoWriter | None = None
    for picture in pictures:
        if writer is None:
            size = picture.shape[1], picture.shape[0]
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, size, picture.ndim == 3)
            assert writer.isOpened()
        writer.write(picture)
    assert writer is not None
    writer.release()
    return path
