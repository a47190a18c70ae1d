"""A first scene from surface points that a pose initialiser found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.spatial import KDTree

from agsrec.gaussians import Gaussians

if TYPE_CHECKING:
    from agsrec.point_map import PointMap

__all__ = ["MIN_SEEDS", "gaussians_from_points"]

MIN_SEEDS = 100
"""With fewer points, a visual hull is the better start."""

_DOUBTFUL = 0.2  # share of the points that are left out, the least sure
_NEIGHBOURS = 3


def gaussians_from_points(points: PointMap, count: int, generator: torch.Generator) -> Gaussians:
    """At most `count` Gaussians at the surer ones of the points, as wide as the points are apart.

    Widths follow Kerbl et al. 2023 (mean distance to the three nearest), but none is wider than the typical
    one times three: a stray point must not cover the object.
    """
    sure = (points.confidence >= points.confidence.quantile(_DOUBTFUL)).nonzero().flatten()
    pick = torch.randperm(len(sure), generator=generator)[:count].to(sure.device)
    centers, colors = points.points[sure[pick]], points.colors[sure[pick]]
    where = centers.double().cpu().numpy()
    distances, _ = KDTree(where).query(where, k=_NEIGHBOURS + 1)
    apart = np.asarray(distances)[:, 1:].mean(axis=1)
    typical = float(np.median(apart))
    sizes = torch.from_numpy(apart.clip(0.3 * typical, 3.0 * typical)).to(centers)
    return Gaussians.from_points(centers, colors.clamp(0.02, 0.98), sizes, opacity=0.6)
