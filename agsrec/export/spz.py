"""Splats as SPZ, Niantic's compressed format, about a quarter of the size of a PLY."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from agsrec.errors import require
from agsrec.files import atomic_path

if TYPE_CHECKING:
    from types import ModuleType

    from agsrec.gaussians import Gaussians

__all__ = ["require_spz", "write_spz"]

_STEPS_LOG2 = 15  # positions are rounded to the scene's reach through so many powers of two
_MOST_BITS = 24


def require_spz() -> ModuleType:
    """The package that writes SPZ.

    Raises:
        MissingExtraError: It is not installed.
    """
    return require("gsply", "spz")


def write_spz(path: str | Path, gaussians: Gaussians) -> None:
    """Write Gaussians as SPZ, atomically, in version 3, which is what most viewers read.

    Axes are those of the world, x right, y up, z back, which is how SPZ has them. Positions are off by up to
    1/65,536 of the largest coordinate rounded up to a power of two, opacities by 0.002, colours by 0.004
    between -0.44 and 1.44, standard deviations by 3 % between 4.5e-5 and 380 world units.

    Raises:
        MissingExtraError: gsply is not installed.
        OutputError: The file cannot be written.
    """
    gsply = require_spz()
    g = gaussians.detach().to("cpu").map(lambda t: t.float())
    data = gsply.GSData.from_arrays(
        means=g.means.numpy(),
        scales=g.log_scales.numpy(),
        quats=g.quats.numpy(),
        opacities=g.opacity_logits.numpy(),
        sh0=g.sh[:, 0].numpy(),
        shN=g.sh[:, 1:].numpy() if g.sh_degree else None,
        format="ply",  # logarithms and logits
    )
    with atomic_path(path) as temporary:
        gsply.write_spz(temporary, data, version=3, fractional_bits=_fractional_bits(g))


def _fractional_bits(gaussians: Gaussians) -> int:
    """Binary digits behind the point of positions, which have 24 of them in all."""
    reach = float(gaussians.means.abs().max()) if len(gaussians) else 1.0
    return min(max(_STEPS_LOG2 - math.frexp(reach)[1], 1), _MOST_BITS)
