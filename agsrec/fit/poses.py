"""Camera updates: tangent vectors about the object, and focal lengths."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from agsrec.lie import se3_exp

if TYPE_CHECKING:
    from agsrec.cameras import Cameras

__all__ = ["PoseParameters", "moved"]


@dataclass(frozen=True)
class PoseParameters:
    """What the optimiser moves.

    Attributes:
        xi: Tangents [V, 6], translation then rotation, in camera axes about the object's centre: rotating
            a camera about itself would push the object out of the picture, which couples every rotation
            with a translation.
        log_focal: Logarithms [V] of the focal lengths relative to their start.
    """

    xi: Tensor  # [V, 6]
    log_focal: Tensor  # [V]

    @staticmethod
    def zeros(like: Tensor) -> PoseParameters:
        """No change to V cameras; `like` [V, ...] gives dtype and device."""
        return PoseParameters(like.new_zeros(len(like), 6), like.new_zeros(len(like)))


def moved(cameras: Cameras, pivot: Tensor, parameters: PoseParameters) -> Cameras:
    """`exp(xi)` applied on the left of every viewmat about the world point `pivot` [3]."""
    center = cameras.rotations @ pivot + cameras.viewmats[:, :3, 3]  # in each camera
    v, omega = parameters.xi[:, :3], parameters.xi[:, 3:]
    about_camera = torch.cat([v - torch.linalg.cross(omega, center), omega], dim=-1)
    zoom = parameters.log_focal.exp()
    scale = torch.stack([zoom, zoom, torch.ones_like(zoom)], dim=-1)
    # Only the focal lengths scale: the principal point is in the third column.
    Ks = cameras.Ks * torch.stack([scale, scale, torch.ones_like(scale)], dim=-1)
    return replace(cameras, viewmats=se3_exp(about_camera) @ cameras.viewmats, Ks=Ks)
