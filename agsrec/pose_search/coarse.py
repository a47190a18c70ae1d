"""The coarse grid: every viewing direction rendered once, every in-plane rotation compared without rendering.

In-plane rotation, translation and scale only move a small picture in its plane. Silhouettes are therefore
brought to one centre and one spread, and the photo is rotated instead of the camera, which leaves two of the
six unknowns to be rendered and makes the comparison of all others one matrix product.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec.pose_search.photo import moments
from agsrec.pose_search.poses import Poses, distinct, rotation_about_z, turn_to_axis

if TYPE_CHECKING:
    from agsrec.pose_search.config import SearchConfig
    from agsrec.pose_search.photo import CentredPhoto
    from agsrec.pose_search.renderers import PoseRenderer

__all__ = ["coarse_search", "features"]

_GOLDEN = math.pi * (3 - math.sqrt(5))
_CANDIDATES = 100  # Best poses of the grid per distinct one that is wanted.
_NEAREST = 1.25  # Camera distance in object radii below which a camera would stand in the object.


def coarse_search(render: PoseRenderer, photo: CentredPhoto, config: SearchConfig, keep: int) -> Poses:
    """The best distinct poses of the grid, best first."""
    directions = _directions(config.directions).to(photo.rgba)
    look = _looking_along(-directions)
    distance = _typical_distance(render, look, photo, config)
    focal = _focal(render.radius, distance)
    pictures = _render_around(render, look, distance, focal, config)
    center, spread = moments(pictures[..., 3])
    seen = pictures[..., 3].sum((1, 2)) > 1
    tangent = center / focal
    patches = _patches(pictures, center, spread * (photo.half_width / photo.spread), config.patch_size)
    rolls = _rolls(config).to(photo.rgba)
    losses = _all_losses(patches, photo, rolls, config)
    losses[~seen] = math.inf
    order = losses.flatten().argsort()[: _CANDIDATES * keep]
    which, roll = order // len(rolls), order % len(rolls)
    adjust = turn_to_axis(F.pad(tangent[which], (0, 1), value=1.0))
    rotation = rotation_about_z(rolls[roll]) @ adjust
    # As far as the silhouette's size says; turned so that its centre, not the object's, is on the axis.
    depth = distance * spread[which] / focal / photo.spread
    position = rotation[..., 2] * depth.clamp_min(_NEAREST * render.radius)[:, None]
    poses = Poses(rotation @ look[which], position)
    return poses[distinct(poses.rotations, config.apart_deg, keep)]


def features(pictures: Tensor, mean_color: Tensor, color_weight: float) -> Tensor:
    """Premultiplied pictures [..., S, S, 4] so that plain squared differences are the loss.

    Colours are taken relative to the photo's mean [3]: otherwise a bright object's silhouette would count
    several times, and a black one's colours never.
    """
    alpha = pictures[..., 3:]
    return torch.cat([(pictures[..., :3] - mean_color * alpha) * math.sqrt(color_weight), alpha], dim=-1)


def _directions(count: int) -> Tensor:
    """Unit vectors [count, 3] from the object towards cameras, evenly spread (Fibonacci lattice)."""
    index = torch.arange(count, dtype=torch.float64)
    y = 1 - (2 * index + 1) / count
    ring = (1 - y * y).sqrt()
    return torch.stack([ring * (index * _GOLDEN).cos(), y, ring * (index * _GOLDEN).sin()], dim=-1)


def _looking_along(forward: Tensor) -> Tensor:
    """Upright world-to-camera rotations [N, 3, 3] that look along directions [N, 3]."""
    up = torch.tensor([0.0, 1.0, 0.0]).to(forward).expand_as(forward)
    right = F.normalize(torch.linalg.cross(forward, up), dim=-1)
    return torch.stack([right, torch.linalg.cross(forward, right), forward], dim=1)


def _rolls(config: SearchConfig) -> Tensor:
    """In-plane rotations [R], radians."""
    limit = math.radians(config.max_roll_deg)
    steps = torch.arange(config.rolls, dtype=torch.float64) + 0.5
    return (2 * steps / config.rolls - 1) * limit


def _focal(radius: float, distance: float) -> float:
    """Focal length in half picture widths with which a sphere just fits."""
    return math.sqrt(max(distance**2 - radius**2, 1e-12)) / radius


def _render_around(
    render: PoseRenderer, look: Tensor, distance: float, focal: float, config: SearchConfig
) -> Tensor:
    """Pictures [N, S, S, 4] of cameras at one distance that look at the object's middle."""
    size = config.coarse_size
    half = size / 2
    K = torch.tensor([[focal * half, 0, half], [0, focal * half, half], [0, 0, 1.0]]).to(look)
    position = torch.tensor([0.0, 0.0, distance]).to(look).expand(len(look), 3)
    viewmats = Poses(look, position).viewmats(render.center)
    return torch.cat([render(part, K, size) for part in viewmats.split(config.batch)])


def _typical_distance(render: PoseRenderer, look: Tensor, photo: CentredPhoto, config: SearchConfig) -> float:
    """Distance at which the scene looks about as large as on the photo, over a few directions."""
    distance = 3 * render.radius
    few = look[:: max(1, len(look) // 48)]
    for _ in range(2):
        focal = _focal(render.radius, distance)
        pictures = _render_around(render, few, distance, focal, config)
        _, spread = moments(pictures[..., 3])
        wide = float(spread.median()) / focal
        distance = max(distance * wide / photo.spread, _NEAREST * render.radius)
    return distance


def _patches(pictures: Tensor, center: Tensor, half_width: Tensor, size: int) -> Tensor:
    """Squares [N, size, size, 4] around centres [N, 2], of half widths [N], in half picture widths."""
    ticks = (torch.arange(size).to(pictures) + 0.5) * (2 / size) - 1
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    place = torch.stack([x, y], -1) * half_width[:, None, None, None] + center[:, None, None]
    return F.grid_sample(pictures.movedim(-1, 1), place, align_corners=False).movedim(1, -1)


def _all_losses(patches: Tensor, photo: CentredPhoto, rolls: Tensor, config: SearchConfig) -> Tensor:
    """Squared differences [N, R] of all patches from the photo in all rotations, where the photo is known."""
    size = config.patch_size
    picture = torch.cat([photo.at(size), photo.known_at(size)[..., None]], dim=-1)
    mean = picture[..., :3].sum((0, 1)) / picture[..., 3].sum().clamp_min(1e-6)
    ticks = (torch.arange(size).to(picture) + 0.5) * (2 / size) - 1
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    cos, sin = rolls.cos()[:, None, None], rolls.sin()[:, None, None]
    place = torch.stack([cos * x - sin * y, sin * x + cos * y], dim=-1)
    stacked = picture.movedim(-1, 0).expand(len(rolls), 5, size, size)
    turned = F.grid_sample(stacked, place, padding_mode="border", align_corners=False).movedim(1, -1)
    known = turned[..., 4:]
    ours = features(patches, mean, config.color_weight)  # [N, P, P, 4]
    theirs = features(turned[..., :4] * known, mean, config.color_weight)  # [R, P, P, 4]
    # |ours - theirs|^2 over what is known, multiplied out into matrix products.
    own = ours.square().sum(-1).flatten(1) @ known.flatten(1).mT
    return own + theirs.square().flatten(1).sum(1) - 2 * ours.flatten(1) @ theirs.flatten(1).mT
