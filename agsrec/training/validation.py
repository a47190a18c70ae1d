"""What a model in training can do, on objects it never sees: figures, and pictures to look at."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

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
    "novel_views",
    "quality_by_angle",
    "unseen_objects",
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
_SAMPLING_STEPS = 20
_GUIDANCE_SCALE = 3.0


@lru_cache(maxsize=2)
def unseen_objects(count: int, size: int) -> tuple[Tensor, Cameras]:
    """Images over white [count, A, size, size, 3] of fixed objects at `ANGLES_DEG`, and the A cameras."""
    focal = 0.5 * size / np.tan(np.deg2rad(_HALF_FOV_DEG))
    azimuths = torch.tensor(ANGLES_DEG)
    Ks = Cameras.intrinsics(torch.full_like(azimuths, float(focal)), size, size)
    elevations = torch.full_like(azimuths, _ELEVATION_DEG)
    cameras = Cameras.orbit(elevations, azimuths, CAMERA_DISTANCE, Ks=Ks, width=size, height=size)
    images = [
        torch.from_numpy(render_views(random_object(FIRST_SEED + k), cameras).images) for k in range(count)
    ]
    stacked = torch.stack(images)
    return stacked[..., :3] * stacked[..., 3:] + 1 - stacked[..., 3:], cameras


def validate_autoencoder(model: Zero123, folder: Path, step: int, count: int = 8) -> dict[str, float]:
    """Mean PSNR of decoded latents; a grid of originals above reconstructions goes to the folder."""
    images, _ = unseen_objects(count, model.image_size)
    shown = images[:, 0].to(model.device)
    with torch.no_grad():
        decoded = model.decode_latents(model.encode_image(shown))
    write_grid(folder / "validation" / f"autoencoder-{step:06d}.png", torch.stack([shown, decoded]))
    return {"psnr": round(float(psnr(decoded, shown).mean()), 3)}


def novel_views(
    model: Zero123,
    images: Tensor,  # [K, A, S, S, 3] over white
    cameras: Cameras,  # [A]
    *,
    steps: int = _SAMPLING_STEPS,
    guidance_scale: float = _GUIDANCE_SCALE,
) -> Tensor:  # [K, A, S, S, 3]
    """Every object's first view, and the others as the model imagines them from that one alone."""
    shown = images[:, 0].to(model.device)
    names = tuple(str(k) for k in range(len(shown)))
    condition = model.encode(Views(torch.cat([shown, torch.ones_like(shown[..., :1])], dim=-1), names))
    columns = [shown]
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


def quality_by_angle(predicted: Tensor, truth: Tensor) -> dict[str, float]:
    """Mean PSNR (dB) and SSIM of predictions [K, A, S, S, 3] at `ANGLES_DEG`, the shown view left out."""
    report: dict[str, float] = {}
    for a in range(1, len(ANGLES_DEG)):
        pair = predicted[:, a], truth[:, a]
        report[f"psnr_{ANGLES_DEG[a]:.0f}"] = round(float(psnr(*pair).mean()), 3)
        report[f"ssim_{ANGLES_DEG[a]:.0f}"] = round(float(ssim(*pair).mean()), 4)
    return report


def validate_novel_views(model: Zero123, folder: Path, step: int, count: int = 6) -> dict[str, float]:
    """PSNR and SSIM of imagined views by angle; a grid of truth above imagination goes to the folder."""
    truth, cameras = unseen_objects(count, model.image_size)
    sampled = novel_views(model, truth, cameras).cpu()
    grid = torch.stack([truth, sampled], dim=1).flatten(0, 1)  # [2 * count, A, ...]
    write_grid(folder / "validation" / f"novel-views-{step:06d}.png", grid)
    return quality_by_angle(sampled, truth)


def write_grid(path: Path, images: Tensor) -> None:  # [R, C, S, S, 3]
    """Write rows and columns of images in [0, 1] as one picture."""
    rows = (images.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    picture = np.concatenate([np.concatenate(list(row), axis=1) for row in rows], axis=0)
    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary)
