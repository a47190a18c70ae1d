"""How badly a scene explains each of its photos, over the object alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec.fit.target import Target
from agsrec.metrics.images import lpips_score
from agsrec.render import render_scene

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.gaussians import Gaussians
    from agsrec.metrics.images import PerceptualModel
    from agsrec.views import Views

__all__ = ["structural_error", "view_errors"]

_SCALES = 3
_WINDOW = 5  # pixels
_C1, _C2 = 0.01**2, 0.03**2  # Wang et al. 2004
_STRUCTURE = 0.5  # Weight of the structural against the photometric part.
_PERCEPTION = 1.0
_LPIPS_MIN_SIZE = 64


@torch.no_grad()
def view_errors(
    views: Views,
    gaussians: Gaussians,
    cameras: Cameras,
    size: int,
    *,
    fitted_size: float | None = None,
    lpips: PerceptualModel | None = None,
) -> Tensor:
    """Error [V] of a scene against each photo: absolute colour difference per object pixel, plus structure.

    Sums over the picture are divided by the object's area, so that neither its size in the picture nor the
    empty rest counts. Both are over mid-grey, so that a silhouette's error costs a bright object as much as a
    dark one.

    Args:
        views: V cut-out photos.
        gaussians: The scene.
        cameras: V cameras, in pixels of the photos.
        size: Edge of the pictures to compare, pixels.
        fitted_size: That of the pictures that the scene was fitted to, where it is another; see
            `agsrec.render.fitted_blur`.
        lpips: Perceptual model, if there is one; it joins in from 64 pixels on.
    """
    target = Target.at(views, size)
    height, width = target.alpha.shape[1:]
    grey = torch.full((len(views), 3), 0.5).to(target.rgb)
    seen = cameras.resized(width, height)
    rendered = render_scene(gaussians, seen, grey, fitted_size=fitted_size, render_mode="RGB")
    wanted = target.over(grey)
    area = target.alpha.sum((1, 2)).clamp_min(1.0)
    color = (rendered.rgb - wanted).abs().mean(-1).sum((1, 2)) / area
    either = torch.maximum(rendered.alpha, target.alpha)
    errors = color + _STRUCTURE * structural_error(rendered.rgb, wanted, either)
    if lpips is not None and min(height, width) >= _LPIPS_MIN_SIZE:
        errors = errors + _PERCEPTION * lpips_score(lpips, rendered.rgb, wanted).to(errors)
    return errors.cpu()


def structural_error(
    images: Tensor,  # [V, H, W, 3]
    truth: Tensor,  # [V, H, W, 3]
    weights: Tensor,  # [V, H, W]
) -> Tensor:
    """Weighted mean [V] of (1 - SSIM) / 2 over three scales, each half as fine as the one before."""
    a, b, w = images.movedim(-1, 1), truth.movedim(-1, 1), weights[:, None]
    total = torch.zeros(len(images)).to(images)
    for scale in range(_SCALES):
        if scale:
            a, b, w = (F.avg_pool2d(x, 2) for x in (a, b, w))
        unlike = (1 - _ssim_map(a, b).mean(1, keepdim=True)) / 2
        total = total + (unlike * w).sum((1, 2, 3)) / w.sum((1, 2, 3)).clamp_min(1e-6)
    return total / _SCALES


def _ssim_map(a: Tensor, b: Tensor) -> Tensor:
    """SSIM [V, 3, H, W] with a box window; pixels beyond the border do not count."""

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, _WINDOW, stride=1, padding=_WINDOW // 2, count_include_pad=False)

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = (mean(x * x) - m * m for x, m in ((a, mean_a), (b, mean_b)))
    covariance = mean(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    return luminance * (2 * covariance + _C2) / (var_a.clamp_min(0) + var_b.clamp_min(0) + _C2)
