"""Poses with LEAP: the views' own volume, and every other view searched for in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec.cameras import CAMERA_DISTANCE, Cameras
from agsrec.errors import CameraError, OptionError, SceneError
from agsrec.point_map import PointMap
from agsrec.pose_init.estimate import Alternative, PoseEstimate
from agsrec.pose_init.leap.checkpoint import load_leap
from agsrec.pose_init.leap.model import normalized_pictures
from agsrec.pose_init.leap.volume import VolumeRenderer
from agsrec.pose_init.normalize import normalize_estimate
from agsrec.pose_search import Level, SearchConfig, search_pose
from agsrec.pose_search.photo import centred_photo
from agsrec.pose_search.poses import Poses
from agsrec.pose_search.refine import Comparison

if TYPE_CHECKING:
    from agsrec.pose_init.leap.model import Leap
    from agsrec.pose_init.leap.volume import LeapVolume
    from agsrec.pose_search import FoundPoses
    from agsrec.views import Views

__all__ = ["LeapOptions", "initialize_leap"]

_FEWEST = 2
_FLIP = (1.0, -1.0, -1.0)  # The volume's axes, right-down-away, to the world's, right-up-backward.


@dataclass(frozen=True)
class LeapOptions:
    """How views are placed in the volume.

    Attributes:
        search: The pose search. Volumes render slowly and blurred: its pictures are small.
        least_overlap: A view whose silhouette agrees less than this with the best pose's (intersection over
            union) is not placed.
        surface_density: Voxels at least this dense become points.
        sure_margin: Margin over the second-best mode that counts as fully sure.
        alternatives: Runner-up sets of poses in the answer, at most.
    """

    search: SearchConfig = field(
        default_factory=lambda: SearchConfig(
            directions=800,
            coarse_size=32,
            patch_size=24,
            levels=(Level(24, 3, 24), Level(40, 4, 6)),
            batch=16,
        )
    )
    least_overlap: float = 0.6
    surface_density: float = 0.1
    sure_margin: float = 0.3
    alternatives: int = 3


@torch.no_grad()
def initialize_leap(
    views: Views,
    *,
    model: Leap | str | Path,
    device: torch.device | str = "cpu",
    focal: float | None = None,
    options: LeapOptions | None = None,
) -> PoseEstimate:
    """Place views by LEAP.

    The first view with an object on it is the volume's frame, up to ten views make the volume, and every
    other view is searched for in it.

    Args:
        views: V >= 2 cut-out photos.
        model: With weights, or where `load_leap` finds them.
        device: Where to compute.
        focal: Focal length of the photos in pixels; that of the model's training pictures by default.
        options: How to search, and what counts as found.

    Raises:
        OptionError: Fewer than two views show something, or the focal length is not positive.
        SceneError: The model sees no object at all.
        CheckpointError: The model cannot be loaded.
    """
    options = LeapOptions() if options is None else options
    if focal is not None and not 0 < focal < float("inf"):
        raise OptionError(f"the focal length must be positive, not {focal:g}")
    shown = (views.masks > 0.5).flatten(1).any(1).nonzero().flatten().tolist()
    if len(shown) < _FEWEST:
        raise OptionError(
            f"LEAP needs at least {_FEWEST} photos that show the object, not {len(shown)} of {len(views)}; "
            "add photos or choose another initialiser"
        )
    network = load_leap(model, device=device) if isinstance(model, str | Path) else model.to(device).eval()
    views = views.to(device)
    pictures = _pictures(views[shown[: network.config.max_views]], network.config.image_size)
    volume = network(pictures)
    if not (volume.densities > options.surface_density).any():
        raise SceneError("LEAP found no object in these photos; choose another initialiser")
    colors = network.voxel_colors(volume)
    render = VolumeRenderer(volume, colors)
    K = _intrinsics(views, network, focal)
    first, found = _placements(views, shown, render, K, network, options)
    return _estimate(views, shown, volume, colors, K, first, found, options)


def _pictures(views: Views, size: int) -> Tensor:
    """Normalised pictures [V, 3, size, size] over black, padded to squares."""
    premultiplied = (views.images[..., :3] * views.images[..., 3:]).movedim(-1, 1)
    square = _padded(premultiplied)
    resized = F.interpolate(square, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    return normalized_pictures(resized.clamp(0, 1))


def _padded(images: Tensor) -> Tensor:
    """Images [V, C, H, W] in the middle of black squares."""
    height, width = images.shape[-2:]
    edge = max(height, width)
    left, top = (edge - width) // 2, (edge - height) // 2
    return F.pad(images, (left, edge - width - left, top, edge - height - top))


def _intrinsics(views: Views, model: Leap, focal: float | None) -> Tensor:
    """Intrinsics [3, 3] that all views share, pixels."""
    focal = model.config.focal * max(views.width, views.height) if focal is None else focal
    return Cameras.intrinsics(torch.tensor([focal]), views.width, views.height)[0].to(views.images)


def _placements(
    views: Views, shown: list[int], render: VolumeRenderer, K: Tensor, model: Leap, options: LeapOptions
) -> tuple[tuple[Tensor, float], dict[int, FoundPoses]]:
    """The first view's pose [4, 4] and silhouette agreement, and what the search found for the others."""
    anchor = torch.eye(4).to(K)
    usual = model.config.focal * max(views.width, views.height)
    # With another lens than in training the object looks as large from a distance in proportion.
    anchor[2, 3] = model.config.camera_distance * float(K[0, 0]) / usual
    photo = centred_photo(views.images[shown[0]], K, options.search.levels[-1].size)
    turned = photo.turn @ anchor[:3, 3] + photo.turn @ render.center
    comparison = Comparison.at(render, photo, options.search.levels[-1].size, options.search)
    agreement = float(comparison.overlaps(Poses(photo.turn[None], turned[None]))[0])
    found = {i: search_pose(render, views.images[i], K, options.search) for i in shown[1:]}
    return (anchor, agreement), found


def _estimate(
    views: Views,
    shown: list[int],
    volume: LeapVolume,
    colors: Tensor,
    K: Tensor,
    first: tuple[Tensor, float],
    found: dict[int, FoundPoses],
    options: LeapOptions,
) -> PoseEstimate:
    confidence = torch.zeros(len(views))
    # The frame is the first view's by definition: it is placed however badly the volume explains it.
    confidence[shown[0]] = max(first[1], 0.05)
    viewmats, losses = {shown[0]: first[0]}, []
    for index, poses in found.items():
        overlap = float(poses.overlaps[0])
        if overlap >= options.least_overlap:
            confidence[index] = overlap * (0.5 + 0.5 * min(1.0, poses.margin / options.sure_margin))
            viewmats[index] = poses.viewmats[0]
            losses.append(float(poses.losses[0]))
    cameras = _cameras(viewmats, K, views)
    # Mean distance as usual; about the volume's middle, which the optical axes pass by.
    scale = float(CAMERA_DISTANCE / cameras.centers.norm(dim=-1).mean())
    dense = volume.densities[0] > options.surface_density
    points = volume.points()[dense] * torch.tensor(_FLIP).to(colors) * scale
    score = -sum(losses) / max(1, len(losses))
    others = [
        Alternative(_scaled(_cameras(changed, K, views), scale), score - worse / len(losses))
        for changed, worse in _second_best(viewmats, found, options.alternatives)
    ]
    estimate = PoseEstimate(
        cameras=_scaled(cameras, scale),
        placed=confidence > 0,
        confidence=confidence,
        points=PointMap(points.cpu(), colors[:, dense].mT.cpu(), volume.densities[0][dense].cpu()),
        alternatives=tuple(others),
        score=score,
    )
    try:
        return normalize_estimate(estimate)
    except CameraError:  # all look in one direction, such as at copies of one photo
        return estimate


def _second_best(
    viewmats: dict[int, Tensor], found: dict[int, FoundPoses], most: int
) -> list[tuple[dict[int, Tensor], float]]:
    """The same poses with one view in its second-best place, and how much worse its loss is there.

    The least decided views come first.
    """
    doubtful = [
        (viewmats | {i: poses.viewmats[1]}, float(poses.losses[1] - poses.losses[0]))
        for i, poses in found.items()
        if i in viewmats and len(poses) > 1
    ]
    return sorted(doubtful, key=lambda pair: pair[1])[:most]


def _cameras(viewmats: dict[int, Tensor], K: Tensor, views: Views) -> Cameras:
    """Cameras in the order of the views, in a +y-up world whose z axis points at the first view."""
    stacked = torch.stack([viewmats[i] for i in sorted(viewmats)])
    turned = torch.cat([stacked[:, :, :3] * torch.tensor(_FLIP).to(K), stacked[:, :, 3:]], dim=-1)
    return Cameras(turned, K.expand(len(stacked), 3, 3).clone(), views.width, views.height)


def _scaled(cameras: Cameras, scale: float) -> Cameras:
    like = cameras.viewmats
    return cameras.transformed(scale, torch.eye(3).to(like), torch.zeros(3).to(like)).to("cpu")
