"""What every pose initialiser returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from agsrec.cameras import Cameras
from agsrec.errors import ShapeError
from agsrec.matching.epipolar import Correspondences
from agsrec.matching.oddities import Oddity
from agsrec.point_map import PointMap

__all__ = ["Alternative", "PoseEstimate"]


@dataclass(frozen=True)
class Alternative:
    """Another set of poses that explains the photos nearly as well.

    Attributes:
        cameras: As many as in the estimate, in the same order.
        score: Comparable among the modes of one estimate alone; higher is better.
        points: The surface that goes with these poses, where that is not the estimate's own one moved with
            its cameras.
    """

    cameras: Cameras
    score: float
    points: PointMap | None = None


@dataclass(frozen=True)
class PoseEstimate:
    """Cameras of the views that could be placed; the others are marked, never given an invented pose.

    Attributes:
        cameras: P <= V cameras, one per placed view in the order of the views, in pixels of the views, with
            the optical axes meeting near the origin, +y up and mean distance `CAMERA_DISTANCE`.
        placed: [V] bool, whether the view has a camera.
        confidence: [V] in [0, 1]; 0 where a view is not placed.
        points: The surface as the initialiser sees it, if it does.
        alternatives: Other modes, best first.
        score: Of the poses themselves, comparable with those of the alternatives.
        matches: Points that views share and that agree with the poses, by the cameras' indices.
        focal_known: Whether the focal lengths were given, not estimated.
        oddities: Views that do not belong with the others as they are, by their indices among all V: those
            that are mirrored or show something else are not placed, the others are.
    """

    cameras: Cameras
    placed: Tensor
    confidence: Tensor
    points: PointMap | None = None
    alternatives: tuple[Alternative, ...] = ()
    score: float = 0.0
    matches: Correspondences | None = None
    focal_known: bool = False
    oddities: tuple[Oddity, ...] = ()

    def __post_init__(self) -> None:
        if self.placed.shape != self.confidence.shape or self.placed.ndim != 1:
            raise ShapeError(
                f"placed {tuple(self.placed.shape)} and confidence {tuple(self.confidence.shape)} must be [V]"
            )
        if len(self.cameras) != int(self.placed.sum()):
            raise ShapeError(f"{len(self.cameras)} cameras but {int(self.placed.sum())} placed views")

    @property
    def indices(self) -> list[int]:
        """Index of the view that each camera belongs to."""
        return self.placed.nonzero().flatten().tolist()
