"""Guided fits with a prior of published size on CUDA; random weights, since only time and memory count."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from figures import Row, peak_memory, synchronize

from agsrec import PRESETS, FitConfig, Scene, Settings, reconstruct
from agsrec.config import Stage
from agsrec.names import DeviceName
from agsrec.prior.zero123 import Zero123
from agsrec.training.config import load_config
from agsrec.training.models import build_zero123

_ITERATIONS = 500
_PROFILED = 50


def guided_fits(scene: Scene, repeats: int, *, device: DeviceName = "cuda", tiny: bool = False) -> list[Row]:
    """Seconds, memory and shares of time of 500 guided iterations; all photos shown, or the nearest two.

    Args:
        scene: What to fit.
        repeats: Fits per figure.
        device: Where to fit.
        tiny: Take two iterations with a small prior instead.
    """
    model = build_zero123(load_config("mini" if tiny else "published"), seed=0).eval().requires_grad_(False)
    model = model.to(device, torch.float32 if tiny else torch.float16)
    iterations = 2 if tiny else _ITERATIONS
    return [_row(scene, model, nearest, repeats, iterations) for nearest in (0, 2)]


def _row(scene: Scene, model: Zero123, nearest: int, repeats: int, iterations: int) -> Row:
    device = _place(model)
    _fit(scene, model, nearest, min(5, iterations))  # loads the kernels
    peak_memory(device, reset=True)
    seconds = [_fit(scene, model, nearest, iterations) for _ in range(repeats)]
    peak = peak_memory(device) / 2**30
    with _clocked(model) as spent:
        whole = _fit(scene, model, nearest, min(_PROFILED, iterations))
    shares = {f"{part} (%)": 100 * share / whole for part, share in spent.items()}
    return {
        "photos shown": "all" if nearest == 0 else nearest,
        "iterations": iterations,
        "seconds": sorted(seconds)[len(seconds) // 2],
        "peak GPU memory (GiB)": peak,
        **shares,
        "rasterizer and the rest (%)": 100 - sum(shares.values()),
    }


def _place(model: Zero123) -> DeviceName:
    """Where a model is."""
    return "cuda" if model.device.type == "cuda" else "cpu"


def _plan(nearest: int, iterations: int) -> FitConfig:
    paper = PRESETS["paper"]
    stages = (Stage(256, iterations),)
    return replace(
        paper,
        rounds=tuple(replace(r, stages=stages) for r in paper.rounds),
        guidance=replace(paper.guidance, nearest=nearest),
    )


def _fit(scene: Scene, model: Zero123, nearest: int, iterations: int) -> float:
    device = _place(model)
    synchronize(device)
    start = time.perf_counter()
    config = _plan(nearest, iterations)
    reconstruct(scene.views, scene.cameras, Settings(fit=config, prior=model, device=device))
    synchronize(device)
    return time.perf_counter() - start


@contextmanager
def _clocked(model: Zero123) -> Iterator[dict[str, float]]:
    """Seconds spent in UNet and VAE (forward) while the block runs, every call waited for."""
    spent, device = {"UNet": 0.0, "VAE": 0.0}, _place(model)
    originals = {"UNet": (model.unet, "forward"), "VAE": (model.vae, "encode")}

    def clocked(part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            synchronize(device)
            start = time.perf_counter()
            out = call(*args, **kwargs)
            synchronize(device)
            spent[part] += time.perf_counter() - start
            return out

        return wrapped

    kept = {part: getattr(module, name) for part, (module, name) in originals.items()}
    try:
        for part, (module, name) in originals.items():
            setattr(module, name, clocked(part, kept[part]))
        yield spent
    finally:
        for part, (module, name) in originals.items():
            setattr(module, name, kept[part])
