"""What every pose initialiser returns."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agsrec.cameras import Cameras
from agsrec.errors import ShapeError
from agsrec.matching import Correspondences, Oddity, turns_apart
from agsrec.point_map import PointMap

__all__ = ["Alternative", "PoseEstimate"]

_ELSEWHERE_DEG = 25.0


@dataclass(frozen=True)
class Alternative:
    """Another set of poses that explains the photos nearly as well.

    Attributes:
        cameras: As many as in the estimate, in the same order.
        score: Comparable among the modes of one estimate alone; higher is better.
        points: The surface that goes with these poses, where that is not the estimate's own one moved with
            its cameras.
        equal: Whether the photos, and the points they share, tell nothing against these poses: the object
            looks alike from several sides.
    """

    cameras: Cameras
    score: float
    points: PointMap | None = None
    equal: bool = False


@dataclass(frozen=True)
class PoseEstimate:
    """Cameras of the views that could be placed; the others are marked, never given an invented pose.

    Attributes:
        cameras: P <= V cameras, one per placed view in the order of the views, in pixels of the views, which
            see the origin near the middles of their pictures, +y up, at the mean distance `CAMERA_DISTANCE`.
        placed: [V] bool, whether the view has a camera.
        confidence: [V] in [0, 1]; 0 where a view is not placed.
        points: The surface as the initialiser sees it, if it does.
        alternatives: Other modes, best first.
        score: Of the poses themselves, comparable with those of the alternatives.
        matches: Points that views share and that agree with the poses, by the cameras' indices.
        focal_known: Whether the focal lengths were given, not estimated.
        remarks: Sentences that the user should read.
        oddities: Views that do not belong with the others as they are, by their indices among all V: those
            that are mirrored or show something else are not placed, the others are.
        metres_per_unit: Length of a unit of the world in metres, where the initialiser knows.
    """

    cameras: Cameras
    placed: Tensor
    confidence: Tensor
    points: PointMap | None = None
    alternatives: tuple[Alternative, ...] = ()
    score: float = 0.0
    matches: Correspondences | None = None
    focal_known: bool = False
    remarks: tuple[str, ...] = ()
    oddities: tuple[Oddity, ...] = ()
    metres_per_unit: float | None = None

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

    @property
    def ambiguous(self) -> bool:
        """Whether another arrangement explains everything as well."""
        return any(other.equal for other in self.alternatives)

    def undecided(self) -> list[int]:
        """The cameras, by their indices, that stand elsewhere in an alternative that is as good."""
        equal = [other.cameras.rotations for other in self.alternatives if other.equal]
        turns = [turns_apart(self.cameras.rotations, other) > _ELSEWHERE_DEG for other in equal]
        return torch.stack(turns).any(0).nonzero().flatten().tolist() if turns else []
