"""Views that the scene of all the others would rather have seen from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from agsrec.fit import fit
from agsrec.fit.target import Target
from agsrec.lie import so3_exp
from agsrec.render import render_scene

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.config import FitConfig
    from agsrec.fit import FitResult
    from agsrec.views import Views

__all__ = ["Elsewhere", "views_elsewhere"]

_SUSPECTS = 3  # views that are looked at, those that the scene explains worst
_AZIMUTHS_DEG = torch.arange(0.0, 360.0, 15.0)
_ELEVATIONS_DEG = torch.tensor([-15.0, 0.0, 15.0])
_AWAY_DEG = 22.5  # nearer places are left to the fit


@dataclass(frozen=True)
class Elsewhere:
    """Cameras of which one has moved to where the other views' scene looks most like its photo.

    Attributes:
        cameras: All V cameras.
        ratio: Error there over the error where the camera was.
    """

    cameras: Cameras
    ratio: float


def views_elsewhere(
    photos: Views,
    cameras: Cameras,
    scene: FitResult,
    config: FitConfig,
    *,
    suspects: Sequence[int] | None = None,
    seed: int = 0,
) -> list[Elsewhere]:
    """Other places for the views that a scene explains worst, the most promising one first.

    For each, a scene of the other views alone is fitted, which its own wrong pose cannot have spoiled, and
    looked at from all around.

    Args:
        photos: V cut-outs.
        cameras: Their poses, most of them right; the object stands upright near the origin.
        scene: What was fitted to all of them.
        config: Schedule of the fits, which compare pictures of the last stage's size.
        suspects: Views to look at; those that the scene explains worst by default.
        seed: Seed of everything random.
    """
    target = Target.at(photos, config.rounds[-1].stages[-1].size)
    everyone = torch.arange(len(photos))
    if suspects is None:
        suspects = _errors(target, everyone, scene, cameras).argsort(descending=True)[:_SUSPECTS].tolist()
    found = []
    for view in suspects:
        rest = everyone[everyone != view].tolist()
        others = fit(photos[rest], cameras[rest], config, seed=seed)
        places, away = _around(cameras, view)
        errors = _errors(target, torch.full((len(places),), view), others, places)
        best = int(torch.where(away, errors, math.inf).argmin())
        viewmats = cameras.viewmats.clone()
        viewmats[view] = places.viewmats[best]
        # The place it has is among them, the only one that is neither turned nor tilted.
        ratio = float(errors[best] / errors[len(_ELEVATIONS_DEG) // 2].clamp_min(1e-12))
        found.append(Elsewhere(replace(cameras, viewmats=viewmats), ratio))
    return sorted(found, key=lambda elsewhere: elsewhere.ratio)


def _around(cameras: Cameras, view: int) -> tuple[Cameras, Tensor]:
    """A camera at other azimuths and elevations about the origin, and which of these are far from its own."""
    azimuth, elevation = torch.cartesian_prod(_AZIMUTHS_DEG, _ELEVATIONS_DEG).unbind(1)
    own = cameras.viewmats[view]
    zero = torch.zeros_like(azimuth)
    turned = so3_exp(torch.stack([zero, azimuth.deg2rad(), zero], dim=1)).to(own)  # of the world
    tilted = so3_exp(torch.stack([elevation.deg2rad(), zero, zero], dim=1)).to(own)  # about the camera's x
    viewmats = own.repeat(len(azimuth), 1, 1)
    viewmats[:, :3, :3] = tilted @ own[:3, :3] @ turned
    away = torch.minimum(azimuth, 360 - azimuth) > _AWAY_DEG
    return replace(cameras[[view] * len(azimuth)], viewmats=viewmats), away


@torch.no_grad()
def _errors(target: Target, views: Tensor, scene: FitResult, cameras: Cameras) -> Tensor:
    """Squared differences [K] over the object's area between photo `views[k]` and what camera k sees."""
    height, width = target.alpha.shape[1:]
    small = cameras.resized(width, height)
    rgb, alpha = target.rgb[views], target.alpha[views]
    total = torch.zeros(len(views)).to(alpha)
    for shade in (0.0, 1.0):
        background = torch.full((len(views), 3), shade).to(alpha)
        size = scene.fitted_size
        seen = render_scene(scene.gaussians, small, background, fitted_size=size, render_mode="RGB").rgb
        wanted = rgb + shade * (1 - alpha)[..., None]
        total += 0.5 * (seen - wanted).square().mean((1, 2, 3))
    return total / alpha.mean((1, 2)).clamp_min(1e-6)
