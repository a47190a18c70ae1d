"""`search_pose`: from a photo and a scene to ranked camera poses, without a first guess."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from agsrec.pose_search.coarse import coarse_search
from agsrec.pose_search.config import SearchConfig
from agsrec.pose_search.photo import centred_photo
from agsrec.pose_search.poses import Poses, distinct
from agsrec.pose_search.refine import Comparison, refined

if TYPE_CHECKING:
    from agsrec.pose_search.photo import CentredPhoto
    from agsrec.pose_search.renderers import PoseRenderer

__all__ = ["FoundPoses", "pose_losses", "search_pose"]


@dataclass(frozen=True)
class FoundPoses:
    """Poses that explain a photo, best first; no two of them are one mode.

    Attributes:
        viewmats: World-to-camera matrices [M, 4, 4], M >= 1.
        losses: Squared differences [M] from the photo per pixel of the object; lower is better.
        overlaps: Intersection over union [M] of rendered and given silhouettes.
        margin: How much better the first is than the second, in [0, 1]: 0 if they are equally good and the
            answer is ambiguous, 1 if there is no second.
    """

    viewmats: Tensor
    losses: Tensor
    overlaps: Tensor
    margin: float

    def __len__(self) -> int:
        return len(self.viewmats)


@torch.no_grad()
def search_pose(
    render: PoseRenderer,
    photo: Tensor,  # [H, W, 4]
    K: Tensor,  # [3, 3]
    config: SearchConfig | None = None,
) -> FoundPoses:
    """Find where a photo was taken from, anywhere around the object.

    Args:
        render: The scene.
        photo: RGBA, straight alpha, in [0, 1].
        K: Its intrinsics in pixels.
        config: How finely and how long.

    Raises:
        ShapeError: The photo is not RGBA.
        ImageError: Nothing is on the photo.
    """
    config = SearchConfig() if config is None else config
    target = centred_photo(photo, K, max(level.size for level in config.levels))
    poses = coarse_search(render, target, config, config.levels[0].keep)
    poses = _refined(render, target, poses, config)
    return _answer(render, target, poses, config)


@torch.no_grad()
def pose_losses(
    render: PoseRenderer,
    photo: Tensor,  # [H, W, 4]
    K: Tensor,  # [3, 3]
    viewmats: Tensor,  # [C, 4, 4]
    config: SearchConfig | None = None,
) -> Tensor:
    """What `search_pose` would say of given poses: squared differences [C] per pixel of the object.

    Arguments and errors as of `search_pose`.
    """
    config = SearchConfig() if config is None else config
    target = centred_photo(photo, K, max(level.size for level in config.levels))
    turn = torch.eye(4).to(photo)
    turn[:3, :3] = target.turn
    comparison = Comparison.at(render, target, min(config.levels[-1].size, target.native), config)
    return comparison.losses(Poses.of(turn @ viewmats.to(photo), render.center))


def _refined(render: PoseRenderer, photo: CentredPhoto, poses: Poses, config: SearchConfig) -> Poses:
    """The poses that remain after all levels, and the best distinct ones of every level."""
    behind: list[Poses] = []
    for level in config.levels:
        comparison = Comparison.at(render, photo, min(level.size, photo.native), config)
        poses, losses = refined(comparison, poses[: level.keep], level.steps)
        order = losses.argsort()
        poses, losses = poses[order], losses[order]
        # The answer names runners-up even where none is good enough to follow.
        behind.append(poses[distinct(poses.rotations, config.mode_deg, config.modes)])
        poses = poses[losses <= config.worse * losses[0]]
        poses = poses[distinct(poses.rotations, config.mode_deg / 2, level.keep)]
    parts = [poses, *reversed(behind)]
    return Poses(torch.cat([p.rotations for p in parts]), torch.cat([p.positions for p in parts]))


def _answer(render: PoseRenderer, photo: CentredPhoto, poses: Poses, config: SearchConfig) -> FoundPoses:
    """The distinct modes among the poses, compared with the photo at the finest level."""
    comparison = Comparison.at(render, photo, min(config.levels[-1].size, photo.native), config)
    losses = comparison.losses(poses)
    order = losses.argsort()
    kept = order[distinct(poses.rotations[order], config.mode_deg, config.modes)]
    poses, losses = poses[kept], losses[kept]
    margin = 1 - float(losses[0] / losses[1].clamp_min(1e-12)) if len(losses) > 1 else 1.0
    # Back from the camera that looks straight at the object to the photo's own.
    viewmats = poses.viewmats(render.center)
    back = torch.eye(4).to(viewmats)
    back[:3, :3] = photo.turn.mT
    return FoundPoses(back @ viewmats, losses, comparison.overlaps(poses), max(0.0, margin))
