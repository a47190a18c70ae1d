"""Cameras of photos by MASt3R: the alignment of its point maps, and then its matches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from agsrec.matching import PairMatches
from agsrec.pose_init.dust3r.initializer import AlignedViews, PairModel, align_views, require_usable
from agsrec.pose_init.estimate import PoseEstimate
from agsrec.pose_init.mast3r.arranging import arranged
from agsrec.pose_init.mast3r.dense import DenseMatches
from agsrec.pose_init.normalize import normalize_estimate
from agsrec.views import Views

__all__ = ["MAST3R", "initialize_mast3r", "matching_network"]

MAST3R = "naver/MASt3R_ViTLarge_BaseDecoder_512_catmlpdpthead_metric"
"""The published model."""

_PAIR_BATCH = 2  # of large pictures with descriptors; more pairs at a time only take more memory


def initialize_mast3r(
    views: Views,
    *,
    model: str | Path | PairModel = MAST3R,
    device: torch.device | str = "cpu",
    iterations: int = 300,
    focal: float | None = None,
) -> PoseEstimate:
    """Cameras of all views that show the object and that confident pairs connect.

    Point maps are aligned as by `initialize_dust3r`; then the matches of the network's descriptors choose
    among arrangements and cameras are adjusted to them, where there are enough of them. The alignment alone
    counts for views that no match holds.

    Args:
        views: At least two photos of the object.
        model: Hub id, folder or file of the weights, or a network with a matching head.
        device: Where to predict and align.
        iterations: Steps of the alignment.
        focal: Focal length of all views in their pixels, if it is known; then it stays.

    Returns:
        Cameras, points, matches, and how long a unit of the world is in metres where the model is metric.

    Raises:
        OptionError: Fewer than two photos, or an unusable option.
        CameraError: No two of the photos could be placed in relation to each other.
        CheckpointError: The weights cannot be used, or are DUSt3R's.
    """
    require_usable(views, "mast3r", iterations, focal)
    network = matching_network(model, device)
    dense = DenseMatches()
    aligned = align_views(
        views,
        network,
        method="mast3r",
        device=device,
        iterations=iterations,
        focal=focal,
        batch=_PAIR_BATCH,
        watch=dense.watch,
    )
    found = _of_placed(aligned, dense.of_pairs(aligned.to_views, max(views.width, views.height)))
    estimate = arranged(aligned.estimate(), found, error=aligned.error, focal_known=focal is not None)
    return normalize_estimate(estimate)


def matching_network(model: str | Path | PairModel, device: torch.device | str) -> PairModel:
    """A network with a matching head, loaded unless it is one already.

    Raises:
        CheckpointError: The weights cannot be used, or are DUSt3R's.
    """
    if not isinstance(model, str | Path):
        return model
    from agsrec.pose_init.stereo.model import DUSt3R

    return DUSt3R.from_pretrained(model, device=device, matching=True)


def _of_placed(aligned: AlignedViews, found: list[PairMatches]) -> list[PairMatches]:
    """Matches of present views as those of the cameras of the views that were placed among them."""
    number = {view: k for k, view in enumerate(aligned.found.views.tolist())}
    return [
        replace(f, first=number[f.first], second=number[f.second])
        for f in found
        if f.first in number and f.second in number
    ]
