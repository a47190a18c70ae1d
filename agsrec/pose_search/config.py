"""Every number of the pose search."""

from __future__ import annotations

from dataclasses import dataclass

from agsrec.errors import OptionError

__all__ = ["Level", "SearchConfig"]


@dataclass(frozen=True)
class Level:
    """One resolution of the refinement.

    Attributes:
        size: Edge of the pictures, pixels.
        steps: Steps of each candidate.
        keep: Candidates that enter, at most.
    """

    size: int
    steps: int
    keep: int


@dataclass(frozen=True)
class SearchConfig:
    """How finely and how long to search.

    Attributes:
        directions: Viewing directions of the coarse grid, evenly over the sphere.
        rolls: In-plane rotations of the coarse grid, evenly over `max_roll_deg` to either side.
        max_roll_deg: Largest in-plane rotation against the scene's +y axis; 180 for any.
        coarse_size: Edge of the pictures that the grid renders, pixels.
        patch_size: Edge of the centred pictures that the grid compares, pixels.
        apart_deg: Poses of the grid that are followed are at least this far from each other, degrees.
        mode_deg: Poses nearer to each other than this are one mode, degrees.
        levels: The refinement, coarse to fine.
        worse: A candidate whose loss is more than this many times the best one's leaves early.
        modes: Modes in the answer, at most.
        color_weight: Weight of squared colour differences against those of the silhouette.
        damping: Of the first Gauss-Newton step, relative to the curvature.
        batch: Pictures rendered at once.
    """

    directions: int = 1200
    rolls: int = 48
    max_roll_deg: float = 180.0
    coarse_size: int = 48
    patch_size: int = 32
    apart_deg: float = 18.0
    mode_deg: float = 12.0
    levels: tuple[Level, ...] = (Level(32, 3, 48), Level(48, 4, 16), Level(96, 5, 4))
    worse: float = 4.0
    modes: int = 4
    color_weight: float = 2.0
    damping: float = 1e-2
    batch: int = 64

    def __post_init__(self) -> None:
        if not self.levels:
            raise OptionError("the pose search needs at least one level of refinement")
        for name in ("directions", "rolls", "coarse_size", "patch_size", "modes", "batch"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} of the pose search must be at least 1, not {getattr(self, name)}")
        if not 0 < self.max_roll_deg <= 180:
            raise OptionError(f"max_roll_deg must be above 0 and at most 180, not {self.max_roll_deg:g}")
