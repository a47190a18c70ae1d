"""Focal length from a point map in its own camera's frame."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from agsrec.errors import OptionError, ShapeError

__all__ = ["estimate_focal", "estimate_intrinsics", "pixel_grid"]

_ITERATIONS = 10
_FARTHEST = 4.0  # times the median distance from the middle ray, that a ray may be off


def pixel_grid(height: int, width: int, device: torch.device | str | None = None) -> Tensor:
    """Pixels [H, W, 2] as (x, y), counted from 0 at the centre of the first one (DUSt3R's convention)."""
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float32, device=device),
        torch.arange(width, dtype=torch.float32, device=device),
        indexing="ij",
    )
    return torch.stack([x, y], dim=-1)


def estimate_focal(
    points: Tensor,  # [..., N, 3]
    pixels: Tensor,  # [..., N, 2]
    weights: Tensor | None = None,  # [..., N]
    *,
    mode: Literal["weiszfeld", "median"] = "weiszfeld",
    limits: tuple[float, float] | None = None,
) -> Tensor:
    """Focal lengths [...] in pixels with which the points fall on their pixels (DUSt3R, section 3.3).

    Args:
        points: In the camera's frame, OpenCV axes; any scale.
        pixels: Relative to the principal point.
        weights: Non-negative importance of each point; 0 leaves it out.
        mode: "weiszfeld" minimises the sum of distances in the image by re-weighted least squares, "median"
            takes the median of the votes of all x and y (then weights only choose which points vote).
        limits: Smallest and largest answer in pixels.

    Raises:
        OptionError: Unknown mode.
        ShapeError: The arrays do not belong together.
    """
    if points.shape[:-1] != pixels.shape[:-1] or points.shape[-1] != 3 or pixels.shape[-1] != 2:
        raise ShapeError(f"points {tuple(points.shape)} and pixels {tuple(pixels.shape)} do not match")
    if weights is None:
        weights = torch.ones_like(points[..., 0])
    if mode == "weiszfeld":
        focal = _weiszfeld(points, pixels, weights)
    elif mode == "median":
        focal = _median(points, pixels, weights)
    else:
        raise OptionError(f"focal mode must be weiszfeld or median, not {mode}")
    return focal if limits is None else focal.clamp(*limits)


def _weiszfeld(points: Tensor, pixels: Tensor, weights: Tensor) -> Tensor:
    rays = (points[..., :2] / points[..., 2:]).nan_to_num(0.0, 0.0, 0.0)
    along = weights * (rays * pixels).sum(-1)
    square = weights * (rays * rays).sum(-1)
    focal = along.sum(-1) / square.sum(-1)
    for _ in range(_ITERATIONS):
        near = 1 / (pixels - focal[..., None, None] * rays).norm(dim=-1).clamp_min(1e-8)
        focal = (near * along).sum(-1) / (near * square).sum(-1)
    return focal


def _median(points: Tensor, pixels: Tensor, weights: Tensor) -> Tensor:
    votes = pixels * points[..., 2:] / points[..., :2]
    votes = torch.where(weights[..., None] > 0, votes, math.nan)
    # All x votes, then all y votes.
    return votes.mT.flatten(-2).nanmedian(dim=-1).values


def estimate_intrinsics(
    points: Tensor,  # [N, 3]
    pixels: Tensor,  # [N, 2]
    weights: Tensor,  # [N]
    focal: Tensor | float | None = None,
) -> tuple[Tensor, Tensor]:
    """Focal length and principal point [2] with which the points fall on their pixels.

    As Weiszfeld's estimate of the focal length, with the principal point free as well: in its own camera's
    frame a point map determines it, where later only a turn of the camera makes up for an error.

    Args:
        points: In the camera's frame.
        pixels: Any origin; the principal point has the same.
        weights: Non-negative; 0 leaves a point out.
        focal: Known focal length; estimated too if not given.
    """
    rays = (points[:, :2] / points[:, 2:]).double()
    sane = rays.isfinite().all(-1) & (points[:, 2] > 0) & (weights > 0)
    # A single point beside the camera would outweigh all others in the first, quadratic round.
    middle = rays[sane].median(0).values if bool(sane.any()) else rays.new_zeros(2)
    spread = (rays - middle).abs().amax(-1)
    sane &= spread <= _FARTHEST * spread[sane].median() if bool(sane.any()) else sane
    rays = torch.where(sane[:, None], rays, 0.0)
    weights = torch.where(sane, weights.double(), 0.0)
    pixels, near = pixels.double(), weights
    found, center = rays.new_zeros(()), rays.new_zeros(2)
    for _ in range(_ITERATIONS + 1):
        w = (near / near.sum().clamp_min(1e-30))[:, None]
        ray_mean, pixel_mean = (w * rays).sum(0), (w * pixels).sum(0)
        a, b = rays - ray_mean, pixels - pixel_mean
        found = (w * a * b).sum() / (w * a * a).sum() if focal is None else rays.new_tensor(float(focal))
        center = pixel_mean - found * ray_mean
        near = weights / (pixels - found * rays - center).norm(dim=-1).clamp_min(1e-8)
    return found.to(points), center.to(points)
