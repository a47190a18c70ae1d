"""A photo among views with cameras and depths: matched to them, and posed by its matches' points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from agsrec.cameras import Cameras
from agsrec.errors import ShapeError
from agsrec.pose_init.dust3r.initializer import PairModel, prepared_views
from agsrec.pose_init.farthest import farthest_cameras
from agsrec.pose_init.lifting import lifted
from agsrec.pose_init.mast3r.dense import DenseMatches
from agsrec.pose_init.mast3r.initializer import matching_network
from agsrec.pose_init.resection import Resection, resected
from agsrec.views import Views

if TYPE_CHECKING:
    from agsrec.matching import PairMatches

__all__ = ["resect"]

_MOST_VIEWS = 12  # that a photo is matched to
_OFF = 0.01  # of the picture's longer side: errors of matches that agree with a pose


@torch.no_grad()
def resect(
    photo: Tensor,
    K: Tensor,
    views: Views,
    cameras: Cameras,
    depths: Tensor,
    *,
    model: str | Path | PairModel,
    device: torch.device | str = "cpu",
) -> Resection:
    """Match a photo to views, lift the matches to the views' surface, and solve for the pose (PnP, RANSAC).

    Args:
        photo: RGBA [S, S, 4], straight alpha, as square and as large as the views.
        K: Its intrinsics [3, 3], pixels.
        views: Cut-outs of the same object, square; of many, as many as are worth it, from all sides.
        cameras: Their cameras.
        depths: z [V, S, S] of the surface in them, world units; not finite where there is none.
        model: Hub id, folder or file of MASt3R's weights, or a network with a matching head.
        device: Where to predict.

    Raises:
        ShapeError: The pictures differ in size.
        CheckpointError: The weights cannot be used, or are DUSt3R's.
    """
    size = views.width
    if photo.shape != (size, size, 4) or depths.shape != (len(views), size, size):
        raise ShapeError(f"photo {tuple(photo.shape)} and depths {tuple(depths.shape)} must be as the views")
    network = matching_network(model, device)
    chosen = farthest_cameras(cameras, _MOST_VIEWS)
    everything = Views(
        torch.cat([photo[None].to(views.images), views[chosen].images]), ("", *map(str, chosen))
    )
    found = _matched(everything, network, device)
    points, pixels = _lifted(found, cameras[chosen], depths[chosen])
    return resected(points, pixels, K.double().cpu().numpy(), _OFF * size)


def _matched(views: Views, network: PairModel, device: torch.device | str) -> list[PairMatches]:
    """Matches of the first view with every other one."""
    prepared, border = prepared_views(views, network)
    features = network.encode(prepared.images.to(device), batch=1)
    masks, dense = prepared.masks.to(device), DenseMatches()
    for other in range(1, len(views)):
        for pair in ((0, other), (other, 0)):
            index = torch.tensor([pair])
            maps: Any = network.decode_pairs(features, index, batch=1, device=device)
            dense.watch(index, maps, masks)

    def place(points: Tensor) -> Tensor:
        to_view = prepared.to_view.to(points)
        return points @ to_view[:2, :2].mT + to_view[:2, 2] - points.new_tensor(border)

    return dense.of_pairs(place, views.width)


def _lifted(found: Sequence[PairMatches], cameras: Cameras, depths: Tensor) -> tuple[Any, Any]:
    """World points [M, 3] of the matches, and the photo's pixels [M, 2], where the views have a surface."""
    points, pixels = [np.zeros((0, 3))], [np.zeros((0, 2))]
    for f in found:
        view = f.second - 1
        seen = torch.from_numpy(f.points[:, 1])
        world = lifted(seen, depths[view].cpu(), cameras.viewmats[view].cpu(), cameras.Ks[view].cpu())
        known = world.isfinite().all(1).numpy()
        points.append(world.numpy()[known])
        pixels.append(f.points[:, 0].astype(np.float64)[known])
    return np.concatenate(points), np.concatenate(pixels)
