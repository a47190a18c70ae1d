"""Good poses made better by a finished scene."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from agsrec.fit.refine import GENTLE, refine_poses
from agsrec.outliers.residuals import view_errors

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.config import Stage
    from agsrec.gaussians import Gaussians
    from agsrec.views import Views

__all__ = ["polish_poses"]


def polish_poses(
    gaussians: Gaussians,
    views: Views,
    cameras: Cameras,
    *,
    fitted_size: float | None,
    stages: tuple[Stage, ...],
) -> Cameras:
    """Cameras of V views, within a few degrees, each refined where that explains its photo better.

    Args:
        gaussians: The scene, which stays.
        views: V cut-out photos.
        cameras: Their cameras, in pixels of the photos.
        fitted_size: See `refine_poses`.
        stages: Image sizes and steps; at the last size it is judged.
    """
    refined = refine_poses(gaussians, views, cameras, fitted_size=fitted_size, stages=stages, **GENTLE)
    before, after = (
        view_errors(views, gaussians, each, stages[-1].size, fitted_size=fitted_size)
        for each in (cameras, refined)
    )
    better = (after < before)[:, None, None].to(cameras.viewmats.device)
    return replace(cameras, viewmats=torch.where(better, refined.viewmats, cameras.viewmats))
