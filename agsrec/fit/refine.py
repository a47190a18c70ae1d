"""Poses against a finished scene: the Gaussians stay, the cameras move."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from agsrec.config import LossConfig, PoseConfig, Stage
from agsrec.fit.poses import PoseOptimizer, PoseParameters, moved
from agsrec.fit.target import Target, data_loss
from agsrec.render import render_scene

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.gaussians import Gaussians
    from agsrec.views import Views

__all__ = ["GENTLE", "refine_poses"]

GENTLE = {"rate_rotation": 5e-3, "rate_translation": 1e-2}
"""Rates of `refine_poses` for poses within a few degrees."""

_STAGES = (Stage(32, 150), Stage(64, 150), Stage(128, 100), Stage(256, 60))


def refine_poses(
    gaussians: Gaussians,
    views: Views,
    cameras: Cameras,
    *,
    fitted_size: float | None = None,
    stages: tuple[Stage, ...] = _STAGES,
    rate_rotation: float = 3e-2,
    rate_translation: float = 3e-2,
    rate_decay: float = 0.03,
) -> Cameras:
    """Cameras of V views refined by gradients against a fixed scene, coarse to fine.

    Each view is fitted on its own, so that views that do not belong together can share a call.

    Args:
        gaussians: The scene.
        views: V cut-out photos.
        cameras: Their rough cameras, within about 15 degrees.
        fitted_size: Longer side of the pictures that the scene was fitted to, pixels; see
            `agsrec.render.fitted_blur`.
        stages: Image sizes and steps.
        rate_rotation: Learning rate of rotations about the object, radians.
        rate_translation: Learning rate of translations, relative to the scene's radius.
        rate_decay: Rates at the end relative to the start.
    """
    gaussians = gaussians.detach()
    center = gaussians.means.median(dim=0).values
    radius = float((gaussians.means - center).norm(dim=-1).quantile(0.95))
    poses = PoseOptimizer(PoseParameters.zeros(cameras.viewmats), PoseConfig())
    total, done = sum(stage.iterations for stage in stages), 0
    black = torch.zeros(len(views), 3).to(gaussians.means)
    for stage in stages:
        target = Target.at(views, stage.size)
        height, width = target.alpha.shape[1:]
        for _ in range(stage.iterations):
            current = moved(cameras, center, poses.parameters).resized(width, height)
            rendered = render_scene(gaussians, current, black, fitted_size=fitted_size, render_mode="RGB")
            data_loss(rendered, target.over(black), target.alpha, LossConfig()).backward()
            poses.step(rate_rotation, rate_translation * radius, rate_decay ** (done / total))
            done += 1
    final = moved(cameras, center, poses.parameters)
    return replace(final, viewmats=final.viewmats.detach(), Ks=final.Ks.detach())
