"""Placing a reconstruction in the world of the ground truth by what the true cameras see."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec.lie import so3_exp
from agsrec.metrics.poses import Similarity, align_cameras
from agsrec.render import render_scene

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.gaussians import Gaussians
    from agsrec.views import Views

__all__ = ["align_scene"]

_SIZE = 128
_STEPS = 80
_RATE = 1.6e-2


def align_scene(gaussians: Gaussians, cameras: Cameras, truth: Cameras, views: Views) -> Similarity:
    """The similarity from the estimated to the true world under which the true cameras see the photos best.

    Aligning camera centres alone leaves the scene a pixel or two off, because a camera's tilt and position
    trade off against each other while the picture stays the same. Starting from that alignment, the seven
    parameters are refined on the input photos, seen through the true input cameras; views that score a
    reconstruction play no part. Gaussians are not changed.
    """
    start = align_cameras(cameras, truth)
    scale = min(1.0, _SIZE / max(views.width, views.height))
    width, height = round(views.width * scale), round(views.height * scale)
    target = F.interpolate(views.composited(torch.zeros(3)).movedim(-1, 1), size=(height, width), mode="area")
    target = target.movedim(1, -1)
    seen = start.inverse().cameras(truth).to(dtype=torch.float32).resized(width, height)
    pivot = gaussians.means.mean(0)
    size = 2 * (gaussians.means - pivot).norm(dim=-1).median()
    # Rotation, translation (in sizes of the object) and log scale about the object, in the estimated world.
    parameters = torch.zeros(7, requires_grad=True)
    adam = torch.optim.Adam([parameters], lr=_RATE)
    best, best_loss = parameters.detach().clone(), float("inf")
    for step in range(_STEPS):
        adam.param_groups[0]["lr"] = _RATE * 0.05 ** (step / _STEPS)
        factor, rotation, translation = _moves(parameters, pivot, size)
        rendered = render_scene(
            gaussians, seen.transformed(factor, rotation, translation), render_mode="RGB"
        ).rgb
        loss = F.mse_loss(rendered, target)
        if float(loss.detach()) < best_loss:
            best, best_loss = parameters.detach().clone(), float(loss.detach())
        adam.zero_grad()
        loss.backward()
        adam.step()
    # True cameras were moved within the estimated world; the scene moves by the inverse.
    factor, rotation, translation = _moves(best, pivot, size)
    refined = Similarity(float(factor), rotation.double(), translation.double()).inverse()
    return replace(
        start,
        scale=start.scale * refined.scale,
        rotation=start.rotation @ refined.rotation,
        translation=start.points(refined.translation),
    )


def _moves(parameters: Tensor, pivot: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scale, rotation and translation of a similarity about `pivot` from seven parameters."""
    rotation, factor = so3_exp(parameters[:3]), parameters[6].exp()
    return factor, rotation, pivot + size * parameters[3:6] - factor * rotation @ pivot
