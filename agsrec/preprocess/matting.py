"""From a coarse cut to a soft one: alpha that follows the photo's edges, and colours without background."""

from __future__ import annotations

import cv2
import numpy as np

__all__ = ["REFINE_SIZE", "fit_within", "follow_edges", "foreground_colors"]

REFINE_SIZE = 1536
"""Longest side in pixels on which edges are followed; bounds the memory that large photos take."""

_SPREADS = (0.15, 0.012)  # radii over which colours are carried on, as shares of the longer side


def fit_within(image: np.ndarray, longest: int) -> np.ndarray:
    """An image [H, W, ...] made smaller where one of its sides is longer than `longest` pixels."""
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def follow_edges(mask: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Soft alpha [H, W] float32 in [0, 1] from a coarser mask, its edge drawn to that of the photo.

    A guided filter (He et al. 2010) of the mask by the photo's brightness; far from the edge the mask stays.

    Args:
        mask: bool, or float in [0, 1], [h, w].
        rgb: Photo [H, W, 3] uint8.
    """
    height, width = rgb.shape[:2]
    coarse = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    radius = max(1, round(1.5 * max(height, width) / max(mask.shape)))
    guide = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    mean_i, mean_p = _box(guide, radius), _box(coarse, radius)
    a = (_box(guide * coarse, radius) - mean_i * mean_p) / (_box(guide * guide, radius) - mean_i**2 + 1e-4)
    soft = _box(a, radius) * guide + _box(mean_p - a * mean_i, radius)
    edge = (_box(coarse, 2 * radius) > 0.02) & (_box(coarse, 2 * radius) < 0.98)
    sharpened = (soft - 0.5) * 1.5 + 0.5
    return np.where(edge, sharpened, coarse).clip(0, 1).astype(np.float32)


def foreground_colors(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The object's own colours [H, W, 3] uint8 where it is partly transparent.

    A pixel at a soft edge shows object and background mixed, alpha * F + (1 - alpha) * B. First guesses of F
    and B are means of what is around, weighted by alpha and by what is left of it; F then takes up what the
    mixture of the guesses leaves unexplained. Once over a wide neighbourhood, once more over a narrow one
    (Forte, "Approximate Fast Foreground Colour Estimation", ICIP 2021).

    Args:
        rgb: The photo [H, W, 3] uint8, object and background.
        alpha: Of the object [H, W] uint8.
    """
    weight = alpha.astype(np.float32) / 255
    soft = (alpha > 0) & (alpha < 255)
    out = rgb.copy()
    around = []
    for share in _SPREADS:
        radius = max(1, round(share * max(alpha.shape)))
        shares = np.maximum(_box(weight, radius), 1e-5), np.maximum(_box(1 - weight, radius), 1e-5)
        around.append((radius, *shares))
    for channel in range(3):  # one by one: photos can be large
        image = rgb[..., channel].astype(np.float32)
        front = back = image
        for radius, inside, outside in around:
            front = _box(front * weight, radius) / inside
            back = _box(back * (1 - weight), radius) / outside
            unexplained = image - weight * front - (1 - weight) * back
            front = (front + weight * unexplained).clip(0, 255)
        out[soft, channel] = front[soft].round()
    return out


def _box(image: np.ndarray, radius: int) -> np.ndarray:
    return cv2.blur(image, (2 * radius + 1, 2 * radius + 1), borderType=cv2.BORDER_REFLECT)
