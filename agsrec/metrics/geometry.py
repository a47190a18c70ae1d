"""Distances between point sets: a reconstructed surface against the true one.

All lengths are in units of the object's radius (largest distance of a true point from the true points'
centroid), so that objects and datasets compare. Align the estimated points first, see
`agsrec.metrics.poses.Similarity.points`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from agsrec.errors import SceneError, ShapeError

__all__ = ["SurfaceAccuracy", "chamfer_distance", "surface_accuracy"]


@dataclass(frozen=True)
class SurfaceAccuracy:
    """How well estimated points cover the true surface, and nothing else.

    Attributes:
        chamfer: Mean of the two average nearest-neighbour distances, object radii.
        precision: Share of estimated points within the threshold of a true one.
        recall: Share of true points within the threshold of an estimated one.
        f1: Harmonic mean of precision and recall; 0 where both are.
    """

    chamfer: float
    precision: float
    recall: float
    f1: float


def surface_accuracy(estimated: Tensor, truth: Tensor, *, threshold: float = 0.02) -> SurfaceAccuracy:
    """Chamfer distance and F1 of points [N, 3] against true points [M, 3].

    Args:
        estimated: Reconstructed points in the true world.
        truth: Points on the true surface.
        threshold: Distance below which two points match, object radii.

    Raises:
        SceneError: Either set is empty or not finite, or the true points coincide.
    """
    to_truth, to_estimated = _nearest_distances(estimated, truth)
    precision, recall = float((to_truth <= threshold).mean()), float((to_estimated <= threshold).mean())
    total = precision + recall
    return SurfaceAccuracy(
        chamfer=float(to_truth.mean() + to_estimated.mean()) / 2,
        precision=precision,
        recall=recall,
        f1=2 * precision * recall / total if total else 0.0,
    )


def chamfer_distance(estimated: Tensor, truth: Tensor) -> float:
    """Mean of the two average nearest-neighbour distances between points [N, 3] and [M, 3], object radii."""
    to_truth, to_estimated = _nearest_distances(estimated, truth)
    return float(to_truth.mean() + to_estimated.mean()) / 2


def _nearest_distances(estimated: Tensor, truth: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Distance of each estimated point to the truth [N], and of each true point to the estimate [M]."""
    from scipy.spatial import KDTree

    a, b = _points("estimated", estimated), _points("true", truth)
    radius = np.linalg.norm(b - b.mean(0), axis=1).max()
    if radius <= 0:
        raise SceneError("the true points coincide: the object has no size to measure by")
    return KDTree(b).query(a)[0] / radius, KDTree(a).query(b)[0] / radius


def _points(name: str, points: Tensor) -> np.ndarray:
    if points.ndim != 2 or points.shape[1] != 3:
        raise ShapeError(f"{name} points must be [N, 3], not {[*points.shape]}")
    if len(points) == 0:
        raise SceneError(f"there are no {name} points to compare")
    if not bool(points.isfinite().all()):
        raise SceneError(f"some {name} points are not finite")
    return points.detach().cpu().double().numpy()
