"""Draw photos of an object to try an installation on: python scripts/draw_photos.py FOLDER [--count 6].

Coloured ellipsoids on a plain backdrop, seen from all around; needs NumPy and Pillow alone.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from PIL import Image

SIZE, FOCAL, DISTANCE, ELEVATION_DEG = 320, 440.0, 3.2, 20.0  # pixels, pixels, world units, degrees
BACKDROP = (0.86, 0.87, 0.88)
# Centre, half axes, colour: +y is up, and no two sides look alike.
PARTS = (
    ((0.00, 0.00, 0.00), (0.45, 0.30, 0.30), (0.75, 0.25, 0.20)),
    ((0.42, 0.28, 0.05), (0.20, 0.20, 0.20), (0.20, 0.35, 0.75)),
    ((-0.45, 0.10, 0.12), (0.14, 0.34, 0.14), (0.20, 0.60, 0.30)),
    ((0.05, -0.22, 0.30), (0.16, 0.12, 0.22), (0.90, 0.75, 0.20)),
    ((0.10, 0.20, -0.28), (0.25, 0.10, 0.15), (0.95, 0.95, 0.92)),
)
LIGHT = np.array((0.3, 0.9, 0.4)) / math.sqrt(0.3**2 + 0.9**2 + 0.4**2)


def photo(azimuth_deg: float) -> np.ndarray:
    """The object from an azimuth, [SIZE, SIZE, 3] uint8."""
    azimuth, elevation = math.radians(azimuth_deg), math.radians(ELEVATION_DEG)
    back = np.array(
        (
            math.sin(azimuth) * math.cos(elevation),
            math.sin(elevation),
            math.cos(azimuth) * math.cos(elevation),
        )
    )
    right = np.cross((0.0, 1.0, 0.0), back)
    right /= np.linalg.norm(right)
    up = np.cross(back, right)
    x, y = np.meshgrid(*2 * [(np.arange(SIZE) + 0.5 - SIZE / 2) / FOCAL])
    rays = x[..., None] * right - y[..., None] * up - back  # [SIZE, SIZE, 3]
    colour = np.broadcast_to(BACKDROP, rays.shape).copy()
    nearest = np.full(rays.shape[:2], np.inf)
    for centre, axes, paint in PARTS:
        depth, shade = _ellipsoid(DISTANCE * back, rays, np.array(centre), np.array(axes))
        seen = depth < nearest
        nearest[seen] = depth[seen]
        colour[seen] = shade[seen, None] * np.array(paint)
    return (colour * 255).round().astype(np.uint8)


def _ellipsoid(
    eye: np.ndarray, rays: np.ndarray, centre: np.ndarray, axes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Depth along each ray, infinite where it misses, and brightness there."""
    start, step = (eye - centre) / axes, rays / axes  # in the space where it is the unit sphere
    a, b, c = (step**2).sum(-1), step @ start, start @ start - 1
    root = np.sqrt(np.maximum(b**2 - a * c, 0))
    depth = np.where(b**2 > a * c, (-b - root) / a, np.inf)
    normal = (start + np.where(np.isfinite(depth), depth, 0)[..., None] * step) / axes
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    return depth, 0.45 + 0.55 * np.maximum(normal @ LIGHT, 0)


def main() -> None:
    """Write 000.png and so on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=6)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for k in range(options.count):
        Image.fromarray(photo(360 * k / options.count)).save(options.folder / f"{k:03d}.png")


if __name__ == "__main__":
    main()
