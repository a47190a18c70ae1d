"""What NoPoSplat says of every pixel, and its way to our Gaussians."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec.errors import ShapeError
from agsrec.gaussians import Gaussians

__all__ = ["SCALE_UNIT", "SplatMaps", "splat_channels"]

SCALE_UNIT = 0.001
"""Standard deviation of a Gaussian per softplus of what the head says."""

_LARGEST_SCALE = 0.3
_SMALLEST_SCALE = 1e-10
_DEGREE_1, _FALLOFF = 0.025, 0.25  # how much less the view-dependent colours count, from degree to degree
_SMALLEST_NORM = 1e-8
_MOST_SH = 16  # of degree 3: the published renderer, too, does not look at those of degree 4


def splat_channels(sh_degree: int) -> int:
    """Channels of a Gaussian beside its centre: opacity, 3 scales, a quaternion, colours."""
    return 8 + 3 * (sh_degree + 1) ** 2


@dataclass(frozen=True)
class SplatMaps:
    """A Gaussian for every pixel of n views of B groups, in the frame of each group's first camera.

    OpenCV axes; the scale is arbitrary, but common to a group.

    Attributes:
        means: Centres [B, n, H, W, 3].
        scales: Standard deviations [B, n, H, W, 3].
        quats: Unit quaternions [B, n, H, W, 4], wxyz.
        opacity_logits: [B, n, H, W].
        sh: Spherical harmonics [B, n, H, W, K, 3], as they are rendered.
    """

    means: Tensor
    scales: Tensor
    quats: Tensor
    opacity_logits: Tensor
    sh: Tensor

    def __post_init__(self) -> None:
        if self.means.ndim != 5 or self.opacity_logits.shape != self.means.shape[:-1]:
            raise ShapeError(
                f"means {tuple(self.means.shape)} and opacity_logits {tuple(self.opacity_logits.shape)} must "
                "be [B, n, H, W, 3] and [B, n, H, W]"
            )

    @staticmethod
    def from_heads(means: Tensor, raw: Tensor) -> SplatMaps:
        """Gaussians from what the heads give out (Ye et al. 2025, published `UnifiedGaussianAdapter`).

        Args:
            means: Centres [B, n, H, W, 3].
            raw: Channels [B, n, C, H, W]: the opacity's logit, 3 scales, a quaternion in the order x y z w,
                and the colours' coefficients, all those of red first.
        """
        raw = raw.movedim(2, -1)
        opacity, scales, xyzw, sh = raw.split([1, 3, 4, raw.shape[-1] - 8], dim=-1)
        xyzw = xyzw / (xyzw.norm(dim=-1, keepdim=True) + _SMALLEST_NORM)
        sh = sh.unflatten(-1, (3, -1)).mT
        return SplatMaps(
            means=means,
            scales=(SCALE_UNIT * F.softplus(scales)).clamp_max(_LARGEST_SCALE),
            quats=xyzw.roll(1, dims=-1),
            opacity_logits=opacity[..., 0],
            sh=sh * _damping(sh.shape[-2]).to(sh)[:, None],
        )

    @property
    def opacities(self) -> Tensor:
        """Opacities [B, n, H, W] in (0, 1)."""
        return self.opacity_logits.sigmoid()

    def gaussians(self, group: int, view: int, mask: Tensor | None = None) -> Gaussians:
        """Those of one view of a group, in its first camera's frame, row by row.

        Args:
            group: Which group.
            view: Which of its views.
            mask: Pixels [H, W] to take, all by default; those that are not finite are left out in any case.
        """
        parts = {name: tensor[group, view] for name, tensor in vars(self).items()}
        pixels = parts["opacity_logits"].shape
        good = torch.ones(pixels, dtype=torch.bool) if mask is None else mask
        good = good.to(parts["means"].device)
        for tensor in parts.values():
            good = good & tensor.isfinite().reshape(*pixels, -1).all(-1)
        kept = {name: tensor[good] for name, tensor in parts.items()}
        return Gaussians(
            means=kept["means"],
            quats=kept["quats"],
            log_scales=kept["scales"].clamp_min(_SMALLEST_SCALE).log(),
            opacity_logits=kept["opacity_logits"],
            sh=kept["sh"][:, :_MOST_SH].contiguous(),
        )


def _damping(count: int) -> Tensor:
    """Factor [K] of each spherical harmonic: 1 of the constant one, and less from degree to degree."""
    degrees = torch.arange(count).sqrt().floor()
    return torch.where(degrees == 0, 1.0, _DEGREE_1 * _FALLOFF ** (degrees - 1))
