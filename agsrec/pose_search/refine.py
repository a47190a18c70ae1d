"""Candidates against the photo, step by step: damped Gauss-Newton on picture differences.

The derivatives are differences of renders a pixel apart. Six unknowns need twelve pictures, which a
forward-only renderer makes faster than backpropagation makes one gradient step, and steps of Gauss-Newton are
worth many of plain gradients. A step of one pixel also smooths: finer structure than a pixel does not trap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from agsrec.pose_search.coarse import features
from agsrec.pose_search.poses import UNKNOWNS, Poses

if TYPE_CHECKING:
    from agsrec.pose_search.config import SearchConfig
    from agsrec.pose_search.photo import CentredPhoto
    from agsrec.pose_search.renderers import PoseRenderer

__all__ = ["Comparison", "refined"]

_DAMPING_RANGE = (1e-5, 1e3)
_LARGEST_STEP = 0.35  # radians, tangents or logarithms


@dataclass(frozen=True)
class Comparison:
    """The photo at one size, to be compared with renders.

    Attributes:
        render: The scene.
        center_K: Intrinsics [3, 3] of the picture.
        target: Features of the photo [S, S, 4].
        mask: Its opacity [S, S].
        known: Where it tells what there is [S, S], 0 or 1.
        mean_color: Its mean colour [3].
        config: Weights and batch size.
    """

    render: PoseRenderer
    center_K: Tensor
    target: Tensor
    mask: Tensor
    known: Tensor
    mean_color: Tensor
    config: SearchConfig

    @staticmethod
    def at(render: PoseRenderer, photo: CentredPhoto, size: int, config: SearchConfig) -> Comparison:
        """The comparison at a size in pixels."""
        picture = photo.at(size)
        mean = picture[..., :3].sum((0, 1)) / picture[..., 3].sum().clamp_min(1e-6)
        target = features(picture, mean, config.color_weight)
        known = photo.known_at(size)
        return Comparison(render, photo.K(size), target, picture[..., 3], known, mean, config)

    @property
    def size(self) -> int:
        """Edge of the picture, pixels."""
        return len(self.mask)

    @property
    def pixel(self) -> float:
        """Tangent of one pixel."""
        return 1 / float(self.center_K[0, 0])

    def pictures(self, poses: Poses) -> Tensor:
        """Renders [C, S, S, 4]."""
        viewmats = poses.viewmats(self.render.center)
        parts = viewmats.split(self.config.batch)
        return torch.cat([self.render(part, self.center_K, self.size) for part in parts])

    def residuals(self, poses: Poses) -> Tensor:
        """Differences [C, S * S * 4] from the photo; their squares add up to the loss."""
        shown = features(self.pictures(poses), self.mean_color, self.config.color_weight)
        different = (shown - self.target) * self.known[..., None]
        return different.flatten(1) / math.sqrt(float(self.mask.sum().clamp_min(1e-6)))

    def losses(self, poses: Poses) -> Tensor:
        """Squared differences [C] per pixel of the object."""
        return self.residuals(poses).square().sum(1)

    def overlaps(self, poses: Poses) -> Tensor:
        """Intersection over union [C] of rendered and given silhouettes."""
        alpha = self.pictures(poses)[..., 3]
        alpha, mask = alpha * self.known, self.mask * self.known
        both, either = torch.minimum(alpha, mask), torch.maximum(alpha, mask)
        return both.sum((1, 2)) / either.sum((1, 2)).clamp_min(1e-6)


def refined(comparison: Comparison, poses: Poses, steps: int) -> tuple[Poses, Tensor]:
    """The poses after some steps, and their losses [C]. No pose gets worse."""
    residual = comparison.residuals(poses)
    loss = residual.square().sum(1)
    damping = torch.full_like(loss, comparison.config.damping)
    for _ in range(steps):
        jacobian = _jacobian(comparison, poses)  # [C, 6, M]
        change = _step(jacobian, residual, damping)
        tried = poses.moved(change)
        new = comparison.residuals(tried)
        new_loss = new.square().sum(1)
        better = new_loss < loss
        poses = Poses(
            torch.where(better[:, None, None], tried.rotations, poses.rotations),
            torch.where(better[:, None], tried.positions, poses.positions),
        )
        residual = torch.where(better[:, None], new, residual)
        loss = torch.where(better, new_loss, loss)
        damping = torch.where(better, damping / 4, damping * 8).clamp(*_DAMPING_RANGE)
    return poses, loss


def _jacobian(comparison: Comparison, poses: Poses) -> Tensor:
    """Derivatives [C, 6, M] of the residuals, from renders one pixel to either side."""
    count, like = len(poses), poses.positions
    radius = torch.full((count,), comparison.render.radius).to(like)
    # A turn by this angle, or a change of distance by this share, moves the object's rim by a pixel.
    rim = comparison.pixel * (like[:, 2] / radius).clamp_min(1.0)
    widths = torch.stack([rim] * 3 + [torch.full_like(rim, comparison.pixel)] * 2 + [rim], dim=-1)
    offsets = torch.diag_embed(widths)  # [C, 6, 6]
    both = torch.stack([offsets, -offsets], dim=1).reshape(-1, UNKNOWNS)  # [C * 2 * 6, 6]
    index = torch.arange(count, device=like.device).repeat_interleave(2 * UNKNOWNS)
    values = comparison.residuals(poses[index].moved(both)).reshape(count, 2, UNKNOWNS, -1)
    return (values[:, 0] - values[:, 1]) / (2 * widths[..., None])


def _step(jacobian: Tensor, residual: Tensor, damping: Tensor) -> Tensor:
    """The damped Gauss-Newton step [C, 6] (Levenberg-Marquardt, Marquardt's scaling)."""
    normal = jacobian @ jacobian.mT
    gradient = (jacobian @ residual[..., None])[..., 0]
    scale = normal.diagonal(dim1=1, dim2=2)
    # Nothing seen moves with an unknown: the floor keeps the system solvable and the step zero.
    floor = 1e-6 * scale.amax(1, keepdim=True) + 1e-12
    lhs = normal + torch.diag_embed(scale * damping[:, None] + floor)
    step = -torch.linalg.solve(lhs.double(), gradient.double()).to(gradient)
    return step * (_LARGEST_STEP / step.abs().amax(1, keepdim=True).clamp_min(_LARGEST_STEP))
