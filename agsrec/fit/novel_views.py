"""Cameras for views nobody photographed, for a guidance to judge."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from agsrec.cameras import OBJECT_FILL, Cameras

if TYPE_CHECKING:
    from torch import Tensor

    from agsrec.gaussians import Gaussians

__all__ = ["novel_cameras", "unphotographed", "view_cosines"]

# Public SparseAGS: elevations up to 60 degrees beyond the observed ones, never nearer than 10 to a pole.
_ELEVATION_MARGIN_DEG = 60.0
_ELEVATION_LIMIT_DEG = 80.0


def novel_cameras(
    gaussians: Gaussians, cameras: Cameras, count: int, size: int, generator: torch.Generator
) -> Cameras:
    """`count` random cameras around the object, which is centred and at working size in each.

    Azimuth is uniform, elevation uniform in the observed range widened by 60 degrees, radius the mean of the
    observed ones. Principal point and focal length follow in closed form from the projected means (5 % and
    95 % quantiles of the visible Gaussians, so that strays do not count).
    """
    with torch.no_grad():
        points = gaussians.means[gaussians.opacities > 0.1]
        points = points if len(points) else gaussians.means
        center, still = points.mean(0), torch.eye(3).to(points)
        elevation, _, radius = cameras.transformed(1.0, still, -center).spherical()
        low = max(float(elevation.min()) - _ELEVATION_MARGIN_DEG, -_ELEVATION_LIMIT_DEG)
        high = min(float(elevation.max()) + _ELEVATION_MARGIN_DEG, _ELEVATION_LIMIT_DEG)
        draw = torch.rand(2, count, generator=generator).to(cameras.viewmats)
        Ks = Cameras.intrinsics(torch.full((count,), float(size)).to(cameras.viewmats), size, size)
        novel = Cameras.orbit(
            low + (high - low) * draw[0], 360 * draw[1], radius.mean(), Ks=Ks, width=size, height=size
        )
        novel = novel.transformed(1.0, still, center)
        pixels, _ = novel.project(points)  # [B, N, 2]
        box_low, box_high = _quantile(pixels, 0.05), _quantile(pixels, 0.95)
        # The quantiles span about 0.9 of a filled box.
        zoom = 0.9 * OBJECT_FILL * size / (box_high - box_low).amax(-1).clamp_min(1e-3)  # [B]
        shifted = novel.Ks.clone()
        shifted[:, :2, :2] *= zoom[:, None, None]
        middle = (box_low + box_high) / 2 - novel.principal_points
        shifted[:, :2, 2] = size / 2 - middle * zoom[:, None]
        return replace(novel, Ks=shifted)


def _quantile(values: Tensor, share: float) -> Tensor:
    """Quantiles [B, D] of values [B, N, D] over N, by selection: `Tensor.quantile` sorts, longer."""
    planes, place = values.mT.contiguous(), share * (values.shape[1] - 1)
    low = int(place)
    ends = [planes.kthvalue(min(k, values.shape[1] - 1) + 1, dim=-1).values for k in (low, low + 1)]
    return torch.lerp(ends[0], ends[1], place - low)


def view_cosines(novel: Cameras, photos: Cameras, center: Tensor) -> Tensor:
    """Cosines [B, V] of the angles at the object's centre [3] between novel cameras and photos."""
    directions = [torch.nn.functional.normalize(c.centers - center, dim=-1) for c in (novel, photos)]
    return (directions[0] @ directions[1].mT).clamp(-1, 1)


def unphotographed(
    novel: Cameras, photos: Cameras, center: Tensor, full_angle_deg: float, generator: torch.Generator
) -> list[int]:
    """Those of B novel views that are far from all photos: the farther, the likelier.

    The chance is the square of the angle to the nearest photo over `full_angle_deg`, at most 1. What is done
    for the chosen ones alone has the mean of what is done for all with the chance as its weight, and where
    photos are all around, costs little.
    """
    if full_angle_deg == 0:
        return list(range(len(novel)))
    angles = view_cosines(novel, photos, center).amax(dim=1).acos().rad2deg()
    chance = (angles / full_angle_deg).clamp_max(1).square().cpu()
    return (torch.rand(len(novel), generator=generator) < chance).nonzero().flatten().tolist()
