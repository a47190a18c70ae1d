"""The camera that sees points of known places at given pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["FEWEST", "Resection", "resected"]

FEWEST = 12
"""Points that have to agree on a pose."""

_STEPS, _CONFIDENCE = 5000, 0.9999


@dataclass(frozen=True)
class Resection:
    """Where a photo was taken from, by the points that it shows.

    Attributes:
        viewmat: World to camera [4, 4]; None where too few points agree on one.
        matches: How many points there are.
        agreeing: How many of them agree with the pose.
    """

    viewmat: Tensor | None
    matches: int
    agreeing: int


def resected(
    points: NDArray[np.float64],
    pixels: NDArray[np.float64],
    K: NDArray[np.float64],
    tolerance: float,
    *,
    steps: int = _STEPS,
) -> Resection:
    """The pose that most points agree with, refined on these.

    SQPnP (Terzakis and Lourakis, 2020) within RANSAC, then Levenberg and Marquardt's steps.

    Args:
        points: In the world [N, 3].
        pixels: Where the photo shows them [N, 2].
        K: Its intrinsics [3, 3], pixels.
        tolerance: Errors of points that agree, pixels.
        steps: Poses that are tried, at most.
    """
    import cv2

    if len(points) < FEWEST:
        return Resection(None, len(points), 0)
    cv2.setRNGSeed(0)
    try:
        solved, turn, shift, rows = cv2.solvePnPRansac(
            points,
            pixels,
            K,
            None,
            iterationsCount=steps,
            reprojectionError=tolerance,
            confidence=_CONFIDENCE,
            flags=cv2.SOLVEPNP_SQPNP,
        )
    except cv2.error:  # points on a line, or all in one place
        return Resection(None, len(points), 0)
    inside = np.zeros(0, np.int64) if rows is None else np.asarray(rows, np.int64)[:, 0]
    agreeing = len(inside)
    if not solved or agreeing < FEWEST:
        return Resection(None, len(points), agreeing)
    turn, shift = cv2.solvePnPRefineLM(points[inside], pixels[inside], K, None, turn, shift)
    viewmat = torch.eye(4, dtype=torch.float64, device="cpu")
    viewmat[:3, :3] = torch.from_numpy(cv2.Rodrigues(turn)[0])
    viewmat[:3, 3] = torch.from_numpy(shift[:, 0])
    return Resection(viewmat.float() if bool(viewmat.isfinite().all()) else None, len(points), agreeing)
