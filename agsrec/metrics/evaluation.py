"""A reconstruction against everything known about its scene."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from agsrec.fit import render
from agsrec.metrics.geometry import surface_accuracy
from agsrec.metrics.images import ImageQuality, image_quality
from agsrec.metrics.poses import align_cameras, pose_accuracy

if TYPE_CHECKING:
    from torch import Tensor

    from agsrec.cameras import Cameras
    from agsrec.dataset import Scene
    from agsrec.gaussians import Gaussians
    from agsrec.metrics.images import PerceptualModel
    from agsrec.views import Views

__all__ = ["evaluate", "input_quality", "novel_quality", "rendered_on_white"]

# Fainter Gaussians are not counted as surface points.
_SURFACE_OPACITY = 0.3


def rendered_on_white(gaussians: Gaussians, cameras: Cameras) -> Tensor:
    """Images [V, H, W, 3] in [0, 1] of a scene over white."""
    with torch.no_grad():
        rendered = render(gaussians, cameras, torch.ones(3).to(gaussians.means), render_mode="RGB")
    return rendered.rgb.clamp(0, 1)


def input_quality(gaussians: Gaussians, cameras: Cameras, views: Views) -> ImageQuality:
    """Agreement of the scene with its own photos."""
    return image_quality(rendered_on_white(gaussians, cameras), views.composited(torch.ones(3)))


def novel_quality(
    gaussians: Gaussians, cameras: Cameras, scene: Scene, lpips: PerceptualModel | None = None
) -> ImageQuality | None:
    """Agreement with views never shown to the fit; None where the scene has none.

    The true test cameras are carried into the estimated world by the similarity that aligns the cameras.
    """
    if scene.truth is None or scene.test_views is None or scene.test_cameras is None:
        return None
    to_estimate = align_cameras(cameras, scene.truth).inverse()
    images = rendered_on_white(gaussians, to_estimate.cameras(scene.test_cameras))
    return image_quality(images, scene.test_views.composited(torch.ones(3)), lpips=lpips)


def evaluate(
    gaussians: Gaussians,
    cameras: Cameras,
    initial: Cameras,
    scene: Scene,
    lpips: PerceptualModel | None = None,
) -> dict[str, Any]:
    """All figures that the scene's ground truth allows, as plain values.

    Keys: `input` (image quality at the photos), and where known `poses_before`, `poses_after`, `novel` and
    `surface` (Gaussian centres against surface points that some camera sees).
    """
    out: dict[str, Any] = {"input": input_quality(gaussians, cameras, scene.views).means()}
    if scene.truth is not None:
        for name, estimate in (("poses_before", initial), ("poses_after", cameras)):
            accuracy = pose_accuracy(estimate, scene.truth)
            out[name] = {
                "pairs": asdict(accuracy.pairs),
                "views": asdict(accuracy.views),
                "view_errors_deg": accuracy.view_errors_deg.tolist(),
                "center_accuracy": accuracy.center_accuracy,
            }
    novel = novel_quality(gaussians, cameras, scene, lpips)
    if novel is not None:
        out["novel"] = novel.means()
    if scene.truth is not None and scene.points is not None:
        visible = scene.points if scene.points_visible is None else scene.points[scene.points_visible]
        centers = gaussians.means[gaussians.opacities > _SURFACE_OPACITY]
        if len(centers):
            aligned = align_cameras(cameras, scene.truth).points(centers)
            out["surface"] = asdict(surface_accuracy(aligned, visible))
    return out
