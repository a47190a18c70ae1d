"""Where photos were taken from, by the Gaussians predicted for them: resection, then refinement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from agsrec.cameras import Cameras
from agsrec.config import LossConfig, Stage
from agsrec.fit.refine import refine_poses
from agsrec.fit.target import Target, data_loss
from agsrec.pose_init.dust3r.spanning_tree import resect
from agsrec.pose_init.noposplat.groups import OPAQUE
from agsrec.render import render_scene

if TYPE_CHECKING:
    from agsrec.gaussians import Gaussians
    from agsrec.pose_init.noposplat.groups import JoinedViews
    from agsrec.views import Views

__all__ = ["Sightings", "refined_cameras", "resected"]

_ROUNDS = 100  # of RANSAC, as published
_REPROJECTION = 5.0  # pixels, as published
_STAGES = (Stage(64, 60), Stage(128, 60), Stage(256, 80))  # as many steps as published, but coarse to fine
_RATE = 5e-3  # radians, and radii of the scene; as published
_LARGEST_GROWTH = 1.5  # of the distance between centres and their pixels, by refinement
_FREEDOM = 1 / 256  # of a picture's side: less than so much is never too far
_COMPARED_SIZE = 128  # pixels


@dataclass(frozen=True)
class Sightings:
    """A view's opaque centres and the pixels that they were predicted for.

    Attributes:
        points: Centres [K, 3] in the world, float64.
        pixels: Where the view shows them [K, 2], counted from 0 at the first pixel's centre.
        focal: Focal length in pixels.
        center: Principal point [2], counted like the pixels.
        side: Side of the view in pixels.
    """

    points: Tensor
    pixels: Tensor
    focal: float
    center: Tensor
    side: int

    @staticmethod
    def of(joined: JoinedViews, view: int, focal: float, center: Tensor, side: int) -> Sightings:
        """Those of one of the joined views: centres as opaque as published, at least the better half."""
        opacities = joined.opacities[view]
        inside = opacities > 0
        level = opacities[inside].median().clamp_max(OPAQUE) if inside.any() else OPAQUE
        chosen = inside & (opacities >= level)
        points, pixels = (t[view][chosen].double().cpu() for t in (joined.points, joined.pixels))
        return Sightings(points, pixels, focal, center.double().cpu(), side)

    def distances(self, viewmat: Tensor) -> Tensor:
        """How far [K], in pixels, a camera [4, 4] sees the centres from their pixels; infinite behind it."""
        viewmat = viewmat.to(self.points)
        seen = self.points @ viewmat[:3, :3].T + viewmat[:3, 3]
        away = (self.focal * seen[:, :2] / seen[:, 2:] + self.center - self.pixels).norm(dim=-1)
        return torch.where(seen[:, 2] > 0, away, torch.inf)


def resected(sightings: Sightings) -> tuple[Tensor, float] | None:
    """The camera that sees a view's centres at their own pixels (PnP with RANSAC, Ye et al. 2025), or none.

    Returns:
        World-to-camera transform [4, 4] (float64), and the share in [0, 1] of the centres that it sees so.
    """
    focal = torch.tensor(sightings.focal)
    c2w = resect(sightings.points, sightings.pixels, focal, sightings.center, rounds=_ROUNDS)
    if c2w is None:
        return None
    viewmat = torch.linalg.inv(c2w)
    return viewmat, float((sightings.distances(viewmat) < _REPROJECTION).double().mean())


def refined_cameras(
    gaussians: Gaussians, views: Views, cameras: Cameras, sightings: Sequence[Sightings], size: int
) -> Cameras:
    """Cameras of V views refined against the pictures while the Gaussians stay; none gets worse.

    A picture of an object without texture says less of its camera than the centres do: a refined camera
    stays only if it explains the picture better and still sees its own centres where they belong.

    Args:
        gaussians: The scene.
        views: V cut-out photos.
        cameras: Their cameras by resection.
        sightings: What these rest on, V of them.
        size: Side in pixels of the pictures that the Gaussians were made for.
    """
    with torch.enable_grad():
        found = refine_poses(
            gaussians,
            views,
            cameras,
            fitted_size=size,
            stages=_STAGES,
            rate_rotation=_RATE,
            rate_translation=_RATE,
        )
    better = _losses(gaussians, views, found, size) < _losses(gaussians, views, cameras, size)
    for i, seen in enumerate(sightings):
        old, new = (float(seen.distances(c.viewmats[i]).median()) for c in (cameras, found))
        better[i] &= new <= max(_LARGEST_GROWTH * old, _FREEDOM * seen.side)
    return replace(cameras, viewmats=torch.where(better[:, None, None], found.viewmats, cameras.viewmats))


@torch.no_grad()
def _losses(gaussians: Gaussians, views: Views, cameras: Cameras, size: int) -> Tensor:  # [V]
    """How little the scene looks like each photo."""
    losses = []
    for i in range(len(views)):
        target = Target.at(views[[i]], _COMPARED_SIZE)
        height, width = target.alpha.shape[1:]
        black = torch.zeros(1, 3).to(gaussians.means)
        rendered = render_scene(gaussians, cameras[i].resized(width, height), black, fitted_size=size)
        losses.append(data_loss(rendered, target.over(black), target.alpha, LossConfig()))
    return torch.stack(losses)
