"""Pictures of a result: input against render, and the course of the fit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from torch import Tensor

from agsrec.errors import ShapeError
from agsrec.figures.canvas import FAINT, FINAL, INK, MUTED, draw_text, new_figure, rasterized, shortened
from agsrec.metrics.images import psnr

if TYPE_CHECKING:
    from agsrec.prior.sds import Glimpse

__all__ = ["comparison_figure", "curves_figure", "glimpses_figure", "tiles_figure"]

ERROR_FULL_SCALE = 0.3
"""Absolute colour error at which the heat map saturates; fixed, so that figures compare."""

_ERROR_COLORS = "magma_r"
_MAX_COLUMNS = 8
_TILE = 256
_GAP = 6
_MIN_WIDTH = 640
_FRAME = (238, 241, 244)
_READABLE_WIDTH = 1200
"""Figure width, pixels, beyond which letters grow with the figure: it will be shown scaled down."""


# -------------------------------------------------------------------- input against render


def comparison_figure(
    names: Sequence[str],
    inputs: Tensor,  # [V, H, W, 3]
    renders: Tensor,  # [V, H, W, 3]
) -> np.ndarray:
    """Photos, renders and their difference, one column per view, as a picture uint8 [h, w, 3].

    Args:
        names: View names, V of them.
        inputs: Photos in [0, 1] on white.
        renders: Renders at the fitted cameras, in [0, 1] on white.
    """
    if inputs.shape != renders.shape or len(names) != len(inputs) or len(inputs) == 0:
        raise ShapeError(
            f"{len(names)} names, inputs {[*inputs.shape]} and renders {[*renders.shape]} differ"
        )
    scores = psnr(renders, inputs).tolist()
    photos, fits = (x.detach().cpu().float().clamp(0, 1).numpy() for x in (inputs, renders))
    rows = {
        "Photo": _tiles(photos),
        "Render": _tiles(fits),
        "Error": _tiles(_heat_map(np.abs(photos - fits).mean(-1))),
    }
    figure, pixels, grid = _lay_out(names, [f"{score:.1f} dB" for score in scores], rows)
    _draw_legend(figure, pixels, grid, sum(scores) / len(scores))
    return _with_pixels(figure, pixels)


def glimpses_figure(glimpses: Sequence[Glimpse]) -> np.ndarray:
    """What a prior saw during a fit, one column per moment, as a picture uint8 [h, w, 3]."""
    rows = {
        label: _tiles(np.stack([getattr(g, name).clamp(0, 1).numpy() for g in glimpses]))
        for label, name in (("Render", "render"), ("Noised", "noisy"), ("Prior", "prediction"))
    }
    titles = [f"{100 * g.progress:.0f} % done" for g in glimpses]
    figure, pixels, _ = _lay_out(titles, [f"noise {g.timestep / 10:.0f} %" for g in glimpses], rows)
    return _with_pixels(figure, pixels)


def tiles_figure(names: Sequence[str], images: Tensor, notes: Sequence[str]) -> np.ndarray:
    """Images [T, H, W, 3] in [0, 1] side by side, a name above and a note below each, as uint8 [h, w, 3]."""
    if not len(names) == len(images) == len(notes) or len(images) == 0:
        raise ShapeError(f"{len(names)} names, images {[*images.shape]} and {len(notes)} notes differ")
    tiles = _tiles(images.detach().cpu().float().clamp(0, 1).numpy())
    figure, pixels, _ = _lay_out(names, notes, {"": tiles})
    return _with_pixels(figure, pixels)


def _with_pixels(figure: Figure, pixels: np.ndarray) -> np.ndarray:
    """The figure's words over pixels uint8 [h, w, 3]; matplotlib takes far longer to put them together."""
    figure.set_facecolor("none")
    words, white = rasterized(figure, alpha=True), np.uint16(255)
    share = words[..., 3:].astype(np.uint16)
    return ((words[..., :3] * share + pixels * (white - share) + white // 2) // white).astype(np.uint8)


def _heat_map(error: np.ndarray) -> np.ndarray:
    """Colours [V, H, W, 3] in [0, 1] of absolute errors [V, H, W]; no error is white."""
    level = np.clip(error / ERROR_FULL_SCALE, 0, 1)
    colors = matplotlib.colormaps[_ERROR_COLORS](level)[..., :3]
    # The map starts at a pale yellow; fading its first tenth in keeps the faultless background white.
    fade = np.clip(level / 0.1, 0, 1)[..., None]
    return colors * fade + (1 - fade)


def _tiles(images: np.ndarray) -> list[np.ndarray]:
    """Images [V, H, W, 3] as uint8 tiles at most `_TILE` wide: small ones enlarged by whole factors."""
    width = images.shape[2]
    factor = max(1, _TILE // width) if width <= _TILE else _TILE / width
    method = cv2.INTER_NEAREST if factor >= 1 else cv2.INTER_AREA
    pixels = (images * 255).round().astype(np.uint8)
    return [cv2.resize(x, None, fx=factor, fy=factor, interpolation=method) for x in pixels]


@dataclass(frozen=True)
class _Grid:
    """Where everything stands, in pixels from the top left; `unit` is a letter size of 1."""

    views: int
    rows: int
    tile_w: int
    tile_h: int

    @property
    def blocks(self) -> int:
        return math.ceil(self.views / _MAX_COLUMNS)

    @property
    def columns(self) -> int:
        return math.ceil(self.views / self.blocks)

    @property
    def unit(self) -> float:
        return 15 * max(1.0, self.columns * self.tile_w / _READABLE_WIDTH)

    @property
    def margin(self) -> int:
        return round(1.8 * self.unit)

    @property
    def left(self) -> int:
        """Start of the tiles, right of the row labels."""
        return self.margin + round(5 * self.unit)

    @property
    def caption(self) -> int:
        """Height of a line above or below a block."""
        return round(2 * self.unit)

    @property
    def block_h(self) -> int:
        return 2 * self.caption + self.rows * (self.tile_h + _GAP)

    @property
    def width(self) -> int:
        return max(_MIN_WIDTH, self.left + self.columns * (self.tile_w + _GAP) - _GAP + self.margin)

    @property
    def legend_y(self) -> int:
        """Middle of the bottom line."""
        return self.margin + self.blocks * (self.block_h + self.margin)

    @property
    def height(self) -> int:
        return self.legend_y + self.margin

    def tile(self, view: int, row: int) -> tuple[int, int]:
        """Left and top of a tile."""
        x = self.left + (view % self.columns) * (self.tile_w + _GAP)
        return x, self.block_top(view // self.columns) + self.caption + row * (self.tile_h + _GAP)

    def block_top(self, block: int) -> int:
        return self.margin + block * (self.block_h + self.margin)


def _lay_out(
    names: Sequence[str], notes: Sequence[str], rows: Mapping[str, list[np.ndarray]]
) -> tuple[Figure, np.ndarray, _Grid]:
    """Blocks of labelled rows of tiles, as many blocks as the columns need: figure, pixels below it, grid."""
    tile_h, tile_w = next(iter(rows.values()))[0].shape[:2]
    grid = _Grid(len(names), len(rows), tile_w, tile_h)
    figure = new_figure(grid.width, grid.height)
    pixels = np.full((grid.height, grid.width, 3), 255, np.uint8)
    for k, row in enumerate(rows.values()):
        for view, tile in enumerate(row):
            x, y = grid.tile(view, k)
            pixels[y - 1 : y + tile_h + 1, x - 1 : x + tile_w + 1] = _FRAME
            pixels[y : y + tile_h, x : x + tile_w] = tile
    longest = round(tile_w / (0.65 * grid.unit))
    for view, (name, note) in enumerate(zip(names, notes, strict=True)):
        x, top = grid.tile(view, 0)
        middle, below = x + tile_w / 2, grid.tile(view, len(rows))[1] + 0.7 * grid.unit
        style = {"align": "center", "size": grid.unit}
        draw_text(figure, middle, top - 0.9 * grid.unit, shortened(name, longest), weight="bold", **style)
        draw_text(figure, middle, below, note, **style)
    for block in range(grid.blocks):
        for k, label in enumerate(rows):
            y = grid.block_top(block) + grid.caption + k * (tile_h + _GAP) + tile_h / 2
            draw_text(figure, grid.margin, y, label, color=MUTED, size=grid.unit)
    return figure, pixels, grid


def _draw_legend(figure: Figure, pixels: np.ndarray, grid: _Grid, mean_score: float) -> None:
    """Mean PSNR on the left, scale of the error colours on the right of the bottom line."""
    y, size = grid.legend_y, 0.85 * grid.unit
    draw_text(figure, grid.margin, y, f"Mean PSNR {mean_score:.1f} dB", weight="bold", size=grid.unit)
    length, half = round(9 * grid.unit), round(0.4 * grid.unit)
    right = round(grid.width - grid.margin - 2.2 * size)
    left = right - length
    ramp = _heat_map(np.linspace(0, ERROR_FULL_SCALE, length)[None, None])[0, 0]
    pixels[y - half : y + half, left:right] = (ramp * 255).round().astype(np.uint8)
    draw_text(figure, left - 1.8 * size, y, "Colour error", color=MUTED, align="right", size=size)
    draw_text(figure, left - 0.6 * size, y, "0", color=MUTED, align="right", size=size)
    draw_text(figure, right + 0.6 * size, y, f"{ERROR_FULL_SCALE:g}", color=MUTED, size=size)


# -------------------------------------------------------------------- course of the fit


def curves_figure(history: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Loss, PSNR and pose change over the iterations of a fit, as a picture uint8 [h, w, 3].

    Args:
        history: One entry per recorded iteration, in order. Keys, all but the first optional: `iteration`,
            `loss` and `guidance` (plotted on logarithmic axes), `psnr` in dB, `pose_change_deg`: rotation of
            each view since the start of the fit [V] in degrees. Quantities that no entry has get no panel.
    """
    panels = [
        (key, title, unit)
        for key, title, unit in (
            ("loss", "Loss", ""),
            ("guidance", "Of that, the prior's share", ""),
            ("psnr", "PSNR over the input views", "dB"),
            ("pose_change_deg", "Rotation of each view since the start", "degrees"),
        )
        if any(key in entry for entry in history)
    ]
    if not panels:
        raise ShapeError("the history holds no loss, psnr or pose_change_deg to plot")
    panel_w, height = 520, 360
    figure = new_figure(panel_w * len(panels), height)
    for k, (key, title, unit) in enumerate(panels):
        left = (k * panel_w + 74) / (panel_w * len(panels))
        box = (left, 0.17, (panel_w - 110) / (panel_w * len(panels)), 0.66)
        axes = figure.add_axes(box)
        found = [entry for entry in history if key in entry]
        values = np.array([np.atleast_1d(entry[key]) for entry in found], dtype=float)
        _draw_curves(axes, np.array([entry["iteration"] for entry in found]), values)
        _style(axes, title, unit, logarithmic=key in ("loss", "guidance") and bool((values > 0).all()))
    return rasterized(figure)


def _draw_curves(axes: Axes, steps: np.ndarray, values: np.ndarray) -> None:
    """Curves [S, C] over steps [S]; a lone point is drawn as a dot."""
    many = values.shape[1] > 1
    axes.plot(
        steps,
        values,
        color=FINAL,
        linewidth=1.4 if many else 2.2,
        alpha=0.65 if many else 1.0,
        marker="o" if len(steps) == 1 else "",
        solid_joinstyle="round",
    )


def _style(axes: Axes, title: str, unit: str, *, logarithmic: bool) -> None:
    axes.set_title(title, loc="left", fontsize=16, color=INK, pad=12, weight="bold")
    axes.set_xlabel("iteration", fontsize=13, color=MUTED)
    axes.set_ylabel(unit, fontsize=13, color=MUTED)
    axes.set_facecolor("white")
    if logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.tick_params(labelsize=12, colors=MUTED, length=0, which="both")
    axes.grid(True, color=FAINT, linewidth=1, which="major")
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(MUTED)
