"""How wrong scene coordinates are: ACE's robust reprojection loss, and what it does with impossible ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

__all__ = ["CoordinateLoss", "LossKind", "ReprojectionLoss", "Step", "coordinate_loss", "reprojected"]

LossKind = Literal["tanh", "dyntanh", "l1", "l1+sqrt", "l1+logl1"]


@dataclass(frozen=True)
class ReprojectionLoss:
    """The sum over pixels of a robust function of reprojection errors (ACE, equations 5 and 6).

    Attributes:
        kind: "dyntanh" is ACE's, whose scale shrinks in the course of the training; "tanh" ACE0's.
        soft_clamp: Pixels beyond which errors count less and less; the scale at the start of "dyntanh".
        soft_clamp_min: What is added to that scale, and left of it at the end.
        circle: Whether the scale shrinks along a circle, late, or else steadily.
    """

    kind: LossKind = "tanh"
    soft_clamp: float = 50.0
    soft_clamp_min: float = 1.0
    circle: bool = True

    def __call__(self, errors: Tensor, progress: float) -> Tensor:
        """The loss of errors, pixels, when a share `progress` in [0, 1] of the training is done."""
        if self.kind in ("tanh", "dyntanh"):
            scale = self._scale(progress)
            return scale * torch.tanh(errors / scale).sum()
        near, far = errors[errors <= self.soft_clamp], errors[errors > self.soft_clamp]
        if self.kind == "l1":
            return near.sum()
        if self.kind == "l1+sqrt":
            return near.sum() + (self.soft_clamp * far).sqrt().sum()
        return near.sum() + torch.log1p(self.soft_clamp * far).sum()

    def _scale(self, progress: float) -> float:
        """Of the hyperbolic tangent, pixels."""
        if self.kind == "tanh":
            return self.soft_clamp
        done = 1 - math.sqrt(1 - progress**2) if self.circle else progress
        return (1 - done) * self.soft_clamp + self.soft_clamp_min


@dataclass(frozen=True)
class CoordinateLoss:
    """What is made of scene coordinates.

    Attributes:
        reprojection: Of those that are possible.
        hard_clamp: Pixels of reprojection error, from which a coordinate is not possible.
        depth_min: Least depth of a possible one, world units.
        depth_max: Largest.
        depth_target: Depth at which impossible coordinates are drawn to their pixels' rays.
        near_enough: Distance of a known coordinate, world units, from which only the reprojection counts.
        pull: What a world unit counts where coordinates are drawn to something; 1 as published, where scenes
            are large and trainings long.
    """

    reprojection: ReprojectionLoss = ReprojectionLoss()
    hard_clamp: float = 1000.0
    depth_min: float = 0.1
    depth_max: float = 1000.0
    depth_target: float = 10.0
    near_enough: float = 0.1
    pull: float = 1.0


@dataclass(frozen=True)
class Step:
    """A batch of N pixels.

    Attributes:
        pixels: Where each is [N, 2].
        viewmats: World to camera of the picture that each is in [N, 3, 4] or [N, 4, 4].
        Ks: Its intrinsics [N, 3, 3], or [3, 3] for all.
        known: Where the pixel's point is known to be about [N, 3], NaN where it is not; None knows of none.
    """

    pixels: Tensor
    viewmats: Tensor
    Ks: Tensor
    known: Tensor | None = None


def reprojected(points: Tensor, step: Step, depth_min: float) -> tuple[Tensor, Tensor]:
    """Points [N, 3] in their cameras' axes [N, 3], and the L1 norm of their reprojection errors [N], pixels.

    Points nearer than `depth_min` are projected as if they were so far away.
    """
    seen = (step.viewmats[:, :3, :3] @ points[..., None])[..., 0] + step.viewmats[:, :3, 3]
    drawn = (step.Ks @ seen[..., None])[..., 0]
    drawn = drawn[:, :2] / drawn[:, 2:].clamp_min(depth_min)
    return seen, (drawn - step.pixels).abs().sum(1)


def coordinate_loss(
    points: Tensor, step: Step, config: CoordinateLoss, progress: float
) -> tuple[Tensor, Tensor]:
    """The mean loss of scene coordinates, and the reprojection errors of the possible ones [N'].

    Possible ones count by their reprojection. Others are drawn to where they are known to be about, or else
    to a fixed depth on their pixel's ray.

    Args:
        points: Scene coordinates [N, 3], world units.
        step: Their pixels and cameras.
        config: What is possible, and how it counts.
        progress: Share of the training that is done.
    """
    seen, errors = reprojected(points, step, config.depth_min)
    depth = seen[:, 2]
    possible = (depth >= config.depth_min) & (depth <= config.depth_max) & (errors <= config.hard_clamp)
    ray = torch.cat([step.pixels, torch.ones_like(step.pixels[:, :1])], 1)[..., None]
    away = (config.depth_target * (torch.linalg.inv(step.Ks) @ ray)[..., 0] - seen).abs().sum(1)
    if step.known is not None:
        given = step.known.isfinite().all(1)
        off = (torch.where(given[:, None], step.known, points.detach()) - points).norm(dim=1)
        possible = possible & (~given | (off <= config.near_enough))
        away = torch.where(given, off, away)
    inside = errors[possible]
    total = config.reprojection(inside, progress) + config.pull * away[~possible].sum()
    return total / len(points), inside.detach()
