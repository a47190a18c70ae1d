"""Every number of the mesh stage that a user may want to change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from agsrec.bounds import Bounded, Range

__all__ = ["MeshConfig"]


@dataclass(frozen=True)
class MeshConfig(Bounded, called="--{}"):
    """Size and effort of a mesh."""

    faces: Annotated[int, Range(100, 2_000_000)] = 20_000
    """Triangles, at most."""
    grid: Annotated[int, Range(16, 512)] = 128
    """Voxels along the object's longest side, for the surface."""
    texture_size: Annotated[int | None, Range(64, 8192)] = None
    """Edge of the square texture in pixels; by default 2048 where the photos are large enough for it, else
    1024."""
    refine_steps: Annotated[int | None, Range(0, 100_000)] = None
    """Steps that refine the baked texture against photos and prior; by default 50 with a prior, none
    without."""
