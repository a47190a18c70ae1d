"""Exact distorted cameras: the published formulas of their models, written out, and pictures by them.

The formulas are those of COLMAP's documentation of camera models; nothing here calls the package.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

WIDTH, HEIGHT = 160, 120
"""Size of the photos below, pixels."""

CAMERAS: dict[str, list[float]] = {
    "SIMPLE_RADIAL": [150.0, 82.0, 57.5, -0.15],
    "RADIAL": [150.0, 78.0, 61.0, 0.12, -0.05],
    "OPENCV": [140.0, 150.0, 83.0, 58.0, -0.2, 0.06, 0.006, -0.004],
    "FULL_OPENCV": [140.0, 135.0, 81.0, 62.0, 0.3, 0.05, 0.003, 0.002, 0.01, 0.45, 0.08, 0.01],
    "SIMPLE_FISHEYE": [75.0, 80.0, 60.0],
    "FISHEYE": [75.0, 80.0, 78.0, 61.0],
    "SIMPLE_RADIAL_FISHEYE": [80.0, 80.5, 59.0, 0.03],
    "RADIAL_FISHEYE": [80.0, 79.0, 61.5, -0.02, 0.01],
    "OPENCV_FISHEYE": [78.0, 84.0, 81.0, 58.5, 0.04, -0.01, 0.004, -0.001],
}
"""A camera of every model with distortion, its parameters in COLMAP's order, for photos of that size."""


def seen_at(model: str, p: Sequence[float], x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the camera sees the rays (x, y, 1), in pixels with centres at +0.5."""
    two = model in ("OPENCV", "FULL_OPENCV", "OPENCV_FISHEYE", "FISHEYE")
    (fx, fy, cx, cy), k = (p[:4], p[4:]) if two else ((p[0], p[0], p[1], p[2]), p[3:])
    r = np.sqrt(x**2 + y**2)
    if "FISHEYE" in model:
        theta = np.arctan2(r, 1.0)
        bent = theta * (1 + sum(c * theta ** (2 * i + 2) for i, c in enumerate(k)))
        factor = np.where(r > 1e-9, bent / np.maximum(r, 1e-9), 1.0)
        return fx * x * factor + cx, fy * y * factor + cy
    radial = {
        "SIMPLE_RADIAL": lambda: 1 + k[0] * r**2,
        "RADIAL": lambda: 1 + k[0] * r**2 + k[1] * r**4,
        "OPENCV": lambda: 1 + k[0] * r**2 + k[1] * r**4,
        "FULL_OPENCV": lambda: (
            (1 + k[0] * r**2 + k[1] * r**4 + k[4] * r**6) / (1 + k[5] * r**2 + k[6] * r**4 + k[7] * r**6)
        ),
    }[model]()
    p1, p2 = (k[2], k[3]) if two else (0.0, 0.0)
    x_d = x * radial + 2 * p1 * x * y + p2 * (r**2 + 2 * x**2)
    y_d = y * radial + 2 * p2 * x * y + p1 * (r**2 + 2 * y**2)
    return fx * x_d + cx, fy * y_d + cy


def rays_of(
    model: str, p: Sequence[float], u: np.ndarray, v: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rays (x, y, 1) that are seen at pixels, by Newton's method, and whether there is one nearby."""
    two = model in ("OPENCV", "FULL_OPENCV", "OPENCV_FISHEYE", "FISHEYE")
    fx, fy, cx, cy = p[:4] if two else (p[0], p[0], p[1], p[2])
    x, y = (u - cx) / fx, (v - cy) / fy
    if "FISHEYE" in model:
        theta = np.minimum(np.hypot(x, y), 1.4)
        stretch = np.tan(theta) / np.maximum(np.hypot(x, y), 1e-9)
        x, y = x * stretch, y * stretch
    step = 1e-6
    for _ in range(12):
        (u0, v0), (ux, vx), (uy, vy) = (
            seen_at(model, p, x + dx, y + dy) for dx, dy in ((0, 0), (step, 0), (0, step))
        )
        a, b, c, d = (ux - u0) / step, (uy - u0) / step, (vx - v0) / step, (vy - v0) / step
        det = a * d - b * c
        du, dv = u - u0, v - v0
        x = x + np.clip((d * du - b * dv) / det, -0.3, 0.3)
        y = y + np.clip((a * dv - c * du) / det, -0.3, 0.3)
    u0, v0 = seen_at(model, p, x, y)
    return x, y, np.hypot(u - u0, v - v0) < 1e-6


def pattern(x: np.ndarray, y: np.ndarray, size: float) -> np.ndarray:
    """Brightness in [0, 255] of a wall at distance 1, textured all over; its details are of about `size`."""
    a = np.sin(x / size + 0.7 * np.sin(0.31 * y / size)) * np.cos(0.83 * y / size + 1.0)
    b = np.sin(0.57 * x / size - 0.71 * y / size + 2.0)
    return 127.5 + 70 * a + 45 * b


Rays = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def picture(rays: Rays, width: int, height: int, size: float, samples: int = 3) -> np.ndarray:
    """The pattern [H, W] float64 as a camera sees it, the mean of samples over each pixel's area."""
    out = np.zeros((height, width))
    for i in range(samples):
        for j in range(samples):
            u, v = np.meshgrid(
                np.arange(width) + (i + 0.5) / samples, np.arange(height) + (j + 0.5) / samples
            )
            out += pattern(*rays(u, v), size)
    return out / samples**2


def shifts(image: np.ndarray, truth: np.ndarray, valid: np.ndarray, side: int = 20) -> np.ndarray:
    """How far [N, 2] pixels each patch of an image lies from where it belongs, in least squares.

    Args:
        image: Picture [H, W, C].
        truth: What it should be [H, W, C]; a constant difference per channel and patch is let go.
        valid: Where they are to be compared [H, W], with a margin of two pixels.
        side: Side of a patch in pixels.
    """
    gy, gx = np.gradient(truth, axis=(0, 1))
    inner = valid.copy()
    for axis in (0, 1):
        for step in (1, 2, -1, -2):
            inner &= np.roll(valid, step, axis)
    inner[:2], inner[-2:], inner[:, :2], inner[:, -2:] = False, False, False, False
    out = []
    for top in range(0, image.shape[0] - side + 1, side // 2):
        for left in range(0, image.shape[1] - side + 1, side // 2):
            patch = slice(top, top + side), slice(left, left + side)
            use = inner[patch]
            if use.sum() < 0.6 * side**2:
                continue
            x, y, off = (v[patch][use] for v in (gx, gy, image - truth))
            x, y, off = (v - v.mean(0) for v in (x, y, off))
            a = np.stack([-x.ravel(), -y.ravel()], axis=1)
            out.append(np.linalg.lstsq(a, off.ravel(), rcond=None)[0])
    return np.array(out)
