"""The cameras around the object as a plot one can turn: plain values in the JSON layout of Plotly figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from agsrec.cameras import Cameras
from agsrec.figures.canvas import FINAL, INITIAL
from agsrec.metrics.poses import align_cameras

if TYPE_CHECKING:
    from agsrec.gaussians import Gaussians

__all__ = ["camera_plot"]

_MARKED = "#d63a3a"
_DEPTH = 0.16  # of the mean camera distance: apex to image plane
_POINTS = 2500
_SOLID = 0.3  # opacity from which a Gaussian counts as surface
_DIGITS = 4


def camera_plot(
    initial: Cameras,
    final: Cameras,
    names: Sequence[str],
    gaussians: Gaussians,
    marked: Sequence[str] = (),
) -> dict[str, Any]:
    """Object as points, cameras as given and as refined, V of each, with their names.

    Args:
        initial: Cameras as given; drawn in the world of the final ones.
        final: Cameras of the result.
        names: View names.
        gaussians: The scene; its opaque centres are drawn in their colours.
        marked: Names of views to draw in red.
    """
    if len(names) > 1:
        initial = align_cameras(initial, final).cameras(initial)
    plain = [k for k, name in enumerate(names) if name not in marked]
    red = [k for k, name in enumerate(names) if name in marked]
    data = [_points(gaussians), _frusta(initial, range(len(names)), "as given", INITIAL, width=2)]
    data.append(_frusta(final, plain, "after the fit", FINAL, width=4))
    if red:
        data.append(_frusta(final, red, "posed anew", _MARKED, width=5))
    data.append(_labels(final, names))
    hidden = {"visible": False, "showspikes": False}
    scene = {
        "xaxis": hidden,
        "yaxis": hidden,
        "zaxis": hidden,
        "aspectmode": "data",
        "dragmode": "orbit",
        "camera": {"up": {"x": 0, "y": 1, "z": 0}, "eye": {"x": 0.9, "y": 0.7, "z": 1.1}},
    }
    layout = {
        "scene": scene,
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "height": 460,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "#808b96", "family": "system-ui, sans-serif"},
        "legend": {"orientation": "h", "x": 0, "y": 1, "bgcolor": "rgba(0,0,0,0)"},
        "uirevision": "kept",
    }
    return {"data": data, "layout": layout}


def _points(gaussians: Gaussians) -> dict[str, Any]:
    """Some opaque Gaussians, evenly chosen."""
    solid = gaussians[gaussians.opacities > _SOLID]
    solid = solid if len(solid) else gaussians
    chosen = solid[torch.linspace(0, max(0, len(solid) - 1), min(_POINTS, len(solid))).long()]
    colors = (chosen.base_colors.clamp(0, 1) * 255).round().int().tolist()
    marker = {"size": 2.5, "color": [f"rgb({r},{g},{b})" for r, g, b in colors]}
    return _trace(chosen.means, "object", mode="markers", marker=marker)


def _frusta(
    cameras: Cameras, chosen: Sequence[int] | range, label: str, color: str, width: int
) -> dict[str, Any]:
    """One broken line through apex and image plane of every chosen camera, upper edge doubled by a wedge."""
    depth = _DEPTH * float(cameras.centers.norm(dim=-1).mean())
    lines = []
    for k in chosen:
        apex, (a, b, c, d), top = _frustum(cameras, k, depth)
        gap = torch.full((3,), torch.nan, dtype=apex.dtype)
        lines += [apex, a, b, apex, gap, apex, c, d, apex, gap, b, c, gap, d, a, gap, a, top, b, gap]
    points = torch.stack(lines) if lines else torch.empty(0, 3)
    return _trace(points, label, mode="lines", line={"color": color, "width": width})


def _frustum(cameras: Cameras, k: int, depth: float) -> tuple[Tensor, Tensor, Tensor]:
    """Apex [3], corners [4, 3] of the image plane from its upper left clockwise, and a point above it [3]."""
    w, h = cameras.width, cameras.height
    pixels = torch.tensor([[0, 0], [w, 0], [w, h], [0, h], [w / 2, -h / 6]]).to(cameras.Ks)
    rays = torch.cat([pixels, torch.ones_like(pixels[:, :1])], dim=1) @ cameras.Ks[k].inverse().mT
    c2w = cameras.c2w[k]
    world = (rays * depth) @ c2w[:3, :3].mT + c2w[:3, 3]
    return c2w[:3, 3], world[:4], world[4]


def _labels(cameras: Cameras, names: Sequence[str]) -> dict[str, Any]:
    """The names, a little outside of the cameras."""
    trace = _trace(cameras.centers * 1.08, "names", mode="text")
    return trace | {"text": list(names), "showlegend": False}


def _trace(points: Tensor, label: str, **more: Any) -> dict[str, Any]:
    """Points [N, 3] as a trace; not-a-number breaks lines."""
    rows = points.double().tolist()
    x, y, z = ([None if v != v else round(v, _DIGITS) for v in (row[i] for row in rows)] for i in range(3))
    return {"type": "scatter3d", "name": label, "x": x, "y": y, "z": z, "hoverinfo": "skip"} | more
