"""How good a result is: camera poses, images and geometry against the truth."""

from agsrec.metrics.geometry import SurfaceAccuracy, chamfer_distance, surface_accuracy
from agsrec.metrics.images import ImageQuality, image_quality, load_lpips, lpips_score, psnr, ssim
from agsrec.metrics.poses import (
    PoseAccuracy,
    RotationSummary,
    Similarity,
    align_cameras,
    camera_center_accuracy,
    pairwise_rotation_errors,
    pose_accuracy,
    rotation_angles,
    rotation_errors_after_alignment,
    summarize_rotations,
    umeyama,
)

__all__ = [
    "ImageQuality",
    "PoseAccuracy",
    "RotationSummary",
    "Similarity",
    "SurfaceAccuracy",
    "align_cameras",
    "camera_center_accuracy",
    "chamfer_distance",
    "image_quality",
    "load_lpips",
    "lpips_score",
    "pairwise_rotation_errors",
    "pose_accuracy",
    "psnr",
    "rotation_angles",
    "rotation_errors_after_alignment",
    "ssim",
    "summarize_rotations",
    "surface_accuracy",
    "umeyama",
]
