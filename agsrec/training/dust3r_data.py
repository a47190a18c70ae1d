"""Pairs of views of random objects with the points that they see, for training DUSt3R and its relatives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agsrec.cameras import CAMERA_DISTANCE, Cameras
from agsrec.synthetic import random_cameras, random_gains, random_object, render_views
from agsrec.training.nview_data import as_cut_out
from agsrec.training.validation import FIRST_SEED

__all__ = [
    "PairPool",
    "PairTruth",
    "PointViews",
    "UnseenPairs",
    "in_first_camera",
    "render_point_views",
    "unseen_pairs",
]

_VALIDATION_ANGLES_DEG = (30.0, 60.0, 90.0)
_VALIDATION_ELEVATION_DEG = -20.0  # 20 degrees above
_HALF_FOV_DEG = 20.0


class PointViews(NamedTuple):
    """Views of one object.

    Attributes:
        images: RGBA [V, S, S, 4] uint8, straight alpha.
        viewmats: World-to-camera [V, 4, 4].
        points: World points at the pixel centres [V, S, S, 3] float16.
        seen: Whether there is a point [V, S, S].
        Ks: Intrinsics [V, 3, 3] in pixels.
    """

    images: NDArray[np.uint8]
    viewmats: NDArray[np.float32]
    points: NDArray[np.float16]
    seen: NDArray[np.bool_]
    Ks: NDArray[np.float32]


class PairTruth(NamedTuple):
    """What both views of B pairs see.

    Attributes:
        points: In the frame of each pair's first camera [B, 2, S, S, 3].
        seen: Whether there is a point [B, 2, S, S].
    """

    points: Tensor
    seen: Tensor


def render_point_views(seed: int, num_views: int, size: int, index: int) -> PointViews:
    """Object `index` of the stream `seed`, a function of these numbers alone."""
    rng = np.random.default_rng((seed, index))
    obj = random_object(int(rng.integers(2**62)))
    roll = rng.choice([3.0, 6.0, 12.0])
    cameras = random_cameras(obj.vertices, num_views, size, rng, roll_sigma_deg=roll)
    gains = random_gains(num_views, rng, sigma=rng.choice([0.0, 0.06, 0.15]))
    rendered = render_views(obj, cameras, gains=gains, num_threads=1)
    return PointViews(
        (rendered.images * 255 + 0.5).astype(np.uint8),
        cameras.viewmats.float().numpy(),
        rendered.points.astype(np.float16),
        rendered.masks,
        cameras.Ks.float().numpy(),
    )


@dataclass
class PairPool:
    """The latest objects of a stream in device memory, from which pairs are drawn again and again.

    Attributes:
        images: [N, V, S, S, 4] uint8.
        viewmats: [N, V, 4, 4].
        points: [N, V, S, S, 3] float16.
        seen: [N, V, S, S].
        Ks: [N, V, 3, 3].
        loaded: Objects of the stream so far.
    """

    images: Tensor
    viewmats: Tensor
    points: Tensor
    seen: Tensor
    Ks: Tensor
    loaded: int

    @staticmethod
    def empty(objects: int, views: int, size: int, device: torch.device, *, first: int = 0) -> PairPool:
        """Room for so many objects, of which number `first` will be the oldest."""
        shape = objects, views, size, size
        return PairPool(
            torch.zeros(*shape, 4, dtype=torch.uint8, device=device),
            torch.zeros(objects, views, 4, 4, device=device),
            torch.zeros(*shape, 3, dtype=torch.float16, device=device),
            torch.zeros(shape, dtype=torch.bool, device=device),
            torch.zeros(objects, views, 3, 3, device=device),
            first,
        )

    def advance(self, stream: Iterator[PointViews], first: int) -> None:
        """Take in new objects until the oldest is number `first`."""
        while self.loaded < first + len(self.images):
            self.insert(self.loaded % len(self.images), next(stream))
            self.loaded += 1

    def insert(self, slot: int, item: PointViews) -> None:
        """Put an object in the place of another."""
        rooms = self.images, self.viewmats, self.points, self.seen, self.Ks
        for kept, new in zip(rooms, item, strict=True):
            kept[slot] = torch.from_numpy(new).to(kept.device)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, PairTruth]:
        """Random pairs as photos over white [B, 2, S, S, 3] in [-1, 1], and what they see."""
        objects, views = self.images.shape[:2]
        slots = torch.randint(objects, (count,), generator=generator)
        first = torch.randint(views, (count,), generator=generator)
        second = (first + torch.randint(1, views, (count,), generator=generator)) % views
        index = slots[:, None], torch.stack([first, second], dim=1)
        cut_out = as_cut_out(self.images[index].float().permute(0, 1, 4, 2, 3) / 255, generator)
        white = (cut_out[:, :, :3] + 1 - cut_out[:, :, 3:]).clamp(0, 1)
        seen = self.seen[index]
        points = in_first_camera(self.points[index].float(), self.viewmats[index][:, 0], seen)
        return 2 * white.permute(0, 1, 3, 4, 2) - 1, PairTruth(points, seen)


def in_first_camera(points: Tensor, viewmats: Tensor, seen: Tensor) -> Tensor:  # [B, 2, S, S, 3]
    """World points [B, 2, S, S, 3] in cameras [B, 4, 4]; zero where nothing is seen."""
    rotation, translation = viewmats[:, None, None, :3, :3], viewmats[:, None, None, None, :3, 3]
    return (points @ rotation.mT + translation) * seen[..., None]


@dataclass(frozen=True)
class UnseenPairs:
    """Fixed pairs of views of objects that are never trained on.

    Attributes:
        images: Over white [P, 2, S, S, 3] in [-1, 1].
        truth: What they see.
        rotations: From the second camera to the first [P, 3, 3].
    """

    images: Tensor
    truth: PairTruth
    rotations: Tensor


@lru_cache(maxsize=2)
def unseen_pairs(count: int, size: int) -> UnseenPairs:
    """Pairs of views 30, 60 and 90 degrees apart of `count` objects."""
    azimuths = torch.tensor((0.0, *_VALIDATION_ANGLES_DEG))
    focal = 0.5 * size / np.tan(np.deg2rad(_HALF_FOV_DEG))
    Ks = Cameras.intrinsics(torch.full_like(azimuths, float(focal)), size, size)
    elevations = torch.full_like(azimuths, _VALIDATION_ELEVATION_DEG)
    cameras = Cameras.orbit(elevations, azimuths, CAMERA_DISTANCE, Ks=Ks, width=size, height=size)
    rendered = [render_views(random_object(FIRST_SEED + k), cameras) for k in range(count)]
    rgba, points, seen = (
        torch.from_numpy(np.concatenate([_with_first(getattr(r, name)) for r in rendered]))
        for name in ("images", "points", "masks")
    )
    white = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
    first = cameras.viewmats[:1].expand(len(rgba), 4, 4)
    relative = cameras.rotations[0] @ cameras.rotations[1:].mT
    return UnseenPairs(
        2 * white - 1, PairTruth(in_first_camera(points, first, seen), seen), relative.repeat(count, 1, 1)
    )


def _with_first(views: NDArray) -> NDArray:  # [V - 1, 2, ...]
    """Every view after the first, paired with it."""
    return np.stack([np.broadcast_to(views[:1], views[1:].shape), views[1:]], axis=1)
