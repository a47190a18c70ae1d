"""Poses from the embedded network: every view once as reference, then one arrangement for all pairs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from agsrec.cameras import CAMERA_DISTANCE, Cameras
from agsrec.device import resolve_device
from agsrec.point_map import PointMap
from agsrec.pose_init.estimate import Alternative, PoseEstimate
from agsrec.pose_init.nview.angles import angles_from_rotations, rotations_from_angles
from agsrec.pose_init.nview.consensus import (
    AzimuthModes,
    agreed_azimuths,
    mean_energies,
    pair_energies,
)
from agsrec.pose_init.nview.crops import Crops, network_crops
from agsrec.pose_init.nview.network import ELEVATION_BINS, POINTS_PER_TOKEN, NView
from agsrec.pose_init.nview.placement import Sightings, place, search_focal
from agsrec.pose_init.refine import refine_estimate
from agsrec.views import Views

__all__ = ["EMBEDDED_NVIEW", "initialize_nview"]

EMBEDDED_NVIEW = "nview-mini"
"""The network that comes with the project."""

_MODES = 4
_CLOSE_DEG = 15.0  # differences this near to the agreed one count as agreement
_ELEVATION_WINDOW = 2  # bins on either side of the likeliest
_MOST_AT_ONCE = 64  # views in one pass: bounds the memory


@dataclass(frozen=True)
class _Reading:
    """What the network says, the mean over all references.

    Attributes:
        differences: Probabilities of the azimuth of view j less that of i [V, V, K].
        elevation: [V], degrees.
        roll: [V], degrees.
        points: In each camera's axes, from the object's centre [V, N, 3].
        pixels: Where in the crops the points are seen [V, N, 2].
        weights: Confidence of the points, 0 off the object [V, N].
    """

    differences: Tensor
    elevation: Tensor
    roll: Tensor
    points: Tensor
    pixels: Tensor
    weights: Tensor


def initialize_nview(
    views: Views,
    *,
    model: str | Path | NView = EMBEDDED_NVIEW,
    device: str = "auto",
    focal: Tensor | float | None = None,
    refine: bool = True,
    seed: int = 0,
) -> PoseEstimate:
    """Cameras of views from nothing but their cut-outs, by a network that sees all of them at once.

    Args:
        views: V >= 2 cut-outs with objects in them.
        model: A network, its folder, or its name in `checkpoints/`.
        device: "auto", "cpu" or "cuda".
        focal: Focal lengths in pixels of the views, if known; otherwise estimated from the points.
        refine: Let coarse scenes choose among the network's guesses and better their poses; see
            `agsrec.pose_init.refine`.
        seed: Seed of those scenes.

    Returns:
        Estimate with points and alternatives; every view is placed.

    Raises:
        CheckpointError: The network cannot be used.
        DeviceError: There is no such device.
    """
    target = resolve_device(device)
    network = (model if isinstance(model, NView) else _loaded(model)).to(target).eval()
    crops = network_crops(views.to(target), network.config.image_size)
    reading = _read(network, crops)
    energies = pair_energies(reading.differences)
    modes = agreed_azimuths(energies, modes=_MODES)
    principal = torch.tensor([0.5 * views.width, 0.5 * views.height], device=target)
    sightings = Sightings(reading.points, crops.to_views(reading.pixels) - principal, reading.weights)
    spans = crops.scales * network.config.image_size
    focals = search_focal(sightings, spans) if focal is None else _per_view(focal, spans)
    centers, _ = place(sightings, focals)
    arranged = [_cameras(reading, a, centers, focals, views) for a in modes.azimuths]
    confidence = _agreement(reading.differences, modes)
    estimate = PoseEstimate(
        cameras=arranged[0].to("cpu"),
        placed=torch.ones(len(views), dtype=torch.bool),
        confidence=confidence.cpu(),
        points=_point_map(reading, arranged[0], centers, crops),
        alternatives=tuple(
            Alternative(cameras.to("cpu"), float(score))
            for cameras, score in zip(arranged[1:], modes.scores[1:], strict=True)
        ),
        score=float(modes.scores[0]),
    )
    if not refine:
        return estimate

    def plausibility(cameras: Cameras) -> float:
        azimuths = angles_from_rotations(cameras.rotations)[1].round().long().to(energies.device) % 360
        return float(mean_energies(energies, azimuths[None]))

    return refine_estimate(views, estimate, plausibility, seed=seed)


def _loaded(name: str | Path) -> NView:
    from agsrec.pose_init.nview.weights import load_nview

    return load_nview(name)


def _per_view(focal: Tensor | float, like: Tensor) -> Tensor:
    return torch.as_tensor(focal, dtype=like.dtype, device=like.device).expand(len(like))


@torch.no_grad()
def _read(network: NView, crops: Crops) -> _Reading:
    count = len(crops.images)
    at_once = max(1, _MOST_AT_ONCE // count)
    orders = torch.stack([torch.arange(count).roll(-k) for k in range(count)])  # each view comes first once
    differences = elevation = roll = points = weight = 0.0
    tokens = torch.zeros(0)
    for some in orders.split(at_once):
        output = network(crops.images[some])
        back = some.argsort(1).to(crops.images.device)
        rows = torch.arange(len(some), device=back.device)[:, None]
        pairs = output.pair_logits.softmax(-1)
        differences = differences + pairs[rows[..., None], back[:, :, None], back[:, None]].sum(0)
        elevation = elevation + output.elevation_logits.softmax(-1)[rows, back].sum(0)
        roll = roll + output.roll[rows, back].sum(0)
        confidence = output.log_confidence.clamp(-3, 5).exp()[rows, back].flatten(2)  # [R, V, N]
        local = output.local_points[rows, back].flatten(2, 4)
        points, weight = points + (confidence[..., None] * local).sum(0), weight + confidence.sum(0)
        tokens = output.tokens[0, back[0]]
    assert isinstance(differences, Tensor) and isinstance(elevation, Tensor) and isinstance(roll, Tensor)
    pixels = _point_pixels(tokens, network.config.grid)
    inside = _alpha_at(crops.images, pixels)
    return _Reading(
        differences / count,
        _peak(elevation / count),
        torch.atan2(roll[..., 1], roll[..., 0]).rad2deg(),
        points / torch.as_tensor(weight)[..., None],
        pixels,
        torch.as_tensor(weight) / count * (inside > 0.5),
    )


def _peak(probabilities: Tensor) -> Tensor:
    """Mean of a distribution over elevations [V, K] around its highest bin [V], degrees."""
    width = 180.0 / ELEVATION_BINS
    centers = (torch.arange(ELEVATION_BINS, device=probabilities.device) + 0.5) * width - 90
    best = probabilities.argmax(-1, keepdim=True)
    near = (torch.arange(ELEVATION_BINS, device=best.device) - best).abs() <= _ELEVATION_WINDOW
    share = probabilities * near
    return (share * centers).sum(-1) / share.sum(-1)


def _point_pixels(tokens: Tensor, grid: int) -> Tensor:
    """Where in the crop the points of each token are seen [V, T * P * P, 2]."""
    stride = 8 // POINTS_PER_TOKEN
    row, column = tokens // grid, tokens % grid  # [V, T]
    step = torch.arange(POINTS_PER_TOKEN, device=tokens.device) * stride
    y = (8 * row[..., None, None] + step[:, None]).expand(*row.shape, POINTS_PER_TOKEN, POINTS_PER_TOKEN)
    x = (8 * column[..., None, None] + step[None]).expand_as(y)
    return torch.stack([x, y], -1).flatten(1, 3) + 0.5


def _alpha_at(images: Tensor, pixels: Tensor) -> Tensor:
    """Alpha [V, N] of crops [V, 4, S, S] at pixel centres [V, N, 2]."""
    index = pixels.long()
    rows = torch.arange(len(images), device=images.device)[:, None]
    return images[rows, 3, index[..., 1], index[..., 0]]


def _cameras(reading: _Reading, azimuths: Tensor, centers: Tensor, focals: Tensor, views: Views) -> Cameras:
    rotations = rotations_from_angles(reading.elevation, azimuths.to(reading.elevation), reading.roll)
    viewmats = torch.eye(4, device=centers.device).repeat(len(centers), 1, 1)
    viewmats[:, :3, :3], viewmats[:, :3, 3] = rotations, centers
    Ks = Cameras.intrinsics(focals, views.width, views.height)
    scale = CAMERA_DISTANCE / centers.norm(dim=-1).mean()
    viewmats[:, :3, 3] *= scale
    return Cameras(viewmats, Ks, views.width, views.height)


def _agreement(differences: Tensor, modes: AzimuthModes) -> Tensor:
    """How much of each view's probability lies near the best arrangement [V]."""
    count, bins = len(differences), differences.shape[-1]
    centers = (torch.arange(bins, device=differences.device) + 0.5) * 360.0 / bins
    best = modes.azimuths[0]
    wanted = (best[None, :] - best[:, None])[..., None]
    near = ((centers - wanted + 180) % 360 - 180).abs() <= _CLOSE_DEG
    mass = (differences * near).sum(-1)
    mass = 0.5 * (mass + mass.mT)
    others = ~torch.eye(count, dtype=torch.bool, device=mass.device)
    return (mass * others).sum(1) / max(1, count - 1)


def _point_map(reading: _Reading, cameras: Cameras, centers: Tensor, crops: Crops) -> PointMap:
    scale = CAMERA_DISTANCE / centers.norm(dim=-1).mean()
    world = scale * (reading.points[:, :, None] * cameras.rotations[:, None].mT).sum(-1)
    index = reading.pixels.long()
    rows = torch.arange(len(world), device=world.device)[:, None]
    rgba = crops.images[rows, :, index[..., 1], index[..., 0]]  # [V, N, 4]
    kept = reading.weights > 0
    colors = (rgba[..., :3] / rgba[..., 3:].clamp(min=1e-3)).clamp(0, 1)
    camera = rows.expand(kept.shape)[kept]
    return PointMap(world[kept].cpu(), colors[kept].cpu(), reading.weights[kept].cpu(), camera.cpu())
