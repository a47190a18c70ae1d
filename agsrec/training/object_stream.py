"""Rendered random objects for the training of a Zero123 model.

Object k of a stream is a function of (seed, k) alone: a run that was interrupted sees the same objects again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agsrec.cameras import CAMERA_DISTANCE, Cameras
from agsrec.prior.warping import PhotoHull
from agsrec.synthetic import random_cameras, random_gains, random_good, random_object, render_views
from agsrec.training.render_stream import RenderStream
from agsrec.views import Views

__all__ = ["TrainingObject", "object_stream", "render_object"]

# Photos are taken from the side and above; a guidance asks for every direction.
_PHOTO_ELEVATIONS_DEG = (-15.0, 70.0)
_ANY_ELEVATIONS_DEG = (-80.0, 80.0)
_GOODS = 0.5  # share of objects
_KNOWN_EXACTLY = 0.4  # share of objects whose photos have their true cameras
_CAMERA_ERRORS_DEG = 0.5, 6.0  # of the others, r.m.s.


@dataclass(frozen=True)
class TrainingObject:
    """Views of one object.

    Attributes:
        images: RGBA [V, S, S, 4] uint8, straight alpha.
        photos: How many of them were shown, the first ones.
        warped: Those photos drawn from every other camera over white [V - photos, S, S, 3] uint8; see
            `agsrec.prior.warping`.
        viewmats: World-to-camera [V, 4, 4], at mean distance `CAMERA_DISTANCE`.
        Ks: Intrinsics [V, 3, 3] in pixels.
    """

    images: NDArray[np.uint8]
    photos: int
    warped: NDArray[np.uint8]
    viewmats: NDArray[np.float32]
    Ks: NDArray[np.float32]

    @property
    def cameras(self) -> Cameras:
        """Viewmats and intrinsics as cameras."""
        height, width = self.images.shape[1:3]
        return Cameras(torch.from_numpy(self.viewmats), torch.from_numpy(self.Ks), width, height)


def render_object(seed: int, index: int, *, num_views: int, size: int, warp: bool = False) -> TrainingObject:
    """Object `index` of the stream `seed`: half of its views as photographed, half from anywhere.

    With `warp`, some of the former are shown and drawn from the cameras of the rest; otherwise one is shown.
    """
    rng = np.random.default_rng((seed, index))
    obj = (random_good if rng.random() < _GOODS else random_object)(int(rng.integers(2**62)))
    photos = num_views - num_views // 2
    cameras = Cameras.cat(
        [
            random_cameras(obj.vertices, photos, size, rng, elevation_range_deg=_PHOTO_ELEVATIONS_DEG),
            random_cameras(obj.vertices, num_views // 2, size, rng, elevation_range_deg=_ANY_ELEVATIONS_DEG),
        ]
    )
    gains = random_gains(num_views, rng, sigma=rng.choice([0.0, 0.06]))
    images = render_views(obj, cameras, gains=gains, sparing=True, num_threads=1).images
    distance = float(cameras.centers.norm(dim=1).mean())
    still = torch.eye(3, dtype=cameras.viewmats.dtype)
    normal = cameras.transformed(CAMERA_DISTANCE / distance, still, torch.zeros_like(still[0]))
    normal = normal.to(dtype=torch.float32)
    shown = int(rng.integers(1, photos + 1)) if warp else 1
    return TrainingObject(
        (images * 255 + 0.5).astype(np.uint8),
        shown,
        _warped(torch.from_numpy(images), normal, shown, rng)
        if warp
        else np.empty((0, size, size, 3), np.uint8),
        normal.viewmats.numpy(),
        normal.Ks.numpy(),
    )


def _warped(images: Tensor, cameras: Cameras, shown: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The first `shown` images from the cameras of the others, their own being known more or less well."""
    error = 0.0 if rng.random() < _KNOWN_EXACTLY else rng.uniform(*_CAMERA_ERRORS_DEG)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    known = cameras[:shown].perturbed(error if shown > 1 else 0.0, generator)
    photos = Views(images[:shown].float(), tuple(map(str, range(shown))))
    return (PhotoHull.of(photos, known).seen_from(cameras[shown:]).numpy() * 255 + 0.5).astype(np.uint8)


def object_stream(
    seed: int, num_views: int, size: int, *, workers: int, first: int = 0, warp: bool = False
) -> RenderStream[TrainingObject]:
    """Objects `first`, `first + 1`, ... of a stream; see `render_object` and `RenderStream`.

    Raises:
        OptionError: `workers` is negative.
    """
    render = partial(render_object, seed, num_views=num_views, size=size, warp=warp)
    return RenderStream(render, workers=workers, first=first)
