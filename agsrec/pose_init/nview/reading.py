"""What the embedded network says of views: one pass with each of them as reference."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from agsrec.cameras import CAMERA_DISTANCE, Cameras
from agsrec.point_map import PointMap
from agsrec.pose_init.nview.angles import rotations_from_angles
from agsrec.pose_init.nview.crops import Crops, network_crops
from agsrec.pose_init.nview.network import (
    ELEVATION_BINS,
    POINTS_PER_TOKEN,
    NView,
    NViewConfig,
    NViewOutput,
)
from agsrec.pose_init.nview.placement import Sightings, place, search_focal, told_of
from agsrec.views import Views

__all__ = ["Reading", "read_views"]

_ELEVATION_WINDOW = 2  # bins on either side of the likeliest
_ALIKE = 0.3  # probability from which it is said
_LOOKS_ALIKE = (
    "the object seems to look the same from all around: from which side each photo was taken is a guess; "
    "photos that show the table under it too, standing still, or a mark on the object tell it"
)
_MOST_AT_ONCE = 64  # views in one pass: bounds the memory


@dataclass(frozen=True)
class Reading:
    """What the network says, the mean over all references.

    Attributes:
        differences: Probabilities of the azimuth of view j less that of i [V, V, K].
        elevation: [V], degrees.
        roll: [V], degrees.
        points: In each camera's axes, from the object's centre [V, N, 3].
        colors: Of the points, RGB [V, N, 3].
        weights: Confidence of the points, 0 off the object [V, N].
        sightings: The points, and where they are seen from the views' middles.
        spans: Side of the square that the object fills in each view [V], pixels.
        fields: Log-probabilities of the fields of view of those squares [V, FIELD_BINS]; None from a network
            that does not tell them.
        alike: Probability that the object looks the same from all around; 0 from a network that does not
            tell it.
        zooms: Proportions of the focal lengths [V], where they are known; all are the same otherwise.
    """

    differences: Tensor
    elevation: Tensor
    roll: Tensor
    points: Tensor
    colors: Tensor
    weights: Tensor
    sightings: Sightings
    spans: Tensor
    fields: Tensor | None
    alike: float = 0.0
    zooms: Tensor | None = None

    def to(self, device: torch.device | str) -> Reading:
        """The same on another device."""
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {
            name: v.to(device) if isinstance(v, Tensor | Sightings) else v for name, v in values.items()
        }
        return Reading(**moved)

    def focal(self) -> Tensor:
        """The likeliest focal lengths [V], pixels of the views."""
        return search_focal(self.sightings, self.spans, self.fields, self.zooms)

    def remarks(self) -> tuple[str, ...]:
        """What the user should know of the object."""
        return (_LOOKS_ALIKE,) if self.alike > _ALIKE else ()

    def lens(self, focals: Tensor) -> float:
        """Mean log-probability of focal lengths [V], pixels; 0 where pictures do not tell."""
        return 0.0 if self.fields is None else float(told_of(self.fields, focals, self.spans).mean())

    def rotations(self, azimuths: Tensor) -> Tensor:
        """World-to-camera rotations [V, 3, 3] of cameras at azimuths [V] in degrees, +y up."""
        return rotations_from_angles(self.elevation, azimuths.to(self.elevation), self.roll)

    def stand(
        self, rotations: Tensor, focals: Tensor, views: Views, centers: Tensor | None = None
    ) -> tuple[Cameras, PointMap]:
        """Cameras of those rotations [V, 3, 3], at the usual mean distance, and the points in their world.

        Args:
            rotations: World to camera.
            focals: Focal lengths [V] in pixels.
            views: The views that were read.
            centers: Where the object's centre is in each camera's axes [V, 3], in the network's unit; where
                the points are seen tells it by default.
        """
        rotations, focals = rotations.to(self.points), focals.to(self.points)
        centers = place(self.sightings, focals)[0] if centers is None else centers.to(self.points)
        scale = CAMERA_DISTANCE / centers.norm(dim=-1).mean()
        viewmats = torch.eye(4, device=centers.device).repeat(len(centers), 1, 1)
        viewmats[:, :3, :3], viewmats[:, :3, 3] = rotations, scale * centers
        Ks = Cameras.intrinsics(focals, views.width, views.height)
        world = scale * (self.points[:, :, None] * rotations[:, None].mT).sum(-1)
        kept = self.weights > 0
        camera = torch.arange(len(world), device=world.device)[:, None].expand(kept.shape)
        chosen = (world[kept], self.colors[kept], self.weights[kept], camera[kept])
        points = PointMap(*(value.cpu() for value in chosen))
        return Cameras(viewmats, Ks, views.width, views.height).to("cpu"), points


def read_views(
    views: Views, model: str | Path | NView, device: torch.device, *, mirrored: bool = False
) -> Reading:
    """Everything the network has to say of V views.

    Args:
        views: V >= 2 cut-outs with objects in them.
        model: A network, its folder, or its name in `checkpoints/`.
        device: Where to compute.
        mirrored: Read them in the mirror too, and take the mean: angles are righter, and less sharp.

    Raises:
        CheckpointError: The network cannot be used.
    """
    network = (model if isinstance(model, NView) else _loaded(model)).to(device).eval()
    crops = network_crops(views.to(device), network.config.crop_size)
    middle = torch.tensor([0.5 * views.width, 0.5 * views.height], device=device)
    return _read(network, crops, middle, mirrored)


def _loaded(name: str | Path) -> NView:
    from agsrec.pose_init.nview.weights import load_nview

    return load_nview(name)


@torch.no_grad()
def _read(network: NView, crops: Crops, middle: Tensor, mirrored: bool) -> Reading:
    """Everything said of crops, the mean over all references; angles also of the mirrored crops, if asked."""
    count = len(crops.images)
    passes = 2 * count if mirrored else count
    at_once = max(1, _MOST_AT_ONCE // count)
    orders = torch.stack([torch.arange(count).roll(-k) for k in range(count)])  # each view comes first once
    angles = _Angles()
    points = weight = 0.0
    tokens = torch.zeros(0)
    for some in orders.split(at_once):
        back = some.argsort(1).to(crops.images.device)
        rows = torch.arange(len(some), device=back.device)[:, None]
        if mirrored:
            angles.add(network(crops.images[some].flip(-1)), rows, back, mirrored=True)
        output = network(crops.images[some])
        angles.add(output, rows, back)
        confidence = output.log_confidence.clamp(-3, 5).exp()[rows, back].flatten(2)  # [R, V, N]
        local = output.local_points[rows, back].flatten(2, 4)
        points, weight = points + (confidence[..., None] * local).sum(0), weight + confidence.sum(0)
        tokens = output.tokens[0, back[0]]
    pixels = _point_pixels(tokens, network.config)
    rgba = _at(crops.images, pixels)
    points = points / torch.as_tensor(weight)[..., None]
    weights = torch.as_tensor(weight) / count * (rgba[..., 3] > 0.5)
    return Reading(
        differences=angles.differences / passes,
        elevation=_peak(angles.elevation / passes),
        roll=torch.atan2(angles.roll[..., 1], angles.roll[..., 0]).rad2deg(),
        points=points,
        colors=(rgba[..., :3] / rgba[..., 3:].clamp(min=1e-3)).clamp(0, 1),
        weights=weights,
        sightings=Sightings(points, crops.to_views(pixels) - middle, weights),
        spans=crops.scales * network.config.crop_size,
        fields=angles.fields / passes if network.config.lens else None,
        alike=angles.alike / passes,
    )


class _Angles:
    """Sums over references of azimuth distributions [V, V, K], of those of elevations, of rolls, of
    log-probabilities of fields of view, and of the probability of looking alike."""

    def __init__(self) -> None:
        self.differences = self.elevation = self.roll = self.fields = torch.zeros(())
        self.alike = 0.0

    def add(self, output: NViewOutput, rows: Tensor, back: Tensor, *, mirrored: bool = False) -> None:
        """Take in what was said with R references, of view v at place `back[r, v]`.

        Seen in a mirror, azimuths and rolls change their signs.
        """
        pairs, roll = output.pair_logits.softmax(-1), output.roll
        if mirrored:
            pairs, roll = pairs.flip(-1), roll * torch.tensor([1.0, -1.0]).to(roll)
        pairs = pairs[rows[..., None], back[:, :, None], back[:, None]]
        self.differences = self.differences.to(pairs) + pairs.sum(0)
        elevation = output.elevation_logits.softmax(-1)[rows, back]
        self.elevation = self.elevation.to(elevation) + elevation.sum(0)
        self.roll = self.roll.to(roll) + roll[rows, back].sum(0)
        if output.field_logits is not None:
            told = output.field_logits.log_softmax(-1)[rows, back]
            self.fields = self.fields.to(told) + told.sum(0)
        if output.alike_logit is not None:
            self.alike += float(output.alike_logit.sigmoid().sum())


def _peak(probabilities: Tensor) -> Tensor:
    """Mean of a distribution over elevations [V, K] around its highest bin [V], degrees."""
    width = 180.0 / ELEVATION_BINS
    centers = (torch.arange(ELEVATION_BINS, device=probabilities.device) + 0.5) * width - 90
    best = probabilities.argmax(-1, keepdim=True)
    near = (torch.arange(ELEVATION_BINS, device=best.device) - best).abs() <= _ELEVATION_WINDOW
    share = probabilities * near
    return (share * centers).sum(-1) / share.sum(-1)


def _point_pixels(tokens: Tensor, config: NViewConfig) -> Tensor:
    """Where in the crop the points of each token are seen [V, T * P * P, 2]."""
    stride = 8 // POINTS_PER_TOKEN
    row, column = tokens // config.grid, tokens % config.grid  # [V, T]
    step = torch.arange(POINTS_PER_TOKEN, device=tokens.device) * stride
    y = (8 * row[..., None, None] + step[:, None]).expand(*row.shape, POINTS_PER_TOKEN, POINTS_PER_TOKEN)
    x = (8 * column[..., None, None] + step[None]).expand_as(y)
    return config.zoom * (torch.stack([x, y], -1).flatten(1, 3) + 0.5)


def _at(images: Tensor, pixels: Tensor) -> Tensor:
    """RGBA [V, N, 4] of crops [V, 4, S, S] at pixel centres [V, N, 2]."""
    index = pixels.long()
    rows = torch.arange(len(images), device=images.device)[:, None]
    return images[rows, :, index[..., 1], index[..., 0]]
