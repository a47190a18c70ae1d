"""Groups of views of random objects for training NoPoSplat: two to look at, and more to compare with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec.cameras import CAMERA_DISTANCE, Cameras
from agsrec.synthetic import random_object, render_views
from agsrec.training.dust3r_data import PairPool, in_first_camera
from agsrec.training.nview_data import as_cut_out
from agsrec.training.validation import FIRST_SEED
from agsrec.views import Views

__all__ = ["SHOWN", "SplatTruth", "UnseenPair", "draw_groups", "unseen_splat_pairs"]

SHOWN = 2
"""Views of a group that the network sees, its first ones."""

_NEAREST = 3  # the second view is one of so many nearest ones of the first
_AZIMUTHS_DEG = (0.0, 15.0, 30.0, 45.0, 60.0, 90.0)
_PAIRS = ((0, 2, 1), (0, 4, 2), (0, 5, 3))  # two views 30, 60 and 90 degrees apart, and the one between them
_ELEVATION_DEG = -20.0  # 20 degrees above
_HALF_FOV_DEG = 20.0


class SplatTruth(NamedTuple):
    """What is known of B groups of G views, of which the first two are shown.

    Everything is in the frame of each group's first camera, and the mean distance of the points from it is 1.

    Attributes:
        points: Of the shown views [B, 2, S, S, 3].
        seen: Whether there is a point [B, 2, S, S].
        pictures: Colours over white [B, G, S, S, 3] in [0, 1].
        alphas: Masks [B, G, S, S].
        viewmats: World-to-camera [B, G, 4, 4]; the world is the first camera.
        Ks: Intrinsics [B, G, 3, 3] in pixels.
    """

    points: Tensor
    seen: Tensor
    pictures: Tensor
    alphas: Tensor
    viewmats: Tensor
    Ks: Tensor

    @property
    def masks(self) -> Tensor:
        """Pixels of the shown views whose Gaussians count [B, 2, S, S], as where poses are initialised."""
        return self.alphas[:, :SHOWN] > 0.5

    @property
    def inputs(self) -> tuple[Tensor, Tensor]:
        """Images [B, 2, S, S, 3] in [-1, 1] and normalised intrinsics [B, 2, 3, 3], for the network."""
        side = self.pictures.shape[2]
        units = self.Ks.new_tensor([side, side, 1.0])[:, None]
        return 2 * self.pictures[:, :SHOWN] - 1, self.Ks[:, :SHOWN] / units

    def cameras(self, group: int) -> Cameras:
        """The cameras of a group."""
        side = self.pictures.shape[2]
        return Cameras(self.viewmats[group], self.Ks[group], side, side)


def draw_groups(pool: PairPool, count: int, others: int, generator: torch.Generator) -> SplatTruth:
    """Random groups of views of the pool's objects, made to look like cut-out photos.

    The second view is one of the nearest ones of the first, so that they show much of the same; the `others`
    are those nearest to the middle of both, so that what they show was seen.
    """
    objects, views = pool.images.shape[:2]
    slots = torch.randint(objects, (count,), generator=generator)
    first = torch.randint(views, (count,), generator=generator)
    rank = 1 + torch.randint(min(_NEAREST, views - 1), (count,), generator=generator)
    chosen = _near_views(pool.viewmats[slots].cpu(), first, rank, others)
    index = slots[:, None], chosen
    cut_out = as_cut_out(pool.images[index].float().permute(0, 1, 4, 2, 3) / 255, generator).movedim(2, -1)
    alphas = cut_out[..., 3]
    return _in_unit(
        pool.points[index].float(),
        pool.seen[index],
        (cut_out[..., :3] + 1 - alphas[..., None]).clamp(0, 1),
        alphas,
        pool.viewmats[index],
        pool.Ks[index],
    )


def _near_views(viewmats: Tensor, first: Tensor, rank: Tensor, others: int) -> Tensor:  # [B, 2 + others]
    """The first view, the `rank`-th nearest to it, and the `others` nearest to the middle of both.

    Args:
        viewmats: Of all V views of B objects [B, V, 4, 4].
        first: First views [B].
        rank: [B], at least 1.
        others: How many.
    """
    directions = F.normalize(-(viewmats[..., :3, :3].mT @ viewmats[..., :3, 3:])[..., 0], dim=-1)
    row = torch.arange(len(first))
    order = (directions @ directions[row, first][..., None])[..., 0].argsort(1, descending=True)
    second = order[row, rank]
    middle = directions[row, first] + directions[row, second]
    nearness = (directions @ middle[..., None])[..., 0]
    nearness[row, first] = nearness[row, second] = -torch.inf
    return torch.cat([torch.stack([first, second], 1), nearness.topk(others, dim=1).indices], 1)


def _in_unit(
    points: Tensor, seen: Tensor, pictures: Tensor, alphas: Tensor, viewmats: Tensor, Ks: Tensor
) -> SplatTruth:
    """World points and cameras of B groups in the frame of each first camera and in its unit."""
    shown, seen = points[:, :SHOWN], seen[:, :SHOWN]
    local = in_first_camera(shown, viewmats[:, 0], seen)
    unit = local.norm(dim=-1).sum((1, 2, 3)) / seen.sum((1, 2, 3)).clamp_min(1)
    unit = unit.clamp_min(1e-8)[:, None, None]
    relative = viewmats @ torch.linalg.inv(viewmats[:, :1])
    relative[..., :3, 3] = relative[..., :3, 3] / unit
    return SplatTruth(local / unit[..., None, None], seen, pictures, alphas, relative, Ks)


# ---------------------------------------------------------------- validation


@dataclass(frozen=True)
class UnseenPair:
    """Two views of an object that is never trained on.

    Attributes:
        views: The two.
        cameras: Their true cameras, as they are in the world of the object.
        truth: What is known of them and of the view between them, as a group.
    """

    views: Views
    cameras: Cameras
    truth: SplatTruth


@lru_cache(maxsize=2)
def unseen_splat_pairs(count: int, size: int) -> tuple[UnseenPair, ...]:
    """Pairs of views 30, 60 and 90 degrees apart of `count` objects."""
    azimuths = torch.tensor(_AZIMUTHS_DEG)
    focal = 0.5 * size / np.tan(np.deg2rad(_HALF_FOV_DEG))
    Ks = Cameras.intrinsics(torch.full_like(azimuths, float(focal)), size, size)
    elevations = torch.full_like(azimuths, _ELEVATION_DEG)
    cameras = Cameras.orbit(elevations, azimuths, CAMERA_DISTANCE, Ks=Ks, width=size, height=size)
    return tuple(
        _unseen_pair(FIRST_SEED + index, cameras[list(chosen)]) for index in range(count) for chosen in _PAIRS
    )


def _unseen_pair(seed: int, cameras: Cameras) -> UnseenPair:
    rendered = render_views(random_object(seed), cameras)
    images, points, seen = map(torch.from_numpy, (rendered.images, rendered.points, rendered.masks))
    alphas = images[..., 3]
    white = images[..., :3] * alphas[..., None] + 1 - alphas[..., None]
    parts = points, seen, white, alphas, cameras.viewmats, cameras.Ks
    truth = _in_unit(*(part[None] for part in parts))
    return UnseenPair(Views(images[:SHOWN], ("first", "second")), cameras[:SHOWN], truth)
