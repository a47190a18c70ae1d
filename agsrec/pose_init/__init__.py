"""From photos to cameras: interchangeable initialisers behind one contract."""

from agsrec.point_map import PointMap
from agsrec.pose_init.estimate import Alternative, PoseEstimate
from agsrec.pose_init.initialize import METHODS, MethodName, PlacementError, initialize

__all__ = [
    "METHODS",
    "Alternative",
    "MethodName",
    "PlacementError",
    "PointMap",
    "PoseEstimate",
    "initialize",
]
