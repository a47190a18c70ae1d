"""What `auto` sees of views before it arranges them: what the network reads in them, and their matches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from agsrec.matching import Features, Matcher, PairMatches, describe_views, match_features
from agsrec.pose_init.nview.reading import Reading, read_views
from agsrec.pose_init.principal import principal_offsets

if TYPE_CHECKING:
    from torch import Tensor

    from agsrec.store import Memory
    from agsrec.views import Views

__all__ = ["Look", "look_at", "with_principal_points"]

_MOST_PAIRS = 45  # that are matched: those of ten views
_SHARED_DEG = 75.0  # views farther apart share too little to be matched


@dataclass(frozen=True)
class Look:
    """Views, what the network says of them, and their matches."""

    views: Views
    reading: Reading
    features: list[Features]
    found: list[PairMatches]


def look_at(
    views: Views,
    model: str | Path,
    matcher: Matcher,
    device: torch.device,
    memory: Memory,
    zooms: Tensor | None = None,
) -> Look:
    """Look at V cut-outs; features and matches that the memory has are not computed again.

    Args:
        views: The cut-outs.
        model: The network's folder or name.
        matcher: Learned features and matches.
        device: Where to compute.
        memory: Where features and matches are kept.
        zooms: Proportions of the focal lengths [V], if known.
    """
    reading = replace(read_views(views, model, device).to("cpu"), zooms=zooms)
    features = describe_views(views, matcher, memory)
    found = match_features(features, matcher, _worth_matching(reading), memory)
    return Look(views, reading, features, found)


def with_principal_points(look: Look, folder: Path | None) -> Look:
    """The same with matches that know how their photos were taken, where preprocessing has noted it."""
    views = look.views
    offsets = None if folder is None else principal_offsets(folder, views.names, views.width)
    if offsets is None:
        return look
    away = offsets.double().numpy()
    return replace(look, found=[replace(f, away=away[[f.first, f.second]]) for f in look.found])


def _worth_matching(reading: Reading) -> list[tuple[int, int]]:
    """The pairs of views that are most likely to see the same side of the object; all where they are few."""
    count, bins = len(reading.differences), reading.differences.shape[-1]
    centers = (torch.arange(bins) + 0.5) * 360.0 / bins
    near = torch.minimum(centers, 360.0 - centers) < _SHARED_DEG
    mass = (reading.differences * near).sum(-1)
    first, second = torch.triu_indices(count, count, 1)
    likely = (mass + mass.mT)[first, second].argsort(descending=True, stable=True)[:_MOST_PAIRS]
    return sorted(zip(first[likely].tolist(), second[likely].tolist(), strict=True))
