"""Picture of the cameras around the object: as estimated, or before and after the fit.

Drawn in parallel projection with two-dimensional primitives: a photo on its image plane is then an affine
image, and nothing but the cameras is in the picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Polygon
from matplotlib.transforms import Affine2D
from matplotlib.typing import LineStyleType
from torch import Tensor

from agsrec.cameras import Cameras
from agsrec.errors import ShapeError
from agsrec.figures.canvas import (
    FAINT,
    FINAL,
    INITIAL,
    INK,
    MUTED,
    TRUTH,
    draw_text,
    new_figure,
    rasterized,
    shortened,
)
from agsrec.metrics.poses import align_cameras

__all__ = ["cameras_figure"]

_PANEL = 760
_TITLE = 56
_LEGEND = 56
_PLANE_WIDTH = 0.3  # of the mean camera distance, for up to 8 cameras
_ROOM = np.array([0.34, 0.13])  # of the mean camera distance: for names beside and above the drawing
_PORTRAIT = 0.3  # of the mean camera distance, for up to 8 cameras: side of a photo beside its camera
_MAX_DEPTH = 0.36  # of the mean camera distance: a long lens keeps its angle, with a smaller image plane


@dataclass(frozen=True)
class _Projection:
    """Parallel projection of the world onto the picture.

    Attributes:
        rows: World directions [3, 3] of picture right, picture up and towards the viewer.
    """

    rows: np.ndarray

    @staticmethod
    def from_above(azimuth_deg: float, height_deg: float) -> _Projection:
        """Viewer at an azimuth from +z to +x and at an angle above the horizon."""
        a, h = math.radians(azimuth_deg), math.radians(height_deg)
        right = np.array([math.cos(a), 0.0, -math.sin(a)])
        toward = np.array([math.cos(h) * math.sin(a), math.sin(h), math.cos(h) * math.cos(a)])
        return _Projection(np.stack([right, np.cross(toward, right), toward]))

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Picture coordinates and nearness [..., 3] of world points [..., 3]."""
        return points @ self.rows.T


_VIEWPOINTS = (
    ("From the side", _Projection.from_above(28, 24)),
    ("From above", _Projection.from_above(0, 90)),
)


@dataclass(frozen=True)
class _Style:
    """How a set of cameras is drawn."""

    label: str
    color: str
    width: float
    dashes: LineStyleType
    layer: int
    fill: float  # opacity of the image plane


_STYLES = {
    "initial": _Style("initial", INITIAL, 1.4, "-", 1, 0.0),
    "final": _Style("final", FINAL, 2.2, "-", 2, 0.12),
    "estimated": _Style("estimated", FINAL, 2.2, "-", 2, 0.12),
    "truth": _Style("true", TRUTH, 1.6, (0, (3, 2)), 3, 0.0),
}


def cameras_figure(
    initial: Cameras | None,
    final: Cameras,
    truth: Cameras | None = None,
    *,
    names: Sequence[str] | None = None,
    thumbnails: Tensor | None = None,  # [V, h, w, 3]
) -> np.ndarray:
    """Cameras around the object at the origin, from the side and from above, as a picture uint8 [h, w, 3].

    Only relative poses mean anything: all sets are first aligned to the true cameras, else to the final ones.

    Args:
        initial: Cameras the fit started from; None where there was no fit.
        final: The same cameras after the fit, or as they are.
        truth: The true cameras, where known.
        names: View names; numbers from 0 by default.
        thumbnails: Photos in [0, 1], shown on the final cameras' image planes; without `initial`, also
            upright beside the cameras seen from above.
    """
    names = [str(i) for i in range(len(final))] if names is None else names
    if len(names) != len(final) or (thumbnails is not None and len(thumbnails) != len(final)):
        raise ShapeError(f"{len(final)} cameras need as many names and thumbnails")
    reference = final if truth is None else truth
    main = "estimated" if initial is None else "final"
    sets = {"initial": initial, main: final, "truth": truth}
    frusta = {k: _frusta(align_cameras(c, reference).cameras(c)) for k, c in sets.items() if c is not None}
    photos = None if thumbnails is None else thumbnails.detach().cpu().float().clamp(0, 1).numpy()
    distance = float(np.linalg.norm(frusta[main][:, 0], axis=-1).mean())

    portrait = _PORTRAIT * distance * min(1.0, math.sqrt(8 / len(final)))
    beside = photos if initial is None else None
    boxes = [_bounds(projection, frusta, distance) for _, projection in _VIEWPOINTS]
    if beside is not None:
        boxes = [(low - 1.1 * portrait, high + 1.1 * portrait) for low, high in boxes]
    size = np.max([high - low for low, high in boxes], axis=0)  # both panels have one scale
    panel_h = round(_PANEL * size[1] / size[0])
    height = _TITLE + panel_h + _LEGEND
    figure = new_figure(2 * _PANEL, height)
    for k, ((title, projection), (low, high)) in enumerate(zip(_VIEWPOINTS, boxes, strict=True)):
        axes = figure.add_axes((k * 0.5, _LEGEND / height, 0.5, panel_h / height))
        axes.set_axis_off()
        (left, bottom), (right, top) = (low + high - size) / 2, (low + high + size) / 2
        axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
        _draw_ground(axes, projection, distance)
        _draw_cameras(axes, projection, frusta, main, photos)
        apexes = projection(frusta[main][:, 0])[:, :2]
        for view, name in enumerate(names):
            if beside is not None and k == len(_VIEWPOINTS) - 1:
                _draw_portrait(axes, apexes[view], name, beside[view], portrait)
            else:
                _draw_name(axes, apexes[view], name, 0.06 * distance)
        draw_text(figure, k * _PANEL + 32, 36, title, size=18, weight="bold")
    _draw_legend(figure, [style for key, style in _STYLES.items() if key in frusta])
    return rasterized(figure)


def _draw_legend(figure: Figure, styles: Sequence[_Style]) -> None:
    handles = [
        Line2D([], [], color=s.color, linewidth=s.width, linestyle=s.dashes, label=s.label) for s in styles
    ]
    figure.legend(
        handles=handles,
        loc="lower center",
        ncols=len(handles),
        frameon=False,
        fontsize=16,
        labelcolor=INK,
        handlelength=3,
    )


def _frusta(cameras: Cameras) -> np.ndarray:
    """Centre and image-plane corners [V, 5, 3] in the world; corners from the top left, clockwise."""
    cameras = cameras.to("cpu", torch.float64)
    w, h = cameras.width, cameras.height
    f, c = cameras.focal_lengths, cameras.principal_points
    pixels = f.new_tensor([[0, 0], [w, 0], [w, h], [0, h]])
    rays = (pixels - c[:, None]) / f[:, None]  # [V, 4, 2] at depth 1
    distance = cameras.centers.norm(dim=-1).mean()
    plane_width = _PLANE_WIDTH * min(1.0, math.sqrt(8 / len(cameras)))
    depth = (plane_width * distance * f[:, 0] / w).clamp(max=_MAX_DEPTH * float(distance))
    corners = rays.new_ones(len(cameras), 4, 3)
    corners[..., :2] = rays
    world = (corners * depth[:, None, None]) @ cameras.rotations + cameras.centers[:, None]
    return np.concatenate([cameras.centers[:, None].detach().numpy(), world.detach().numpy()], axis=1)


def _bounds(
    projection: _Projection, frusta: dict[str, np.ndarray], distance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Lower left and upper right of everything drawn, with room for names."""
    ring = distance * np.array([[1.0, 0, 0], [0, 0, 1.0], [-1.0, 0, 0], [0, 0, -1.0]])
    points = projection(np.concatenate([ring, *(f.reshape(-1, 3) for f in frusta.values())]))[:, :2]
    return points.min(0) - _ROOM * distance, points.max(0) + _ROOM * distance


def _draw_ground(axes: Axes, projection: _Projection, distance: float) -> None:
    """Rings and spokes in the object's horizontal plane, and a ball for the object."""
    angles = np.linspace(0, 2 * np.pi, 145)
    circle = np.stack([np.sin(angles), 0 * angles, np.cos(angles)], -1)
    lines = [projection(r * distance * circle)[:, :2] for r in (0.5, 1.0)]
    lines += [projection(distance * circle[[k, k + 72]])[:, :2] for k in range(0, 72, 18)]
    axes.add_collection(LineCollection(lines, colors=FAINT, linewidths=1.2, zorder=0))
    axes.add_patch(Circle((0, 0), 0.11 * distance, facecolor="#c3ccd5", edgecolor="none", zorder=0.5))
    axes.text(0, 0, "object", ha="center", va="center", fontsize=13, color=INK, zorder=0.6)


def _draw_cameras(
    axes: Axes,
    projection: _Projection,
    frusta: dict[str, np.ndarray],
    main: str,
    photos: np.ndarray | None,
) -> None:
    """All frusta, far ones first; how far each camera moved; photos and feet with the set `main`."""
    flat = {key: projection(f) for key, f in frusta.items()}
    nearest = max(float(np.abs(f[..., 2]).max()) for f in flat.values())
    for key, corners in flat.items():
        style = _STYLES[key]
        for view, points in enumerate(corners):
            zorder = 10 + 4 * points[0, 2] / nearest + 0.1 * style.layer
            _draw_frustum(axes, points[:, :2], style, zorder)
            if key == main and photos is not None:
                _draw_photo(axes, points[1:, :2], photos[view], zorder - 0.01)
    for view in range(len(flat[main])):
        end = flat[main][view, 0, :2]
        if "initial" in flat:
            start = flat["initial"][view, 0, :2]
            axes.plot(*zip(start, end, strict=True), color=INITIAL, linewidth=1.2, linestyle=":", zorder=9)
        foot = projection(frusta[main][view, 0] * np.array([1.0, 0.0, 1.0]))[:2]
        axes.plot(*zip(end, foot, strict=True), color=MUTED, linewidth=0.8, alpha=0.5, zorder=1)
        axes.plot(*foot, marker="o", markersize=3, color=MUTED, alpha=0.5, zorder=1)


def _draw_frustum(axes: Axes, points: np.ndarray, style: _Style, zorder: float) -> None:
    """One frustum [5, 2]; a wedge on the image's upper edge shows which way is up."""
    apex, corners = points[0], points[1:]
    plane = Polygon(corners, facecolor=style.color, alpha=style.fill, edgecolor="none", zorder=zorder - 0.02)
    axes.add_patch(plane)
    closed = [*corners, corners[0]]
    lines = [np.array(closed), *(np.stack([apex, c]) for c in corners)]
    axes.add_collection(
        LineCollection(
            lines,
            colors=style.color,
            linewidths=style.width,
            linestyles=[style.dashes],
            joinstyle="round",
            capstyle="round",
            zorder=zorder,
        )
    )
    top, left = (corners[0] + corners[1]) / 2, (corners[1] - corners[0]) * 0.16
    tip = top + (corners[0] - corners[3]) * 0.16
    color = style.color if style.dashes == "-" else "none"
    wedge = Polygon([top - left, tip, top + left], facecolor=color, edgecolor=style.color, zorder=zorder)
    axes.add_patch(wedge)


def _draw_photo(axes: Axes, corners: np.ndarray, photo: np.ndarray, zorder: float) -> None:
    """A photo on its image plane, given by corners [4, 2] from the top left, clockwise."""
    top_left, right, down = corners[0], corners[1] - corners[0], corners[3] - corners[0]
    affine = Affine2D(np.column_stack([[*right, 0], [*down, 0], [*top_left, 1]]))
    image = axes.imshow(
        photo, extent=(0, 1, 1, 0), interpolation="antialiased", aspect="equal", zorder=zorder
    )
    image.set_transform(affine + axes.transData)


def _draw_portrait(axes: Axes, apex: np.ndarray, name: str, photo: np.ndarray, side: float) -> None:
    """A photo upright on the far side of its camera from the object, with its name below."""
    outward = apex / max(float(np.linalg.norm(apex)), 1e-9)
    low = apex + 0.75 * side * outward - side / 2
    corners = low + side * np.array([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    _draw_photo(axes, corners, photo, 28)
    axes.add_patch(Polygon(corners, facecolor="none", edgecolor=FAINT, linewidth=1.0, zorder=29))
    x, y = low + side * np.array([0.5, -0.04])
    label = axes.text(x, y, shortened(name, 10), fontsize=14, color=INK, parse_math=False, zorder=30)
    label.set(ha="center", va="top", weight="bold")


def _draw_name(axes: Axes, center: np.ndarray, name: str, offset: float) -> None:
    """A view's name, on the far side of its camera from the object."""
    outward = center / max(float(np.linalg.norm(center)), 1e-9)
    x, y = center + offset * outward
    # A long name beside its camera grows away from it, one above or below stands in the middle.
    align = "center" if abs(outward[0]) < 0.6 else "left" if outward[0] > 0 else "right"
    label = axes.text(x, y, shortened(name, 10), fontsize=14, color=INK, parse_math=False, zorder=30)
    label.set(ha=align, va="center", weight="bold")
    label.set_bbox({"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.5})
