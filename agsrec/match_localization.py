"""Where a new photo was taken from, by what it shares with the photos of a finished reconstruction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec.cameras import Cameras
from agsrec.errors import SceneError
from agsrec.pose_search import FoundPoses
from agsrec.pose_search.photo import centred_photo
from agsrec.render import render_scene
from agsrec.result_files import fitted_size, load_fitted

if TYPE_CHECKING:
    from agsrec.gaussians import Gaussians
    from agsrec.pose_init.dust3r.initializer import PairModel
    from agsrec.views import Views

__all__ = ["posed_by_matches"]

_COMPARED = 128  # pixels a side at which the scene is held against the photo


@torch.no_grad()
def posed_by_matches(
    result: Path,
    photo: Path,
    image: Tensor,
    K: Tensor,
    model: str | Path | PairModel | None,
    device: torch.device,
) -> FoundPoses:
    """The pose of a photo by MASt3R's matches with a reconstruction's photos and the depth of its scene.

    Args:
        result: Folder of the reconstruction.
        photo: Names the photo in errors.
        image: It cut out, RGBA [h, w, 4], straight alpha.
        K: Its intrinsics [3, 3], pixels.
        model: MASt3R's checkpoint, or a network; the published one where it is None.
        device: Where to compute.

    Raises:
        SceneError, CameraError, ImageError: A part of the reconstruction cannot be used, or too few matches
            agree on a pose.
        CheckpointError: The weights cannot be used, or are DUSt3R's.
    """
    from agsrec.pose_init.lifting import scene_depths
    from agsrec.pose_init.mast3r.initializer import MAST3R
    from agsrec.pose_init.mast3r.localizing import resect

    gaussians, views, cameras = load_fitted(result)
    views, cameras = _squared(views, cameras)
    gaussians = gaussians.to(device)
    depths = scene_depths(gaussians, cameras, fitted_size(result)).cpu()
    # Matched as the views are shown: the object in the middle of its picture.
    centred = centred_photo(image, K, views.width)
    picture, own = centred.at(views.width).cpu(), centred.K(views.width).cpu()
    straight = torch.cat([picture[..., :3] / picture[..., 3:].clamp_min(1e-6), picture[..., 3:]], -1)
    network = MAST3R if model is None else model
    found = resect(straight.clamp(0, 1), own, views, cameras, depths, model=network, device=device)
    if found.viewmat is None:
        raise SceneError(
            f"{photo}: no pose explains it ({found.agreeing} of {found.matches} matches with the "
            "reconstruction's photos agree on one); is it a photo of this object? --method search needs none"
        )
    back = torch.eye(4)
    back[:3, :3] = centred.turn.mT.cpu()
    return _judged((back @ found.viewmat).to(device), gaussians, image, K)


def _squared(views: Views, cameras: Cameras) -> tuple[Views, Cameras]:
    """The views with clear pixels at their right and bottom that make them square, and their cameras."""
    from agsrec.views import Views

    side = max(views.width, views.height)
    images = F.pad(views.images, (0, 0, 0, side - views.width, 0, side - views.height))
    return Views(images, views.names), Cameras(cameras.viewmats.float(), cameras.Ks.float(), side, side)


def _judged(viewmat: Tensor, gaussians: Gaussians, image: Tensor, K: Tensor) -> FoundPoses:
    """The one pose with how well the scene explains the photo from there, as a search would say it."""
    height, width = image.shape[:2]
    scale = min(1.0, _COMPARED / max(height, width))
    small = max(1, round(scale * width)), max(1, round(scale * height))
    camera = Cameras(viewmat[None].to(K), K[None], width, height).resized(*small)
    seen = render_scene(gaussians, camera, render_mode="RGB")
    premultiplied = torch.cat([image[..., :3] * image[..., 3:], image[..., 3:]], -1)
    wanted = F.interpolate(premultiplied.movedim(-1, 0)[None], small[::-1], mode="area")[0].movedim(0, -1)
    alpha, there = wanted[..., 3], seen.alpha[0]
    off = (torch.cat([seen.rgb[0], there[..., None]], -1) - wanted).square().sum()
    overlap = torch.minimum(alpha, there).sum() / torch.maximum(alpha, there).sum().clamp_min(1e-6)
    loss = off / alpha.sum().clamp_min(1e-6)
    return FoundPoses(viewmat[None].to(K), loss[None], overlap[None], 1.0)
