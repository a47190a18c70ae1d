"""A result against the photos that its fit was not given."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from agsrec.camera_files import write_cameras_json
from agsrec.cameras import Cameras
from agsrec.config import Stage
from agsrec.files import atomic_write
from agsrec.fit.target import shrunk
from agsrec.metrics.evaluation import rendered_on_white
from agsrec.metrics.images import psnr
from agsrec.metrics.poses import align_cameras
from agsrec.outliers import polish_poses
from agsrec.pose_init.farthest import farthest_cameras
from agsrec.result_files import OTHERS_CAMERAS, OTHERS_PHOTOS
from agsrec.views import Views

if TYPE_CHECKING:
    from agsrec.pipeline.many_photos import Others
    from agsrec.reconstruction import Reconstruction
    from agsrec.view_files import FullSizeViews

__all__ = ["OthersInScene", "checked_sentence", "forget_others"]

_TOGETHER = 8  # photos that are adjusted at once: each on its own, all in memory
_STAGES = Stage(48, 40), Stage(96, 40), Stage(192, 30)

MOST_TEXTURED = 12
"""Photos that the fit was not given and the texture is, at most: each is compared with every other."""


@dataclass(frozen=True)
class OthersInScene:
    """Photos that the fit was not given, in the world of its result.

    Attributes:
        result: The result.
        others: The photos, and their cameras in the world of the fitted ones before the fit.
        device: Where to compute.
    """

    result: Reconstruction
    others: Others
    device: torch.device

    def contents(self) -> dict[str, object]:
        """What tells whether anything has changed, beside the scene."""
        return {**self.others.contents(), "cameras before the fit": self.result.initial_cameras}

    @cached_property
    def cameras(self) -> Cameras:
        """Their cameras: carried along as the fit changed those that it was given, then each adjusted to the
        scene, which the focal length and the principal points of a fit let drift."""
        result, others, device = self.result, self.others, self.device
        carried, listed = _carried(result, others.cameras), list(others.photos.full.names)
        gaussians, parts = result.gaussians.to(device), []
        for k in range(0, len(carried), _TOGETHER):
            names = others.names[k : k + _TOGETHER]
            photos = [shrunk(others.photos[listed.index(name)], _STAGES[-1].size) for name in names]
            views = Views(torch.stack(photos).to(device), names)
            start = carried[list(range(k, k + len(names)))].resized(views.width, views.height).to(device)
            polished = polish_poses(gaussians, views, start, fitted_size=result.fitted_size, stages=_STAGES)
            parts.append(polished.to("cpu").resized(carried.width, carried.height))
        return Cameras.cat(parts)

    def farthest(self) -> tuple[FullSizeViews, Cameras]:
        """At most `MOST_TEXTURED` of them, those farthest apart, at their own sizes, and their cameras."""
        chosen = farthest_cameras(self.cameras, MOST_TEXTURED)
        return self.others.photos.full.select([self.others.names[k] for k in chosen]), self.cameras[chosen]

    @torch.no_grad()
    def check(self, folder: Path) -> dict[str, Any]:
        """How well the scene explains them, in dB of PSNR over white.

        Their cameras are written into the folder, and those photos that are of use for textures. One photo at
        a time is in memory.
        """
        result, others, cameras = self.result, self.others, self.cameras
        write_cameras_json(folder / OTHERS_CAMERAS, cameras, others.names)
        _write_photos(self.farthest()[0], folder / OTHERS_PHOTOS)
        listed = list(others.photos.full.names)
        values = {}
        for k, name in enumerate(others.names):
            photo = others.photos[listed.index(name)]
            drawn = rendered_on_white(result.gaussians, cameras[k], fitted_size=result.fitted_size)
            wanted = photo[..., :3] * photo[..., 3:] + (1 - photo[..., 3:])
            values[name] = float(psnr(drawn, wanted[None])[0])
        return {"psnr": sum(values.values()) / len(values), "by_view": values}


def _carried(result: Reconstruction, cameras: Cameras) -> Cameras:
    """Cameras changed as the fit changed those that it was given."""
    before, after = result.initial_cameras, result.cameras
    carried = align_cameras(before, after).cameras(cameras)
    # A longer focal length goes with a greater distance; alone it would change how large things look.
    zoom = (after.focal_lengths / before.focal_lengths).median()
    Ks = carried.Ks * torch.stack([zoom, zoom, torch.ones_like(zoom)])
    return replace(carried, Ks=Ks).to(dtype=torch.float32)


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
