"""A result against the photos that its fit was not given."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from agsrec.camera_files import write_cameras_json
from agsrec.files import atomic_write
from agsrec.metrics.evaluation import rendered_on_white
from agsrec.metrics.images import psnr
from agsrec.metrics.poses import align_cameras
from agsrec.pose_init.farthest import farthest_cameras
from agsrec.result_files import OTHERS_CAMERAS, OTHERS_PHOTOS

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.pipeline.many_photos import Others
    from agsrec.reconstruction import Reconstruction
    from agsrec.view_files import FullSizeViews

__all__ = ["check_others", "checked_sentence", "farthest_others", "forget_others", "others_moved"]

MOST_TEXTURED = 12
"""Photos that the fit was not given and the texture is, at most: each is compared with every other."""


def others_moved(result: Reconstruction, others: Others) -> Cameras:
    """Their cameras in the world of the result: carried along as the fit changed those that it was given."""
    before, after = result.initial_cameras, result.cameras
    carried = align_cameras(before, after).cameras(others.cameras)
    # A longer focal length goes with a greater distance; one of them alone would change how large things look.
    zoom = (after.focal_lengths / before.focal_lengths).median()
    return replace(carried, Ks=carried.Ks * torch.stack([zoom, zoom, torch.ones_like(zoom)]))


def farthest_others(result: Reconstruction, others: Others) -> tuple[FullSizeViews, Cameras]:
    """At most `MOST_TEXTURED` of them, those farthest apart, at their own sizes, and their cameras."""
    cameras = others_moved(result, others).to(dtype=torch.float32)
    chosen = sorted(farthest_cameras(cameras, min(MOST_TEXTURED, len(cameras))))
    return others.photos.full.select([others.names[k] for k in chosen]), cameras[chosen]


@torch.no_grad()
def check_others(result: Reconstruction, others: Others, folder: Path) -> dict[str, Any]:
    """How well the scene explains them, in dB of PSNR over white.

    Their cameras are written into the folder, and those photos that are of use for textures. One photo at a
    time is in memory. Poses stay as they were registered: what is off there counts too.
    """
    cameras = others_moved(result, others)
    write_cameras_json(folder / OTHERS_CAMERAS, cameras, others.names)
    _write_photos(farthest_others(result, others)[0], folder / OTHERS_PHOTOS)
    listed = list(others.photos.full.names)
    values = {}
    for k, name in enumerate(others.names):
        photo = others.photos[listed.index(name)]
        drawn = rendered_on_white(
            result.gaussians, cameras[k].to(dtype=torch.float32), fitted_size=result.fitted_size
        )
        wanted = photo[..., :3] * photo[..., 3:] + (1 - photo[..., 3:])
        values[name] = float(psnr(drawn, wanted[None])[0])
    return {"psnr": sum(values.values()) / len(values), "by_view": values}


def _write_photos(photos: FullSizeViews, folder: Path) -> None:
    """Those alone, for meshes that are made later."""
    shutil.rmtree(folder, ignore_errors=True)  # of an earlier run
    for k, name in enumerate(photos.names):
        atomic_write(folder / f"{name}_rgba.png", photos.png(k))


def forget_others(folder: Path) -> None:
    """Remove what an earlier run has written of other photos."""
    (folder / OTHERS_CAMERAS).unlink(missing_ok=True)
    shutil.rmtree(folder / OTHERS_PHOTOS, ignore_errors=True)


def checked_sentence(checked: Mapping[str, Any]) -> str:
    """What a user is told of it."""
    values: Mapping[str, float] = checked["by_view"]
    worst = min(values, key=values.__getitem__)
    return (
        f"{len(values)} photos that the fit was not given: {checked['psnr']:.1f} dB PSNR on the mean, least "
        f"for {worst} ({values[worst]:.1f} dB)"
    )
