"""An estimate for some views as one for others: in another order, with copies, with views left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from agsrec.point_map import PointMap
from agsrec.pose_init.estimate import PoseEstimate

__all__ = ["for_all"]


def for_all(estimate: PoseEstimate, rows: Sequence[int]) -> PoseEstimate:
    """The estimate for V views that have the cameras of the estimate's own views.

    Args:
        estimate: Of some views, each placed one of which is somebody's.
        rows: For each of V views its index among the estimate's, -1 where it has none: it is not placed.
    """
    if list(rows) == list(range(len(estimate.placed))):
        return estimate

    def spread(values: Tensor) -> Tensor:
        return torch.stack([values[r] if r >= 0 else torch.zeros_like(values[0]) for r in rows])

    camera = {view: k for k, view in enumerate(estimate.indices)}
    index = [camera[r] for r in rows if r in camera]
    first = torch.tensor([index.index(k) for k in range(len(estimate.cameras))])

    def renumbered(points: PointMap | None) -> PointMap | None:
        if points is None or points.camera is None:
            return points
        return replace(points, camera=first[points.camera])

    others = (
        replace(a, cameras=a.cameras[index], points=renumbered(a.points)) for a in estimate.alternatives
    )
    return replace(
        estimate,
        cameras=estimate.cameras[index],
        placed=spread(estimate.placed),
        confidence=spread(estimate.confidence),
        points=renumbered(estimate.points),
        alternatives=tuple(others),
        matches=None if estimate.matches is None else estimate.matches.renumbered(index),
        oddities=tuple(
            replace(odd, view=view, of=None if odd.of is None else list(rows).index(odd.of))
            for view, row in enumerate(rows)
            for odd in estimate.oddities
            if odd.view == row
        ),
    )
