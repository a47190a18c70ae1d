"""The photometric loss (1 - w) L1 + w (1 - SSIM) between rendered and given views.

On the CPU a fused kernel computes value and gradient in one pass: autograd through convolutions would cost
more than rendering. Elsewhere, and for float64, plain torch operations compute the same.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from agsrec.errors import ShapeError
from agsrec.fit.ssim_kernels import C1, C2, RADIUS, gaussian_taps, l1_ssim_planes
from agsrec.render.cpu.threads import parallel_for

__all__ = ["photometric_loss", "photometric_loss_torch"]


def photometric_loss(
    rendered: Tensor,  # [V, H, W, C] in [0, 1]
    target: Tensor,  # [V, H, W, C] in [0, 1]
    *,
    ssim_weight: float = 0.2,
    weight: Tensor | None = None,  # [V]
    gains: Tensor | None = None,  # [V, C]
) -> Tensor:
    """Mean over views of weight_v * ((1 - ssim_weight) * L1_v + ssim_weight * (1 - SSIM_v)); a scalar.

    SSIM uses an 11x11 Gaussian window (sigma 1.5), zero padding and a data range of one. `rendered` is
    multiplied by `gains` first; only these two receive gradients. Views of weight zero still count in the
    mean. Fastest for views of planar memory, as renders are.
    """
    _check_shapes(rendered, target, weight, gains)
    fused = rendered.device.type == "cpu" and rendered.dtype == target.dtype == torch.float32
    if fused and ssim_weight > 0 and rendered.numel() > 0:
        return cast(Tensor, _FusedPhotometric.apply(rendered, target, ssim_weight, weight, gains))
    return photometric_loss_torch(rendered, target, ssim_weight=ssim_weight, weight=weight, gains=gains)


def photometric_loss_torch(
    rendered: Tensor,  # [V, H, W, C]
    target: Tensor,  # [V, H, W, C]
    *,
    ssim_weight: float = 0.2,
    weight: Tensor | None = None,  # [V]
    gains: Tensor | None = None,  # [V, C]
) -> Tensor:
    """`photometric_loss` in plain torch operations: any device, any floating dtype."""
    target = target.detach()
    rendered = rendered if gains is None else rendered * gains[:, None, None]
    per_view = (1 - ssim_weight) * (rendered - target).abs().mean(dim=(1, 2, 3))  # [V]
    if ssim_weight > 0:
        per_view = per_view + ssim_weight * (1 - _ssim_per_view(rendered, target))
    return (per_view if weight is None else per_view * weight.detach().to(per_view)).mean()


def _check_shapes(rendered: Tensor, target: Tensor, weight: Tensor | None, gains: Tensor | None) -> None:
    if rendered.ndim != 4 or rendered.shape != target.shape:
        raise ShapeError(
            f"rendered and target must share one shape [V, H, W, C], got {tuple(rendered.shape)} and "
            f"{tuple(target.shape)}"
        )
    if weight is not None and weight.shape != rendered.shape[:1]:
        raise ShapeError(f"weight must have shape ({rendered.shape[0]},), got {tuple(weight.shape)}")
    of_channels = (rendered.shape[0], rendered.shape[3])
    if gains is not None and gains.shape != of_channels:
        raise ShapeError(f"gains must have shape {of_channels}, got {tuple(gains.shape)}")


def _ssim_per_view(rendered: Tensor, target: Tensor) -> Tensor:
    """Mean SSIM [V] of images [V, H, W, C]."""
    x, y = rendered.permute(0, 3, 1, 2), target.permute(0, 3, 1, 2)
    channels = x.shape[1]
    taps = torch.tensor(gaussian_taps(), dtype=x.dtype, device=x.device).repeat(channels, 1)

    def blur(planes: Tensor) -> Tensor:
        rows = F.conv2d(planes, taps[:, None, None, :], padding=(0, RADIUS), groups=channels)
        return F.conv2d(rows, taps[:, None, :, None], padding=(RADIUS, 0), groups=channels)

    m1, m2 = blur(x), blur(y)
    product, squares = m1 * m2, m1 * m1 + m2 * m2
    covariance = blur(x * y) - product
    variances = blur(x * x + y * y) - squares
    ssim = (2 * product + C1) * (2 * covariance + C2) / ((squares + C1) * (variances + C2))
    return ssim.mean(dim=(1, 2, 3))


class _FusedPhotometric(torch.autograd.Function):
    """Value and gradient in one pass: the backward pass only scales."""

    @staticmethod
    def forward(
        ctx: Any,
        rendered: Tensor,
        target: Tensor,
        ssim_weight: float,
        weight: Tensor | None,
        gains: Tensor | None,
    ) -> Tensor:
        shape = rendered.shape[0], rendered.shape[3]
        view_weights = np.ones(shape[0]) if weight is None else weight.detach().cpu().double().numpy()
        factors = torch.ones(shape) if gains is None else gains.detach().float().contiguous()
        wants_gradient = ctx.needs_input_grad[0] or ctx.needs_input_grad[4]
        loss, *gradients = _fused_loss(rendered, target, factors, ssim_weight, view_weights, wants_gradient)
        if wants_gradient:
            ctx.save_for_backward(*gradients)
        return rendered.new_tensor(loss)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, cotangent: Tensor
    ) -> tuple[Tensor, None, None, None, Tensor | None]:
        gradient, of_gains = ctx.saved_tensors
        return (
            gradient * cotangent,
            None,
            None,
            None,
            of_gains * cotangent if ctx.needs_input_grad[4] else None,
        )


def _planar(images: Tensor) -> np.ndarray:
    """Images [V, H, W, C] as planes [V, C, H, W]."""
    return images.detach().movedim(-1, 1).contiguous().numpy()


def _fused_loss(
    rendered: Tensor,
    target: Tensor,
    gains: Tensor,
    ssim_weight: float,
    view_weights: np.ndarray,
    wants_gradient: bool,
) -> tuple[float, Tensor, Tensor]:
    """Loss, and its gradients to images [V, H, W, C] and gains [V, C] (of no meaning if not wanted)."""
    x, y = _planar(rendered), _planar(target)
    views, channels = x.shape[:2]
    pixels = x[0].size
    sums = np.empty((views, channels, 3))
    gradient = torch.empty(x.shape if wants_gradient else (views, channels, 0, 0))
    scales = view_weights / (views * pixels)  # [V]
    parallel_for(
        l1_ssim_planes,
        views * channels,
        x,
        y,
        gains.numpy(),
        gradient.numpy(),
        wants_gradient,
        ((1 - ssim_weight) * scales).astype(np.float32),
        (-ssim_weight * scales).astype(np.float32),
        sums,
    )
    l1, ssim = sums[..., :2].sum(1).T / pixels  # [V] each
    per_view = (1 - ssim_weight) * l1 + ssim_weight * (1 - ssim)
    loss = float((view_weights * per_view).mean())
    return loss, gradient.movedim(1, -1), torch.from_numpy(sums[..., 2]).float()
