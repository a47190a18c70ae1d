"""Where cameras stand whose rotation is known: positions and focal length from the points they see."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from agsrec.pose_init.nview.network import FIELD_BINS, FIELD_RANGE_DEG

__all__ = ["Sightings", "place", "search_focal", "told_of"]

_FIELDS_DEG = torch.linspace(16.0, 64.0, 33)  # of the object's circumscribed square
_TOLD_FIELDS_DEG = torch.linspace(7.0, 64.0, 39)  # the same, where pictures tell them
_TOLD = 3.0  # pictures that tell fields of view independently of each other
_USUAL_FIELD_DEG = 38.0
_PRIOR_SPREAD = 0.35  # of the logarithm of the field of view
_RESIDUAL = 0.035  # of the object's size in the picture; what point maps are off by
_INDEPENDENT = 20.0  # pixels of a view whose errors are independent
_ROUNDS = 4


@dataclass(frozen=True)
class Sightings:
    """N points that each of V cameras sees.

    Attributes:
        points: In the cameras' axes, from the object's centre [V, N, 3].
        pixels: Where they are seen, from the principal point [V, N, 2].
        weights: [V, N], at least 0.
    """

    points: Tensor
    pixels: Tensor
    weights: Tensor

    def to(self, device: torch.device | str) -> Sightings:
        """The same on another device."""
        return Sightings(self.points.to(device), self.pixels.to(device), self.weights.to(device))


def place(sightings: Sightings, focals: Tensor) -> tuple[Tensor, Tensor]:
    """Object centres [V, 3] in the cameras' axes that bring points to pixels, and the residuals [V].

    Robust linear least squares on f (X + t) = pixel (Z + tz); the residual is a weighted mean in pixels.

    Args:
        sightings: What is seen.
        focals: [V], pixels.
    """
    X, pixels, weights = sightings.points, sightings.pixels, sightings.weights
    f = focals[:, None]
    zero, one = torch.zeros_like(pixels[..., 0]), torch.ones_like(pixels[..., 0])
    rows = torch.stack(
        [
            torch.stack([f * one, zero, -pixels[..., 0]], -1),
            torch.stack([zero, f * one, -pixels[..., 1]], -1),
        ],
        2,
    )  # [V, N, 2, 3]
    wanted = pixels * X[..., 2:] - f[..., None] * X[..., :2]  # [V, N, 2]
    reweighted = weights
    t, error = torch.zeros_like(X[:, 0]), weights
    for _ in range(_ROUNDS):
        A = rows * reweighted[..., None, None].sqrt()
        b = wanted * reweighted[..., None].sqrt()
        normal = torch.einsum("vnki,vnkj->vij", A, A)
        normal = (
            normal + 1e-9 * torch.eye(3).to(normal) * normal.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
        )
        t = torch.linalg.solve(normal, torch.einsum("vnki,vnk->vi", A, b))
        seen = X + t[:, None]
        depth = seen[..., 2].clamp(min=1e-3)
        error = (f[..., None] * seen[..., :2] / depth[..., None] - pixels).norm(dim=-1)
        typical = _weighted_mean(error, weights)[:, None].clamp(min=1e-6)
        reweighted = weights / (1 + (error / typical) ** 2) / depth.square()
    return t, _weighted_mean(error, weights)


def search_focal(
    sightings: Sightings, spans: Tensor, told: Tensor | None = None, zooms: Tensor | None = None
) -> Tensor:
    """The focal lengths in pixels [V] for which points and pixels agree best, in given proportions.

    What the pictures tell, or a wide log-normal prior around 38 degrees for what the object fills, decides
    where the points do not.

    Args:
        sightings: What is seen.
        spans: Side of the square that the object fills in each view [V], pixels.
        told: Log-probabilities of the fields of view of those squares [V, FIELD_BINS], if known.
        zooms: The proportions [V]; all the same by default.
    """
    zooms = torch.ones_like(spans) if zooms is None else zooms.to(spans)
    shared = (spans / zooms).median() * zooms
    fields = _FIELDS_DEG if told is None else _TOLD_FIELDS_DEG
    costs = []
    for field in fields.tolist():
        focals = _focals(field, shared)
        _, residuals = place(sightings, focals)
        misfit = 0.5 * (residuals / (_RESIDUAL * spans)).square().sum() * _INDEPENDENT
        if told is None:
            prior = 0.5 * (torch.tensor(field / _USUAL_FIELD_DEG).log() / _PRIOR_SPREAD) ** 2
        else:
            prior = -_TOLD * told_of(told, focals, spans).mean().cpu()
        costs.append(misfit.cpu() + prior)
    best = int(torch.stack(costs).argmin())
    return _focals(float(fields[best]), shared)


def told_of(told: Tensor, focals: Tensor, spans: Tensor) -> Tensor:
    """Log-probabilities [V] of focal lengths [V], between the centres of the bins; see `search_focal`."""
    low, high = (math.log(degrees) for degrees in FIELD_RANGE_DEG)
    field = 2 * (0.5 * spans / focals).atan().rad2deg()
    position = ((field.log() - low) / (high - low) * FIELD_BINS - 0.5).clamp(0, FIELD_BINS - 1)
    below = position.floor().long().clamp(max=FIELD_BINS - 2)[:, None]
    share = position[:, None] - below
    return ((1 - share) * told.gather(1, below) + share * told.gather(1, below + 1))[:, 0]


def _focals(field_deg: float, spans: Tensor) -> Tensor:
    return 0.5 * spans / torch.tensor(0.5 * field_deg, device=spans.device).deg2rad().tan()


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
