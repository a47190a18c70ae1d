"""Pictures of a result: input against render, and the course of the fit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from torch import Tensor

from agsrec.errors import ShapeError
from agsrec.export.canvas import FAINT, FINAL, INK, MUTED, draw_text, new_figure, rasterized, shortened
from agsrec.metrics.images import psnr

__all__ = ["comparison_figure", "curves_figure"]

ERROR_FULL_SCALE = 0.3
"""Absolute colour error at which the heat map saturates; fixed, so that figures compare."""

_ERROR_COLORS = "magma_r"
_MAX_COLUMNS = 8
_TILE = 256
_GAP = 6
_MARGIN = 28
_LABELS = 76  # width of the row labels
_CAPTION = 30  # height of a line of text above or below a block
_LEGEND = 52
_BLOCK_GAP = 28
_FRAME = (238, 241, 244)
_MIN_WIDTH = 640


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
    rows = [_tiles(photos), _tiles(fits), _tiles(_heat_map(np.abs(photos - fits).mean(-1)))]
    return rasterized(_lay_out(names, scores, rows))


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


def _lay_out(names: Sequence[str], scores: Sequence[float], rows: Sequence[list[np.ndarray]]) -> Figure:
    """Blocks of three rows (photo, render, error), as many blocks as the views need."""
    tile_h, tile_w = rows[0][0].shape[:2]
    blocks = math.ceil(len(names) / _MAX_COLUMNS)
    columns = math.ceil(len(names) / blocks)
    block_h = 2 * _CAPTION + len(rows) * (tile_h + _GAP)
    pitch = block_h + _BLOCK_GAP
    width = max(_MIN_WIDTH, 2 * _MARGIN + _LABELS + columns * (tile_w + _GAP) - _GAP)
    height = _MARGIN + blocks * pitch - _BLOCK_GAP + _LEGEND
    figure = new_figure(width, height)
    pixels = np.full((height, width, 3), 255, np.uint8)
    for view, (name, score) in enumerate(zip(names, scores, strict=True)):
        x = _MARGIN + _LABELS + (view % columns) * (tile_w + _GAP)
        y = _MARGIN + (view // columns) * pitch
        for k, row in enumerate(rows):
            top = y + _CAPTION + k * (tile_h + _GAP)
            pixels[top - 1 : top + tile_h + 1, x - 1 : x + tile_w + 1] = _FRAME
            pixels[top : top + tile_h, x : x + tile_w] = row[view]
        middle = x + tile_w / 2
        draw_text(figure, middle, y + 12, shortened(name, tile_w // 9), align="center", weight="bold")
        draw_text(figure, middle, y + block_h - _CAPTION + 10, f"{score:.1f} dB", align="center")
    for block in range(blocks):
        for k, label in enumerate(("Photo", "Render", "Error")):
            y = _MARGIN + block * pitch + _CAPTION + k * (tile_h + _GAP) + tile_h / 2
            draw_text(figure, _MARGIN, y, label, color=MUTED)
    _draw_legend(figure, pixels, sum(scores) / len(scores))
    # Given from the top, as the pixels are.
    figure.figimage(pixels, 0, 0, origin="upper", zorder=-1)
    return figure


def _draw_legend(figure: Figure, pixels: np.ndarray, mean_score: float) -> None:
    """Mean PSNR on the left, scale of the error colours on the right of the bottom line."""
    height, width = pixels.shape[:2]
    y, length, thickness = height - _LEGEND // 2, 160, 12
    draw_text(figure, _MARGIN, y, f"Mean PSNR {mean_score:.1f} dB", weight="bold")
    right = width - _MARGIN - 32
    ramp = _heat_map(np.linspace(0, ERROR_FULL_SCALE, length)[None, None])[0, 0]
    box = np.s_[y - thickness // 2 : y + thickness // 2, right - length : right]
    pixels[box] = (ramp * 255).round().astype(np.uint8)
    draw_text(figure, right - length - 22, y, "Absolute colour error", color=MUTED, align="right", size=13)
    draw_text(figure, right - length - 8, y, "0", color=MUTED, align="right", size=13)
    draw_text(figure, right + 8, y, f"{ERROR_FULL_SCALE:g}", color=MUTED, size=13)


# -------------------------------------------------------------------- course of the fit


def curves_figure(history: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Loss, PSNR and pose change over the iterations of a fit, as a picture uint8 [h, w, 3].

    Args:
        history: One entry per recorded iteration, in order. Keys, all but the first optional: `iteration`,
            `loss` (plotted on a logarithmic axis), `psnr` in dB, `pose_change_deg`: rotation of each view
            since the start of the fit [V] in degrees. Quantities that no entry has get no panel.
    """
    panels = [
        (key, title, unit)
        for key, title, unit in (
            ("loss", "Loss", ""),
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
        _style(axes, title, unit, logarithmic=key == "loss" and bool((values > 0).all()))
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
