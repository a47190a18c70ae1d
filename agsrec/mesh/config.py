"""Every number of the mesh stage that a user may want to change."""

from __future__ import annotations

from dataclasses import dataclass

from agsrec.errors import OptionError

__all__ = ["MeshConfig"]

_FEWEST_FACES = 100


@dataclass(frozen=True)
class MeshConfig:
    """Size and effort of a mesh."""

    faces: int = 20_000
    """Triangles, at most."""
    grid: int = 128
    """Voxels along the object's longest side, for the surface."""
    texture_size: int = 1024
    """Edge of the square texture in pixels."""
    refine_steps: int = 50
    """Steps that refine the baked texture against the photos; 0 keeps it as baked."""

    def __post_init__(self) -> None:
        limits = {
            "faces": (_FEWEST_FACES, 2_000_000),
            "grid": (16, 512),
            "texture_size": (64, 8192),
            "refine_steps": (0, 100_000),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise OptionError(f"--{name} must be between {low} and {high}, not {value}")
