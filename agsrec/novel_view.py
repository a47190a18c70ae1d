"""Novel views of one photo: the job of Zero-1-to-3 (Liu et al. 2023), with a 6-DoF camera."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from agsrec.cameras import OBJECT_FILL, Cameras
from agsrec.errors import OptionError
from agsrec.prior.framing import object_framing
from agsrec.single_photo import PHOTO_ELEVATION_DEG, PHOTO_FOV_DEG, photo_cameras

if TYPE_CHECKING:
    import numpy as np

    from agsrec.prior.zero123 import Zero123
    from agsrec.views import Views

__all__ = ["Viewpoint", "as_strip", "check_options", "novel_views"]

_BATCH = 4  # views that are denoised together


@dataclass(frozen=True)
class Viewpoint:
    """A camera's move from where a photo was taken, around the object and looking at it.

    Attributes:
        azimuth_deg: Around the vertical, degrees; positive to the camera's right, from +z to +x.
        elevation_deg: Upwards, degrees.
        distance: Away from the object, as a share of the photo's distance.
    """

    azimuth_deg: float
    elevation_deg: float = 0.0
    distance: float = 0.0


def novel_views(
    model: Zero123,
    photo: Views,
    viewpoints: Sequence[Viewpoint],
    *,
    photo_elevation_deg: float = PHOTO_ELEVATION_DEG,
    fov_deg: float = PHOTO_FOV_DEG,
    steps: int | None = None,
    guidance_scale: float | None = None,
    seed: int = 0,
) -> Tensor:  # [N, S, S, 3]
    """What a model imagines one photo's object to look like from N viewpoints, over white, in [0, 1].

    Args:
        model: Diffusion model; it decides the size S.
        photo: One cut-out photo; it is shown cropped to the object.
        viewpoints: Where to look from.
        photo_elevation_deg: Degrees the photo was taken from above the object.
        fov_deg: Field of view of the cropped photo.
        steps: Denoising steps; the model's own number by default.
        guidance_scale: Strength of classifier-free guidance; 1 is without, and the model's own the default.
        seed: Seed of the noise.

    Raises:
        OptionError: A number is out of range, or there is not exactly one photo.
    """
    check_options(
        viewpoints,
        photo_elevation_deg=photo_elevation_deg,
        fov_deg=fov_deg,
        steps=steps,
        guidance_scale=guidance_scale,
        seed=seed,
    )
    if len(photo) != 1:
        raise OptionError(f"novel views are made from one photo, not {len(photo)}")
    condition = model.encode(object_framing(photo, OBJECT_FILL).views(photo))
    photo_camera, cameras = _cameras(viewpoints, photo_elevation_deg, fov_deg, model.image_size)
    generator = torch.Generator().manual_seed(seed)
    images = [
        model.sample(
            condition,
            photo_camera,
            cameras[k : k + _BATCH],
            steps=steps,
            guidance_scale=guidance_scale,
            generator=generator,
        ).cpu()
        for k in range(0, len(cameras), _BATCH)
    ]
    return torch.cat(images)


def _cameras(
    viewpoints: Sequence[Viewpoint], photo_elevation_deg: float, fov_deg: float, size: int
) -> tuple[Cameras, Cameras]:
    """The photo's camera, and those of the viewpoints."""
    moves = torch.tensor([(v.azimuth_deg, v.elevation_deg, v.distance) for v in viewpoints])
    novel = photo_cameras(
        size, fov_deg, photo_elevation_deg + moves[:, 1], azimuth_deg=moves[:, 0], farther=moves[:, 2]
    )
    return photo_cameras(size, fov_deg, photo_elevation_deg), novel


def check_options(
    viewpoints: Sequence[Viewpoint],
    *,
    photo_elevation_deg: float,
    fov_deg: float,
    steps: int | None,
    guidance_scale: float | None,
    seed: int,
) -> None:
    """Refuse what `novel_views` cannot use, before anything is loaded.

    Raises:
        OptionError: A number is out of range.
    """
    if not viewpoints:
        raise OptionError("name at least one viewpoint")
    for v in viewpoints:
        if not (math.isfinite(v.azimuth_deg) and math.isfinite(v.elevation_deg)):
            raise OptionError(
                f"--azimuth and --elevation must be numbers, not {v.azimuth_deg}, {v.elevation_deg}"
            )
        if not -0.9 <= v.distance <= 9:
            raise OptionError(f"--distance must be between -0.9 and 9, not {v.distance}")
    if not -90 < photo_elevation_deg < 90:
        raise OptionError(f"--photo_elevation must be between -90 and 90, not {photo_elevation_deg}")
    if not 1 <= fov_deg <= 150:
        raise OptionError(f"--fov must be between 1 and 150 degrees, not {fov_deg}")
    if steps is not None and steps < 1:
        raise OptionError(f"--steps must be at least 1, not {steps}")
    if guidance_scale is not None and not 0 <= guidance_scale < math.inf:
        raise OptionError(f"--guidance must be at least 0, not {guidance_scale}")
    if not 0 <= seed < 2**63:
        raise OptionError(f"--seed must be between 0 and 2**63 - 1, not {seed}")


def as_strip(images: Tensor) -> np.ndarray:  # uint8 [S, N * S, 3]
    """Images [N, S, S, 3] in [0, 1] side by side."""
    row = torch.cat(list(images), dim=1)
    return (row * 255).round().to(torch.uint8).numpy()
