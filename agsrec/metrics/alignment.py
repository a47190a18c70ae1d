"""Placing a reconstruction in the world of the ground truth by what the true cameras see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec.fit.adam import Adam
from agsrec.fit.target import Target
from agsrec.lie import so3_exp
from agsrec.limits import one_thread_of_torch
from agsrec.metrics.poses import Similarity, align_cameras
from agsrec.render import render_scene

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.gaussians import Gaussians
    from agsrec.views import Views

__all__ = ["align_scene", "scene_starts"]


@dataclass(frozen=True)
class _Level:
    """Steps at a picture size: shares of the fit's, and the first learning rate (Adam's)."""

    share: float
    steps: int
    rate: float


# The second level starts within half a pixel of its size, and ends within a few hundredths of one.
_LEVELS = (_Level(0.25, 50, 1.6e-2), _Level(1.0, 40, 1.5e-3))
_DECAY = 0.03  # of the rate, over a level
_ROUNDS = 20  # of re-weighting


def scene_starts(gaussians: Gaussians, cameras: Cameras, truth: Cameras) -> tuple[Similarity, Similarity]:
    """Two guesses of the similarity from the estimated to the true world, for `align_scene`.

    One brings camera centres together. The other puts the scene where the true cameras see its middle as the
    estimated ones do, and makes it as large: where a focal length is wrong, cameras stand too near or too
    far by as much, and only this says how large the object is.

    Args:
        gaussians: The scene.
        cameras: V cameras that it was fitted with.
        truth: The true ones.
    """
    centres = align_cameras(cameras.centred(), truth.centred())
    pivot = gaussians.means.mean(0).double().cpu()
    seen, true = (c.to("cpu", torch.float64) for c in (cameras, truth))
    pixels, depths = seen.project(pivot[None])
    there = _where_rays_meet(true, pixels[:, 0])
    sizes = seen.focal_lengths.mean(1) / depths[:, 0]
    true_sizes = true.focal_lengths.mean(1) / true.project(there[None])[1][:, 0]
    scale = float((sizes / true_sizes).median())
    if not scale > 0:  # some camera looks away
        return centres, centres
    return centres, Similarity(scale, centres.rotation, there - scale * centres.rotation @ pivot)


def _where_rays_meet(cameras: Cameras, pixels: Tensor) -> Tensor:
    """The point [3] that lies on most rays through pixels [V, 2], in robust least squares."""
    ones = torch.ones_like(pixels[:, :1])
    directions = torch.linalg.solve(cameras.Ks, torch.cat([pixels, ones], 1)[..., None])
    rays = F.normalize((cameras.rotations.mT @ directions)[..., 0], dim=1)
    across = torch.eye(3).to(rays) - rays[:, :, None] * rays[:, None]
    weights, point = torch.ones_like(rays[:, 0]), torch.zeros_like(rays[0])
    for _ in range(_ROUNDS):
        weighted = weights[:, None, None] * across
        point = torch.linalg.lstsq(weighted.sum(0), (weighted @ cameras.centers[..., None]).sum(0)).solution[
            :, 0
        ]
        away = (across @ (point - cameras.centers)[..., None])[..., 0].norm(dim=1)
        weights = 1 / (1 + (away / away.median().clamp_min(1e-9)) ** 2)
    return point


def align_scene(
    gaussians: Gaussians,
    starts: Similarity | Sequence[Similarity],
    truth: Cameras,
    views: Views,
    *,
    fitted_size: float | None = None,
) -> Similarity:
    """The similarity from the estimated to the true world under which the true cameras see photos best.

    Aligning camera centres alone leaves the scene a pixel or two off, because a camera's tilt and position
    trade off against each other while the picture stays the same. From the best of some starts, the seven
    parameters are refined on photos, seen through their true cameras. Gaussians are not changed.

    The pictures are those of the fit in the end: drawn smaller in the same way, a scene looks fatter than it
    was fitted, and the best similarity would shrink it.

    Args:
        gaussians: The scene.
        starts: About the similarity, as from `scene_starts`.
        truth: True cameras.
        views: Their photos.
        fitted_size: Longer side of the pictures that the scene was fitted to, pixels; by default the photos'.
    """
    gaussians, truth, views = gaussians.detach().to("cpu"), truth.to("cpu"), views.to("cpu")
    size = max(views.width, views.height) if fitted_size is None else fitted_size
    start = starts if isinstance(starts, Similarity) else _best(gaussians, starts, truth, views, size)
    seen = start.inverse().cameras(truth).to(dtype=torch.float32)
    frame = _Frame.about(gaussians)
    best = torch.zeros(7)
    with one_thread_of_torch():
        for level in _LEVELS:
            target = Target.at(views, max(1, round(level.share * size)))
            best = _refined(gaussians, seen, target, size, frame, best, level)
    # True cameras were moved within the estimated world; the scene moves by the inverse.
    factor, rotation, translation = frame.moves(best)
    refined = Similarity(float(factor), rotation.double(), translation.double()).inverse()
    return Similarity(
        start.scale * refined.scale, start.rotation @ refined.rotation, start.points(refined.translation)
    )


def _best(
    gaussians: Gaussians, starts: Sequence[Similarity], truth: Cameras, views: Views, fitted_size: float
) -> Similarity:
    """The start from which the true cameras see small photos best."""
    target = Target.at(views, max(1, round(_LEVELS[0].share * fitted_size)))
    height, width = target.alpha.shape[1:]
    losses = []
    for start in starts:
        seen = start.inverse().cameras(truth).to(dtype=torch.float32).resized(width, height)
        rendered = render_scene(gaussians, seen, fitted_size=fitted_size, render_mode="RGB")
        losses.append(float(F.mse_loss(rendered.rgb, target.rgb)))
    return starts[losses.index(min(losses))]


@dataclass(frozen=True)
class _Frame:
    """Where similarities turn and in what they are measured, in the estimated world."""

    pivot: Tensor  # [3]
    size: Tensor  # of the object, a scalar

    @staticmethod
    def about(gaussians: Gaussians) -> _Frame:
        pivot = gaussians.means.mean(0)
        return _Frame(pivot, 2 * (gaussians.means - pivot).norm(dim=-1).median())

    def moves(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scale, rotation and translation of rotation, translation (in sizes) and log scale, seven in all."""
        rotation, factor = so3_exp(parameters[:3]), parameters[6].exp()
        translation = self.pivot + self.size * parameters[3:6] - factor * rotation @ self.pivot
        return factor, rotation, translation


def _refined(
    gaussians: Gaussians,
    cameras: Cameras,
    target: Target,
    fitted_size: float,
    frame: _Frame,
    start: Tensor,
    level: _Level,
) -> Tensor:
    """The best of the parameters [7] that are met on the way down from `start`, itself included."""
    height, width = target.alpha.shape[1:]
    seen = cameras.resized(width, height)
    parameters = start.clone().requires_grad_()
    adam = Adam([parameters], level.rate)
    best, best_loss = start, float("inf")
    for step in range(level.steps):
        adam.rates = [level.rate * _DECAY ** (step / level.steps)]
        there = seen.transformed(*frame.moves(parameters))
        rendered = render_scene(gaussians, there, fitted_size=fitted_size, render_mode="RGB")
        loss = F.mse_loss(rendered.rgb, target.rgb)
        if float(loss.detach()) < best_loss:
            best, best_loss = parameters.detach().clone(), float(loss.detach())
        loss.backward()
        adam.step()
    return best
