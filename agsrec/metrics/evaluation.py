"""A reconstruction against everything known about its scene."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from agsrec.metrics.alignment import align_scene, scene_starts
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


def rendered_on_white(
    gaussians: Gaussians,
    cameras: Cameras,
    fitted_size: float | None = None,
    exposures: Tensor | None = None,
) -> Tensor:
    """Images [V, H, W, 3] in [0, 1] of a scene over white.

    Args:
        gaussians: The scene.
        cameras: V cameras.
        fitted_size: As in `render_scene`.
        exposures: How bright each picture is beside the scene, by channel [V, 3].
    """
    factors = torch.ones(len(cameras), 3) if exposures is None else exposures
    factors = factors.to(gaussians.means)
    # White stays so: only the object is brighter or darker.
    with torch.no_grad():
        rendered = render_scene(gaussians, cameras, 1 / factors, fitted_size=fitted_size, render_mode="RGB")
    return (rendered.rgb * factors[:, None, None]).clamp(0, 1)


def input_quality(
    gaussians: Gaussians,
    cameras: Cameras,
    views: Views,
    fitted_size: float | None = None,
    exposures: Tensor | None = None,
) -> ImageQuality:
    """Agreement of the scene with its own photos; arguments as for `rendered_on_white`."""
    rendered = rendered_on_white(gaussians, cameras, fitted_size, exposures)
    return image_quality(rendered, views.composited(torch.ones(3).to(views.images)))


def novel_quality(
    gaussians: Gaussians,
    to_truth: Similarity,
    scene: Scene,
    *,
    fitted_size: float | None = None,
    lpips: PerceptualModel | None = None,
) -> ImageQuality | None:
    """Agreement with views never shown to the fit; None where the scene has none.

    Args:
        gaussians: The scene.
        to_truth: Carries the estimated world to the true one; see `align_scene`.
        scene: What is known.
        fitted_size: Longer side of the pictures that the scene was fitted to, pixels: others are drawn as it
            was there. By default as viewers draw it.
        lpips: Perceptual model, if there is one.
    """
    if scene.test_views is None or scene.test_cameras is None:
        return None
    seen = to_truth.inverse().cameras(scene.test_cameras).to(dtype=torch.float32)
    images = rendered_on_white(gaussians, seen, fitted_size)
    return image_quality(images, scene.test_views.composited(torch.ones(3)), lpips=lpips)


@dataclass(frozen=True)
class Evaluation:
    """Everything the ground truth of a scene allows to be said; None where it is not known.

    Attributes:
        input: Agreement with the photos.
        poses_before: Pose errors at the start.
        poses_after: Pose errors of the result.
        novel: Agreement with views never shown to the fit, in the world that the input photos suggest.
        novel_realigned: The same in the world that those views themselves suggest: better by what a misplaced
            world costs, as from cameras that share an error.
        surface: Gaussian centres against the surface points that some camera sees.
    """

    input: ImageQuality
    poses_before: PoseAccuracy | None = None
    poses_after: PoseAccuracy | None = None
    novel: ImageQuality | None = None
    novel_realigned: ImageQuality | None = None
    surface: SurfaceAccuracy | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, what is not known left out."""
        out: dict[str, Any] = {"input": self.input.as_dict()}
        for name, accuracy in (("poses_before", self.poses_before), ("poses_after", self.poses_after)):
            if accuracy is not None:
                errors = accuracy.view_errors_deg.tolist()
                out[name] = asdict(replace(accuracy, view_errors_deg=torch.empty(0)))
                out[name]["view_errors_deg"] = errors
        for name, quality in (("novel", self.novel), ("novel_realigned", self.novel_realigned)):
            if quality is not None:
                out[name] = quality.as_dict()
        if self.surface is not None:
            out["surface"] = asdict(self.surface)
        return out


def evaluate(
    gaussians: Gaussians,
    cameras: Cameras,
    initial: Cameras,
    scene: Scene,
    *,
    fitted_size: float | None = None,
    exposures: Tensor | None = None,
    lpips: PerceptualModel | None = None,
    realign: bool = True,
) -> Evaluation:
    """Measure a reconstruction of a scene; see `Evaluation`.

    The similarity to the true world is refined on the input photos alone, so that the score depends on no
    test picture; what it would be after refinement on the test views is `Evaluation.novel_realigned`.

    Args:
        gaussians: The scene.
        cameras: The refined cameras.
        initial: Those that the fit began with.
        scene: What is known.
        fitted_size: Longer side of the pictures that the scene was fitted to, pixels; the views' by default.
        exposures: How bright each input photo is beside the scene, by channel [V, 3].
        lpips: Perceptual model, if there is one.
        realign: Whether to find `Evaluation.novel_realigned`, which takes as long as all the rest.
    """
    quality = input_quality(gaussians, cameras, scene.views, fitted_size, exposures)
    if scene.truth is None:
        return Evaluation(quality)
    starts = scene_starts(gaussians, cameras, scene.truth)
    to_truth = align_scene(gaussians, starts, scene.truth, scene.views, fitted_size=fitted_size)
    several = len(cameras) > 1  # a single view has no relative pose
    return Evaluation(
        input=quality,
        poses_before=pose_accuracy(initial, scene.truth) if several else None,
        poses_after=pose_accuracy(cameras, scene.truth) if several else None,
        novel=novel_quality(gaussians, to_truth, scene, fitted_size=fitted_size, lpips=lpips),
        novel_realigned=_realigned(gaussians, to_truth, scene, fitted_size) if realign else None,
        surface=_surface(gaussians, to_truth, scene),
    )


def _realigned(
    gaussians: Gaussians, to_truth: Similarity, scene: Scene, fitted_size: float | None
) -> ImageQuality | None:
    """Agreement with the test views after the similarity was refined on them."""
    if scene.test_views is None or scene.test_cameras is None:
        return None
    again = align_scene(gaussians, to_truth, scene.test_cameras, scene.test_views, fitted_size=fitted_size)
    return novel_quality(gaussians, again, scene, fitted_size=fitted_size)


def _surface(gaussians: Gaussians, to_truth: Similarity, scene: Scene) -> SurfaceAccuracy | None:
    centers = gaussians.means[gaussians.opacities > _SURFACE_OPACITY]
    if scene.points is None or len(centers) == 0:
        return None
    visible = scene.points if scene.points_visible is None else scene.points[scene.points_visible]
    return surface_accuracy(to_truth.points(centers), visible)
