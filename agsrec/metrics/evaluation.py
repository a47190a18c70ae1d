"""A reconstruction against everything known about its scene."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from agsrec.metrics.alignment import align_scene
from agsrec.metrics.geometry import SurfaceAccuracy, surface_accuracy
from agsrec.metrics.images import ImageQuality, image_quality
from agsrec.metrics.poses import PoseAccuracy, Similarity, pose_accuracy
from agsrec.render import render_scene

if TYPE_CHECKING:
    from torch import Tensor

    from agsrec.cameras import Cameras
    from agsrec.dataset import Scene
    from agsrec.gaussians import Gaussians
    from agsrec.metrics.images import PerceptualModel
    from agsrec.views import Views

__all__ = ["Evaluation", "evaluate", "input_quality", "novel_quality", "rendered_on_white"]

# Fainter Gaussians are not counted as surface points.
_SURFACE_OPACITY = 0.3


def rendered_on_white(gaussians: Gaussians, cameras: Cameras) -> Tensor:
    """Images [V, H, W, 3] in [0, 1] of a scene over white."""
    with torch.no_grad():
        rendered = render_scene(gaussians, cameras, torch.ones(3).to(gaussians.means), render_mode="RGB")
    return rendered.rgb.clamp(0, 1)


def input_quality(gaussians: Gaussians, cameras: Cameras, views: Views) -> ImageQuality:
    """Agreement of the scene with its own photos."""
    return image_quality(rendered_on_white(gaussians, cameras), views.composited(torch.ones(3)))


def novel_quality(
    gaussians: Gaussians, to_truth: Similarity, scene: Scene, lpips: PerceptualModel | None = None
) -> ImageQuality | None:
    """Agreement with views never shown to the fit; None where the scene has none.

    `to_truth` carries the estimated world to the true one; see `align_scene`.
    """
    if scene.test_views is None or scene.test_cameras is None:
        return None
    seen = to_truth.inverse().cameras(scene.test_cameras).to(dtype=torch.float32)
    images = rendered_on_white(gaussians, seen)
    return image_quality(images, scene.test_views.composited(torch.ones(3)), lpips=lpips)


@dataclass(frozen=True)
class Evaluation:
    """Everything the ground truth of a scene allows to be said; None where it is not known.

    Attributes:
        input: Agreement with the photos.
        poses_before: Pose errors at the start.
        poses_after: Pose errors of the result.
        novel: Agreement with views never shown to the fit.
        surface: Gaussian centres against the surface points that some camera sees.
    """

    input: ImageQuality
    poses_before: PoseAccuracy | None = None
    poses_after: PoseAccuracy | None = None
    novel: ImageQuality | None = None
    surface: SurfaceAccuracy | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, what is not known left out."""
        out: dict[str, Any] = {"input": self.input.means()}
        for name, accuracy in (("poses_before", self.poses_before), ("poses_after", self.poses_after)):
            if accuracy is not None:
                errors = accuracy.view_errors_deg.tolist()
                out[name] = asdict(replace(accuracy, view_errors_deg=torch.empty(0)))
                out[name]["view_errors_deg"] = errors
        if self.novel is not None:
            out["novel"] = self.novel.means()
        if self.surface is not None:
            out["surface"] = asdict(self.surface)
        return out


def evaluate(
    gaussians: Gaussians,
    cameras: Cameras,
    initial: Cameras,
    scene: Scene,
    lpips: PerceptualModel | None = None,
) -> Evaluation:
    """Measure a reconstruction of a scene; see `Evaluation`."""
    quality = input_quality(gaussians, cameras, scene.views)
    if scene.truth is None:
        return Evaluation(quality)
    to_truth = align_scene(gaussians, cameras, scene.truth, scene.views)
    several = len(cameras) > 1  # a single view has no relative pose
    return Evaluation(
        input=quality,
        poses_before=pose_accuracy(initial, scene.truth) if several else None,
        poses_after=pose_accuracy(cameras, scene.truth) if several else None,
        novel=novel_quality(gaussians, to_truth, scene, lpips),
        surface=_surface(gaussians, to_truth, scene),
    )


def _surface(gaussians: Gaussians, to_truth: Similarity, scene: Scene) -> SurfaceAccuracy | None:
    centers = gaussians.means[gaussians.opacities > _SURFACE_OPACITY]
    if scene.points is None or len(centers) == 0:
        return None
    visible = scene.points if scene.points_visible is None else scene.points[scene.points_visible]
    return surface_accuracy(to_truth.points(centers), visible)
