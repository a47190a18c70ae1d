"""`agsrec eval`: the whole method on scenes with ground truth, against the same fit from the true poses.

Every view pair counts: one with a view that an initialiser could not place is 180 degrees off.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch

from agsrec.cameras import Cameras
from agsrec.dataset import load_gt_scene
from agsrec.device import resolve_device
from agsrec.errors import OptionError
from agsrec.export.decisions import decision_record
from agsrec.fit.refine import refine_poses
from agsrec.lie import so3_exp
from agsrec.metrics.evaluation import evaluate, input_quality
from agsrec.metrics.images import load_lpips
from agsrec.metrics.poses import align_cameras, pairwise_rotation_errors, summarize_rotations
from agsrec.outliers import OutlierConfig, most_outliers
from agsrec.pipeline import Settings
from agsrec.pipeline.run import reconstruct
from agsrec.pose_init import PlacementError, initialize
from agsrec.prior import load_prior
from agsrec.processes import peak_memory_mb
from agsrec.radiance.referee import FEWEST_HELD_BACK, held_back, held_back_fold

if TYPE_CHECKING:
    from agsrec.dataset import Scene
    from agsrec.matching import Correspondences
    from agsrec.names import MethodName, RefereeName

__all__ = ["EvalResult", "evaluate_folders", "leave_one_out", "with_outliers"]

# Seeds of the pose noise stand apart from those of the fit.
_NOISE_SEED = 1000

_OUTLIER_DEG = (60.0, 180.0)

_NOT_PLACED_DEG = 180.0


@dataclass(frozen=True)
class EvalResult:
    """Outcome of an evaluation.

    Attributes:
        runs: One record per folder, seed and start, with every measured figure: `pair_errors_before_deg` and
            `pair_errors_deg` of all view pairs at the start and at the end, and what `Evaluation` says.
        rows: Table rows per folder and over all folders.
    """

    runs: list[dict[str, Any]]
    rows: list[dict[str, Any]] = field(default_factory=list)


def evaluate_folders(
    folders: Sequence[str | Path],
    settings: Settings | None = None,
    *,
    noise_deg: float = 8.0,
    init: MethodName | None = None,
    init_model: Any = None,
    init_only: bool = False,
    num_views: int | None = None,
    seeds: Sequence[int] = (0,),
    oracle: bool = True,
    outliers: int | None = None,
    referee: RefereeName = "none",
    on_run: Callable[[dict[str, Any]], None] | None = None,
) -> EvalResult:
    """Reconstruct every scene from disturbed true poses, and once per seed from the true ones (`oracle`).

    Args:
        folders: Scenes in a layout of `agsrec.dataset.load_gt_scene`.
        settings: How to reconstruct; its seed and outlier loop are those of each run.
        noise_deg: r.m.s. rotation error of the start, degrees; see `Cameras.perturbed`.
        init: Start from what this initialiser makes of the cut-out photos instead.
        init_model: Its model; see `agsrec.pose_init.initialize`.
        init_only: Measure the initialiser alone, without a fit.
        num_views: Use the first so many input views; all by default.
        seeds: One run per seed.
        oracle: Also run from the true poses.
        outliers: Turn so many views of the disturbed start by 60 to 180 degrees about the vertical, and run
            from it once more with the outlier loop (`loop`).
        referee: What else judges the poses that every run ends with, by input photos that it holds back.
        on_run: Called with the record of every finished run.
    """
    if init_only and init is None:
        raise OptionError("--init-only measures an initialiser; name it with --init")
    settings = settings or Settings()
    scenes = [load_gt_scene(folder, num_views, size=settings.working_size) for folder in folders]
    for scene in scenes:
        if outliers is not None and not 0 <= outliers <= most_outliers(len(scene.views)):
            raise OptionError(
                f"--outliers must be between 0 and {most_outliers(len(scene.views))} for the "
                f"{len(scene.views)} views of {scene.name}, not {outliers}"
            )
    lpips = None if init_only else load_lpips()
    settings = replace(settings, prior=None) if init_only else _with_loaded_prior(settings)
    rough = "rough" if init is None else init
    starts = (*(("oracle",) if oracle and not init_only else ()), rough)
    starts += () if outliers is None else ("loop",)
    runs = []
    for scene in scenes:
        for seed in seeds:
            for name in starts:
                if init is not None and name == init:
                    start = _initialized(scene, init, init_model, settings.device, seed)
                else:
                    wrong = 0 if name == "oracle" or outliers is None else outliers
                    start = _disturbed(scene, name, 0.0 if name == "oracle" else noise_deg, seed, wrong)
                run = _start_record(scene, start, seed)
                if not init_only:
                    loop = OutlierConfig() if name == "loop" else None
                    run |= _fit_record(
                        scene, start, replace(settings, seed=seed, outliers=loop), lpips, referee
                    )
                runs.append(run)
                if on_run is not None:
                    on_run(run)
    return EvalResult(runs, _rows(runs))


# -------------------------------------------------------------------- starts


@dataclass(frozen=True)
class _Start:
    """Where a run starts.

    Attributes:
        name: What the table calls it.
        cameras: Of the P views that have one; None if there are fewer than two.
        indices: Those views.
        noise_deg: Rotation error that was added, where it was.
        wrong: Views that were turned far, in turn.
        seconds: Time that finding the cameras took.
        focal_known: Whether their focal lengths are more than an estimate.
        matches: What the poses rest on.
    """

    name: str
    cameras: Cameras | None
    indices: list[int]
    noise_deg: float | None = None
    wrong: tuple[int, ...] = ()
    seconds: float = 0.0
    focal_known: bool = True
    matches: Correspondences | None = None


def _disturbed(scene: Scene, name: str, noise_deg: float, seed: int, wrong: int = 0) -> _Start:
    assert scene.truth is not None
    generator = torch.Generator().manual_seed(_NOISE_SEED + seed)
    cameras = scene.truth.perturbed(noise_deg, generator)
    cameras, turned = with_outliers(cameras, wrong, generator)
    return _Start(name, cameras, [*range(len(scene.views))], noise_deg, turned)


def with_outliers(
    cameras: Cameras, count: int, generator: torch.Generator
) -> tuple[Cameras, tuple[int, ...]]:
    """Cameras of which `count` are turned about the world's vertical by 60 to 180 degrees, and which."""
    if count == 0:
        return cameras, ()
    views = torch.randperm(len(cameras), generator=generator)[:count]
    draws = torch.rand(count, 2, generator=generator, dtype=torch.float64)
    angles = (_OUTLIER_DEG[0] + (_OUTLIER_DEG[1] - _OUTLIER_DEG[0]) * draws[:, 0]).deg2rad()
    up = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    turns = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    turns[:, :3, :3] = so3_exp((angles * torch.where(draws[:, 1] < 0.5, -1.0, 1.0))[:, None] * up)
    viewmats = cameras.viewmats.clone()
    viewmats[views] = viewmats[views] @ turns.to(viewmats)
    return replace(cameras, viewmats=viewmats), tuple(views.tolist())


def _initialized(scene: Scene, method: MethodName, model: Any, device: str, seed: int) -> _Start:
    clock = time.perf_counter()
    try:
        estimate = initialize(scene.views, method, model=model, device=device, seed=seed)
    except PlacementError:  # a figure like any other: nothing placed
        return _Start(method, None, [], seconds=time.perf_counter() - clock)
    seconds = time.perf_counter() - clock
    return _Start(
        method,
        estimate.cameras,
        estimate.indices,
        seconds=seconds,
        focal_known=estimate.focal_known,
        matches=estimate.matches,
    )


def _start_record(scene: Scene, start: _Start, seed: int) -> dict[str, Any]:
    """What can be said of a start before any fit."""
    assert scene.truth is not None
    errors = _pair_errors(start.cameras, scene.truth, start.indices)
    record: dict[str, Any] = {"scene": scene.name, "start": start.name, "seed": seed}
    record |= {} if start.noise_deg is None else {"noise_deg": start.noise_deg}
    record |= {"outliers": [scene.views.names[view] for view in start.wrong]} if start.wrong else {}
    record |= {
        "views": len(scene.views),
        "placed": len(start.indices),
        "init_seconds": start.seconds,
        "pair_errors_before_deg": errors.tolist(),
        "seconds": start.seconds,
        "peak_memory_mb": peak_memory_mb(),
    }
    return record


def _pair_errors(cameras: Cameras | None, truth: Cameras, indices: list[int]) -> torch.Tensor:
    """Relative rotation errors of all view pairs, those of the cameras' views from the cameras."""
    errors = torch.full((len(truth), len(truth)), _NOT_PLACED_DEG, dtype=torch.float64)
    if cameras is not None:
        i, j = torch.triu_indices(len(indices), len(indices), offset=1).unbind(0)
        index = torch.tensor(indices)
        errors[index[i], index[j]] = pairwise_rotation_errors(cameras.centred(), truth[indices].centred())
    i, j = torch.triu_indices(len(truth), len(truth), offset=1).unbind(0)
    return errors[i, j]


# -------------------------------------------------------------------- one run


def _fit_record(
    scene: Scene, start: _Start, settings: Settings, lpips: Any, referee: RefereeName
) -> dict[str, Any]:
    """What can be said of a start after the fit from it, over the views that have a camera."""
    assert scene.truth is not None
    if start.cameras is None:
        return {}
    kept = start.indices
    seen = replace(scene, views=scene.views[kept], truth=scene.truth[kept], cameras=start.cameras)
    clock = time.perf_counter()
    result = reconstruct(
        seen.views, start.cameras, settings, focal_known=start.focal_known, matches=start.matches
    )
    record: dict[str, Any] = {"seconds": start.seconds + time.perf_counter() - clock}
    if result.correction is not None:
        record["decisions"] = decision_record(result.correction, seen.truth)
        used = result.correction.used
        seen = replace(seen, views=result.views, truth=scene.truth[[kept[view] for view in used]])
        kept = [kept[view] for view in used]
    evaluation = evaluate(
        result.gaussians,
        result.cameras,
        result.initial_cameras,
        seen,
        fitted_size=result.fitted_size,
        exposures=result.exposures,
        lpips=lpips,
    )
    record |= evaluation.as_dict()
    if referee == "nerf" and len(result.views) >= FEWEST_HELD_BACK:
        device = resolve_device(settings.device)
        judged = held_back(result.views, result.cameras, seeds=(settings.seed,), device=device)
        record["referee"] = judged.as_dict()
    record["pair_errors_deg"] = _pair_errors(result.cameras, scene.truth, kept).tolist()
    record["peak_memory_mb"] = peak_memory_mb()
    return record


def _with_loaded_prior(settings: Settings) -> Settings:
    """The settings with the prior loaded once for many runs."""
    if not isinstance(settings.prior, str | Path):
        return settings
    return replace(settings, prior=load_prior(settings.prior, resolve_device(settings.device)))


def _rows(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    starts = dict.fromkeys(run["start"] for run in runs)
    for scene in dict.fromkeys(run["scene"] for run in runs):
        for start in starts:
            rows.append(_row(scene, start, [r for r in runs if r["scene"] == scene and r["start"] == start]))
    for start in starts:
        rows.append(_row("all", start, [r for r in runs if r["start"] == start]))
    return rows


def _row(scene: str, start: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """One table row over several runs: pooled view pairs and views, means of everything else."""
    fitted = [r for r in runs if "poses_after" in r]

    def mean(section: str, name: str) -> float | None:
        values = [r[section][name] for r in fitted if name in r.get(section, {})]
        return fmean(values) if values else None

    row: dict[str, Any] = {"Scene": scene, "Start": start}
    if "noise_deg" not in runs[0]:
        before = summarize_rotations(torch.tensor([e for r in runs for e in r["pair_errors_before_deg"]]))
        row |= {
            "Placed (%)": 100 * sum(r["placed"] for r in runs) / sum(r["views"] for r in runs),
            "Init error (°)": before.median_deg,
            "Init < 15° (%)": 100 * before.within_15,
            "Init < 30° (%)": 100 * before.within_30,
            "Init (s)": fmean(r["init_seconds"] for r in runs),
        }
    if fitted:
        # Where a start had no cameras to fit, it counts as it was.
        errors = [e for r in runs for e in r.get("pair_errors_deg", r["pair_errors_before_deg"])]
        pairs = summarize_rotations(torch.tensor(errors))
        decided = [r for r in fitted if "decisions" in r]
        row |= _decision_row(decided) if decided else {}
        close = sum(e <= 5 for r in fitted for e in r["poses_after"]["view_errors_deg"])
        row |= {
            "Pair error (°)": pairs.median_deg,
            "Pairs < 5° (%)": 100 * pairs.within_5,
            "Pairs < 15° (%)": 100 * pairs.within_15,
            "Views < 5° (%)": 100 * close / sum(r["views"] for r in runs),
            "Centres (%)": 100 * fmean(r["poses_after"]["center_accuracy"] for r in fitted),
            "Worst view (°)": max(max(r["poses_after"]["view_errors_deg"]) for r in fitted),
            "PSNR (dB)": mean("novel", "psnr"),
            "NeRF (dB)": mean("referee", "psnr"),
            "Worst (dB)": _worst_psnr(fitted),
            "Realigned (dB)": mean("novel_realigned", "psnr"),
            "SSIM": mean("novel", "ssim"),
            "LPIPS": mean("novel", "lpips"),
            "Chamfer": mean("surface", "chamfer"),
            "F1": mean("surface", "f1"),
        }
    peaks = [r["peak_memory_mb"] for r in runs if r["peak_memory_mb"] is not None]
    row |= {"Seconds": fmean(r["seconds"] for r in runs), "Peak (MB)": max(peaks, default=None)}
    return {title: value for title, value in row.items() if value is not None}


def _worst_psnr(runs: list[dict[str, Any]]) -> float | None:
    """PSNR of the test view that came out worst in any run."""
    values = [min(r["novel"]["by_view"]["psnr"]) for r in runs if "novel" in r]
    return min(values) if values else None


def _decision_row(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """How many turned views were called badly posed, and how many good ones."""
    called = [
        (r, n, v in ("corrected", "unusable")) for r in runs for n, v in r["decisions"]["verdicts"].items()
    ]
    wrong = [hit for r, name, hit in called if name in r.get("outliers", ())]
    good = [hit for r, name, hit in called if name not in r.get("outliers", ())]
    row = {"Found (%)": 100 * fmean(wrong)} if wrong else {}
    return row | {"False alarms (%)": 100 * fmean(good)}


def leave_one_out(
    scene: Scene, settings: Settings | None = None, *, referee: RefereeName = "none"
) -> list[dict[str, Any]]:
    """For each view: fit the others, pose the view against that scene, and compare.

    Needs no ground truth. The left-out view's start is its initial camera, carried along with how the others
    moved; only its pose is refined. The referee learns from the others with their refined poses, and draws
    the view from the same pose.

    Returns:
        One table row per view.
    """
    if len(scene.views) < 3:
        raise OptionError(f"{scene.name} has {len(scene.views)} views; leaving one out needs at least 3")
    settings = _with_loaded_prior(settings or Settings())
    rows = []
    for left in range(len(scene.views)):
        kept = [i for i in range(len(scene.views)) if i != left]
        result = reconstruct(scene.views[kept], scene.cameras[kept], settings)
        drift = align_cameras(scene.cameras[kept], result.cameras)
        start = drift.cameras(scene.cameras[left]).to(dtype=torch.float32)
        view = scene.views[[left]]
        g, size = result.gaussians, result.fitted_size
        posed = refine_poses(g, view, start, fitted_size=size)
        quality = input_quality(g, posed, view, size)
        row = {"Scene": scene.name, "View": view.names[0]} | _titled(quality.means())
        if referee == "nerf":
            every, poses = scene.views[[*kept, left]], Cameras.cat([result.cameras, posed])
            device = resolve_device(settings.device)
            score, *_ = held_back_fold(every, poses, [len(kept)], seed=settings.seed, device=device)
            row["NeRF (dB)"] = float(score[0])
        rows.append(row)
    return rows


def _titled(quality: dict[str, float]) -> dict[str, float]:
    return {"PSNR (dB)": quality["psnr"], "SSIM": quality["ssim"]}
