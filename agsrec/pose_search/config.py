"""Every number of the pose search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from agsrec.bounds import Bounded, Count, Filled, Range

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


_Levels = Annotated[tuple[Level, ...], Filled("level")]


@dataclass(frozen=True)
class SearchConfig(Bounded, called="{} of the pose search"):
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

    directions: Count = 1200
    rolls: Count = 48
    max_roll_deg: Annotated[float, Range(0, 180, above=True)] = 180.0
    coarse_size: Count = 48
    patch_size: Count = 32
    apart_deg: float = 18.0
    mode_deg: float = 12.0
    levels: _Levels = (Level(32, 3, 48), Level(48, 4, 16), Level(96, 5, 4))
    worse: float = 4.0
    modes: Count = 4
    color_weight: float = 2.0
    damping: float = 1e-2
    batch: Count = 64
