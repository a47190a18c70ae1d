"""The fit: Gaussians and cameras optimised together until the scene explains the photos."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec.fit.between import novel_roughness, thinned
from agsrec.fit.densify import densify_and_prune
from agsrec.fit.gaussian_optimizer import GaussianOptimizer
from agsrec.fit.guided import Guidance, Judging
from agsrec.fit.hull import gaussians_from_hull, object_sphere, visual_hull
from agsrec.fit.poses import PoseOptimizer, PoseParameters
from agsrec.fit.seeds import MIN_SEEDS, gaussians_from_points
from agsrec.fit.state import FitState
from agsrec.fit.target import Target, data_loss
from agsrec.limits import one_thread_of_torch, usual_threads
from agsrec.render import render_scene

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.config import FitConfig, LossConfig, Round
    from agsrec.gaussians import Gaussians
    from agsrec.point_map import PointMap
    from agsrec.store import Checkpointing
    from agsrec.views import Views

__all__ = ["CameraLoss", "FitProgress", "FitResult", "Guidance", "fit"]


CameraLoss = Callable[["Cameras", float], Tensor]
"""A loss of cameras alone, and of the share of the fit that is done."""


@dataclass(frozen=True)
class FitProgress:
    """Where a running fit stands.

    Attributes:
        iteration: Steps done.
        total: Steps of the whole fit.
        round: Index of the current round.
        size: Current image size in pixels.
        loss: Latest recorded loss.
        psnr: Latest recorded PSNR over the input views at that size, dB.
        gaussians: Gaussians at the moment.
        snapshot: Gives scene and cameras as they stand, for a preview; use them before the callback returns.
    """

    iteration: int
    total: int
    round: int
    size: int
    loss: float
    psnr: float
    gaussians: int
    snapshot: Callable[[], tuple[Gaussians, Cameras]] = field(repr=False, compare=False)


@dataclass(frozen=True)
class FitResult:
    """Outcome of a fit.

    Attributes:
        gaussians: The scene.
        cameras: The refined cameras.
        fitted_size: Longer side of the pictures that the scene was fitted to last, pixels.
        history: Records of iteration, round, size, loss, psnr, pose_change_deg [V], viewmats [V, 4, 4] and,
            where guided, guidance (the latest weighted loss). Loss and psnr are of the step as it was drawn,
            without Gaussians that it left out.
        seconds: Time spent, including earlier interrupted runs.
        exposures: How bright each photo is beside the scene, by channel [V, 3]; None where not asked.
    """

    gaussians: Gaussians
    cameras: Cameras
    fitted_size: int
    history: list[dict[str, Any]]
    seconds: float
    exposures: Tensor | None = None


def fit(
    views: Views,
    cameras: Cameras,
    config: FitConfig,
    *,
    seed: int = 0,
    points: PointMap | None = None,
    guidance: Guidance | None = None,
    camera_loss: CameraLoss | None = None,
    progress: Callable[[FitProgress], None] | None = None,
    checkpointing: Checkpointing | None = None,
) -> FitResult:
    """Fit a scene and refine its cameras (SparseAGS, Zhao & Tulsiani 2024, sections 3.2 and 3.3).

    Args:
        views: V cut-out photos.
        cameras: Their rough cameras, in pixels of the photos.
        config: Schedule and weights.
        seed: Seed of everything random; equal seeds give equal results on one machine.
        points: Surface points in the world of the cameras, for the first scene; without them, or with few, it
            is the visual hull.
        guidance: Judge of novel views in guided rounds, such as a diffusion prior; see `StatefulGuidance`.
        camera_loss: What is known of the cameras beside the photos, such as matches: their loss, and how much
            of the fit is done, in [0, 1).
        progress: Called at every record of the history; an exception from it ends the fit.
        checkpointing: Where to keep the state; a matching state found there is continued.

    Raises:
        CameraError, SceneError: The cameras do not fit the photos at all.
    """
    state = FitState.at(cameras, config, seed)
    stored = None if checkpointing is None else checkpointing.load()
    with ExitStack() as stack:
        judging = None
        if views.images.device.type == "cpu":
            stack.enter_context(one_thread_of_torch())
        if guidance is not None:
            beside = views.images.device.type == "cpu" and usual_threads() > 1 and config.guidance.lag > 0
            judging = stack.enter_context(Judging(guidance, config.guidance, beside=beside))
        if stored is not None:
            _restore(state, config, judging, stored)
        while state.round < len(config.rounds):
            _run_round(state, views, config, points, judging, camera_loss, progress, checkpointing)
    assert state.optimizer is not None
    final = state.current()
    final = replace(final, viewmats=final.viewmats.detach(), Ks=final.Ks.detach())
    size = config.fitted_size(views.width, views.height)
    exposures = state.exposures.factors().detach() if state.exposures.optimized else None
    return FitResult(state.optimizer.gaussians.detach(), final, size, state.history, state.seconds, exposures)


# -------------------------------------------------------------------- rounds


def _begin_round(state: FitState, views: Views, config: FitConfig, points: PointMap | None) -> None:
    """Fresh Gaussians: from points in the first round, from the hull of the cameras reached in others."""
    plan = config.rounds[state.round]
    with torch.no_grad():
        state.cameras = state.current()
        state.center, state.radius = object_sphere(views, state.cameras)
        if points is not None and len(points.points) >= MIN_SEEDS and state.round == 0:
            seeds = points.to(views.images)
            gaussians = gaussians_from_points(seeds, plan.num_points, state.generator)
        else:
            hull = visual_hull(views, state.cameras, resolution=config.hull_resolution, blur=plan.hull_blur)
            gaussians = gaussians_from_hull(hull, views, state.cameras, plan.num_points, state.generator)
    state.optimizer = GaussianOptimizer(gaussians, config.rates, state.radius)
    state.poses = PoseOptimizer(PoseParameters.zeros(state.cameras.viewmats), config.poses)
    state.iteration, state.guidance_loss = 0, None


def _run_round(
    state: FitState,
    views: Views,
    config: FitConfig,
    points: PointMap | None,
    judging: Judging | None,
    camera_loss: CameraLoss | None,
    progress: Callable[[FitProgress], None] | None,
    checkpointing: Checkpointing | None,
) -> None:
    """Run, or finish, the current round and move on to the next."""
    if state.optimizer is None or state.iteration == 0:
        if judging is not None:
            judging.forget()
        _begin_round(state, views, config, points)
    plan = config.rounds[state.round]
    clock = time.perf_counter()
    end = 0
    for index, stage in enumerate(plan.stages):
        end += stage.iterations
        if state.iteration >= end:
            continue
        assert state.optimizer is not None
        state.optimizer.raise_sh_degree(plan.sh_degree_at(index))
        target = Target.at(views, stage.size)
        while state.iteration < end:
            record = _step(state, target, config, plan, judging, camera_loss)
            now = time.perf_counter()
            state.seconds, clock = state.seconds + now - clock, now
            if record is not None:
                state.history.append(record)
                if progress is not None:
                    progress(_progress(state, config, record))
            at_checkpoint = state.iteration % config.checkpoint_interval == 0
            if checkpointing is not None and at_checkpoint and state.iteration < plan.iterations:
                checkpointing.save(_snapshot(state, judging))
    state.end_round(config)
    if checkpointing is not None:
        checkpointing.save(_snapshot(state, judging))


def _progress(state: FitState, config: FitConfig, record: dict[str, Any]) -> FitProgress:
    assert state.optimizer is not None
    return FitProgress(
        iteration=record["iteration"],
        total=config.iterations,
        round=state.round,
        size=record["size"],
        loss=record["loss"],
        psnr=record["psnr"],
        gaussians=len(state.optimizer.position_gradient),
        snapshot=lambda: _as_it_stands(state),
    )


def _as_it_stands(state: FitState) -> tuple[Gaussians, Cameras]:
    """Scene and cameras of a fit in progress, outside the autograd graph."""
    assert state.optimizer is not None
    with torch.no_grad():
        return state.optimizer.gaussians.detach(), state.current()


# -------------------------------------------------------------------- one step


def _step(
    state: FitState,
    target: Target,
    config: FitConfig,
    plan: Round,
    judging: Judging | None,
    camera_loss: CameraLoss | None,
) -> dict[str, Any] | None:
    """One optimisation step over all views; a record of it at every logging interval."""
    assert state.optimizer is not None and state.poses is not None and state.center is not None
    progress = state.iteration / max(1, plan.iterations)
    height, width = target.alpha.shape[1:]
    cameras = state.current().resized(width, height)
    gaussians = state.optimizer.gaussians
    background = _background(config.loss, len(cameras), state.generator).to(target.rgb)
    share = _dropped(config.loss, progress) if plan.regularized else 0.0
    drawn = thinned(gaussians, share, state.generator) if share else gaussians
    exposures = state.exposures.factors() if state.exposures.optimized else None
    # As bright as photos have it is the object alone, not what is behind it.
    behind = background if exposures is None else background / exposures
    if judging is not None and plan.guided and progress < config.guidance.stop:
        if state.iteration % config.guidance.interval == 0:
            share = progress / config.guidance.stop
            judging.ask(state.iteration, gaussians, state.current(), state.center, share, state.generator)
    rendered = render_scene(drawn, cameras, behind, render_mode="RGB")
    wanted = target.over(background)
    loss = data_loss(rendered, wanted, target.alpha, config.loss, exposures)
    if config.loss.ramp:
        loss = loss * progress
    if exposures is not None:
        loss = loss + state.exposures.penalty()
    judged = None if judging is None else judging.due(state.iteration)
    if judged is not None:
        state.guidance_loss = judged.loss
        loss = loss + judged.pull(gaussians)
    if plan.regularized and config.loss.roughness and state.iteration % config.loss.novel_interval == 0:
        rough = novel_roughness(gaussians, state.current(), config.loss, state.radius, state.generator)
        loss = loss + config.loss.roughness * rough
    if camera_loss is not None:
        loss = loss + camera_loss(state.current(), state.done / max(1, config.iterations))
    loss.backward()
    state.optimizer.step(
        progress, config.densify.max_scale * state.radius, bounded_colors=config.loss.bounded_colors
    )
    warmup = min(1.0, (state.iteration + 1) / max(1, config.poses.warmup))
    state.poses.step(
        plan.rate_rotation, plan.rate_translation * state.radius, warmup * plan.rate_decay**progress
    )
    state.exposures.step()
    state.iteration, state.done = state.iteration + 1, state.done + 1
    _maybe_densify(state, config, plan)
    if state.done % config.log_interval and state.iteration < plan.iterations:
        return None
    shown = rendered.rgb if exposures is None else rendered.rgb * exposures[:, None, None]
    return _record(state, max(width, height), float(loss.detach()), shown.detach(), wanted)


def _dropped(config: LossConfig, progress: float) -> float:
    """Share of the Gaussians that a step does without, at `progress` through the round."""
    return config.drop * progress / config.drop_until if progress < config.drop_until else 0.0


def _background(config: LossConfig, count: int, generator: torch.Generator) -> Tensor:
    """Background colours [V, 3]."""
    if config.background == "random":
        return torch.rand(count, 3, generator=generator)
    return torch.full((count, 3), 1.0 if config.background == "white" else 0.0)


def _maybe_densify(state: FitState, config: FitConfig, plan: Round) -> None:
    densify = config.densify
    share = state.iteration / max(1, plan.iterations)
    if state.iteration % densify.interval or not densify.start <= share <= densify.stop:
        return
    assert state.optimizer is not None and state.center is not None
    densify_and_prune(
        state.optimizer,
        densify,
        max_points=max(plan.max_points, plan.num_points),
        center=state.center,
        radius=state.radius,
        generator=state.generator,
    )


def _record(state: FitState, size: int, loss: float, rendered: Tensor, wanted: Tensor) -> dict[str, Any]:
    with torch.no_grad():
        cameras = state.current()
        turned = cameras.rotations @ state.start.rotations.mT
        cosine = ((turned.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2).clamp(-1, 1)
        mse = F.mse_loss(rendered, wanted).clamp_min(1e-10)
    record = {
        "iteration": state.done,
        "round": state.round,
        "size": size,
        "loss": loss,
        "psnr": float(-10 * mse.log10()),
        "pose_change_deg": cosine.acos().rad2deg().tolist(),
        "viewmats": cameras.viewmats.tolist(),
    }
    return record if state.guidance_loss is None else record | {"guidance": state.guidance_loss}


# -------------------------------------------------------------------- checkpoints


def _snapshot(state: FitState, judging: Judging | None) -> dict[str, Any]:
    return {"judging": {} if judging is None else judging.state_dict(), "fit": state.state_dict()}


def _restore(state: FitState, config: FitConfig, judging: Judging | None, stored: dict[str, Any]) -> None:
    state.load_state_dict(stored["fit"], config)
    if judging is not None:
        judging.load_state_dict(stored["judging"], state.start.viewmats.device)
