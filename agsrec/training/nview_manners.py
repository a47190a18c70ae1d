"""In which manners people take sets of photos: what the all-views pose network is trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from agsrec.synthetic.camera_batches import Manners

__all__ = ["GAIN_SIGMAS", "draw_manners", "draw_sigmas", "one_manner", "one_sigma"]

GAIN_SIGMAS = 0.0, 0.06, 0.15, 0.35
"""Strengths of errors of exposure and white balance."""

_GAINS = 0.25, 0.3, 0.3, 0.15  # shares of things that have them
_LAYOUTS = 0.4, 0.35, 0.25  # shares of rings, scattered sets, and those from one side
_USUAL, _ROLLED, _CUT = 0.6, 0.12, 0.12  # shares of sets
_ELEVATIONS_DEG = (-15.0, 70.0), (-30.0, 85.0)  # usual and otherwise
_FIELDS_DEG = (25.0, 55.0), (8.0, 60.0)
_ROLLS_DEG, _ANY_ROLL_DEG = (3.0, 6.0, 12.0), 60.0
_FILLS = (0.78, 0.96), (0.9, 1.25)  # whole and cut by the frame


def one_manner(rng: np.random.Generator) -> dict[str, Any]:
    """How somebody takes a set of photos: most people in the usual way, some otherwise."""
    rolled, cut = rng.random() < _ROLLED, rng.random() < _CUT
    return {
        "layout": str(rng.choice(["ring", "scattered", "front"], p=_LAYOUTS)),
        "elevation_range_deg": _ELEVATIONS_DEG[0 if rng.random() < _USUAL else 1],
        "fov_range_deg": _FIELDS_DEG[0 if rng.random() < _USUAL else 1],
        "roll_sigma_deg": _ANY_ROLL_DEG if rolled else float(rng.choice(_ROLLS_DEG)),
        "fill_range": _FILLS[1 if cut else 0],
    }


def one_sigma(rng: np.random.Generator) -> float:
    """How strongly the exposure of somebody's photos varies."""
    return rng.choice(GAIN_SIGMAS, p=_GAINS)


def draw_manners(count: int, generator: torch.Generator) -> Manners:
    """`one_manner` for so many sets at once."""

    def chance(share: float) -> Tensor:
        return torch.rand(count, generator=generator) < share

    layout = torch.multinomial(torch.tensor(_LAYOUTS), count, replacement=True, generator=generator)
    roll = torch.tensor(_ROLLS_DEG)[torch.randint(len(_ROLLS_DEG), (count,), generator=generator)]
    return Manners(
        layout == 0,
        layout == 2,
        torch.tensor(_ELEVATIONS_DEG)[(~chance(_USUAL)).long()],
        torch.tensor(_FIELDS_DEG)[(~chance(_USUAL)).long()],
        torch.where(chance(_ROLLED), _ANY_ROLL_DEG, roll),
        torch.tensor(_FILLS)[chance(_CUT).long()],
    )


def draw_sigmas(count: int, generator: torch.Generator) -> Tensor:  # [count]
    """`one_sigma` for so many things at once."""
    chosen = torch.multinomial(torch.tensor(_GAINS), count, replacement=True, generator=generator)
    return torch.tensor(GAIN_SIGMAS)[chosen]
