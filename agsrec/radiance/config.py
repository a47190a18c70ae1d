"""Every number of the neural field that a user may want to change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from agsrec.bounds import Bounded, Filled, NonNegative, Positive, Range

__all__ = ["RadianceConfig", "RadianceLevel"]


@dataclass(frozen=True)
class RadianceLevel(Bounded, called="level {}"):
    """Steps of training at one resolution."""

    resolution: Annotated[int, Range(4, 256)]
    """Voxels along the edge of the cube around the object; rays have as many samples."""
    steps: Annotated[int, Range(0, 100_000)]
    """Optimisation steps."""


@dataclass(frozen=True)
class RadianceConfig(Bounded):
    """How a field is trained."""

    object_size: Annotated[int, Range(8, 2048)] = 64
    """Longer side in pixels of the largest object on the photos; photos that have less keep their size."""
    levels: Annotated[tuple[RadianceLevel, ...], Filled("level")] = (
        RadianceLevel(16, 50),
        RadianceLevel(32, 60),
        RadianceLevel(48, 80),
    )
    """Coarse-to-fine schedule."""
    batch: Annotated[int, Range(1, 2**20)] = 768
    """Rays of a step."""
    rate: Positive = 0.1
    """Adam learning rate of the voxels' raw values at the start of a level."""
    rate_decay: Positive = 0.1
    """Learning rate at the end of a level relative to its start."""
    mask: NonNegative = 1.0
    """Weight of the squared difference between opacity and mask, beside that of colours."""
    roughness: NonNegative = 1e-2
    """Weight of the squared differences between neighbouring voxels' raw values."""
    faint: NonNegative = 0.3
    """Density, per radius of the ball around the object, below which a voxel and those around it are skipped
    on finer levels."""
