"""Photos at a small size with their masks, and what photos of one object say of each other's colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

__all__ = ["ENOUGH", "LOOK_SIZE", "Look", "color_tables", "look_up"]

LOOK_SIZE = 320
"""Longest side in pixels at which photos are compared: the network sees no more."""
ENOUGH = 3
"""Photos from which on their colours have a say: one of two cannot outvote the other."""

_BINS = 20  # per axis of the colour tables
_CHROMA_GAIN = 1.6
_FLOOR = 0.1  # weight of a uniform distribution in the tables: a colour never seen says little
_OWN_BACKGROUND = 3.0  # photos that a photo's own background counts as
_SURE = 0.6  # chance from which on, and below 1 minus which, pixels teach colours
_MOST = 2.5  # log-odds; colour alone does not overrule a network that is sure


@dataclass(frozen=True)
class Look:
    """A photo at a small size, and where its object is thought to be.

    Attributes:
        rgb: [h, w, 3] uint8, at most `LOOK_SIZE` wide and high.
        chance: That a pixel shows the object, [h, w] float32.
    """

    rgb: np.ndarray
    chance: np.ndarray


def color_tables(looks: Sequence[Look]) -> list[np.ndarray]:
    """For every photo, log-odds [20, 20, 20] that a colour is the object's, by what the others say.

    Of a photo's own pixels only the background has a say: the object's would confirm its own errors. Every
    photo counts as much as any other. All zero where there are too few photos.
    """
    if len(looks) < ENOUGH:
        return [np.zeros((_BINS,) * 3) for _ in looks]
    front = np.stack([_histogram(each.rgb, _teaching(each.chance)) for each in looks])
    back = np.stack([_histogram(each.rgb, _teaching(1 - each.chance)) for each in looks])
    front_sum, back_sum, others = front.sum(0), back.sum(0), len(looks) - 1
    floor = _FLOOR / _BINS**3
    tables = []
    for own_front, own_back in zip(front, back, strict=True):
        object_ = (front_sum - own_front) / others
        around = (back_sum + (_OWN_BACKGROUND - 1) * own_back) / (others + _OWN_BACKGROUND)
        tables.append(np.log((object_.clip(0) + floor) / (around + floor)))
    return tables


def look_up(table: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Log-odds [H, W] that pixels [H, W, 3] uint8 have the object's colours, as far as colours tell."""
    return table.reshape(-1)[_bins(rgb)].clip(-_MOST, _MOST)


def _bins(rgb: np.ndarray) -> np.ndarray:
    """Flat index [H, W] of the bin of a colour in Lab, finer in chroma."""
    lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    unit = lab / np.array([100, 160, 160], dtype=np.float32)
    unit[..., 1:] = unit[..., 1:] * _CHROMA_GAIN + 0.5
    lightness, a, b = np.moveaxis((unit * _BINS).clip(0, _BINS - 1).astype(int), -1, 0)
    return (lightness * _BINS + a) * _BINS + b


def _teaching(chance: np.ndarray) -> np.ndarray:
    return ((chance - _SURE) / (1 - _SURE)).clip(0, 1)


def _histogram(rgb: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Smooth distribution [20, 20, 20] of colours; zero where nothing has weight."""
    counts = np.bincount(_bins(rgb).ravel(), weight.ravel(), _BINS**3).reshape((_BINS,) * 3)
    return gaussian_filter(counts / max(counts.sum(), 1e-6), 1.0)
