"""Objective of the all-views pose network: points, matches between views, and angles as soft bins."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agsrec.pose_init.nview.angles import turned_about_up
from agsrec.pose_init.nview.network import (
    AZIMUTH_BINS,
    ELEVATION_BINS,
    FIELD_BINS,
    FIELD_RANGE_DEG,
    POINTS_PER_TOKEN,
    NView,
    NViewOutput,
)

__all__ = ["NViewLoss", "Truth", "soft_bins", "token_points"]

_LABEL_SIGMA_DEG = 4.0
_CONFIDENCE_COST = 0.1
_TEMPERATURE = 0.07
_MATCH_DISTANCE = 0.06  # world units; objects fill a sphere of radius 0.57
_FIELD_SIGMA = 0.1  # of the logarithm of the field of view
_WEIGHTS = {
    "points": 3.0,
    "local_points": 1.5,
    "match": 0.5,
    "azimuth": 1.0,
    "elevation": 0.5,
    "roll": 1.0,
    "field": 0.2,
    "alike": 0.2,
}


@dataclass(frozen=True)
class Truth:
    """What is known of B objects with V views each.

    Attributes:
        rotations: World-to-camera [B, V, 3, 3].
        angles: Elevation, azimuth and roll in degrees [B, V, 3].
        points: World points on a grid of the picture [B, V, G, G, 3], G = POINTS_PER_TOKEN x tokens per side.
        seen: Whether there is a point [B, V, G, G].
        fields: Fields of view of the pictures [B, V], degrees.
        alike: Whether the object looks the same from all around [B].
    """

    rotations: Tensor
    angles: Tensor
    points: Tensor
    seen: Tensor
    fields: Tensor
    alike: Tensor


def soft_bins(
    angles: Tensor, bins: int, low: float, span: float, *, periodic: bool, sigma: float = _LABEL_SIGMA_DEG
) -> Tensor:
    """Gaussian labels [..., bins] around angles [...] in degrees, over `bins` cells from `low` on."""
    centers = low + span * (torch.arange(bins, device=angles.device) + 0.5) / bins
    away = angles[..., None] - centers
    if periodic:
        away = (away + 0.5 * span) % span - 0.5 * span
    return (-0.5 * (away / sigma) ** 2).softmax(-1)


def token_points(grid: Tensor, tokens: Tensor) -> Tensor:
    """Values [B, V, T, P, P, ...] under each token, from a grid over the picture [B, V, G, G, ...]."""
    count, views, side = grid.shape[:3]
    n = side // POINTS_PER_TOKEN
    cells = grid.reshape(count, views, n, POINTS_PER_TOKEN, n, POINTS_PER_TOKEN, *grid.shape[4:])
    cells = cells.transpose(3, 4).flatten(2, 3)  # [B, V, n * n, P, P, ...]
    rows = torch.arange(count, device=grid.device)[:, None, None]
    columns = torch.arange(views, device=grid.device)[:, None]
    return cells[rows, columns, tokens]


class NViewLoss(nn.Module):
    """The network together with its objective."""

    def __init__(self, model: NView) -> None:
        super().__init__()
        self.model = model
        self.last: dict[str, Tensor] = {}

    def forward(self, images: Tensor, truth: Truth) -> Tensor:
        """Mean loss of a batch; images as for `NView.forward`. Its terms are kept in `last`."""
        output = self.model(images)
        self.last = losses(output, truth)
        return sum((_WEIGHTS[name] * value for name, value in self.last.items()), torch.zeros(()))


def losses(output: NViewOutput, truth: Truth) -> dict[str, Tensor]:
    """Every term of the objective, unweighted."""
    seen = token_points(truth.seen, output.tokens)  # [B, V, T, P, P]
    world = token_points(truth.points, output.tokens)
    first = truth.angles[:, :1, 1, None, None, None]
    local = (truth.rotations[:, :, None, None, None] @ world[..., None]).squeeze(-1)
    elevation, azimuth, roll = truth.angles.unbind(-1)
    differences = azimuth[:, None, :] - azimuth[:, :, None]
    wanted = soft_bins(differences, AZIMUTH_BINS, 0.0, 360.0, periodic=True)
    others = ~torch.eye(differences.shape[1], dtype=torch.bool, device=differences.device)
    pairs = -(wanted * output.pair_logits.log_softmax(-1)).sum(-1)
    wanted_elevation = soft_bins(elevation, ELEVATION_BINS, -90.0, 180.0, periodic=False)
    direction = torch.stack([roll.deg2rad().cos(), roll.deg2rad().sin()], -1)
    return _lens_losses(output, truth) | {
        "points": _points_loss(output.points, turned_about_up(world, first), output.log_confidence, seen),
        "local_points": _points_loss(output.local_points, local, output.log_confidence.detach(), seen),
        "match": _match_loss(output.descriptions, world, seen),
        "azimuth": pairs[:, others].mean(),
        "elevation": -(wanted_elevation * output.elevation_logits.log_softmax(-1)).sum(-1).mean(),
        "roll": (output.roll - direction).abs().mean(),
    }


def _lens_losses(output: NViewOutput, truth: Truth) -> dict[str, Tensor]:
    """What a network with `lens` has to tell besides."""
    if output.field_logits is None or output.alike_logit is None:
        return {}
    low, high = (math.log(degrees) for degrees in FIELD_RANGE_DEG)
    wanted = soft_bins(truth.fields.log(), FIELD_BINS, low, high - low, periodic=False, sigma=_FIELD_SIGMA)
    return {
        "field": -(wanted * output.field_logits.log_softmax(-1)).sum(-1).mean(),
        "alike": F.binary_cross_entropy_with_logits(output.alike_logit, truth.alike.to(output.alike_logit)),
    }


def _points_loss(points: Tensor, truth: Tensor, log_confidence: Tensor, seen: Tensor) -> Tensor:
    """Confidence-weighted distance (Wang et al. 2024, DUSt3R, equation 4) with conf = exp of the logit."""
    error = (points - truth).norm(dim=-1)
    weight = log_confidence.clamp(-3, 5)
    loss = weight.exp() * error - _CONFIDENCE_COST * weight
    return (loss * seen).sum() / seen.sum().clamp(min=1)


def _match_loss(descriptions: Tensor, world: Tensor, seen: Tensor) -> Tensor:
    """InfoNCE over tokens of two views: which token of the other view shows the same surface.

    A token stands for the mean of its points. Only tokens that the other view sees too have a loss.
    """
    count = seen.flatten(3).sum(-1)  # [B, V, T]
    means = (world * seen[..., None]).flatten(3, 4).sum(3) / count.clamp(min=1)[..., None]
    valid = count >= POINTS_PER_TOKEN
    batch, views, tokens = valid.shape
    flat = means.reshape(batch, views * tokens, 3)
    distance = torch.cdist(flat, flat).view(batch, views, tokens, views, tokens)
    distance = distance.masked_fill(~valid[:, None, None], torch.inf)
    nearest, target = distance.min(-1)  # [B, V, T, V]
    matched = (nearest < _MATCH_DISTANCE) & valid[..., None]
    matched &= ~torch.eye(views, dtype=torch.bool, device=valid.device)[:, None]
    similarity = torch.einsum("bvtc,bwsc->bvtws", descriptions, descriptions) / _TEMPERATURE
    similarity = similarity.masked_fill(~valid[:, None, None], -1e4)
    loss = F.cross_entropy(similarity.flatten(0, 3), target.flatten(), reduction="none")
    return (loss * matched.flatten()).sum() / matched.sum().clamp(min=1)
