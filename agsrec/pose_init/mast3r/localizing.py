"""A photo among views with cameras and depths: matched to them, and posed by its matches' points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec.cameras import Cameras
from agsrec.errors import ShapeError
from agsrec.pose_init.dust3r.initializer import PairModel, prepared_views
from agsrec.pose_init.mast3r.dense import DenseMatches
from agsrec.pose_init.mast3r.initializer import matching_network
from agsrec.views import Views

if TYPE_CHECKING:
    from agsrec.matching import PairMatches

__all__ = ["Resection", "resect"]

_MOST_VIEWS = 12  # that a photo is matched to
_OFF = 0.01  # of the picture's longer side: errors of matches that agree with a pose
_FEWEST = 12  # of these for a pose
_STEPS, _CONFIDENCE = 5000, 0.9999


@dataclass(frozen=True)
class Resection:
    """Where a photo was taken from, by the points that it shares with views.

    Attributes:
        viewmat: World to camera [4, 4]; None where too few matches agree on one.
        matches: How many matches with points there are.
        agreeing: How many of them agree with the pose.
    """

    viewmat: Tensor | None
    matches: int
    agreeing: int


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
    chosen = _spread(cameras, _MOST_VIEWS)
    everything = Views(
        torch.cat([photo[None].to(views.images), views[chosen].images]), ("", *map(str, chosen))
    )
    found = _matched(everything, network, device)
    points, pixels = _lifted(found, cameras[chosen], depths[chosen])
    return _solved(points, pixels, K.double().cpu().numpy(), _OFF * size)


def _spread(cameras: Cameras, most: int) -> list[int]:
    """So many of the cameras, the first and then always the one farthest from all before."""
    centers = F.normalize(cameras.centers.double(), dim=1)
    chosen = [0]
    while len(chosen) < min(most, len(cameras)):
        nearest = (centers @ centers[chosen].mT).amax(1)
        nearest[chosen] = torch.inf
        chosen.append(int(nearest.argmin()))
    return sorted(chosen)


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
    c2w, Ks = cameras.c2w.double(), cameras.Ks.double()
    for f in found:
        view = f.second - 1
        seen = torch.from_numpy(f.points[:, 1]).double()
        # Between pixels, the depth is that of the pixels around.
        place = (2 * seen / depths.shape[-1] - 1)[None, None]
        z = F.grid_sample(depths[view][None, None].double().cpu(), place, align_corners=False)[0, 0, 0]
        rays = torch.cat([seen, torch.ones_like(seen[:, :1])], 1) @ torch.linalg.inv(Ks[view]).mT
        world = (rays * z[:, None]) @ c2w[view, :3, :3].mT + c2w[view, :3, 3]
        known = world.isfinite().all(1).numpy()
        points.append(world.numpy()[known])
        pixels.append(f.points[:, 0].astype(np.float64)[known])
    return np.concatenate(points), np.concatenate(pixels)


def _solved(points: Any, pixels: Any, K: Any, tolerance: float) -> Resection:
    """The pose that most points agree with, refined on these."""
    import cv2

    if len(points) < _FEWEST:
        return Resection(None, len(points), 0)
    cv2.setRNGSeed(0)
    solved, turn, shift, rows = cv2.solvePnPRansac(
        points,
        pixels,
        K,
        None,
        iterationsCount=_STEPS,
        reprojectionError=tolerance,
        confidence=_CONFIDENCE,
        flags=cv2.SOLVEPNP_SQPNP,
    )
    inside = np.zeros(0, np.int64) if rows is None else np.asarray(rows)[:, 0]
    agreeing = len(inside)
    if not solved or agreeing < _FEWEST:
        return Resection(None, len(points), agreeing)
    turn, shift = cv2.solvePnPRefineLM(points[inside], pixels[inside], K, None, turn, shift)
    viewmat = torch.eye(4, dtype=torch.float64)
    viewmat[:3, :3] = torch.from_numpy(cv2.Rodrigues(turn)[0])
    viewmat[:3, 3] = torch.from_numpy(shift[:, 0])
    return Resection(viewmat.float() if bool(viewmat.isfinite().all()) else None, len(points), agreeing)
