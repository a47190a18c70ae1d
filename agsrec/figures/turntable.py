"""The turntable video of a result: the scene, and the mesh beside it where there is one."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from agsrec.figures.canvas import MUTED, draw_text, new_figure, rasterized
from agsrec.figures.video import framed, orbit_cameras, write_turntable
from agsrec.metrics.evaluation import rendered_on_white

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.gaussians import Gaussians
    from agsrec.mesh import TexturedMesh

__all__ = ["save_turntable", "side_by_side"]

# The turntable frames what is opaque, without the outermost strays along each axis.
_SOLID, _STRAYS = 0.3, 0.005
_HEADING = 28  # pixels above a pair of pictures


def save_turntable(
    path: Path, gaussians: Gaussians, cameras: Cameras, mesh: TexturedMesh | None = None
) -> None:
    """Write a full turn about the object, wherever it stands in the world: splat left, mesh right.

    Args:
        path: File to write, `.mp4`.
        gaussians: The scene.
        cameras: The photos' cameras; the video has their picture size, and starts at the first one's side.
        mesh: Shown beside the scene, if there is one.

    Raises:
        OutputError: The file cannot be written.
    """

    def pictures(some: Cameras) -> Tensor:
        splat = rendered_on_white(gaussians, some)
        return splat if mesh is None else side_by_side(splat, mesh, some)

    write_turntable(path, pictures, _orbit(gaussians, cameras))


def side_by_side(splat: Tensor, mesh: TexturedMesh, cameras: Cameras) -> Tensor:
    """Pictures [V, 28 + H, 2 W, 3] of the scene [V, H, W, 3] and of the mesh, with a heading each."""
    from agsrec.mesh.textured import render_mesh

    rgba = render_mesh(mesh, cameras)
    pair = torch.cat([splat, rgba[..., :3] + 1 - rgba[..., 3:]], dim=2)
    heading = _heading(cameras.width).expand(len(cameras), -1, -1, -1)
    return torch.cat([heading, pair], dim=1)


@lru_cache(maxsize=1)
def _heading(width: int) -> Tensor:
    """The words above two pictures of that width [1, 28, 2 * width, 3]."""
    figure = new_figure(2 * width, _HEADING)
    for k, word in enumerate(("splat", "mesh")):
        draw_text(figure, (k + 0.5) * width, _HEADING / 2, word, size=14, color=MUTED, align="center")
    return torch.from_numpy(rasterized(figure)).float()[None] / 255


def _orbit(gaussians: Gaussians, cameras: Cameras) -> Cameras:
    """One camera per frame."""
    means = gaussians.means
    solid = means[gaussians.opacities > _SOLID] if len(means) else means
    points = solid if len(solid) else means
    low, high = points.quantile(_STRAYS, dim=0), points.quantile(1 - _STRAYS, dim=0)
    center, eye = (low + high) / 2, torch.eye(3)
    centered = cameras.transformed(1.0, eye, -center)
    orbit = orbit_cameras(centered).transformed(1.0, eye, center)
    corners = torch.cartesian_prod(*torch.stack([low, high], dim=1))
    return framed(orbit, corners)
