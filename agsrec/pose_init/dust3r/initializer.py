"""Cameras of photos by DUSt3R: pair predictions, global alignment, and the conversion to our conventions."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from agsrec.cameras import Cameras
from agsrec.errors import CameraError, OptionError
from agsrec.point_map import PointMap
from agsrec.pose_init.dust3r.alignment import AlignOptions
from agsrec.pose_init.dust3r.pairs import PairPoints, Pairs, pair_graph, predict_pairs
from agsrec.pose_init.dust3r.placement import Placement, place_views
from agsrec.pose_init.estimate import PoseEstimate
from agsrec.pose_init.normalize import normalize_with_up
from agsrec.views import Views

if TYPE_CHECKING:
    from agsrec.pose_init.dust3r.images import NetworkImages

__all__ = ["PairModel", "initialize_dust3r"]

_log = logging.getLogger(__name__)

_PAIR_BATCH = 8
_ENCODER_BATCH = 8
_MAX_GRID = 256  # pixels a side that are aligned; of larger point maps every second row and column and so on
_MIN_PIXELS = 16  # of an object in the grid; fewer are a blank photo
_MIN_POINT_CONFIDENCE = 1.1
_MAX_POINTS = 100_000


class PairModel(Protocol):
    """What is asked of the network; `agsrec.pose_init.dust3r.model.DUSt3R` has it."""

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


@torch.no_grad()
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
    if len(views) < 2:
        raise OptionError("--method dust3r needs at least 2 photos; one photo is fitted without it")
    if focal is not None and not (math.isfinite(focal) and focal > 0):
        raise OptionError(f"the focal length must be a positive number of pixels, not {focal}")
    if iterations < 0:
        raise OptionError(f"the number of alignment steps must not be negative, not {iterations}")
    network = _loaded(model, device)
    prepared, border = _prepared(views, network)
    stride = math.ceil(max(prepared.masks.shape[1:]) / _MAX_GRID)
    shown = (prepared.masks[:, ::stride, ::stride] > 0.5).sum((1, 2)) >= _MIN_PIXELS
    present = shown.nonzero()[:, 0]
    pairs = _predicted(network, prepared, present, stride, device) if len(present) > 1 else None
    per_pixel = float(prepared.to_view[0, 0]) * stride  # view pixels per pixel of the grid
    known = None if focal is None else torch.full((len(present),), focal / per_pixel)
    options = AlignOptions(iterations=iterations, optimize_pp=True, optimize_focal=focal is None)
    with torch.enable_grad():
        found = None if pairs is None else place_views(pairs, options, focals=known)
    if pairs is None or found is None:
        raise CameraError(
            f"dust3r finds no two of the {len(views)} photos that show the same object "
            f"({int((~shown).sum())} are blank); check the masks, or take --method nview"
        )
    return _estimate(views, prepared, border, stride, present, pairs, found)


def _loaded(model: str | Path | PairModel, device: torch.device | str) -> PairModel:
    if not isinstance(model, str | Path):
        return model
    from agsrec.pose_init.dust3r.model import DUSt3R

    return DUSt3R.from_pretrained(model, device=device)


def _prepared(views: Views, network: PairModel) -> tuple[NetworkImages, tuple[int, int]]:
    """The network's images, and how many pixels (x, y) were added at the left and top of the views."""
    from agsrec.pose_init.dust3r.images import prepare_views, squared

    config, border = network.config, (0, 0)
    if config.square_images:
        views, border = squared(views)
    return prepare_views(views, max(config.image_size), square=config.square_images), border


def _predicted(
    network: PairModel, prepared: NetworkImages, present: Tensor, stride: int, device: torch.device | str
) -> Pairs:
    present = present.to(prepared.images.device)
    features = network.encode(prepared.images[present].to(device), batch=_ENCODER_BATCH)

    def predict(some: Tensor) -> PairPoints:
        return network.decode_pairs(features, some, batch=_PAIR_BATCH, device=device)

    masks = prepared.masks[present].to(device)
    return predict_pairs(predict, pair_graph(len(present)), masks, batch=_PAIR_BATCH, stride=stride)


def _estimate(
    views: Views,
    prepared: NetworkImages,
    border: tuple[int, int],
    stride: int,
    present: Tensor,
    pairs: Pairs,
    found: Placement,
) -> PoseEstimate:
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
    colors = (prepared.images[:, ::stride, ::stride].to(surface.device)[present.to(surface.device)] + 1) / 2
    flat = (pairs.pixels @ pairs.pixels.new_tensor([1.0, pairs.width])).long()
    colors = torch.take_along_dim(colors.flatten(1, 2), flat[..., None], dim=1)[found.views][surface]
    thin = torch.arange(0, len(points), max(1, math.ceil(len(points) / _MAX_POINTS)), device=target)
    placed = torch.zeros(len(views), dtype=torch.bool, device=target)
    confidence = torch.zeros(len(views), device=target)
    placed[chosen], confidence[chosen] = True, found.confidence.to(target).clamp(0, 1)
    lost = [name for name, good in zip(views.names, placed.tolist(), strict=True) if not good]
    if lost:
        _log.warning("dust3r could not place %s", ", ".join(lost))
    camera = torch.arange(len(surface), device=surface.device).view(-1, *[1] * (surface.ndim - 1))
    seeds = PointMap(
        points.float()[thin],
        colors.to(target)[thin],
        found.point_confidence[surface].to(target)[thin],
        camera.expand(surface.shape)[surface].to(target)[thin],
    )
    return PoseEstimate(cameras.to(dtype=torch.float32), placed, confidence, seeds)
