"""Cameras and Gaussians of photos by NoPoSplat: what the network sees together, joined, and posed."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from agsrec.cameras import Cameras
from agsrec.errors import CameraError, OptionError
from agsrec.gaussians import Gaussians
from agsrec.point_map import PointMap
from agsrec.pose_init.estimate import PoseEstimate
from agsrec.pose_init.noposplat.groups import JoinedViews, join_views, predict_groups, view_groups
from agsrec.pose_init.noposplat.inputs import NetworkInputs
from agsrec.pose_init.noposplat.poses import Sightings, refined_cameras, resected

if TYPE_CHECKING:
    from agsrec.pose_init.noposplat.splats import SplatMaps
    from agsrec.views import Views

__all__ = ["SplatModel", "SplatScene", "initialize_noposplat", "splat_views"]

_log = logging.getLogger(__name__)

_ENCODER_BATCH, _GROUP_BATCH = 8, 2
_MAX_GRID = 256  # pixels a side by which views are joined and placed; of larger maps every second, and so on
_MAX_POINTS = 100_000


class SplatModel(Protocol):
    """What is asked of the network; `agsrec.pose_init.noposplat.model.NoPoSplat` has it."""

    @property
    def config(self) -> Any:
        """Has `image_size` and `views`."""
        ...

    def encode(self, images: Tensor, intrinsics: Tensor, *, batch: int | None = None) -> Any:
        """Features of images [V, H, W, 3] in [-1, 1] with normalised intrinsics [V, 3, 3]."""
        ...

    def decode(self, encoded: Any, groups: Tensor, *, batch: int = 4) -> SplatMaps:
        """Gaussians of groups [B, n] of the encoded images."""
        ...


@dataclass(frozen=True)
class SplatScene:
    """Gaussians of photos, and where these were taken from.

    Attributes:
        gaussians: All placed views' Gaussians, in the frame of the first view (OpenCV axes); of more views
            than the network sees together, that of the first view of the most trusted pair.
        cameras: P <= V cameras of the placed views, in pixels of the views.
        placed: [V] bool, whether a view has a camera.
        confidence: [V] in [0, 1]: share of a view's centres that its camera sees where they belong, times the
            trust in what joins it to others.
        camera: Index [N] of the camera that each Gaussian belongs to.
    """

    gaussians: Gaussians
    cameras: Cameras
    placed: Tensor
    confidence: Tensor
    camera: Tensor


def initialize_noposplat(
    views: Views,
    *,
    model: str | Path | SplatModel = "botaoye/NoPoSplat",
    device: torch.device | str = "cpu",
    focals: Sequence[float] | None = None,
    refine: bool = True,
) -> PoseEstimate:
    """Cameras of views by NoPoSplat, with the centres of its Gaussians as points; see `splat_views`."""
    scene = splat_views(views, model=model, device=device, focals=focals, refine=refine)
    step = max(1, math.ceil(len(scene.gaussians) / _MAX_POINTS))
    thin = torch.arange(0, len(scene.gaussians), step, device=scene.camera.device)
    points = PointMap.from_gaussians(scene.gaussians[thin], scene.camera[thin])
    return PoseEstimate(scene.cameras, scene.placed, scene.confidence, points)


@torch.no_grad()
def splat_views(
    views: Views,
    *,
    model: str | Path | SplatModel = "botaoye/NoPoSplat",
    device: torch.device | str = "cpu",
    focals: Sequence[float] | None = None,
    refine: bool = True,
) -> SplatScene:
    """Gaussians and cameras of photos by NoPoSplat (Ye et al., ICLR 2025).

    The network sees two or three photos together, as it was trained; more are joined from overlapping groups.
    A view's camera is found by resection of its own Gaussians' centres (PnP with RANSAC), then refined by
    gradients against the pictures while the Gaussians stay. Gaussians outside the masks are left out.

    Args:
        views: At least two photos of the object.
        model: Published file, folder or hub id of the weights, or a network.
        device: Where to compute.
        focals: Focal length of each view in its pixels; the network has to know it.
        refine: Whether to refine the cameras against the pictures.

    Raises:
        OptionError: Fewer than two photos, or no focal lengths.
        CameraError: No two of the photos could be placed in relation to each other.
        CheckpointError: The weights cannot be used.
    """
    Ks = _intrinsics(views, focals)
    network = _loaded(model, device)
    inputs = NetworkInputs.of(views, Ks, network.config.image_size)
    present = inputs.shown
    if len(present) < 2:
        raise CameraError(
            f"noposplat needs 2 photos that show the object, and of {len(views)} only {len(present)} do; "
            "check the masks"
        )
    asked = _Asked(network, inputs.of_views(present).to(device))
    joined, sightings = asked.joined()
    poses = {i: pose for i, seen in enumerate(sightings) if (pose := resected(seen)) is not None}
    if len(poses) < 2:
        raise CameraError(
            f"noposplat could place only {len(poses)} of the {len(views)} photos; take photos that overlap "
            "more, or choose another initialiser"
        )
    chosen = [present[i] for i in poses]
    lost = [name for i, name in enumerate(views.names) if i not in chosen]
    if lost:
        _log.warning("noposplat could not place %s", ", ".join(lost))
    parts = [asked.gaussians(joined, i) for i in poses]
    gaussians, target = Gaussians.cat(parts), views.images.device
    viewmats = torch.stack([viewmat for viewmat, _ in poses.values()]).float()
    cameras = Cameras(viewmats, Ks[chosen], views.width, views.height).to(device)
    if refine:
        seen, size = [sightings[i] for i in poses], network.config.image_size
        cameras = refined_cameras(gaussians, views[chosen].to(device), cameras, seen, size)
    placed, confidence = torch.zeros(len(views), dtype=torch.bool), torch.zeros(len(views))
    placed[chosen] = True
    shares = torch.tensor([share for _, share in poses.values()])
    confidence[chosen] = (shares * joined.trust[list(poses)].cpu()).clamp(0, 1)
    camera = torch.arange(len(parts)).repeat_interleave(torch.tensor([len(part) for part in parts]))
    return SplatScene(
        gaussians.to(target), cameras.to(target), placed.to(target), confidence.to(target), camera.to(target)
    )


def _intrinsics(views: Views, focals: Sequence[float] | None) -> Tensor:
    """Intrinsics [V, 3, 3] of all views in their pixels."""
    if len(views) < 2:
        raise OptionError("noposplat needs at least 2 photos; one photo is fitted without an initialiser")
    if focals is None:
        raise OptionError(
            "noposplat has to know the focal length, and the photos do not tell it; give it in pixels of the "
            "views with --init-focal (agsrec run), --focal (agsrec poses) or focal= (Python)"
        )
    if len(focals) != len(views) or not all(math.isfinite(f) and f > 0 for f in focals):
        raise OptionError(f"noposplat needs a positive focal length for each of the {len(views)} photos")
    return Cameras.intrinsics(torch.tensor([float(f) for f in focals]), views.width, views.height)


def _loaded(model: str | Path | SplatModel, device: torch.device | str) -> SplatModel:
    if not isinstance(model, str | Path):
        return model
    from agsrec.pose_init.noposplat.model import NoPoSplat

    return NoPoSplat.from_pretrained(model, device=device)


class _Asked:
    """The network, and the V views that it has looked at one by one."""

    def __init__(self, network: SplatModel, inputs: NetworkInputs) -> None:
        self._network, self._inputs = network, inputs
        self._encoded = network.encode(inputs.images, inputs.normalized_Ks, batch=_ENCODER_BATCH)
        self._groups = view_groups(len(inputs.images), network.config.views)
        self._last: tuple[list[list[int]], SplatMaps] | None = None

    def joined(self) -> tuple[JoinedViews, list[Sightings]]:
        """All views in one world, and what tells where each was taken from."""
        side = self._inputs.images.shape[1]
        stride = math.ceil(side / _MAX_GRID)
        masks = self._inputs.masks
        predicted = predict_groups(self._decode, self._groups, masks, batch=_GROUP_BATCH, stride=stride)
        focals, centers = self._inputs.grid_intrinsics(stride)
        joined = join_views(predicted, focals)
        return joined, [
            Sightings.of(joined, view, float(focal), center, math.ceil(side / stride))
            for view, (focal, center) in enumerate(zip(focals, centers, strict=True))
        ]

    def gaussians(self, joined: JoinedViews, view: int) -> Gaussians:
        """The Gaussians of a view in the world."""
        maps = self._decode(self._groups[joined.group[view]][None])
        own = maps.gaussians(0, int(joined.slot[view]), self._inputs.masks[view])
        scale, rotation, translation = (part[view].double() for part in joined.similarity)
        return own.transformed(float(scale), rotation, translation)

    def _decode(self, groups: Tensor) -> SplatMaps:
        """Gaussians of groups [B, n]; those asked for last are at hand."""
        if self._last is None or self._last[0] != groups.tolist():
            maps = self._network.decode(self._encoded, groups, batch=_GROUP_BATCH)
            self._last = groups.tolist(), maps
        return self._last[1]
