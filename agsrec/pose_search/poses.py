"""Candidate poses: where the object's middle is in each camera, and how the object is turned."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec.lie import so3_exp

__all__ = ["UNKNOWNS", "Poses", "distinct", "rotation_about_z", "turn_to_axis"]

UNKNOWNS = 6
"""Turn about the object's middle (3), its place in the picture (2), its distance (1)."""


@dataclass(frozen=True)
class Poses:
    """C poses.

    Attributes:
        rotations: World to camera [C, 3, 3].
        positions: The object's middle in each camera [C, 3], world units.
    """

    rotations: Tensor
    positions: Tensor

    def __len__(self) -> int:
        return len(self.rotations)

    def __getitem__(self, index: Tensor | slice) -> Poses:
        """The selected poses."""
        return Poses(self.rotations[index], self.positions[index])

    @staticmethod
    def of(viewmats: Tensor, center: Tensor) -> Poses:
        """The poses of world-to-camera matrices [C, 4, 4] for an object whose middle is at `center` [3]."""
        rotations = viewmats[:, :3, :3]
        return Poses(rotations, rotations @ center.to(viewmats) + viewmats[:, :3, 3])

    def viewmats(self, center: Tensor) -> Tensor:
        """World-to-camera matrices [C, 4, 4] for an object whose middle is at `center` [3]."""
        translation = self.positions - self.rotations @ center.to(self.rotations)
        top = torch.cat([self.rotations, translation[..., None]], dim=-1)
        bottom = torch.tensor([0.0, 0.0, 0.0, 1.0]).to(top).expand(len(self), 1, 4)
        return torch.cat([top, bottom], dim=1)

    def moved(self, change: Tensor) -> Poses:
        """The poses changed by [C, 6]: radians, tangents in the picture, logarithm of the distance.

        With these, one unit moves the picture about equally in every component, at any scale of the world.
        """
        x, y, z = self.positions.unbind(-1)
        depth = z * change[:, 5].exp()
        positions = torch.stack([(x / z + change[:, 3]) * depth, (y / z + change[:, 4]) * depth, depth], -1)
        return Poses(so3_exp(change[:, :3]) @ self.rotations, positions)


def rotation_about_z(angles: Tensor) -> Tensor:
    """Rotations [C, 3, 3] about the optical axis by angles [C] in radians."""
    return so3_exp(F.pad(angles[:, None], (2, 0)))


def turn_to_axis(ray: Tensor) -> Tensor:
    """The shortest rotations [..., 3, 3] that take directions [..., 3] in front of the camera onto +z."""
    a, b, c = F.normalize(ray, dim=-1).unbind(-1)
    k = 1 / (1 + c)
    rows = [
        torch.stack([1 - a * a * k, -a * b * k, -a], -1),
        torch.stack([-a * b * k, 1 - b * b * k, -b], -1),
        torch.stack([a, b, c], -1),
    ]
    return torch.stack(rows, dim=-2)


def distinct(rotations: Tensor, apart_deg: float, most: int) -> Tensor:
    """Indices of the first `most` rotations [C, 3, 3] that are no nearer than `apart_deg` to one before."""
    # The trace of a relative rotation is one plus twice the cosine of its angle.
    flat = rotations.flatten(1)
    near = flat @ flat.mT > 1 + 2 * math.cos(math.radians(apart_deg))
    free = torch.ones(len(rotations), dtype=torch.bool)
    kept: list[int] = []
    blocked = near.cpu()
    for index in range(len(rotations)):
        if free[index]:
            kept.append(index)
            if len(kept) == most:
                break
            free &= ~blocked[index]
    return torch.tensor(kept, dtype=torch.long, device=rotations.device)
