"""Poses from the embedded network: every view once as reference, then one arrangement for all pairs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from agsrec.cameras import Cameras
from agsrec.device import resolve_device
from agsrec.pose_init.estimate import Alternative, PoseEstimate
from agsrec.pose_init.nview.angles import angles_from_rotations
from agsrec.pose_init.nview.consensus import (
    AzimuthModes,
    agreed_azimuths,
    mean_energies,
    pair_energies,
)
from agsrec.pose_init.nview.network import NView
from agsrec.pose_init.nview.reading import read_views
from agsrec.pose_init.refine import refine_estimate
from agsrec.views import Views

__all__ = ["EMBEDDED_NVIEW", "initialize_nview"]

EMBEDDED_NVIEW = "nview-mini"
"""The network that comes with the project."""

_MODES = 4
_CLOSE_DEG = 15.0  # differences this near to the agreed one count as agreement


def initialize_nview(
    views: Views,
    *,
    model: str | Path | NView = EMBEDDED_NVIEW,
    device: str = "auto",
    focal: Tensor | float | None = None,
    zooms: Tensor | None = None,
    refine: bool = True,
    seed: int = 0,
) -> PoseEstimate:
    """Cameras of views from nothing but their cut-outs, by a network that sees all of them at once.

    Args:
        views: V >= 2 cut-outs with objects in them.
        model: A network, its folder, or its name in `checkpoints/`.
        device: "auto", "cpu" or "cuda".
        focal: Focal lengths in pixels of the views, if known; otherwise estimated from the points.
        zooms: Proportions of the focal lengths [V], if known; all are taken to be the same otherwise.
        refine: Let coarse scenes choose among the network's guesses and better their poses; see
            `agsrec.pose_init.refine`.
        seed: Seed of those scenes.

    Returns:
        Estimate with points and alternatives; every view is placed.

    Raises:
        CheckpointError: The network cannot be used.
        DeviceError: There is no such device.
    """
    reading = replace(read_views(views, model, resolve_device(device), mirrored=True), zooms=zooms)
    energies = pair_energies(reading.differences)
    modes = agreed_azimuths(energies, modes=_MODES)
    found = reading.focal() if focal is None else torch.as_tensor(focal)
    focals = found.to(reading.spans).expand(len(views))
    arranged = [reading.stand(reading.rotations(a), focals, views) for a in modes.azimuths]
    estimate = PoseEstimate(
        cameras=arranged[0][0],
        placed=torch.ones(len(views), dtype=torch.bool),
        confidence=_agreement(reading.differences, modes).cpu(),
        points=arranged[0][1],
        alternatives=tuple(
            Alternative(cameras, float(score))
            for (cameras, _), score in zip(arranged[1:], modes.scores[1:], strict=True)
        ),
        score=float(modes.scores[0]),
        remarks=reading.remarks(),
    )
    if not refine:
        return estimate

    def plausibility(cameras: Cameras) -> float:
        azimuths = angles_from_rotations(cameras.rotations)[1].round().long().to(energies.device) % 360
        return float(mean_energies(energies, azimuths[None]))

    return refine_estimate(views, estimate, plausibility, seed=seed)


def _agreement(differences: Tensor, modes: AzimuthModes) -> Tensor:
    """How much of each view's probability lies near the best arrangement [V]."""
    count, bins = len(differences), differences.shape[-1]
    centers = (torch.arange(bins, device=differences.device) + 0.5) * 360.0 / bins
    best = modes.azimuths[0]
    wanted = (best[None, :] - best[:, None])[..., None]
    near = ((centers - wanted + 180) % 360 - 180).abs() <= _CLOSE_DEG
    mass = (differences * near).sum(-1)
    mass = 0.5 * (mass + mass.mT)
    others = ~torch.eye(count, dtype=torch.bool, device=mass.device)
    return (mass * others).sum(1) / max(1, count - 1)
