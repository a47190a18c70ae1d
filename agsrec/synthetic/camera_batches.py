"""Random cameras around many objects at once, as `random_views.random_cameras` draws them around one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agsrec.cameras import Cameras
from agsrec.lie import se3_exp
from agsrec.synthetic.random_objects import OBJECT_RADIUS
from agsrec.synthetic.random_views import FRONT_DEG

__all__ = ["Manners", "cropped_intrinsics", "gain_batch", "orbit_batch"]


@dataclass(frozen=True)
class Manners:
    """How B sets of photos are taken; the ranges are those of `random_cameras`."""

    ring: Tensor
    """[B] bool, azimuths all around; otherwise at random."""
    front: Tensor
    """[B] bool, all from one side."""
    elevation_deg: Tensor
    """[B, 2], above the horizon."""
    fov_deg: Tensor
    """[B, 2]"""
    roll_deg: Tensor
    """[B], standard deviation."""
    fill: Tensor
    """[B, 2]"""


def _between(limits: Tensor, views: int, generator: torch.Generator) -> Tensor:  # [B, views]
    """Uniform numbers between limits [B, 2]."""
    share = torch.rand(len(limits), views, generator=generator)
    return limits[:, :1] + (limits[:, 1:] - limits[:, :1]) * share


def orbit_batch(manners: Manners, views: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """World-to-camera matrices of V views of each set, and how each is to be cropped.

    Returns:
        Viewmats [B, V, 4, 4], and [B, V, 3]: the share of the picture that the object fills, and its shift
        from the middle as a share of the slack.
    """
    count = len(manners.roll_deg)
    still = torch.tensor([[0.0, 1.0]]).expand(count, 2)
    turn = _between(still, 1, generator)
    order = torch.rand(count, views, generator=generator).argsort(-1)
    around = 360 * (turn + (order + _between(0.6 * still - 0.3, views, generator)) / views)
    scattered = _between(360 * still, views, generator)
    arc = _between(torch.tensor([FRONT_DEG]).expand(count, 2), 1, generator) / 360
    azimuth = torch.where(manners.front[:, None], scattered[:, :1] + arc * scattered, scattered)
    azimuth = torch.where(manners.ring[:, None], around, azimuth)
    limits = manners.elevation_deg
    middle = _between(limits + torch.tensor([10.0, -10.0]), 1, generator)
    band = middle + _between(30 * still - 15, views, generator)
    band = band.clamp(limits[:, :1], limits[:, 1:])
    above = torch.where(manners.ring[:, None], band, _between(limits, views, generator))
    fov = _between(manners.fov_deg, 1, generator).deg2rad()
    radius = OBJECT_RADIUS / (0.5 * fov).sin() * _between(0.92 + 0.16 * still, views, generator)
    xi = torch.zeros(count * views, 6)
    roll = manners.roll_deg[:, None] * torch.randn(count, views, generator=generator)
    xi[:, 5] = roll.deg2rad().flatten()
    Ks = torch.eye(3).repeat(count * views, 1, 1)
    cameras = Cameras.orbit(-above.flatten(), azimuth.flatten(), radius.flatten(), Ks=Ks, width=1, height=1)
    viewmats = (se3_exp(xi) @ cameras.viewmats).view(count, views, 4, 4)
    shift = 1.6 * torch.rand(count, views, 2, generator=generator) - 0.8
    fill = _between(manners.fill, views, generator)
    return viewmats, torch.cat([fill[..., None], shift], -1)


def cropped_intrinsics(
    vertices: Tensor,  # [B, N, 3]
    viewmats: Tensor,  # [B, V, 4, 4]
    crops: Tensor,  # [B, V, 3]
    size: int,
) -> Tensor:  # [B, V, 3, 3]
    """Intrinsics with which objects fill pictures of `size` pixels as `orbit_batch` wants it."""
    points = vertices[:, None] @ viewmats[..., :3, :3].mT + viewmats[..., None, :3, 3]
    flat = points[..., :2] / points[..., 2:]
    low, high = flat.amin(2), flat.amax(2)  # [B, V, 2]
    fill, shift = crops[..., :1], crops[..., 1:]
    focal = fill * size / (high - low).amax(-1, keepdim=True)
    Ks = torch.zeros(*viewmats.shape[:2], 3, 3, device=viewmats.device)
    Ks[..., 0, 0] = Ks[..., 1, 1] = focal[..., 0]
    slack = 0.5 * (1 - fill).abs() * size
    Ks[..., :2, 2] = 0.5 * size - focal * 0.5 * (low + high) + shift * slack
    Ks[..., 2, 2] = 1.0
    return Ks


def gain_batch(sigma: Tensor, views: int, generator: torch.Generator) -> Tensor:  # [B, V, 3]
    """Exposure and a weaker white balance error per view, of strength sigma [B]; see `random_gains`."""
    exposure = torch.randn(len(sigma), views, 1, generator=generator)
    balance = torch.randn(len(sigma), views, 3, generator=generator)
    return (sigma[:, None, None] * (exposure + 0.3 * balance)).exp()
