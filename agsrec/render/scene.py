"""A scene and cameras, as values, to the rasterizer's tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agsrec.render.rasterize import EPS2D, Render, rasterize

if TYPE_CHECKING:
    from torch import Tensor

    from agsrec.cameras import Cameras
    from agsrec.gaussians import Gaussians

__all__ = ["fitted_blur", "render_scene"]


def fitted_blur(magnification: float) -> float:
    """`eps2d` under which a scene is as fat as in the pictures it was fitted to, pixels^2.

    A fit in the classic mode takes the blur of its own pixels for part of the object. Drawn at another size
    with the same blur in pixels, the object grows or shrinks by some per cent, and what compares it with
    photos there finds it too near or too far. The antialiased mode takes away more than half of that error:
    it keeps the weight of single footprints, not that of an opaque surface of many. This keeps the shape.

    Args:
        magnification: Pixels of the new picture per pixel of those of the fit, along an edge.
    """
    return EPS2D * magnification**2


def render_scene(
    gaussians: Gaussians,
    cameras: Cameras,
    background: Tensor | None = None,
    *,
    fitted_size: float | None = None,
    **options: Any,
) -> Render:
    """Rasterize a scene from cameras.

    Args:
        gaussians: The scene.
        cameras: V cameras.
        background: Colours [V, 3] or [3], black by default.
        fitted_size: Longer side in pixels of the pictures that the scene was fitted to, for pictures of
            another size that are compared with photos; see `fitted_blur`.
        options: As in `agsrec.render.rasterize`.
    """
    if fitted_size is not None:
        options["eps2d"] = fitted_blur(max(cameras.width, cameras.height) / fitted_size)
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
