"""Building blocks of procedural paint: masks [M] in [0, 1], colours, printed text and images.

Colours are written as sRGB hex and mixed in linear RGB. A texture is any function from texture coordinates
[M, 3] to linear albedo [M, 3]; models compose theirs from these pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from scripts.demo.noise import cell_noise, fbm

Array = NDArray[np.float64]

__all__ = [
    "band",
    "checks",
    "color",
    "grain",
    "label_image",
    "linear_image",
    "mix",
    "solid",
    "speckle",
    "stamp",
    "stripes",
    "weave",
    "wood",
]


@cache
def _linear(code: str) -> tuple[float, float, float]:
    value = np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)]) / 255.0
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return float(linear[0]), float(linear[1]), float(linear[2])


def color(code: str) -> Array:
    """Linear RGB [3] of an sRGB hex code such as "#1e88e5"."""
    return np.array(_linear(code))


def solid(code: str, count: int) -> Array:
    """One colour [count, 3]."""
    return np.tile(color(code), (count, 1))


def mix(a: ArrayLike, b: ArrayLike, mask: ArrayLike) -> Array:
    """`a` where mask is 0, `b` where it is 1; colours are [3] or [M, 3], hex codes are accepted."""
    first = color(a) if isinstance(a, str) else np.asarray(a)
    second = color(b) if isinstance(b, str) else np.asarray(b)
    weight = np.asarray(mask, dtype=np.float64)[..., None]
    return first + (second - first) * weight


def band(t: ArrayLike, low: float, high: float, soft: float = 1e-3) -> Array:
    """1 for low < t < high with edges `soft` wide."""
    x = np.asarray(t, dtype=np.float64)
    return np.clip((x - low) / soft + 0.5, 0.0, 1.0) * np.clip((high - x) / soft + 0.5, 0.0, 1.0)


def stripes(t: ArrayLike, period: float, duty: float = 0.5) -> Array:
    """1 over the first `duty` of each period."""
    phase = np.mod(np.asarray(t, dtype=np.float64) / period, 1.0)
    return (phase < duty).astype(np.float64)


def checks(u: ArrayLike, v: ArrayLike, period: float) -> Array:
    """Chess board with squares half a period wide."""
    return np.abs(stripes(u, period) - stripes(v, period))


def grain(points: Array, scale: float, strength: float, seed: int, octaves: int = 3) -> Array:
    """Brightness factor [M, 1] around 1 from fractal noise with features `1 / scale` wide."""
    return 1.0 + strength * (2.0 * fbm(points * scale, octaves, seed)[:, None] - 1.0)


def speckle(points: Array, scale: float, radius: float, seed: int) -> Array:
    """Round dots, one per cell `1 / scale` wide, `radius` in cells."""
    distance, _ = cell_noise(points * scale, seed)
    return np.clip((radius - distance) / 0.08 + 0.5, 0.0, 1.0)


def weave(u: ArrayLike, v: ArrayLike, period: float, depth: float = 0.35) -> Array:
    """Brightness factor [M, 1] of a plain fabric weave."""
    a, b = np.asarray(u) / period, np.asarray(v) / period
    over = np.mod(np.floor(a) + np.floor(b), 2.0)
    warp = np.abs(np.sin(np.pi * a))
    weft = np.abs(np.sin(np.pi * b))
    return (1.0 - depth * (1.0 - np.where(over > 0.5, warp, weft)))[:, None]


def wood(points: Array, light: str, dark: str, rings: float, seed: int) -> Array:
    """Growth rings around a slightly wandering x axis; `rings` per unit length, plus fine fibres along x."""
    stretched = points * np.array([0.6, 2.0, 2.0])
    wander = 0.35 * (fbm(stretched * 1.7, 2, seed) - 0.5)
    radius = np.hypot(points[:, 1] + 0.13, points[:, 2] - 0.21) + wander
    phase = np.mod(radius * rings, 1.0)
    ring = np.where(phase < 0.75, phase / 0.75, (1.0 - phase) / 0.25)
    fibre = fbm(points * np.array([3.0, 40.0, 40.0]), 2, seed + 7)
    return mix(light, dark, np.clip(0.75 * ring**1.5 + 0.5 * (fibre - 0.5), 0.0, 1.0))


# -------------------------------------------------------------------- print


def label_image(
    size: tuple[int, int],
    lines: Sequence[tuple[str, float, float, float, str]],
    *,
    background: str | None = None,
) -> Array:  # [H, W, 4]
    """Printed text as an image, linear RGB with alpha.

    Args:
        size: width and height in pixels.
        lines: (text, centre x, centre y, height, colour) with positions and height as fractions of the size.
        background: paper colour; None leaves it transparent.
    """
    width, height = size
    fill = (0, 0, 0, 0) if background is None else background
    canvas = Image.new("RGBA", size, fill)
    draw = ImageDraw.Draw(canvas)
    for text, x, y, tall, ink in lines:
        font = ImageFont.load_default(tall * height)
        draw.text(
            (x * width, y * height), text, font=font, fill=ink, anchor="mm", stroke_width=0.03 * tall * height
        )
    return linear_image(canvas)


def linear_image(canvas: Image.Image) -> Array:  # [H, W, 4]
    """A PIL image as linear RGB with alpha, ink colour extended under transparent pixels."""
    value = np.asarray(canvas.convert("RGBA"), dtype=np.float64) / 255.0
    rgb = np.where(
        value[..., :3] <= 0.04045, value[..., :3] / 12.92, ((value[..., :3] + 0.055) / 1.055) ** 2.4
    )
    return np.concatenate([rgb * value[..., 3:], value[..., 3:]], axis=-1)


def stamp(base: Array, image: Array, u: ArrayLike, v: ArrayLike, mask: ArrayLike = True) -> Array:
    """Print a premultiplied image [H, W, 4] over `base` [M, 3] where u and v are in [0, 1]; v runs down."""
    height, width = image.shape[:2]
    us, vs = np.asarray(u, dtype=np.float64), np.asarray(v, dtype=np.float64)
    inside = (us >= 0) & (us < 1) & (vs >= 0) & (vs < 1) & np.asarray(mask)
    x = np.clip(us[inside] * width - 0.5, 0, width - 1.001)
    y = np.clip(vs[inside] * height - 0.5, 0, height - 1.001)
    column, row = x.astype(int), y.astype(int)
    fx, fy = (x - column)[:, None], (y - row)[:, None]
    top = image[row, column] * (1 - fx) + image[row, column + 1] * fx
    bottom = image[row + 1, column] * (1 - fx) + image[row + 1, column + 1] * fx
    texel = top * (1 - fy) + bottom * fy
    out = np.array(base, dtype=np.float64)
    out[inside] = out[inside] * (1.0 - texel[:, 3:]) + texel[:, :3]
    return out
