"""Neural volumes, and how they are looked at.

The volume is a cube around the world's origin, in the axes of an OpenCV camera: its last dimension grows to
the right, the one before downwards, the first away from the first view. Densities are opacities of samples
(PyTorch3D's emission-absorption ray marcher), not densities per length.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec.radiance.integral import camera_rays, composited, pixel_middles

__all__ = ["LeapVolume", "VolumeRenderer", "march"]


@dataclass(frozen=True)
class LeapVolume:
    """One object's volume.

    Attributes:
        features: [C, D, D, D].
        densities: [1, D, D, D] in [0, 1).
        size: Edge, world units.
        spacing: Distance between samples for which the densities are meant, world units.
    """

    features: Tensor
    densities: Tensor
    size: float
    spacing: float

    def points(self) -> Tensor:
        """Middles of all voxels [D, D, D, 3], world units, x right, y down, z away."""
        count = self.densities.shape[-1]
        ticks = (torch.arange(count).to(self.densities) - (count - 1) / 2) * (self.size / count)
        z, y, x = torch.meshgrid(ticks, ticks, ticks, indexing="ij")
        return torch.stack([x, y, z], dim=-1)


def march(
    features: Tensor,  # [B or 1, C, D, D, D]
    densities: Tensor,  # [B or 1, 1, D, D, D]
    size: float,
    viewmats: Tensor,  # [B, 4, 4]
    Ks: Tensor,  # [B, 3, 3]
    width: int,
    height: int,
    depths: Tensor,  # [S] or [B, S]
) -> tuple[Tensor, Tensor]:
    """Composited features [B, C, H, W] and opacity [B, 1, H, W] of volumes seen by one camera each.

    One volume may be seen by all B cameras; it is not copied.

    Args:
        features: What is composited.
        densities: Opacity of a sample.
        size: Edge of the volume, world units.
        viewmats: World-to-camera.
        Ks: Intrinsics in pixels of the picture.
        width: Of the picture.
        height: Of the picture.
        depths: Of the samples along the optical axis, world units, ascending.
    """
    batch, channels, count = len(viewmats), features.shape[1], features.shape[-1]
    origins, rays = camera_rays(viewmats, Ks, pixel_middles(width, height, features))
    depths = depths.expand(batch, depths.shape[-1])
    points = origins[:, None, None, None] + rays[:, None] * depths[:, :, None, None, None]  # [B, S, H, W, 3]
    place = points * (2 / ((count - 1) * (size / count)))
    volume = torch.cat([features, densities], dim=1)
    if len(volume) == batch:
        values = F.grid_sample(volume, place, align_corners=True)
    else:
        # All cameras' samples as those of one picture that is B times as deep.
        values = F.grid_sample(volume, place.flatten(0, 1)[None], align_corners=True)
        values = values[0].unflatten(1, place.shape[:2]).movedim(1, 0)
    return composited(values[:, :channels], values[:, channels:], dim=2)


class VolumeRenderer:
    """A volume with plain colours as a scene for `agsrec.pose_search`.

    Args:
        volume: Its densities.
        colors: RGB [3, D, D, D] in [0, 1].
        samples: Samples of a ray through the whole object. Opacities are adapted to their spacing.
    """

    def __init__(self, volume: LeapVolume, colors: Tensor, *, samples: int = 40) -> None:
        self._size = volume.size
        self._colors = colors
        dense = volume.densities[0] > 0.1
        points = volume.points()[dense] if dense.any() else volume.points().reshape(-1, 3)
        weight = volume.densities[0][dense] if dense.any() else torch.ones(len(points)).to(points)
        self.center = (points * weight[:, None]).sum(0) / weight.sum()
        self.radius = float((points - self.center).norm(dim=-1).quantile(0.98)) + volume.size / len(dense)
        offsets = torch.linspace(-self.radius, self.radius, samples).to(points)
        self._offsets = offsets
        ratio = float(offsets[1] - offsets[0]) / volume.spacing
        self._densities = 1 - (1 - volume.densities.clamp(0, 1 - 1e-5)) ** ratio

    def __call__(self, viewmats: Tensor, K: Tensor, size: int) -> Tensor:
        """See `agsrec.pose_search.PoseRenderer`."""
        count = len(viewmats)
        depth = (viewmats[:, :3, :3] @ self.center)[:, 2] + viewmats[:, 2, 3]
        depths = (depth[:, None] + self._offsets).clamp_min(1e-3)
        rgb, alpha = march(
            self._colors[None],
            self._densities[None],
            self._size,
            viewmats,
            K.expand(count, 3, 3),
            size,
            size,
            depths,
        )
        return torch.cat([rgb, alpha], dim=1).movedim(1, -1)
