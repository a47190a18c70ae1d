"""The CUDA backend: gsplat's `rasterization`, imported on first use."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["rasterize_gsplat"]


def rasterize_gsplat(
    means: Tensor,  # [N, 3]
    quats: Tensor,  # [N, 4] wxyz
    scales: Tensor,  # [N, 3]
    opacities: Tensor,  # [N]
    colors: Tensor,  # [N, 3], or [N, K, 3] SH coefficients
    viewmats: Tensor,  # [V, 4, 4] world to camera
    Ks: Tensor,  # [V, 3, 3] pixels
    width: int,
    height: int,
    *,
    sh_degree: int | None,
    backgrounds: Tensor | None,  # [V, 3]
    near: float,
    far: float,
    eps2d: float,
    antialiased: bool,
    with_depth: bool,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """Rasterize with gsplat; arguments as in `agsrec.render.rasterize`, gradient of Ks included.

    Returns rgb [V, H, W, 3], alpha [V, H, W], expected depth [V, H, W] or None, and radii [V, N] in pixels
    (0 where unseen). gsplat's kernels are float32: other inputs are cast, and their gradients cast back.
    """
    from gsplat import rasterization

    means, quats, scales, opacities, colors, viewmats, Ks = (
        tensor.to(torch.float32) for tensor in (means, quats, scales, opacities, colors, viewmats, Ks)
    )
    if Ks.requires_grad:
        viewmats, Ks = _intrinsics_as_poses(viewmats, Ks)
    image, alpha, meta = rasterization(
        means,
        quats,
        scales,
        opacities,
        colors,
        viewmats,
        Ks,
        width,
        height,
        near_plane=near,
        far_plane=far,
        eps2d=eps2d,
        sh_degree=sh_degree,
        backgrounds=None if backgrounds is None else backgrounds.to(torch.float32),
        render_mode="RGB+ED" if with_depth else "RGB",
        rasterize_mode="antialiased" if antialiased else "classic",
        # Packed results have no [V, N] layout, which the radii promise.
        packed=False,
    )
    radii = meta["radii"].float()  # [V, N, 2], or [V, N] before gsplat 1.5
    depth = image[..., 3] if with_depth else None
    return image[..., :3], alpha[..., 0], depth, radii.amax(-1) if radii.ndim == 3 else radii


def _intrinsics_as_poses(viewmats: Tensor, Ks: Tensor) -> tuple[Tensor, Tensor]:
    """Viewmats that carry the gradient of Ks, and Ks without it; the values do not change.

    gsplat has no gradient to intrinsics, but `K p = K0 (K0^-1 K) p`: a change of K is a change of the camera
    axes by `K0^-1 K`, here the identity.
    """
    fixed = Ks.detach()
    change = torch.eye(4, dtype=Ks.dtype, device=Ks.device).repeat(len(Ks), 1, 1)
    change[:, :3, :3] = torch.linalg.solve(fixed, Ks)
    return change @ viewmats, fixed
