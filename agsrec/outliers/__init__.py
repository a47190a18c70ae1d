"""Badly posed views: found, left out, posed again by search, and accepted only if everything fits better."""

from agsrec.outliers.config import OutlierConfig, most_outliers
from agsrec.outliers.correct import Contest, Correction, correct_outliers
from agsrec.outliers.detect import Detection, Pair, Trial, detect
from agsrec.outliers.polish import polish_poses
from agsrec.outliers.repose import Searched, repose
from agsrec.outliers.residuals import view_errors

__all__ = [
    "Contest",
    "Correction",
    "Detection",
    "OutlierConfig",
    "Pair",
    "Searched",
    "Trial",
    "correct_outliers",
    "detect",
    "most_outliers",
    "polish_poses",
    "repose",
    "view_errors",
]
