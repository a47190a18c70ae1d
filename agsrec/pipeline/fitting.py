"""The middle stages, from photos and rough cameras to a scene: outliers, and fit."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from agsrec.fit import FitResult, fit
from agsrec.matching import EpipolarTerm
from agsrec.metrics.images import load_lpips
from agsrec.outliers import correct_outliers
from agsrec.pipeline.desk import Desk
from agsrec.pipeline.judge import Judge

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.config import FitConfig
    from agsrec.fit import FitProgress
    from agsrec.matching import Correspondences
    from agsrec.outliers import Correction
    from agsrec.point_map import PointMap
    from agsrec.prior.sds import Glimpse
    from agsrec.store import Checkpointing
    from agsrec.views import Views

__all__ = ["Fitted", "correct_poses", "fit_scene", "resolved_options"]

_TOLERANCE = (0.008, 0.004)  # of matches in the fit, of the picture's longer side


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
        seconds: Time of the fit, of all its pieces where it was interrupted, without waiting for the prior.
        prior_seconds: Time that the run waited for the prior to be loaded, where there is one.
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

        def told(progress: FitProgress) -> None:
            judge.begin()  # not sooner: its libraries would be in the way of the first steps
            judge.check()  # a model that cannot be used ends the fit before it is asked
            desk.listener.step("fit", progress)

        clock, loaded = time.perf_counter(), judge.seconds or 0.0
        result = fit(
            photos,
            cameras.to(device, torch.float32),
            config,
            seed=settings.seed,
            points=points,
            guidance=guidance,
            camera_loss=held,
            progress=told,
            checkpointing=begun,
        )
        waited = (judge.seconds or 0.0) - loaded
        seconds = max(result.seconds, time.perf_counter() - clock) - waited
        here = replace(
            result,
            cameras=result.cameras.to("cpu"),
            gaussians=result.gaussians.to("cpu"),
            exposures=None if result.exposures is None else result.exposures.cpu(),
        )
        return Fitted(here, judge.glimpses, seconds, judge.seconds)

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
