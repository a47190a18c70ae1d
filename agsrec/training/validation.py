"""What a model in training can do, on objects it never sees: figures, and pictures to look at."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from agsrec.cameras import CAMERA_DISTANCE, Cameras
from agsrec.files import atomic_path
from agsrec.metrics.images import psnr, ssim
from agsrec.synthetic import random_object, render_views
from agsrec.views import Views

if TYPE_CHECKING:
    from agsrec.prior.zero123 import Zero123

__all__ = [
    "ANGLES_DEG",
    "FIRST_SEED",
    "farthest_views",
    "novel_views",
    "over_white",
    "quality_by_angle",
    "unseen_objects",
    "unseen_photo_sets",
    "validate_autoencoder",
    "validate_novel_views",
    "write_grid",
]

ANGLES_DEG = (0.0, 30.0, 60.0, 90.0, 180.0)
"""Azimuths from the shown view at which novel views are measured; the first is the shown view."""

FIRST_SEED = 2**62 + 1
"""Random objects from this seed on are never trained on."""
_ELEVATION_DEG = -20.0  # 20 degrees above
_HALF_FOV_DEG = 20.0
_PHOTOS, _CANDIDATES = 3, 12
_PHOTO_ELEVATIONS_DEG = -5.0, 40.0  # above


@lru_cache(maxsize=2)
def unseen_objects(count: int, size: int) -> tuple[Tensor, Cameras]:
    """Cut-outs [count, A, size, size, 4] of fixed objects at `ANGLES_DEG`, and the A cameras."""
    azimuths = torch.tensor(ANGLES_DEG)
    cameras = _orbit(torch.full_like(azimuths, _ELEVATION_DEG), azimuths, size)
    return torch.stack([_rendered(FIRST_SEED + k, cameras) for k in range(count)]), cameras


@lru_cache(maxsize=2)
def unseen_photo_sets(count: int, size: int) -> tuple[Tensor, list[Cameras]]:
    """Cut-outs [count, P + 1, size, size, 4] and cameras of P photos of each object from random sides.

    The last one is a view farther from all of them than any other of some random ones.
    """
    images, cameras = [], []
    for k in range(count):
        generator = torch.Generator().manual_seed(k)
        above, azimuths = (torch.rand(_PHOTOS + _CANDIDATES, generator=generator) for _ in range(2))
        low, high = _PHOTO_ELEVATIONS_DEG
        every = _orbit(-(low + (high - low) * above), 360 * azimuths, size)
        directions = F.normalize(every.centers, dim=-1)
        nearest = (directions[_PHOTOS:] @ directions[:_PHOTOS].mT).amax(1)
        chosen = every[[*range(_PHOTOS), _PHOTOS + int(nearest.argmin())]]
        cameras.append(chosen)
        images.append(_rendered(FIRST_SEED + k, chosen))
    return torch.stack(images), cameras


def _orbit(elevations: Tensor, azimuths: Tensor, size: int) -> Cameras:
    focal = 0.5 * size / np.tan(np.deg2rad(_HALF_FOV_DEG))
    Ks = Cameras.intrinsics(torch.full_like(azimuths, float(focal)), size, size)
    return Cameras.orbit(elevations, azimuths, CAMERA_DISTANCE, Ks=Ks, width=size, height=size)


def _rendered(seed: int, cameras: Cameras) -> Tensor:
    return torch.from_numpy(render_views(random_object(seed), cameras).images)


def over_white(cut_outs: Tensor) -> Tensor:  # [..., 3]
    """Pictures with straight alpha [..., 4] on white."""
    return cut_outs[..., :3] * cut_outs[..., 3:] + 1 - cut_outs[..., 3:]


def validate_autoencoder(model: Zero123, folder: Path, step: int, count: int = 8) -> dict[str, float]:
    """Mean PSNR of decoded latents; a grid of originals above reconstructions goes to the folder."""
    images, _ = unseen_objects(count, model.image_size)
    shown = over_white(images[:, 0]).to(model.device)
    with torch.no_grad():
        decoded = model.decode_latents(model.encode_image(shown))
    write_grid(folder / "validation" / f"autoencoder-{step:06d}.png", torch.stack([shown, decoded]))
    return {"psnr": round(float(psnr(decoded, shown).mean()), 3)}


def novel_views(
    model: Zero123,
    cut_outs: Tensor,  # [K, A, S, S, 4]
    cameras: Cameras,  # [A]
    *,
    steps: int | None = None,
    guidance_scale: float | None = None,
) -> Tensor:  # [K, A, S, S, 3]
    """Every object's first view, and the others as the model imagines them from that one alone."""
    shown = cut_outs[:, 0].to(model.device)
    condition = model.encode(_views(shown))
    columns = [over_white(shown)]
    for a in range(1, len(cameras)):
        generator = torch.Generator().manual_seed(a)
        samples = [
            model.sample(
                condition[[k]],
                cameras[0],
                cameras[a],
                steps=steps,
                guidance_scale=guidance_scale,
                generator=generator,
            )
            for k in range(len(shown))
        ]
        columns.append(torch.cat(samples))
    return torch.stack(columns, dim=1)


def farthest_views(
    model: Zero123,
    cut_outs: Tensor,  # [K, P + 1, S, S, 4]
    cameras: Sequence[Cameras],
    *,
    steps: int | None = None,
    guidance_scale: float | None = None,
) -> Tensor:  # [K, S, S, 3]
    """The last view of each of `unseen_photo_sets` as the model imagines it from the others."""
    samples = [
        model.sample(
            model.encode(_views(photos[:-1].to(model.device))),
            chosen[:-1],
            chosen[-1],
            steps=steps,
            guidance_scale=guidance_scale,
            generator=torch.Generator().manual_seed(0),
        )
        for photos, chosen in zip(cut_outs, cameras, strict=True)
    ]
    return torch.cat(samples)


def _views(cut_outs: Tensor) -> Views:
    return Views(cut_outs, tuple(map(str, range(len(cut_outs)))))


def quality_by_angle(predicted: Tensor, truth: Tensor) -> dict[str, float]:
    """Mean PSNR (dB) and SSIM of predictions [K, A, S, S, 3] at `ANGLES_DEG`, the shown view left out."""
    report: dict[str, float] = {}
    for a in range(1, len(ANGLES_DEG)):
        pair = predicted[:, a], truth[:, a]
        report[f"psnr_{ANGLES_DEG[a]:.0f}"] = round(float(psnr(*pair).mean()), 3)
        report[f"ssim_{ANGLES_DEG[a]:.0f}"] = round(float(ssim(*pair).mean()), 4)
    return report


def validate_novel_views(model: Zero123, folder: Path, step: int, count: int = 6) -> dict[str, float]:
    """PSNR and SSIM of imagined views by angle; a grid of truth above imagination goes to the folder.

    Of a model that is shown all photos at once, also `psnr_far`: of `farthest_views`.
    """
    cut_outs, cameras = unseen_objects(count, model.image_size)
    truth, sampled = over_white(cut_outs), novel_views(model, cut_outs, cameras).cpu()
    grid = torch.stack([truth, sampled], dim=1).flatten(0, 1)  # [2 * count, A, ...]
    write_grid(folder / "validation" / f"novel-views-{step:06d}.png", grid)
    report = quality_by_angle(sampled, truth)
    if model.warps:
        photos, sets = unseen_photo_sets(count, model.image_size)
        far, white = farthest_views(model, photos, sets).cpu(), over_white(photos)
        grid = torch.cat([white, far[:, None]], dim=1)
        write_grid(folder / "validation" / f"farthest-views-{step:06d}.png", grid)
        report["psnr_far"] = round(float(psnr(far, white[:, -1]).mean()), 3)
    return report


def write_grid(path: Path, images: Tensor) -> None:  # [R, C, S, S, 3]
    """Write rows and columns of images in [0, 1] as one picture."""
    rows = (images.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    picture = np.concatenate([np.concatenate(list(row), axis=1) for row in rows], axis=0)
    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary)
