"""Poses that are refined while a head is trained: a small network that says by how much each is off."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["PoseNetwork", "orthonormalized", "refined"]

Orthonormalisation = Literal["gram-schmidt", "procrustes"]

_WEIGHT = 0.1  # of what the network says, as published


class PoseNetwork(nn.Module):
    """Changes [B, 12] of poses [B, 12], the rows of [R | t] world to camera (ACE0, section 3.3)."""

    def __init__(self, channels: int = 128) -> None:
        super().__init__()
        self.head_skip = nn.Conv2d(12, channels, 1)
        self.conv1 = nn.Conv2d(12, channels, 1)
        self.conv2, self.conv3 = nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 1)
        self.fc1, self.fc2 = nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 1)
        self.fc3 = nn.Conv2d(channels, 12, 1)

    def forward(self, poses: Tensor) -> Tensor:
        """What is to be added to the poses, before it is weighted."""
        given = poses.view(-1, 12, 1, 1)
        x = given
        for layer in (self.conv1, self.conv2, self.conv3):
            x = F.relu(layer(x))
        x = self.head_skip(given) + x
        x = F.relu(self.fc2(F.relu(self.fc1(x))))
        return self.fc3(x).flatten(1)


def refined(
    network: PoseNetwork,
    viewmats: Tensor,
    *,
    weight: float = _WEIGHT,
    way: Orthonormalisation = "gram-schmidt",
) -> Tensor:
    """Poses [V, 3, 4] as the network would have them.

    Args:
        network: Says what to add to them.
        viewmats: World to camera [V, 3, 4] or [V, 4, 4].
        weight: Of what it says.
        way: How the sum becomes a rotation again.
    """
    given = viewmats[:, :3]
    moved = (given.flatten(1) + weight * network(given.flatten(1))).view(-1, 3, 4)
    return torch.cat([orthonormalized(moved[:, :, :3], way), moved[:, :, 3:]], 2)


def orthonormalized(matrices: Tensor, way: Orthonormalisation = "gram-schmidt") -> Tensor:
    """Rotations [V, 3, 3] near matrices [V, 3, 3]: by their first columns, or the nearest ones."""
    if way == "procrustes":
        u, _, vh = torch.linalg.svd(matrices)
        sign = torch.ones_like(matrices[:, 0])
        sign[:, 2] = torch.linalg.det(u @ vh)
        return u @ (sign[:, :, None] * vh)
    first = F.normalize(matrices[:, :, 0], dim=1)
    second = matrices[:, :, 1]
    second = F.normalize(second - (first * second).sum(1, keepdim=True) * first, dim=1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], 2)
