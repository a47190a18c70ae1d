"""Drawing surface, colours and type shared by all figures.

Figures are drawn with matplotlib's object interface on a canvas of their own: no pyplot, no global settings.
At 72 dots per inch a point is a pixel, so that every size below is in pixels.
"""

from __future__ import annotations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = [
    "FAINT",
    "FINAL",
    "INITIAL",
    "INK",
    "MUTED",
    "TRUTH",
    "draw_text",
    "new_figure",
    "rasterized",
    "shortened",
]

INK, MUTED, FAINT = "#1f2933", "#66727f", "#dde3e9"
INITIAL, FINAL, TRUTH = "#e8871e", "#1f6feb", "#2b9a57"

_DPI = 72


def new_figure(width: int, height: int) -> Figure:
    """An empty white figure of that many pixels."""
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def draw_text(
    figure: Figure,
    x: float,
    y: float,
    text: str,
    *,
    size: float = 15,
    color: str = INK,
    align: str = "left",
    weight: str = "normal",
) -> None:
    """Write a line, vertically centred on pixel (x, y) from the figure's top left."""
    width, height = figure.get_size_inches() * _DPI
    figure.text(
        x / width,
        1 - y / height,
        text,
        ha=align,
        va="center_baseline",
        fontsize=size,
        color=color,
        weight=weight,
        parse_math=False,  # a dollar sign in a file name is a dollar sign
    )


def rasterized(figure: Figure, *, alpha: bool = False) -> np.ndarray:
    """The figure's pixels, uint8 [H, W, 3], or [H, W, 4] with straight alpha."""
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg), type(canvas)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., : 4 if alpha else 3].copy()


def shortened(name: str, length: int) -> str:
    """A name on one line of at most `length` characters: the end is what tells file names apart."""
    name = "".join(c if c.isprintable() else " " for c in name)
    return name if len(name) <= length else "…" + name[len(name) - length + 1 :]
