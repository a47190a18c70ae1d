"""Where the middles of photos are beside their cut-outs, and cameras that know it.

Poses are found for cameras that look through the middle of each cut-out (see `agsrec.matching.rays`). A
photo's camera looked through the middle of the photo, turned by some degrees where the object was off it. For
the fit that is no pose to be refined but perspective of its own, and known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from agsrec.cameras import Cameras, turns_to_the_middle

if TYPE_CHECKING:
    from agsrec.pose_init.estimate import PoseEstimate

__all__ = ["as_photographed", "principal_offsets"]

_CENTRED = 1e-3  # pixels


def principal_offsets(folder: str | Path, names: Sequence[str], width: int) -> Tensor | None:
    """Principal points of the photos, from the middles of their cut-outs [V, 2], pixels of the cut-outs.

    The middle of a photo, or what its lens says where that is known.

    Args:
        folder: Folder that preprocessing wrote, with `processed/crops.json`.
        names: The views.
        width: Width of their images.

    Returns:
        None unless the crop of every view is known.
    """
    from agsrec.errors import ImageError
    from agsrec.preprocess.crops import read_crops, read_lenses

    path = Path(folder) / "processed" / "crops.json"
    if not path.is_file():
        return None
    try:
        crops, lenses = read_crops(path), read_lenses(path)
    except ImageError:  # a damaged record: the cut-outs themselves are fine
        return None
    if any(name not in crops for name in names):
        return None
    offsets = []
    for crop, lens in ((crops[name], lenses.get(name)) for name in names):
        x, y = (0.5 * crop.width, 0.5 * crop.height) if lens is None else lens.pinhole[:2, 2].tolist()
        middle = crop.x0 + 0.5 * crop.side, crop.y0 + 0.5 * crop.side
        offsets.append([(x - middle[0]) * width / crop.side, (y - middle[1]) * width / crop.side])
    return torch.tensor(offsets)


def as_photographed(estimate: PoseEstimate, offsets: Tensor) -> PoseEstimate:
    """The estimate with the cameras that took the photos, instead of ones that look through the cut-outs.

    Args:
        estimate: Of V views.
        offsets: Principal points from the middles of the views [V, 2], pixels.
    """
    away = offsets[estimate.placed]
    matches = estimate.matches
    return replace(
        estimate,
        cameras=_turned_back(estimate.cameras, away),
        alternatives=tuple(
            replace(other, cameras=_turned_back(other.cameras, away)) for other in estimate.alternatives
        ),
        matches=None if matches is None else replace(matches, away=torch.zeros_like(matches.away)),
    )


def _turned_back(cameras: Cameras, away: Tensor) -> Cameras:
    """Cameras whose pictures have their principal points so far from the middle [V, 2], with the same rays.

    Those that have them elsewhere already, such as of copies that were cut otherwise, stay as they are.
    """
    centred = ((cameras.principal_points - _middle(cameras)).abs() < _CENTRED).all(1)
    away = torch.where(centred[:, None], away.to(cameras.Ks), 0.0)
    turned = turns_to_the_middle(away, cameras.focal_lengths).mT @ cameras.viewmats[:, :3]
    viewmats, Ks = torch.cat([turned, cameras.viewmats[:, 3:]], 1), cameras.Ks.clone()
    Ks[:, :2, 2] += away
    return replace(cameras, viewmats=viewmats, Ks=Ks)


def _middle(cameras: Cameras) -> Tensor:
    return torch.tensor([0.5 * cameras.width, 0.5 * cameras.height]).to(cameras.Ks)
