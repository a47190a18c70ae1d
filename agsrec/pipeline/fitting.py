"""The middle stages, from photos and rough cameras to a scene: outliers, and fit."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from agsrec.checkpoints import fingerprint
from agsrec.fit import FitResult, fit
from agsrec.matching import EpipolarTerm
from agsrec.metrics.images import load_lpips
from agsrec.outliers import correct_outliers
from agsrec.pipeline.desk import Desk
from agsrec.prior import load_prior
from agsrec.prior.sds import Glimpse, ScoreDistillation

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.config import FitConfig
    from agsrec.fit import Guidance
    from agsrec.matching import Correspondences
    from agsrec.outliers import Correction
    from agsrec.point_map import PointMap
    from agsrec.prior.zero123 import Zero123
    from agsrec.store import Checkpointing
    from agsrec.views import Views

__all__ = ["Fitted", "Judge", "correct_poses", "fit_scene", "resolved_options"]

_TOLERANCE = (0.008, 0.004)  # of matches in the fit, of the picture's longer side
_CUSTOM = "custom"  # name of a judge that is neither a model nor one's name


class Judge:
    """What judges novel views, as the settings name it; a model is loaded when it is first asked for.

    Args:
        named: See `agsrec.pipeline.Settings.prior`.
        device: Where it computes.

    Attributes:
        name: What tells it from others; None without one.
        seconds: Time that loading took; None where nothing was loaded.
    """

    def __init__(self, named: Zero123 | Guidance | str | Path | None, device: torch.device) -> None:
        self._named, self._device = named, device
        self.seconds: float | None = None
        if isinstance(named, str | Path):
            self.name = fingerprint(named)
        elif (model := _model(named)) is not None:
            self.name, self.seconds = model.fingerprint(), 0.0
        else:
            self.name = None if named is None else _CUSTOM

    def load(self) -> None:
        """Have the model ready.

        Raises:
            CheckpointError: It cannot be used.
        """
        if isinstance(self._named, str | Path):
            clock = time.perf_counter()
            self._named = load_prior(self._named, self._device)
            self.seconds = time.perf_counter() - clock

    def shown(self, views: Views, config: FitConfig) -> Guidance | None:
        """The judge, once it was shown the photos."""
        self.load()
        assert not isinstance(self._named, str | Path)
        model = _model(self._named)
        if model is None:
            return self._named
        return ScoreDistillation(model.to(self._device), views, config.guidance)


def _model(named: Zero123 | Guidance | None) -> Zero123 | None:
    """The prior, if it is one; its libraries are only loaded where something may be."""
    if not isinstance(named, torch.nn.Module):
        return None
    from agsrec.prior.zero123 import Zero123

    return named if isinstance(named, Zero123) else None


# -------------------------------------------------------------------- outliers


def correct_poses(desk: Desk, views: Views, cameras: Cameras, judge: Judge) -> Correction | None:
    """What is decided about badly posed views, where the settings ask for it; on the CPU."""
    settings, device = desk.settings, desk.device
    config = settings.outliers
    if config is None or len(views) < 2:
        return None
    lpips = load_lpips(device)
    request = desk.request(
        "outliers",
        {"photos": views, "cameras": cameras},
        outliers=config,
        seed=settings.seed,
        device=device.type,
        lpips=lpips is not None,
    )

    def corrected(begun: Checkpointing | None) -> Correction:
        judge.load()  # so that a model that cannot be used is known before the work
        correction = correct_outliers(
            views.to(device),
            cameras.to(device, torch.float32),
            config,
            seed=settings.seed,
            lpips=lpips,
            checkpointing=begun,
            report=partial(desk.listener.doing, "outliers"),
            watch=partial(desk.listener.step, "outliers"),
        )
        return replace(correction.on_cpu(), views=views)

    return desk.once(request, "checking the poses", corrected)


# -------------------------------------------------------------------- fit


@dataclass(frozen=True)
class Fitted:
    """Outcome of the fit, on the CPU.

    Attributes:
        result: Scene, cameras and course.
        glimpses: What the prior saw at a few moments.
        seconds: Time of the fit, of all its pieces where it was interrupted.
        prior_seconds: Time that loading the prior took, where there is one.
    """

    result: FitResult
    glimpses: tuple[Glimpse, ...]
    seconds: float
    prior_seconds: float | None


def fit_scene(
    desk: Desk,
    views: Views,
    cameras: Cameras,
    config: FitConfig,
    judge: Judge,
    matches: Correspondences | None = None,
    points: PointMap | None = None,
) -> Fitted:
    """Refine the cameras and fit a scene; matches hold the cameras at first, points are the first scene."""
    settings, device = desk.settings, desk.device
    held = None
    if matches is not None and len(matches) and config.poses.matches:
        held = EpipolarTerm(
            matches,
            weight=config.poses.matches,
            tolerance=_TOLERANCE,
            until=config.poses.matches_until,
        )
    request = desk.request(
        "fit",
        {
            "photos": views,
            "cameras": cameras,
            "prior": judge.name,
            "matches": matches if held else "none",
            **({} if points is None else {"points": points}),
        },
        fit=config,
        seed=settings.seed,
        device=device.type,
    )

    def fitted(begun: Checkpointing | None) -> Fitted:
        photos = views.to(device)
        guidance = judge.shown(photos, config)
        clock = time.perf_counter()
        result = fit(
            photos,
            cameras.to(device, torch.float32),
            config,
            seed=settings.seed,
            points=points,
            guidance=guidance,
            camera_loss=held,
            progress=partial(desk.listener.step, "fit"),
            checkpointing=begun,
        )
        seconds = max(result.seconds, time.perf_counter() - clock)
        here = replace(
            result,
            cameras=result.cameras.to("cpu"),
            gaussians=result.gaussians.to("cpu"),
            exposures=None if result.exposures is None else result.exposures.cpu(),
        )
        glimpses = tuple(guidance.glimpses) if isinstance(guidance, ScoreDistillation) else ()
        return Fitted(here, glimpses, seconds, judge.seconds)

    return desk.once(request, "fitting", fitted)


def resolved_options(desk: Desk, config: FitConfig, judge: Judge, *, posed: bool) -> dict[str, Any]:
    """The options of a run as plain values, as they are stored with its results.

    Args:
        desk: With the settings.
        config: The schedule as used.
        judge: What judged novel views.
        posed: Whether cameras were estimated.
    """
    settings = desk.settings
    options: dict[str, Any] = {
        "preset": settings.preset,
        "seed": settings.seed,
        "device": desk.device.type,
        "prior": judge.name,
        "fit": asdict(config),
    }
    if settings.outliers is not None:
        options["outliers"] = asdict(settings.outliers)
    if posed:
        options |= {"init": settings.posing.method, "init_model": settings.posing.model}
        options |= {"init_points": settings.init_points}
    return options
