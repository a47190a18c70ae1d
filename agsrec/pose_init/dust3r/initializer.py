"""Cameras of photos by DUSt3R: pair predictions, global alignment, and the conversion to our conventions."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from agsrec.cameras import Cameras
from agsrec.errors import CameraError, OptionError
from agsrec.point_map import PointMap
from agsrec.pose_init.dust3r.alignment import AlignOptions
from agsrec.pose_init.dust3r.pairs import COMPLETE_LIMIT, PairPoints, Pairs, pair_graph, predict_pairs
from agsrec.pose_init.dust3r.placement import Placement, place_views
from agsrec.pose_init.estimate import PoseEstimate
from agsrec.pose_init.normalize import normalize_with_up
from agsrec.views import Views

if TYPE_CHECKING:
    from agsrec.pose_init.stereo.images import NetworkImages

__all__ = [
    "AlignedViews",
    "PairModel",
    "Watcher",
    "align_views",
    "initialize_dust3r",
    "prepared_views",
    "require_usable",
]

_log = logging.getLogger(__name__)

_PAIR_BATCH = 8
_ENCODER_BATCH = 8
_MAX_GRID = 256  # pixels a side that are aligned; of larger point maps every second row and column and so on
_MIN_PIXELS = 16  # of an object in the grid; fewer are a blank photo
_MIN_POINT_CONFIDENCE = 1.1
_MAX_POINTS = 100_000


class PairModel(Protocol):
    """What is asked of the network; `agsrec.pose_init.stereo.model.DUSt3R` has it."""

    @property
    def config(self) -> Any:
        """Has `image_size` (height, width) and `square_images`."""
        ...

    def encode(self, images: Tensor, *, batch: int | None = None) -> Any:
        """Features of images [V, H, W, 3] in [-1, 1]."""
        ...

    def decode_pairs(
        self, features: Any, pairs: Tensor, *, batch: int = 8, device: torch.device | str | None = None
    ) -> PairPoints:
        """Point maps of ordered pairs [P, 2] of the encoded images."""
        ...


Watcher = Callable[[Tensor, Any, Tensor], None]
"""Is shown every batch of pairs [B, 2], what the network says of them, and all masks [V, H, W]."""


@dataclass(frozen=True)
class AlignedViews:
    """What a network says of V views, in one frame.

    Attributes:
        views: The views.
        prepared: Their images for the network.
        border: Pixels (x, y) that were added at the left and top of the views for it.
        stride: Rows and columns of its point maps per row and column that was aligned.
        present: The views that are not blank, by their indices.
        pairs: What it says of pairs of these.
        found: Their cameras.
        method: Name of the initialiser, for warnings.
        metric: Whether the network's points are in metres.
    """

    views: Views
    prepared: NetworkImages
    border: tuple[int, int]
    stride: int
    present: Tensor
    pairs: Pairs
    found: Placement
    method: str
    metric: bool

    def estimate(self) -> PoseEstimate:
        """Cameras in our conventions, and the surface."""
        views, prepared, border, stride = self.views, self.prepared, self.border, self.stride
        present, pairs, found = self.present, self.pairs, self.found
        target = views.images.device
        chosen = present.to(found.views.device)[found.views].to(target)
        result = found.alignment
        # The grid counts from its first pixel's centre, our pictures from its corner.
        center = stride * result.centers.double() + 0.5
        size = prepared.images.shape[2], prepared.images.shape[1]
        Ks = Cameras.intrinsics(stride * result.focals.double(), *size, center).to(target)
        Ks = prepared.view_intrinsics(Ks)
        Ks[:, :2, 2] -= Ks.new_tensor(border)
        viewmats = torch.linalg.inv(result.c2w.double()).to(target)
        surface = found.valid & (found.point_confidence > _MIN_POINT_CONFIDENCE)
        points = result.points[surface].double().to(target)
        middle = points.median(0).values if len(points) else None
        cameras, carried = normalize_with_up(Cameras(viewmats, Ks, views.width, views.height), middle)
        points = carried.points(points)
        colors = (
            prepared.images[:, ::stride, ::stride].to(surface.device)[present.to(surface.device)] + 1
        ) / 2
        flat = (pairs.pixels @ pairs.pixels.new_tensor([1.0, pairs.width])).long()
        colors = torch.take_along_dim(colors.flatten(1, 2), flat[..., None], dim=1)[found.views][surface]
        thin = torch.arange(0, len(points), max(1, math.ceil(len(points) / _MAX_POINTS)), device=target)
        placed = torch.zeros(len(views), dtype=torch.bool, device=target)
        confidence = torch.zeros(len(views), device=target)
        placed[chosen], confidence[chosen] = True, found.confidence.to(target).clamp(0, 1)
        lost = [name for name, good in zip(views.names, placed.tolist(), strict=True) if not good]
        if lost:
            _log.warning("%s could not place %s", self.method, ", ".join(lost))
        camera = torch.arange(len(surface), device=surface.device).view(-1, *[1] * (surface.ndim - 1))
        seeds = PointMap(
            points.float()[thin],
            colors.to(target)[thin],
            found.point_confidence[surface].to(target)[thin],
            camera.expand(surface.shape)[surface].to(target)[thin],
        )
        metres = self._metres_per_unit() / carried.scale if self.metric else None
        return PoseEstimate(
            cameras.to(dtype=torch.float32),
            placed,
            confidence,
            seeds,
            remarks=self._remarks(),
            metres_per_unit=metres,
        )

    @property
    def error(self) -> float:
        """How far points are from what pairs say of them, in the views' median, of the object's radius."""
        surface = self.found.alignment.points[self.found.valid]
        radius = (surface - surface.mean(0)).norm(dim=-1).mean().clamp_min(1e-12)
        return float(self.found.alignment.errors.median() / radius)

    def to_views(self, pixels: Tensor) -> Tensor:
        """Points [..., 2] of the network's images in pixels of the views, centres at +0.5 in both."""
        to_view = self.prepared.to_view.to(pixels)
        return pixels @ to_view[:2, :2].mT + to_view[:2, 2] - pixels.new_tensor(self.border)

    def _remarks(self) -> tuple[str, ...]:
        """That not every pair was looked at, where it was not."""
        count, looked = len(self.present), len(self.pairs) // 2
        if looked == count * (count - 1) // 2:
            return ()
        return (
            f"{self.method} looked at {looked} of the {count * (count - 1) // 2} pairs of {count} photos: of "
            f"more than {COMPLETE_LIMIT} photos each is paired with some alone",
        )

    def _metres_per_unit(self) -> float:
        """Metres that a unit of the aligned world is long, by the depths of all pairs' first views."""
        result, found = self.found.alignment, self.found
        depth = ((result.points - result.c2w[:, None, :3, 3]) * result.c2w[:, None, :3, 2]).sum(-1)
        row = {view: k for k, view in enumerate(found.views.tolist())}
        ratios = [
            (self.pairs.points1[p, :, 2] / depth[row[view]])[found.valid[row[view]]].median()
            for p, view in enumerate(self.pairs.index[:, 0].tolist())
            if view in row
        ]
        return float(torch.stack(ratios).median())


def initialize_dust3r(
    views: Views,
    *,
    model: str | Path | PairModel = "naver/DUSt3R_ViTLarge_BaseDecoder_224_linear",
    device: torch.device | str = "cpu",
    iterations: int = 300,
    focal: float | None = None,
) -> PoseEstimate:
    """Cameras of all views that show the object and that confident pairs connect.

    All ordered pairs are predicted for up to 12 views, a sparse graph of them for more. Pixels outside the
    masks count nowhere. Every view has its own focal length and principal point, as after cropping.

    Args:
        views: At least two photos of the object.
        model: Hub id or folder of the weights, or a network.
        device: Where to predict and align.
        iterations: Steps of the alignment.
        focal: Focal length of all views in their pixels, if it is known; then it stays.

    Raises:
        OptionError: Fewer than two photos, or an unusable option.
        CameraError: No two of the photos could be placed in relation to each other.
        CheckpointError: The weights cannot be used.
    """
    require_usable(views, "dust3r", iterations, focal)
    network = _loaded(model, device)
    return align_views(views, network, device=device, iterations=iterations, focal=focal).estimate()


@torch.no_grad()
def align_views(
    views: Views,
    network: PairModel,
    *,
    method: str = "dust3r",
    device: torch.device | str = "cpu",
    iterations: int = 300,
    focal: float | None = None,
    batch: int = _PAIR_BATCH,
    watch: Watcher | None = None,
) -> AlignedViews:
    """Predict pairs of views and bring their point maps into one frame; see `initialize_dust3r`.

    Args:
        views: At least two photos of the object; see `require_usable`.
        network: DUSt3R, or what extends it.
        method: Name of the initialiser, for errors.
        device: Where to predict and align.
        iterations: Steps of the alignment.
        focal: Focal length of all views in their pixels, if it is known; then it stays.
        batch: Pairs predicted together; bounds the memory.
        watch: Is shown everything that is predicted, by the numbers of the views that are not blank.

    Raises:
        CameraError: No two of the photos could be placed in relation to each other.
    """
    prepared, border = prepared_views(views, network)
    stride = math.ceil(max(prepared.masks.shape[1:]) / _MAX_GRID)
    shown = (prepared.masks[:, ::stride, ::stride] > 0.5).sum((1, 2)) >= _MIN_PIXELS
    present = shown.nonzero()[:, 0]
    pairs = None
    if len(present) > 1:
        pairs = _predicted(network, prepared, present, stride, device, batch, watch)
    per_pixel = float(prepared.to_view[0, 0]) * stride  # view pixels per pixel of the grid
    known = None if focal is None else torch.full((len(present),), focal / per_pixel)
    options = AlignOptions(iterations=iterations, optimize_pp=True, optimize_focal=focal is None)
    with torch.enable_grad():
        found = None if pairs is None else place_views(pairs, options, focals=known)
    if pairs is None or found is None:
        raise CameraError(
            f"{method} finds no two of the {len(views)} photos that show the same object "
            f"({int((~shown).sum())} are blank); check the masks, or take --method nview"
        )
    metric = bool(getattr(network.config, "metric", False))
    return AlignedViews(views, prepared, border, stride, present, pairs, found, method, metric)


def require_usable(views: Views, method: str, iterations: int, focal: float | None) -> None:
    """Raise, before any network is loaded, if there is too little to align or an option is out of range.

    Raises:
        OptionError: Fewer than two photos, or an unusable option.
    """
    if len(views) < 2:
        raise OptionError(f"--method {method} needs at least 2 photos; one photo is fitted without it")
    if focal is not None and not (math.isfinite(focal) and focal > 0):
        raise OptionError(f"the focal length must be a positive number of pixels, not {focal}")
    if iterations < 0:
        raise OptionError(f"the number of alignment steps must not be negative, not {iterations}")


def _loaded(model: str | Path | PairModel, device: torch.device | str) -> PairModel:
    if not isinstance(model, str | Path):
        return model
    from agsrec.pose_init.stereo.model import DUSt3R

    return DUSt3R.from_pretrained(model, device=device, matching=False)


def prepared_views(views: Views, network: PairModel) -> tuple[NetworkImages, tuple[int, int]]:
    """The network's images, and how many pixels (x, y) were added at the left and top of the views."""
    from agsrec.pose_init.stereo.images import prepare_views, squared

    config, border = network.config, (0, 0)
    if config.square_images:
        views, border = squared(views)
    return prepare_views(views, max(config.image_size), square=config.square_images), border


def _predicted(
    network: PairModel,
    prepared: NetworkImages,
    present: Tensor,
    stride: int,
    device: torch.device | str,
    batch: int,
    watch: Watcher | None,
) -> Pairs:
    present = present.to(prepared.images.device)
    features = network.encode(prepared.images[present].to(device), batch=_ENCODER_BATCH)

    def predict(some: Tensor) -> PairPoints:
        maps = network.decode_pairs(features, some, batch=batch, device=device)
        if watch is not None:
            watch(some, maps, masks)
        return maps

    masks = prepared.masks[present].to(device)
    return predict_pairs(predict, pair_graph(len(present)), masks, batch=batch, stride=stride)
