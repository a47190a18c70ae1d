"""Guided fits with a prior of published size on CUDA; random weights, since only time and memory count."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from agsrec import PRESETS, FitConfig, Scene, Settings, reconstruct
from agsrec.config import Stage
from agsrec.prior.zero123 import Zero123
from agsrec.training.config import load_config
from agsrec.training.models import build_zero123

Row = dict[str, Any]

_ITERATIONS = 500
_PROFILED = 50


def guided_fits(scene: Scene, repeats: int) -> list[Row]:
    """Seconds, memory and shares of time of 500 guided iterations; all photos shown, or the nearest two."""
    model = build_zero123(load_config("published"), seed=0).eval().requires_grad_(False)
    model = model.to("cuda", torch.float16)
    return [_row(scene, model, nearest, repeats) for nearest in (0, 2)]


def _row(scene: Scene, model: Zero123, nearest: int, repeats: int) -> Row:
    _fit(scene, model, nearest, 5)  # loads the kernels
    torch.cuda.reset_peak_memory_stats()
    seconds = [_fit(scene, model, nearest, _ITERATIONS) for _ in range(repeats)]
    peak = torch.cuda.max_memory_allocated() / 2**30
    with _clocked(model) as spent:
        whole = _fit(scene, model, nearest, _PROFILED)
    shares = {f"{part} (%)": 100 * share / whole for part, share in spent.items()}
    return {
        "photos shown": "all" if nearest == 0 else nearest,
        "iterations": _ITERATIONS,
        "seconds": sorted(seconds)[len(seconds) // 2],
        "peak GPU memory (GiB)": peak,
        **shares,
        "rasterizer and the rest (%)": 100 - sum(shares.values()),
    }


def _plan(nearest: int, iterations: int) -> FitConfig:
    paper = PRESETS["paper"]
    stages = (Stage(256, iterations),)
    return replace(
        paper,
        rounds=tuple(replace(r, stages=stages) for r in paper.rounds),
        guidance=replace(paper.guidance, nearest=nearest),
    )


def _fit(scene: Scene, model: Zero123, nearest: int, iterations: int) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    config = _plan(nearest, iterations)
    reconstruct(scene.views, scene.cameras, Settings(fit=config, prior=model, device="cuda"))
    torch.cuda.synchronize()
    return time.perf_counter() - start


@contextmanager
def _clocked(model: Zero123) -> Iterator[dict[str, float]]:
    """Seconds spent in UNet and VAE (forward) while the block runs, every call waited for."""
    spent = {"UNet": 0.0, "VAE": 0.0}
    originals = {"UNet": (model.unet, "forward"), "VAE": (model.vae, "encode")}

    def clocked(part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            torch.cuda.synchronize()
            start = time.perf_counter()
            out = call(*args, **kwargs)
            torch.cuda.synchronize()
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
