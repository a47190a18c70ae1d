"""Score distillation: a diffusion prior judges renders, as a gradient (DreamFusion, Poole et al. 2023).

For several photos, their guided predictions are averaged under one noise (SparseAGS, Zhao & Tulsiani 2024,
section 3.2); by default only the photos nearest to the judged view are shown, weighted by their angle to it
(SDS anchoring: ZeroNVS, Sargent et al. 2024).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from agsrec.cameras import CAMERA_DISTANCE, OBJECT_FILL, Cameras
from agsrec.fit.novel_views import view_cosines
from agsrec.prior.framing import object_framing
from agsrec.store import plain, rebuilt

if TYPE_CHECKING:
    from agsrec.config import GuidanceConfig
    from agsrec.fit.guided import NovelViews
    from agsrec.prior.warping import PhotoHull
    from agsrec.prior.zero123 import Conditioning, Zero123
    from agsrec.views import Views

__all__ = [
    "Glimpse",
    "ScoreDistillation",
    "annealed_timestep",
    "average_noise",
    "distillation_loss",
    "shown_photos",
]

_GLIMPSES = 8  # one-step predictions kept per fit
_HULL_HOLDS = 0.01  # radians, shares of the object's distance and of the focal length


@dataclass(frozen=True)
class Glimpse:
    """What the prior made of one render.

    Attributes:
        progress: How far the guided part of the round was, in [0, 1).
        timestep: Diffusion step.
        render: The judged render [S, S, 3].
        noisy: The render as the prior saw it, noise and all [S, S, 3].
        prediction: What it takes it to be: the decoded one-step prediction [S, S, 3].
    """

    progress: float
    timestep: int
    render: Tensor  # [S, S, 3]
    noisy: Tensor  # [S, S, 3]
    prediction: Tensor  # [S, S, 3]


def annealed_timestep(progress: float, start: float, end: float, steps: int = 1000) -> int:
    """The diffusion step at a moment of the fit, falling linearly from `start` to `end` (shares of `steps`).

    The public schedule is start 1, end 0, clipped to [0.02, 0.98].
    """
    share = start + (end - start) * progress
    return min(max(round(share * steps), round(0.02 * steps)), round(0.98 * steps))


def shown_photos(
    novel: Cameras, photos: Cameras, center: Tensor, nearest: int, angle_scale_deg: float
) -> tuple[Tensor, Tensor]:
    """Which photos to show for each novel view, and how much each counts.

    Args:
        novel: B novel cameras.
        photos: V cameras of the photos.
        center: Centre of the object [3].
        nearest: How many to show, 0 for all with equal weight.
        angle_scale_deg: Angle beyond the nearest photo's at which the weight falls to 1/e.

    Returns:
        Indices [B, k] and weights [B, k] that sum to one.
    """
    cosine = view_cosines(novel, photos, center)
    count = len(photos) if nearest == 0 else min(nearest, len(photos))
    top, index = cosine.topk(count, dim=1)
    if nearest == 0:
        return index.sort(dim=1).values, torch.full_like(top, 1 / count)
    angles = top.acos().rad2deg()
    return index, (-angles / angle_scale_deg).softmax(dim=1)


def average_noise(
    model: Zero123,
    noisy: Tensor,  # [B, 4, h, w]
    t: Tensor,  # [B]
    condition: Conditioning,
    photos: Cameras,
    cameras: Cameras,
    index: Tensor,  # [B, k]
    weights: Tensor,  # [B, k]
    guidance_scale: float,
    warped: Tensor | None = None,  # [B, 4, h, w]
) -> Tensor:  # [B, 4, h, w]
    """Guided noise predictions for B cameras, averaged over the photos [V] shown for each.

    `warped` is what all photos together show from those cameras, see `Zero123.drawn`.
    """
    count, shown = index.shape
    rows, picked = torch.arange(count, device=index.device).repeat_interleave(shown), index.flatten()
    shown_there = None if warped is None else warped[rows]
    noise = model.predict_noise(
        noisy[rows], t[rows], condition[picked], photos[picked], cameras[rows], guidance_scale, shown_there
    )
    return (noise.unflatten(0, (count, shown)) * weights[:, :, None, None, None]).sum(1)


def distillation_loss(latents: Tensor, gradient: Tensor) -> Tensor:
    """A loss whose gradient with respect to `latents` is `gradient` over the number of elements.

    Its value is half the mean square of the gradient.
    """
    goal = (latents - gradient).detach()
    return 0.5 * (latents.float() - goal.float()).square().mean()


class ScoreDistillation:
    """A guidance for `agsrec.fit`: a Zero123 prior that was shown the photos.

    Attributes:
        glimpses: What the prior saw at a few moments of the fit.
    """

    def __init__(self, model: Zero123, views: Views, config: GuidanceConfig) -> None:
        self._model, self._config = model, config
        self._nearest = model.photos_shown if config.nearest is None else config.nearest
        self._scale = model.guidance_scale if config.scale is None else config.scale
        self._framing = object_framing(views, OBJECT_FILL) if config.recrop else None
        shown = views if self._framing is None else self._framing.views(views)
        self._shown = model.encode(shown)
        self._hull: PhotoHull | None = None
        self.glimpses: list[Glimpse] = []

    def __call__(self, novel: NovelViews) -> Tensor:
        """Score distillation loss of novel views (SparseAGS, equation 3; weight 1 - alpha_bar)."""
        config, model = self._config, self._model
        photos = novel.inputs if self._framing is None else self._framing.cameras(novel.inputs)
        scale = CAMERA_DISTANCE / (photos.centers - novel.center).norm(dim=-1).mean()
        step = annealed_timestep(novel.progress, config.noise_start, config.noise_end)
        latents = model.encode_image(novel.images).float()
        with torch.no_grad():
            t = torch.full((len(latents),), step, device=latents.device)
            noise = torch.randn(latents.shape, generator=novel.generator).to(latents)
            noisy = model.add_noise(latents, noise, t)
            shown = shown_photos(novel.cameras, photos, novel.center, self._nearest, config.angle_scale)
            photos = _rescaled(photos, scale, novel.center)
            cameras = _rescaled(novel.cameras, scale, novel.center)
            warped = self._warped(photos, cameras)
            predicted = average_noise(
                model, noisy, t, self._shown, photos, cameras, *shown, self._scale, warped
            )
            gradient = (1 - model.alphas_cumprod[step]) * (predicted - noise)
        if len(self.glimpses) < _GLIMPSES and novel.progress * _GLIMPSES >= len(self.glimpses):
            self._keep_glimpse(novel, noisy[:1], predicted[:1], t[:1])
        return distillation_loss(latents, gradient)

    def state_dict(self) -> dict[str, Any]:
        """The glimpses and the photos' hull so far, for the checkpoint of a fit."""
        cameras = None if self._hull is None else plain(self._hull.cameras)
        return {"glimpses": plain(self.glimpses), "hull": cameras}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go on from these."""
        self.glimpses = rebuilt(state["glimpses"])
        cameras = state.get("hull")  # older ones have none
        if cameras is not None:
            self._hull = self._model.hull(self._shown, rebuilt(cameras).to(self._model.device))

    def _warped(self, photos: Cameras, cameras: Cameras) -> Tensor | None:
        """What all photos together show from cameras, for a model that wants it; their hull is made anew
        when they have moved."""
        if not self._model.warps:
            return None
        if self._hull is None or _moved(self._hull.cameras, photos):
            self._hull = self._model.hull(self._shown, photos)
        return self._model.drawn(self._hull, cameras)

    def _keep_glimpse(self, novel: NovelViews, noisy: Tensor, predicted: Tensor, t: Tensor) -> None:
        model = self._model
        with torch.no_grad():
            clean = model.denoised(noisy, predicted, t)
            images = model.decode_latents(torch.cat([noisy, clean])).cpu()
        render = novel.images[0].detach().cpu()
        self.glimpses.append(Glimpse(novel.progress, int(t[0]), render, images[0], images[1]))


def _moved(before: Cameras, now: Cameras) -> bool:
    """Whether cameras have turned, moved or zoomed by more than a hull of theirs can bear.

    Their pictures may differ in size.
    """
    far = (before.viewmats - now.viewmats).abs().amax()
    zoom = (before.focal_lengths / before.width) / (now.focal_lengths / now.width)
    return bool(torch.maximum(far, (zoom - 1).abs().amax()) > _HULL_HOLDS)


def _rescaled(cameras: Cameras, scale: Tensor, center: Tensor) -> Cameras:
    """Cameras in the world the prior knows: object at the origin, mean distance `CAMERA_DISTANCE`."""
    still = torch.eye(3).to(center)
    return cameras.transformed(scale, still, -scale * center)
