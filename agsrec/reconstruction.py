"""`reconstruct`: from photos and rough cameras to a scene and refined cameras."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from agsrec.config import PRESETS, FitConfig, PresetName
from agsrec.device import resolve_device
from agsrec.errors import OptionError, ShapeError
from agsrec.fit import Checkpointing, FitProgress, Guidance, fit
from agsrec.fit.checkpoint import fit_key
from agsrec.metrics.images import load_lpips
from agsrec.outliers import OutlierConfig, correct_outliers
from agsrec.outliers.correct import correction_key
from agsrec.pose_init import initialize
from agsrec.prior import load_prior
from agsrec.prior.sds import ScoreDistillation
from agsrec.single_photo import single_photo_schedule

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.dataset import Scene
    from agsrec.gaussians import Gaussians
    from agsrec.outliers import Correction
    from agsrec.prior.sds import Glimpse
    from agsrec.prior.zero123 import Zero123
    from agsrec.views import Views

__all__ = ["Reconstruction", "reconstruct", "require_enough_views"]


@dataclass(frozen=True)
class Reconstruction:
    """A reconstructed object; all tensors on the CPU.

    Attributes:
        views: The photos that were used.
        initial_cameras: Their cameras as given.
        cameras: The refined cameras, in the same world up to the drift of the fit.
        gaussians: The scene.
        fitted_size: Longer side of the pictures that the scene was fitted to last, pixels.
        history: Course of the fit, a record every few steps.
        timings: Seconds by stage.
        options: The resolved options, as plain values.
        glimpses: What the prior saw at a few moments of the fit, where there was one.
        correction: What was decided about badly posed views, where they were looked for.
    """

    views: Views
    initial_cameras: Cameras
    cameras: Cameras
    gaussians: Gaussians
    fitted_size: int
    history: list[dict[str, Any]]
    timings: dict[str, float]
    options: dict[str, Any]
    glimpses: tuple[Glimpse, ...] = ()
    correction: Correction | None = None

    def save(self, folder: str | Path, scene: Scene | None = None) -> dict[str, Any]:
        """Write every result file into a folder and return the metrics; see `agsrec.export.results`."""
        from agsrec.export.results import save_results

        return save_results(self, Path(folder), scene)


def reconstruct(
    views: Views,
    cameras: Cameras | None = None,
    *,
    preset: PresetName = "fast",
    config: FitConfig | None = None,
    focal_known: bool = True,
    seed: int = 0,
    device: str = "auto",
    prior: Zero123 | str | Path | None = None,
    guidance: Guidance | None = None,
    progress: Callable[[FitProgress], None] | None = None,
    checkpoint: str | Path | None = None,
    outliers: OutlierConfig | None = None,
    report: Callable[[str], None] | None = None,
    watch: Callable[[FitProgress], None] | None = None,
) -> Reconstruction:
    """Refine rough cameras and fit a scene of 3D Gaussians to the photos of one object.

    Args:
        views: V cut-out photos. One is enough where there is a prior or a guidance; the schedule is then made
            into that of `agsrec.single_photo.single_photo_schedule`.
        cameras: Their rough cameras; without them `agsrec.initialize` estimates them, and views that it
            cannot place are left out.
        preset: Schedule to use.
        config: Schedule to use instead of the preset's.
        focal_known: Whether the focal lengths of the cameras are to be relied on; they are refined otherwise,
            unless the schedule says what to do with them.
        seed: Seed of everything random.
        device: "auto", "cpu" or "cuda".
        prior: Diffusion model that judges views nobody photographed: a model, its folder, the name of one in
            `checkpoints/` such as "zero123-6dof-mini", or a hub id.
        guidance: Another judge of novel views instead.
        progress: Called as the fit goes on; an exception from it ends the run.
        checkpoint: File to keep the state in; a run interrupted at any point continues from it, if photos,
            cameras and options are the same.
        outliers: Look for badly posed views first, and pose them again or leave them out; see
            `agsrec.outliers`. Its state is kept beside the checkpoint.
        report: Told what that is doing.
        watch: Called like `progress`, as the fits go on by which poses are judged there.

    Raises:
        OptionError, DeviceError: An option cannot be used.
        ShapeError: Photos and cameras do not match.
        CameraError, SceneError: The cameras do not fit the photos at all.
        CheckpointError: The prior cannot be used.
    """
    if preset not in PRESETS:
        raise OptionError(f"unknown preset {preset!r}; there are {', '.join(PRESETS)}")
    if not 0 <= seed < 2**63:
        raise OptionError(f"--seed must be between 0 and 2**63 - 1, not {seed}")
    require_enough_views(views, guided=prior is not None or guidance is not None)
    timings: dict[str, float] = {}
    if cameras is None:
        clock = time.perf_counter()
        estimate = initialize(views, device=device, seed=seed)
        views, cameras = views[estimate.indices], estimate.cameras
        focal_known = estimate.focal_known
        timings["poses"] = time.perf_counter() - clock
    _check_inputs(views, cameras)
    config = PRESETS[preset] if config is None else config
    if config.poses.refine_focal is None:
        config = replace(config, poses=replace(config.poses, refine_focal=not focal_known))
    if len(views) == 1:
        config = single_photo_schedule(config)
    target = resolve_device(device)
    if prior is not None and guidance is not None:
        raise OptionError("give a prior or a guidance, not both")
    clock = time.perf_counter()
    model = load_prior(prior, target) if isinstance(prior, str | Path) else prior
    if model is not None:
        timings["prior"] = time.perf_counter() - clock
    correction, given = None, cameras
    if outliers is not None and len(views) > 1:
        correction = _corrected(views, cameras, outliers, seed, target, checkpoint, report, watch)
        views, given, cameras = views[correction.used], cameras[correction.used], correction.start
        timings["outliers"] = correction.seconds
    judge = _judge(model, guidance, views.to(target), config)
    options = {
        "preset": preset,
        "seed": seed,
        "device": target.type,
        "prior": judge.name,
        "fit": asdict(config),
    }
    options |= {} if outliers is None else {"outliers": asdict(outliers)}
    checkpointing = None
    if checkpoint is not None:
        key = fit_key(views, cameras, config, seed, device=target.type, guided=judge.name)
        checkpointing = Checkpointing(Path(checkpoint), key)
    clock = time.perf_counter()
    result = fit(
        views.to(target),
        cameras.to(target, torch.float32),
        config,
        seed=seed,
        guidance=judge.guidance,
        progress=progress,
        checkpointing=checkpointing,
    )
    # A continued run reports the time of all its pieces.
    seconds = max(result.seconds, time.perf_counter() - clock)
    return Reconstruction(
        views=views,
        initial_cameras=given,
        cameras=result.cameras.to("cpu"),
        gaussians=result.gaussians.to("cpu"),
        fitted_size=result.fitted_size,
        history=result.history,
        timings=timings | {"fit": seconds},
        options=options,
        glimpses=() if judge.distillation is None else tuple(judge.distillation.glimpses),
        correction=correction,
    )


def _corrected(
    views: Views,
    cameras: Cameras,
    config: OutlierConfig,
    seed: int,
    device: torch.device,
    checkpoint: str | Path | None,
    report: Callable[[str], None] | None,
    watch: Callable[[FitProgress], None] | None,
) -> Correction:
    """What is decided about badly posed views; the state is kept where the fit's is, under another name."""
    checkpointing, lpips = None, load_lpips(device)
    if checkpoint is not None:
        path = Path(checkpoint)
        key = correction_key(views, cameras, config, seed, device=device.type, lpips=lpips is not None)
        checkpointing = Checkpointing(path.with_name(f"{path.stem}_outliers{path.suffix}"), key)
    return correct_outliers(
        views.to(device),
        cameras.to(device, torch.float32),
        config,
        seed=seed,
        lpips=lpips,
        checkpointing=checkpointing,
        report=report,
        watch=watch,
    ).on_cpu()


@dataclass(frozen=True)
class _Judge:
    """A guidance, what tells it from others, and the prior behind it."""

    guidance: Guidance | None = None
    name: str | None = None
    distillation: ScoreDistillation | None = None


def _judge(prior: Zero123 | None, guidance: Guidance | None, views: Views, config: FitConfig) -> _Judge:
    """What judges novel views: the prior, shown the photos, or the caller's own guidance."""
    if prior is None:
        return _Judge(guidance, None if guidance is None else "custom")
    distillation = ScoreDistillation(prior, views, config.guidance)
    return _Judge(distillation, prior.fingerprint(), distillation)


def require_enough_views(views: Views, *, guided: bool) -> None:
    """Raise if photos are too few: the far side of a single one is for a prior to make up.

    Raises:
        OptionError: There is none, or one without a judge of novel views.
    """
    if len(views) == 0 or (len(views) == 1 and not guided):
        raise OptionError(
            f"a reconstruction without a prior needs at least 2 views, not {len(views)}; "
            "name a prior with --prior"
        )


def _check_inputs(views: Views, cameras: Cameras) -> None:
    if len(views) != len(cameras):
        raise ShapeError(f"{len(views)} views but {len(cameras)} cameras")
    if (views.width, views.height) != (cameras.width, cameras.height):
        raise ShapeError(
            f"photos are {views.width}x{views.height} pixels but cameras {cameras.width}x{cameras.height}; "
            "use Cameras.resized"
        )
