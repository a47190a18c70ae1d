"""`rasterize`: images of 3D Gaussians from V cameras at once, on the CPU or with gsplat on CUDA."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from agsrec.errors import DeviceError, OptionError, ShapeError

__all__ = ["BACKENDS", "EPS2D", "RasterizeMode", "RasterizerBackend", "Render", "RenderMode", "rasterize"]

RenderMode = Literal["RGB", "RGB+ED"]
RasterizeMode = Literal["classic", "antialiased"]


@dataclass(frozen=True)
class RasterizerBackend:
    """Where a backend is, imported on first use. Arguments and results are those of `rasterize_gsplat`.

    Attributes:
        module: Module in `agsrec.render`.
        function: Name of the function in it.
        device: Type of the devices whose tensors it takes, and for which it is the default.
    """

    module: str
    function: str
    device: Literal["cpu", "cuda"]


BACKENDS = {
    "cpu": RasterizerBackend("cpu.rasterize", "rasterize_cpu", "cpu"),
    "gsplat": RasterizerBackend("gsplat_backend", "rasterize_gsplat", "cuda"),
}
"""All backends by name; the first for a device is its default."""

EPS2D = 0.3
"""Blur added to every projected Gaussian by default, pixels^2."""


@dataclass(frozen=True)
class Render:
    """Rendered images.

    Attributes:
        rgb: Colours [V, H, W, 3], over the background.
        alpha: Opacity [V, H, W].
        depth: Expected depth [V, H, W] in world units (0 where nothing is drawn), with render mode "RGB+ED".
        radii: Largest extent [V, N] of each Gaussian in pixels, 0 where it is not seen.
    """

    rgb: Tensor  # [V, H, W, 3]
    alpha: Tensor  # [V, H, W]
    depth: Tensor | None  # [V, H, W]
    radii: Tensor  # [V, N]


def rasterize(
    means: Tensor,  # [N, 3]
    quats: Tensor,  # [N, 4]
    scales: Tensor,  # [N, 3]
    opacities: Tensor,  # [N]
    colors: Tensor,  # [N, 3] or [N, K, 3]
    viewmats: Tensor,  # [V, 4, 4]
    Ks: Tensor,  # [V, 3, 3]
    width: int,
    height: int,
    *,
    sh_degree: int | None = None,
    backgrounds: Tensor | None = None,  # [V, 3] or [3]
    near: float = 0.01,
    far: float = 1e10,
    eps2d: float = EPS2D,
    render_mode: RenderMode = "RGB+ED",
    rasterize_mode: RasterizeMode = "classic",
    backend: str = "auto",
) -> Render:
    """Render N Gaussians from V cameras; differentiable in every tensor argument.

    Semantics are gsplat's (3D Gaussian Splatting, Kerbl et al. 2023): perspective EWA projection, `eps2d`
    pixels^2 added to the 2D covariance, contributions below 1/255 skipped, alpha capped at 0.999, a pixel
    finished when its transmittance would fall to 1e-4, pixel centres at +0.5.

    The blur of `eps2d` makes everything fatter, the more the smaller the picture. That is what "classic"
    draws and viewers expect; "antialiased" multiplies each opacity by sqrt(det / det blurred) of the
    footprint, so that its weight stays the same at any size (Mip-Splatting, Yu et al. 2024, 2D Mip filter).

    Args:
        means: Centres, world units.
        quats: Rotations wxyz, normalised inside.
        scales: Standard deviations, world units.
        opacities: In [0, 1].
        colors: RGB, or with `sh_degree` spherical harmonics coefficients with K >= (sh_degree + 1)^2.
        viewmats: World-to-camera, OpenCV axes.
        Ks: Intrinsics in pixels, zero skew.
        width: Image width in pixels.
        height: Image height in pixels.
        sh_degree: Degree in use, 0 to 3, or None for plain colours.
        backgrounds: Background colours, black by default.
        near: Gaussians nearer than this are not drawn.
        far: Gaussians farther than this are not drawn.
        eps2d: Blur added to every projected Gaussian, pixels^2.
        render_mode: "RGB+ED" renders expected depth too.
        rasterize_mode: Whether opacities make up for the blur.
        backend: One of `BACKENDS`; "auto" takes gsplat for CUDA tensors and the CPU kernels otherwise.

    Raises:
        ShapeError: An argument has the wrong shape.
        DeviceError: The backend cannot run where the tensors are.
    """
    _check_shapes(means, quats, scales, opacities, colors, viewmats, Ks, sh_degree)
    if width < 1 or height < 1:
        raise ShapeError(f"image size must be positive, not {width}x{height}")
    if render_mode not in ("RGB", "RGB+ED"):
        raise OptionError(f"render_mode must be 'RGB' or 'RGB+ED', not {render_mode!r}")
    if rasterize_mode not in ("classic", "antialiased"):
        raise OptionError(f"rasterize_mode must be 'classic' or 'antialiased', not {rasterize_mode!r}")
    backgrounds = _backgrounds(backgrounds, viewmats)
    rgb, alpha, depth, radii = _implementation(backend, means.device)(
        means,
        quats,
        scales,
        opacities,
        colors,
        viewmats,
        Ks,
        width,
        height,
        sh_degree=sh_degree,
        backgrounds=backgrounds,
        near=near,
        far=far,
        eps2d=eps2d,
        antialiased=rasterize_mode == "antialiased",
        with_depth=render_mode == "RGB+ED",
    )
    return Render(rgb, alpha, depth, radii)


def _implementation(name: str, device: torch.device) -> Callable[..., Any]:
    """The function of a backend, or of the one for a device.

    Raises:
        OptionError: There is no such backend.
        DeviceError: It cannot run there.
    """
    if name == "auto":
        name = next((n for n, b in BACKENDS.items() if b.device == device.type), "cpu")
    if name not in BACKENDS:
        raise OptionError(f"backend must be 'auto', {' or '.join(map(repr, BACKENDS))}, not {name!r}")
    backend = BACKENDS[name]
    if backend.device != device.type:
        where = {"cpu": "the CPU; move them with .to('cpu') or", "cuda": "a CUDA device;"}
        raise DeviceError(f"backend {name!r} needs tensors on {where[backend.device]} use backend='auto'")
    return getattr(importlib.import_module(f"agsrec.render.{backend.module}"), backend.function)


def _check(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise ShapeError(f"{name} must be {list(shape)}, not {list(tensor.shape)}")


def _check_shapes(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    sh_degree: int | None,
) -> None:
    n, v = len(means), len(viewmats)
    _check("means", means, (n, 3))
    _check("quats", quats, (n, 4))
    _check("scales", scales, (n, 3))
    _check("opacities", opacities, (n,))
    _check("viewmats", viewmats, (v, 4, 4))
    _check("Ks", Ks, (v, 3, 3))
    if sh_degree is None:
        _check("colors", colors, (n, 3))
    elif sh_degree not in (0, 1, 2, 3):
        raise ShapeError(f"sh_degree must be 0 to 3, not {sh_degree}")
    elif colors.ndim != 3 or colors.shape[1] < (sh_degree + 1) ** 2:
        raise ShapeError(
            f"colors must be [{n}, K >= {(sh_degree + 1) ** 2}, 3] for degree {sh_degree}, "
            f"not {list(colors.shape)}"
        )
    else:
        _check("colors", colors, (n, colors.shape[1], 3))


def _backgrounds(backgrounds: Tensor | None, viewmats: Tensor) -> Tensor:
    v = len(viewmats)
    if backgrounds is None:
        return torch.zeros(v, 3, dtype=viewmats.dtype, device=viewmats.device)
    if backgrounds.ndim == 1:
        backgrounds = backgrounds.expand(v, -1)
    _check("backgrounds", backgrounds, (v, 3))
    return backgrounds
