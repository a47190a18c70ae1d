"""A scene and cameras, as values, to the rasterizer's tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agsrec.render.rasterize import Render, rasterize

if TYPE_CHECKING:
    from torch import Tensor

    from agsrec.cameras import Cameras
    from agsrec.gaussians import Gaussians

__all__ = ["render_scene"]


def render_scene(
    gaussians: Gaussians, cameras: Cameras, background: Tensor | None = None, **options: Any
) -> Render:
    """Rasterize a scene from cameras; options as in `agsrec.render.rasterize`."""
    return rasterize(
        gaussians.means,
        gaussians.quats,
        gaussians.scales,
        gaussians.opacities,
        gaussians.sh,
        cameras.viewmats,
        cameras.Ks,
        cameras.width,
        cameras.height,
        sh_degree=gaussians.sh_degree,
        backgrounds=background,
        **options,
    )
