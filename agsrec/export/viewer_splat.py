"""The scene for viewers: with the blur of the fit's pixels in it, and turned as they expect it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from agsrec.render.rasterize import EPS2D

if TYPE_CHECKING:
    from torch import Tensor

    from agsrec.cameras import Cameras
    from agsrec.gaussians import Gaussians

__all__ = ["thickened_for_viewers", "turned_for_viewers"]

_NEAR = 0.01  # nearer than this, the rasterizer draws nothing


def thickened_for_viewers(gaussians: Gaussians, cameras: Cameras, fitted_size: int) -> Gaussians:
    """The scene with the blur of the fit's pixels taken into its Gaussians, for pictures of any size.

    A fit takes the blur of its own pixels for part of the object (`agsrec.render.fitted_blur`). A viewer
    blurs by as much of its own, finer ones: what was smooth falls apart into needles. Therefore every
    covariance grows by an isotropic variance, as by the 3D smoothing filter of Mip-Splatting (Yu et al.
    2024): the blur in world units that the nearest camera saw, which is the smallest.

    At the size of the fit that blurs twice, and the object would grow. So opacities are lowered: a footprint
    weighs there what it did in the fit.

    Args:
        gaussians: The scene as fitted.
        cameras: V cameras that it was fitted from.
        fitted_size: Longer side of the pictures of the fit, pixels.
    """
    cameras = cameras.to(dtype=gaussians.means.dtype)
    blur = EPS2D * _pixel_widths(gaussians.means, cameras, fitted_size)[:, None] ** 2  # [N, 1]
    variances = gaussians.scales**2
    # The footprint is taken to be that from the front, across the shortest axis.
    fitted = variances.sort(dim=1).values[:, 1:] + blur
    lighter = torch.where(blur > 0, fitted / (fitted + blur), 1.0).prod(dim=1).sqrt()
    return replace(
        gaussians,
        log_scales=(variances + blur).log() / 2,
        opacity_logits=torch.logit(gaussians.opacities * lighter),
    )


def _pixel_widths(means: Tensor, cameras: Cameras, fitted_size: int) -> Tensor:
    """Width [N] in world units of the fit's pixels at each Gaussian, for the nearest camera that sees it.

    Where none does, for the nearest that it is ahead of; 0 behind all of them.
    """
    places, depths = cameras.project(means)
    focal = cameras.focal_lengths.mean(1) * fitted_size / max(cameras.width, cameras.height)
    ahead = depths > _NEAR
    inside = (places > 0) & (places < places.new_tensor([cameras.width, cameras.height]))
    widths = depths / focal[:, None]
    best = widths.masked_fill(~(ahead & inside.all(-1)), torch.inf).amin(0)
    other = widths.masked_fill(~ahead, torch.inf).amin(0)
    return torch.where(best.isfinite(), best, torch.where(other.isfinite(), other, 0.0))


def turned_for_viewers(gaussians: Gaussians) -> Gaussians:
    """The scene turned by half a turn about +x, with the constant part of its colours alone.

    Most viewers in browsers take +y for down and know no view-dependent colour.
    """
    w, x, y, z = gaussians.quats.unbind(-1)
    return replace(
        gaussians.with_sh_degree(0),
        means=gaussians.means * torch.tensor([1.0, -1.0, -1.0]).to(gaussians.means),
        quats=torch.stack([-x, w, -z, y], dim=-1),  # (0, 1, 0, 0) times the rotation, wxyz
    )
