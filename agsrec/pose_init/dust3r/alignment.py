"""Global alignment: cameras, depths and pair poses with which all pairs tell the same story.

The method and its raw parameters are those of DUSt3R (Wang et al., CVPR 2024, section 3.4, class
`PointCloudOptimizer` in public); the gradient of the large sum is written out, so that each point is
touched once per step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from torch import Tensor

from agsrec.errors import CameraError, OptionError
from agsrec.pose_init.dust3r.pairs import Pairs
from agsrec.pose_init.dust3r.registration import (
    quaternion_to_rotation,
    register,
    rotation_to_quaternion,
    signed_expm1,
    signed_log1p,
)
from agsrec.pose_init.dust3r.spanning_tree import TreeStart

__all__ = ["AlignOptions", "Alignment", "Targets", "Unknowns", "align", "alignment_loss"]

_FOCAL_UNIT = 20.0  # raw focal = 20 log f
_CENTER_UNIT = 10.0  # pixels per unit of the raw principal point
_BETAS = (0.9, 0.9)
_CHUNK = 2**16  # points per pass on a CPU: they stay in its cache


@dataclass(frozen=True)
class AlignOptions:
    """How the alignment goes; the defaults are the published ones but for `keep_better_start`.

    Attributes:
        iterations: Adam steps.
        rate: Learning rate at the start.
        rate_min: Learning rate at the end.
        schedule: How the rate falls.
        base_scale: Geometric mean of the pairs' scales, which fixes the scale of the world.
        optimize_pp: Whether principal points are free (on in SparseAGS) or at the middle.
        optimize_focal: Whether focal lengths are free.
        shared_focal: All views have one focal length.
        keep_better_start: Return the start where it fits better than the end: steps have a fixed length at
            first, so that they lead away from a start that is exact. Off in public.
    """

    iterations: int = 300
    rate: float = 0.01
    rate_min: float = 1e-6
    schedule: Literal["cosine", "linear"] = "cosine"
    base_scale: float = 0.5
    optimize_pp: bool = False
    optimize_focal: bool = True
    shared_focal: bool = False
    keep_better_start: bool = True

    def rate_at(self, share: float) -> float:
        """Learning rate when `share` of the steps are done.

        Raises:
            OptionError: Unknown schedule.
        """
        if self.schedule == "cosine":
            return self.rate_min + (self.rate - self.rate_min) * (1 + math.cos(share * math.pi)) / 2
        if self.schedule == "linear":
            return (1 - share) * self.rate + share * self.rate_min
        raise OptionError(f"schedule must be cosine or linear, not {self.schedule}")


@dataclass
class Unknowns:
    """Raw parameters.

    Attributes:
        poses: [V, 7], quaternion (x y z w) and `signed_log1p` of the translation, camera to world.
        focals: [V, 1], 20 log f; [1, 1] if shared.
        centers: [V, 2], (principal point - middle) / 10.
        depths: [V, K], log depth.
        pair_poses: [P, 8], quaternion, `signed_log1p` of translation / scale, log scale.
    """

    poses: Tensor
    focals: Tensor
    centers: Tensor
    depths: Tensor
    pair_poses: Tensor

    @staticmethod
    def from_start(pairs: Pairs, start: TreeStart, options: AlignOptions) -> Unknowns:
        """The parameters of a start along the spanning tree; every view must be placed."""
        to_world = register(pairs.points1, start.points[pairs.index[:, 0]], pairs.confidence1)
        scale, rotation, translation = to_world
        # A pair whose points fit nothing may shrink to a point, which must not upset the common scale.
        typical = scale.median()
        scale = scale.clamp(1e-3 * typical, 1e3 * typical)
        pair_poses = torch.cat(
            [
                rotation_to_quaternion(rotation),
                signed_log1p(translation / scale[:, None]),
                scale.log()[:, None],
            ],
            dim=-1,
        )
        world_scale = options.base_scale / scale.log().mean().exp()
        c2w = start.c2w
        depth = world_scale * ((start.points - c2w[:, None, :3, 3]) @ c2w[:, :3, 2:])[..., 0]
        floor = 1e-2 * _masked_median(depth, pairs.valid)
        poses = torch.cat(
            [rotation_to_quaternion(c2w[:, :3, :3]), signed_log1p(world_scale * c2w[:, :3, 3])], dim=-1
        )
        middle = start.centers.new_tensor([pairs.width / 2, pairs.height / 2])
        focals = _FOCAL_UNIT * start.focals.log()[:, None]
        return Unknowns(
            poses,
            focals.median().reshape(1, 1) if options.shared_focal else focals,
            (start.centers - middle) / _CENTER_UNIT,
            torch.where(pairs.valid, depth.clamp_min(floor).log(), 0.0),
            pair_poses,
        )

    def c2w(self) -> Tensor:
        """Camera-to-world transforms [V, 4, 4]."""
        out = torch.zeros(len(self.poses), 4, 4, dtype=self.poses.dtype, device=self.poses.device)
        out[:, :3, :3] = quaternion_to_rotation(self.poses[:, :4])
        out[:, :3, 3] = signed_expm1(self.poses[:, 4:])
        out[:, 3, 3] = 1.0
        return out

    def focal_lengths(self) -> Tensor:
        """Focal lengths [V] in pixels."""
        return (self.focals[:, 0] / _FOCAL_UNIT).exp().expand(len(self.poses))

    def principal_points(self, width: int, height: int) -> Tensor:
        """Principal points [V, 2] in pixels, counted from 0 at the first pixel's centre."""
        return _CENTER_UNIT * self.centers + self.centers.new_tensor([width / 2, height / 2])

    def world_points(self, pixels: Tensor, width: int, height: int) -> Tensor:
        """World points [V, 3, K] of the pixels [V, K, 2]."""
        offset = pixels - self.principal_points(width, height)[:, None]
        z = self.depths.exp()
        rays = (offset / self.focal_lengths()[:, None, None]).mT * z[:, None]
        camera = torch.cat([rays, z[:, None]], dim=1)
        return quaternion_to_rotation(self.poses[:, :4]) @ camera + signed_expm1(self.poses[:, 4:, None])

    def pair_scales(self, base_scale: float) -> Tensor:
        """Scales [P] of the pairs, with geometric mean `base_scale`."""
        log_scale = self.pair_poses[:, 7]
        return (log_scale - log_scale.mean()).exp() * base_scale

    def pair_transforms(self, base_scale: float) -> Tensor:
        """Transforms [P, 3, 4] from pairs to the world; the scale multiplies rotation and translation."""
        rotation = quaternion_to_rotation(self.pair_poses[:, :4])
        rigid = torch.cat([rotation, signed_expm1(self.pair_poses[:, 4:7, None])], dim=-1)
        return self.pair_scales(base_scale)[:, None, None] * rigid


@dataclass(frozen=True)
class Targets:
    """What the 2 P images of all pairs ask of the world points.

    Attributes:
        views: View of each image [2 P].
        pairs: Its pair [2 P].
        points: Its points in the pair's frame [2 P, 3, K].
        weights: Log confidences divided by the number of points of all first (second) images [2 P, K].
    """

    views: Tensor
    pairs: Tensor
    points: Tensor
    weights: Tensor

    @staticmethod
    def from_pairs(pairs: Pairs, trust: Tensor | None = None) -> Targets:
        """All images of the pairs, weighted also by the trust [P] in each pair."""
        weights = []
        for side, confidence in enumerate((pairs.confidence1, pairs.confidence2)):
            area = pairs.valid[pairs.index[:, side]].sum().clamp_min(1)
            weight = confidence.clamp_min(1.0).log() / area
            weights.append(weight if trust is None else trust[:, None] * weight)
        number = torch.arange(len(pairs), device=pairs.index.device)
        return Targets(
            pairs.index.T.flatten(),
            torch.cat([number, number]),
            torch.cat([pairs.points1, pairs.points2]).mT.contiguous(),
            torch.cat(weights),
        )


def alignment_loss(world: Tensor, transforms: Tensor, targets: Targets) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted sums of distances, and what they say to world points and pair transforms.

    Args:
        world: World points [V, 3, K].
        transforms: From pairs to the world [P, 3, 4].
        targets: Where the pairs see the points.

    Returns:
        The loss of every image [2 P], and the gradients of their sum with respect to the points [V, 3, K]
        and the transforms [P, 3, 4].
    """
    to_world, to_transforms = torch.zeros_like(world), torch.zeros_like(transforms)
    losses = []
    size = max(1, _CHUNK // world.shape[-1]) if world.device.type == "cpu" else len(targets.views)
    for at in range(0, len(targets.views), size):
        part = slice(at, at + size)
        views, pairs, points = targets.views[part], targets.pairs[part], targets.points[part]
        linear, shift = transforms[pairs, :, :3], transforms[pairs, :, 3:]
        difference = torch.baddbmm(world[views] - shift, linear, points, alpha=-1)
        distance = difference.square().sum(1).sqrt()
        weights = targets.weights[part]
        losses.append((weights * distance).sum(-1))
        # The subgradient of a distance at zero is zero.
        pull = difference * (weights / distance.clamp_min(1e-30))[:, None]
        to_world.index_add_(0, views, pull)
        moment = torch.cat([pull @ points.mT, pull.sum(-1, keepdim=True)], dim=-1)
        to_transforms.index_add_(0, pairs, moment, alpha=-1)
    return torch.cat(losses), to_world, to_transforms


@dataclass(frozen=True)
class Alignment:
    """Cameras and points in one frame.

    Attributes:
        c2w: Camera-to-world transforms [V, 4, 4], OpenCV axes.
        focals: [V], pixels.
        centers: Principal points [V, 2], pixels counted from 0 at the first pixel's centre.
        points: World points [V, K, 3].
        errors: Mean distance [V] between the view's points and what its pairs say, weighted by confidence.
        loss: Of these parameters.
        losses: Loss before each step.
        unknowns: The raw parameters.
    """

    c2w: Tensor
    focals: Tensor
    centers: Tensor
    points: Tensor
    errors: Tensor
    loss: float
    losses: list[float]
    unknowns: Unknowns


def align(
    pairs: Pairs, start: Unknowns, options: AlignOptions | None = None, *, trust: Tensor | None = None
) -> Alignment:
    """Minimise the distances between each view's points and what all pairs say about them.

    Args:
        pairs: Of V views, each in at least one pair.
        start: Parameters to start from; not changed.
        options: Schedule and what is free.
        trust: Further weight of each pair [P].

    Raises:
        CameraError: The result is not finite.
    """
    options = options or AlignOptions()
    unknowns = Unknowns(**{f.name: getattr(start, f.name).detach().clone() for f in fields(start)})
    unknowns.focals.requires_grad_(options.optimize_focal)
    unknowns.centers.requires_grad_(options.optimize_pp)
    for tensor in (unknowns.poses, unknowns.depths, unknowns.pair_poses):
        tensor.requires_grad_()
    free = [t for f in fields(unknowns) if (t := getattr(unknowns, f.name)).requires_grad]
    optimizer = torch.optim.Adam(free, lr=options.rate, betas=_BETAS)
    targets = Targets.from_pairs(pairs, trust)
    losses: list[Tensor] = []
    for step in range(options.iterations):
        optimizer.param_groups[0]["lr"] = options.rate_at(step / options.iterations)
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss_backward(unknowns, pairs, targets, options.base_scale).sum())
        optimizer.step()
    result = _result(unknowns, pairs, targets, options, losses)
    if options.keep_better_start and losses and result.losses[0] < result.loss:
        return _result(replace(start), pairs, targets, options, losses)
    return result


def loss_backward(unknowns: Unknowns, pairs: Pairs, targets: Targets, base_scale: float) -> Tensor:
    """Loss of every image [2 P]; the gradients of their sum are added to the unknowns' `grad`."""
    world = unknowns.world_points(pairs.pixels, pairs.width, pairs.height)
    transforms = unknowns.pair_transforms(base_scale)
    with torch.no_grad():
        losses, to_world, to_transforms = alignment_loss(world, transforms, targets)
    torch.autograd.backward([world, transforms], [to_world, to_transforms])
    return losses


@torch.no_grad()
def _result(
    unknowns: Unknowns, pairs: Pairs, targets: Targets, options: AlignOptions, losses: list[Tensor]
) -> Alignment:
    for f in fields(unknowns):
        setattr(unknowns, f.name, getattr(unknowns, f.name).detach())
    world = unknowns.world_points(pairs.pixels, pairs.width, pairs.height)
    last, *_ = alignment_loss(world, unknowns.pair_transforms(options.base_scale), targets)
    if not bool(world.isfinite().all() & last.isfinite().all()):
        raise CameraError(
            "the alignment of the point maps did not stay finite; the pairs do not fit together"
        )
    total = last.new_zeros(len(world)).index_add_(0, targets.views, last)
    weight = last.new_zeros(len(world)).index_add_(0, targets.views, targets.weights.sum(-1))
    return Alignment(
        c2w=unknowns.c2w(),
        focals=unknowns.focal_lengths(),
        centers=unknowns.principal_points(pairs.width, pairs.height),
        points=world.mT.contiguous(),
        errors=total / weight.clamp_min(1e-30),
        loss=float(last.sum()),
        losses=torch.stack(losses).tolist() if losses else [],
        unknowns=unknowns,
    )


def _masked_median(values: Tensor, mask: Tensor) -> Tensor:  # [V, K] -> [V, 1]
    middle = torch.where(mask, values, math.nan).nanmedian(dim=-1, keepdim=True).values
    return torch.where(middle > 0, middle, 1e-3)
