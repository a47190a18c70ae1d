"""Camera rotations as elevation, azimuth and roll about a gravity-aligned world, +y up."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["angles_from_rotations", "rotations_from_angles", "turned_about_up"]


def rotations_from_angles(elevation: Tensor, azimuth: Tensor, roll: Tensor) -> Tensor:
    """World-to-camera rotations [..., 3, 3] of cameras that look at the origin and are then rolled.

    Args:
        elevation: [...], degrees, positive below the object, as `Cameras.orbit`.
        azimuth: [...], degrees from +z towards +x.
        roll: [...], degrees about the optical axis; the picture turns with a positive roll from +x to +y.
    """
    e, a, r = (angle.deg2rad() for angle in (elevation, azimuth, roll))
    zero = torch.zeros_like(e)
    # OpenCV axes of a camera on the sphere: x to its right, y down, z towards the origin.
    x = torch.stack([a.cos(), zero, -a.sin()], -1)
    z = torch.stack([-e.cos() * a.sin(), e.sin(), -e.cos() * a.cos()], -1)
    y = torch.linalg.cross(z, x, dim=-1)
    c, s = r.cos()[..., None], r.sin()[..., None]
    return torch.stack([c * x - s * y, s * x + c * y, z], -2)


def angles_from_rotations(rotations: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Elevation, azimuth and roll [...] in degrees of world-to-camera rotations [..., 3, 3]."""
    backward = -rotations[..., 2, :]
    elevation = (-backward[..., 1]).clamp(-1, 1).asin().rad2deg()
    azimuth = torch.atan2(backward[..., 0], backward[..., 2]).rad2deg()
    level = rotations_from_angles(elevation, azimuth, torch.zeros_like(azimuth))
    right = (rotations[..., 0, :] * level[..., 0, :]).sum(-1)
    down = (rotations[..., 1, :] * level[..., 0, :]).sum(-1)
    return elevation, azimuth, torch.atan2(down, right).rad2deg()


def turned_about_up(points: Tensor, degrees: Tensor) -> Tensor:
    """Points [..., 3] turned so that azimuth `degrees` [...] comes to azimuth 0."""
    angle = degrees.deg2rad()
    c, s = angle.cos(), angle.sin()
    x, y, z = points.unbind(-1)
    return torch.stack([c * x - s * z, y, s * x + c * z], -1)
