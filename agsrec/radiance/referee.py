"""Poses judged by what they let a radiance field say about photos it has not seen.

The protocol of ACE0 (Brachmann et al. 2024, section 4): a field is trained on some of the photos with the
poses in question, drawn from the poses of the others, and compared with those. It needs no ground truth and,
unlike the fit, has no say in the poses it is given; poses that contradict each other blur it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from agsrec.errors import OptionError
from agsrec.fit.hull import object_sphere
from agsrec.fit.target import Target
from agsrec.metrics.images import psnr
from agsrec.radiance.config import RadianceConfig
from agsrec.radiance.field import render_pictures
from agsrec.radiance.training import train_field

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.views import Views

__all__ = ["FEWEST_HELD_BACK", "Comparison", "HeldBack", "compared", "held_back", "held_back_fold"]

FEWEST_HELD_BACK = 3
"""Photos that are needed: one is held back, and one alone has no depth."""

_BALL = 1.05  # radius of the field's ball, radii of the sphere that holds the object
_SURE = 0.975  # quantile of Student's distribution: 95 % on both sides


@dataclass(frozen=True)
class HeldBack:
    """Photos that a field was not shown, against what it makes of them.

    Attributes:
        names: Of the V photos.
        psnr: Of each photo over white, by seed [S, V], dB.
        photos: Over white, at the size that was compared [V, H, W, 3].
        renders: From the first seed's fields [V, H, W, 3].
    """

    names: tuple[str, ...]
    psnr: Tensor  # [S, V]
    photos: Tensor  # [V, H, W, 3]
    renders: Tensor  # [V, H, W, 3]

    @property
    def error(self) -> float | None:
        """Standard error of the mean over the seeds, dB; None with one seed."""
        return _standard_error(self.psnr.mean(1))

    def as_dict(self) -> dict[str, Any]:
        """Plain values: the mean, and by photo the mean over the seeds."""
        return {
            "psnr": float(self.psnr.mean()),
            "standard_error": self.error,
            "by_view": dict(zip(self.names, self.psnr.mean(0).tolist(), strict=True)),
            "by_seed": self.psnr.mean(1).tolist(),
        }


@dataclass(frozen=True)
class Comparison:
    """Two sets of poses of the same photos.

    Attributes:
        difference: Mean PSNR with the first less that with the second, dB.
        error: Standard error of the difference over the seeds, dB.
        decided: Whether the difference is more than chance between seeds, at 95 %.
        photos: Photos that the better one explains better.
    """

    difference: float
    error: float
    decided: bool
    photos: int


def held_back(
    views: Views,
    cameras: Cameras,
    *,
    folds: int | None = 4,
    seeds: Sequence[int] = (0,),
    config: RadianceConfig | None = None,
    device: torch.device | str = "cpu",
    on_fold: Callable[[], None] | None = None,
) -> HeldBack:
    """Hold back every photo once, and draw it from what the others show.

    Args:
        views: V >= 3 cut-out photos.
        cameras: Their cameras.
        folds: Trainings per seed, each without V / folds photos that the seed draws; each photo on its own if
            None or at least V.
        seeds: The whole is done once with each.
        config: How to train.
        device: Where to.
        on_fold: Called after every training.

    Raises:
        OptionError: Too few photos, folds or seeds.
        CameraError: A camera looks away from the object.
    """
    count = len(views)
    if count < FEWEST_HELD_BACK:
        raise OptionError(f"holding photos back needs at least {FEWEST_HELD_BACK} photos, not {count}")
    folds = count if folds is None else min(folds, count)
    if folds < 2:
        raise OptionError(f"--folds must be at least 2, not {folds}: photos are held back in turn")
    if not seeds or len(set(seeds)) < len(seeds):
        raise OptionError("--seeds must be different numbers, at least one")
    scores, first = [], None
    for seed in seeds:
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
        done: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        for fold in range(folds):
            held = sorted(order[fold::folds])
            drawn = held_back_fold(views, cameras, held, seed=seed, config=config, device=device)
            done |= dict(zip(held, zip(*drawn, strict=True), strict=True))
            if on_fold is not None:
                on_fold()
        score, photos, renders = (torch.stack([done[i][k] for i in range(count)]) for k in range(3))
        scores.append(score)
        first = (photos, renders) if first is None else first
    assert first is not None
    return HeldBack(views.names, torch.stack(scores), *first)


def held_back_fold(
    views: Views,
    cameras: Cameras,
    held: Sequence[int],
    *,
    seed: int = 0,
    config: RadianceConfig | None = None,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor, Tensor]:
    """Train without some photos and draw them: PSNR [H], photos and renders [H, h, w, 3] over white.

    Args:
        views: V cut-out photos.
        cameras: Their cameras.
        held: Photos to hold back.
        seed: Of the training.
        config: How to train.
        device: Where to.

    Raises:
        CameraError: A camera looks away from the object.
    """
    config = RadianceConfig() if config is None else config
    shown = [i for i in range(len(views)) if i not in set(held)]
    target = _target(views.to(device), config)
    inside = _in_unit_ball(views, cameras).to(device, torch.float32)
    inside = inside.resized(target.alpha.shape[2], target.alpha.shape[1])
    seen = Target(target.rgb[shown], target.alpha[shown])
    field = train_field(seen, inside[shown], config, seed=seed)
    drawn = render_pictures(field, inside[held], config.faint)
    white = torch.ones(len(views), 3).to(target.rgb)
    photos = target.over(white)[list(held)].cpu()
    renders = (drawn[..., :3] + 1 - drawn[..., 3:]).clamp(0, 1).cpu()
    return psnr(renders, photos), photos, renders


def _target(views: Views, config: RadianceConfig) -> Target:
    """The photos at the size at which the largest object has `config.object_size` pixels.

    It depends on the photos alone, so that figures of different poses can be compared.
    """
    solid = views.masks > 0.5
    largest = max(int(solid.any(axis).sum(1).max()) for axis in (1, 2))
    size = max(views.width, views.height) * config.object_size / max(1, largest)
    return Target.at(views, max(1, round(size)))


def _in_unit_ball(views: Views, cameras: Cameras) -> Cameras:
    """The cameras in a world whose unit ball holds the object."""
    center, radius = object_sphere(views, cameras)
    scale = 1 / (_BALL * radius)
    eye = torch.eye(3).to(center)
    return cameras.transformed(scale, eye, -scale * center)


def compared(first: HeldBack, second: HeldBack) -> Comparison:
    """Which poses explain the photos that were held back better, by the same seeds.

    Raises:
        OptionError: With fewer than two seeds nothing is known about chance.
    """
    from scipy.stats import t as student

    by_seed = (first.psnr - second.psnr).mean(1)
    error = _standard_error(by_seed)
    if error is None:
        raise OptionError("--seeds must name at least 2 to tell a difference from chance")
    difference = float(by_seed.mean())
    by_photo = (first.psnr - second.psnr).mean(0) * (1 if difference >= 0 else -1)
    decided = abs(difference) > float(student.ppf(_SURE, len(by_seed) - 1)) * error
    return Comparison(difference, error, decided, int((by_photo > 0).sum()))


def _standard_error(values: Tensor) -> float | None:
    return float(values.std() / len(values) ** 0.5) if len(values) > 1 else None
