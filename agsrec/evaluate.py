"""`agsrec eval`: the whole method on scenes with ground truth, against the same fit from the true poses."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch

from agsrec.dataset import load_gt_scene
from agsrec.device import resolve_device
from agsrec.errors import OptionError
from agsrec.fit.refine import refine_poses
from agsrec.metrics.evaluation import evaluate, input_quality
from agsrec.metrics.images import load_lpips
from agsrec.metrics.poses import align_cameras, pairwise_rotation_errors, summarize_rotations
from agsrec.prior import load_prior
from agsrec.reconstruction import reconstruct

if TYPE_CHECKING:
    from agsrec.config import FitConfig, PresetName
    from agsrec.dataset import Scene
    from agsrec.prior.zero123 import Zero123

__all__ = ["EvalResult", "evaluate_folders", "leave_one_out"]

# Seeds of the pose noise stand apart from those of the fit.
_NOISE_SEED = 1000


@dataclass(frozen=True)
class EvalResult:
    """Outcome of an evaluation.

    Attributes:
        runs: One record per folder, seed and start, with every measured figure.
        rows: Table rows per folder and over all folders.
    """

    runs: list[dict[str, Any]]
    rows: list[dict[str, Any]] = field(default_factory=list)


def evaluate_folders(
    folders: Sequence[str | Path],
    *,
    preset: PresetName = "fast",
    config: FitConfig | None = None,
    prior: str | Path | None = None,
    noise_deg: float = 8.0,
    num_views: int | None = None,
    seeds: Sequence[int] = (0,),
    oracle: bool = True,
    device: str = "auto",
    on_run: Callable[[dict[str, Any]], None] | None = None,
) -> EvalResult:
    """Reconstruct every scene from disturbed true poses, and once per seed from the true ones (`oracle`).

    Args:
        folders: Scenes in a layout of `agsrec.dataset.load_gt_scene`.
        preset: Schedule to use.
        config: Schedule to use instead of the preset's.
        prior: Diffusion model that judges views nobody photographed; see `reconstruct`.
        noise_deg: r.m.s. rotation error of the start, degrees; see `Cameras.perturbed`.
        num_views: Use the first so many input views; all by default.
        seeds: One run per seed.
        oracle: Also run from the true poses.
        device: "auto", "cpu" or "cuda".
        on_run: Called with the record of every finished run.
    """
    scenes = [load_gt_scene(folder, num_views) for folder in folders]
    lpips = load_lpips()
    options = {"preset": preset, "config": config, "device": device, "prior": _loaded(prior, device)}
    runs = []
    for scene in scenes:
        for seed in seeds:
            for start in ("oracle", "rough") if oracle else ("rough",):
                noise = 0.0 if start == "oracle" else noise_deg
                run = _run(scene, start, seed, noise, options, lpips)
                runs.append(run)
                if on_run is not None:
                    on_run(run)
    return EvalResult(runs, _rows(runs))


def _run(
    scene: Scene,
    start: str,
    seed: int,
    noise_deg: float,
    options: dict[str, Any],
    lpips: Any,
) -> dict[str, Any]:
    assert scene.truth is not None
    generator = torch.Generator().manual_seed(_NOISE_SEED + seed)
    initial = scene.truth.perturbed(noise_deg, generator)
    clock = time.perf_counter()
    result = reconstruct(scene.views, initial, seed=seed, **options)
    seconds = time.perf_counter() - clock
    record = {"scene": scene.name, "start": start, "seed": seed, "noise_deg": noise_deg, "seconds": seconds}
    record |= evaluate(result.gaussians, result.cameras, initial, scene, lpips).as_dict()
    record["pair_errors_deg"] = pairwise_rotation_errors(result.cameras, scene.truth).tolist()
    record["peak_memory_mb"] = _peak_memory_mb()
    return record


def _loaded(prior: str | Path | None, device: str) -> Zero123 | None:
    """The prior, loaded once for many runs."""
    return None if prior is None else load_prior(prior, resolve_device(device))


def _peak_memory_mb() -> float:
    """Largest resident size of this process so far, MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1024)


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
    pairs = summarize_rotations(torch.tensor([e for r in runs for e in r["pair_errors_deg"]]))
    views = torch.tensor([e for r in runs for e in r["poses_after"]["view_errors_deg"]])

    def mean(section: str, name: str) -> float | None:
        values = [r[section][name] for r in runs if name in r.get(section, {})]
        return fmean(values) if values else None

    row = {
        "Scene": scene,
        "Start": start,
        "Pair error (°)": pairs.median_deg,
        "Pairs < 5° (%)": 100 * pairs.within_5,
        "Pairs < 15° (%)": 100 * pairs.within_15,
        "Views < 5° (%)": 100 * float((views <= 5).double().mean()),
        "Centres (%)": 100 * fmean(r["poses_after"]["center_accuracy"] for r in runs),
        "PSNR (dB)": mean("novel", "psnr"),
        "SSIM": mean("novel", "ssim"),
        "LPIPS": mean("novel", "lpips"),
        "Chamfer": mean("surface", "chamfer"),
        "F1": mean("surface", "f1"),
        "Seconds": fmean(r["seconds"] for r in runs),
        "Peak (MB)": max(r["peak_memory_mb"] for r in runs),
    }
    return {title: value for title, value in row.items() if value is not None}


def leave_one_out(
    scene: Scene,
    *,
    preset: PresetName = "fast",
    config: FitConfig | None = None,
    prior: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
) -> list[dict[str, Any]]:
    """For each view: fit the others, pose the view against that scene, and compare.

    Needs no ground truth. The left-out view's start is its initial camera, carried along with how the others
    moved; only its pose is refined.

    Returns:
        One table row per view.
    """
    if len(scene.views) < 3:
        raise OptionError(f"{scene.name} has {len(scene.views)} views; leaving one out needs at least 3")
    options = {"preset": preset, "config": config, "device": device, "prior": _loaded(prior, device)}
    rows = []
    for left in range(len(scene.views)):
        kept = [i for i in range(len(scene.views)) if i != left]
        result = reconstruct(scene.views[kept], scene.cameras[kept], seed=seed, **options)
        drift = align_cameras(scene.cameras[kept], result.cameras)
        start = drift.cameras(scene.cameras[left]).to(dtype=torch.float32)
        view = scene.views[[left]]
        quality = input_quality(result.gaussians, refine_poses(result.gaussians, view, start), view)
        rows.append({"Scene": scene.name, "View": view.names[0]} | _titled(quality.means()))
    return rows


def _titled(quality: dict[str, float]) -> dict[str, float]:
    return {"PSNR (dB)": quality["psnr"], "SSIM": quality["ssim"]}
