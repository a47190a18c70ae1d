"""What is measured on a CUDA machine, one function each."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from agsrec import PRESETS, Scene, Settings, load_scene, reconstruct
from agsrec.config import FitConfig, Stage
from agsrec.names import DeviceName

__all__ = ["ROOT", "Row", "fits", "gpu_tests", "peak_memory", "rasterizer", "synchronize"]

ROOT = Path(__file__).resolve().parents[2]
POINTS = (10_000, 25_000)

Row = dict[str, Any]


def gpu_tests() -> dict[str, Any]:
    """Outcome of the tests that need a CUDA device; pytest's status 5 says that there are none."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-rs", "-n", "0", *_files_of_gpu_tests()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    print(done.stdout, done.stderr, sep="", flush=True)
    return {"status": done.returncode, "summary": lines[-1] if lines else ""}


def _files_of_gpu_tests() -> list[str]:
    """Those alone: others may import what such a machine has not."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(file) for file in files if "pytest.mark.gpu" in file.read_text(encoding="utf-8")]


def rasterizer(folder: Path, seconds: float, *options: str) -> dict[str, Any]:
    """Figures of `benchmarks/rasterize.py`, which times both backends and compares them."""
    file = folder / "rasterize.json"
    command = [sys.executable, str(ROOT / "benchmarks/rasterize.py"), "--json", str(file)]
    subprocess.run([*command, "--seconds", str(seconds), *options], cwd=ROOT, check=True)
    return json.loads(file.read_text(encoding="utf-8"))


def synchronize(device: DeviceName) -> None:
    """Wait for what a device was given to do."""
    if device == "cuda":
        torch.cuda.synchronize()


def peak_memory(device: DeviceName, *, reset: bool = False) -> float:
    """Most memory of a device that was in use since the last reset, bytes; none is known of a CPU."""
    if device != "cuda":
        return 0.0
    if reset:
        torch.cuda.reset_peak_memory_stats()
    return float(torch.cuda.max_memory_allocated())


def fits(
    scene_name: str, repeats: int, *, presets: bool = True, device: DeviceName = "cuda", tiny: bool = False
) -> list[Row]:
    """Whole fits of a demo scene: two presets, and the published schedule by number of points.

    Args:
        scene_name: Demo scene.
        repeats: Fits per figure.
        presets: Whether to time the presets.
        device: Where to fit.
        tiny: Take three steps of every stage.
    """
    plans: dict[str, FitConfig] = {name: PRESETS[name] for name in ("fast", "quality") if presets}
    for points in POINTS:
        plans[f"published schedule, {points:,} points"] = _with_points(PRESETS["paper"], points)
    scene = load_scene(ROOT / "data/demo", scene_name)
    reconstruct(scene.views, scene.cameras, Settings(fit=_shortened(PRESETS["fast"]), device=device))
    return [
        _timed(scene, name, _shortened(config) if tiny else config, repeats, device)
        for name, config in plans.items()
    ]


def _timed(scene: Scene, name: str, config: FitConfig, repeats: int, device: DeviceName) -> Row:
    """Time, quality and memory of a fit."""
    seconds, score, peak = [], 0.0, 0.0
    for seed in range(repeats):
        peak_memory(device, reset=True)
        synchronize(device)
        start = time.perf_counter()
        result = reconstruct(scene.views, scene.cameras, Settings(fit=config, seed=seed, device=device))
        synchronize(device)
        seconds.append(time.perf_counter() - start)
        score = result.history[-1]["psnr"]
        peak = max(peak, peak_memory(device) / 2**20)
    return {
        "fit": name,
        "iterations": config.iterations,
        "seconds": median(seconds),
        "ms / iteration": 1e3 * median(seconds) / config.iterations,
        "PSNR at the photos (dB)": score,
        "peak GPU memory (MiB)": peak,
    }


def _with_points(config: FitConfig, points: int) -> FitConfig:
    return replace(
        config, rounds=tuple(replace(r, num_points=points, max_points=points) for r in config.rounds)
    )


def _shortened(config: FitConfig) -> FitConfig:
    """A few steps of every stage: loads the kernels without measuring them."""
    return replace(
        config,
        rounds=tuple(replace(r, stages=tuple(Stage(s.size, 3) for s in r.stages)) for r in config.rounds),
    )
