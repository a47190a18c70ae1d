"""Random training views per second: build an object, draw cameras, render RGBA, depth and point maps.

python benchmarks/synthetic.py [--size 64] [--views 8] [--objects 60]
python benchmarks/synthetic.py --device cuda        # drawn by the device, as `train --render device` does
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from agsrec.synthetic import (
    RandomObject,
    random_cameras,
    random_gains,
    random_good,
    random_object,
    render_views,
)
from agsrec.training.nview_device import BankPool, bake_thing

_FAMILIES: dict[str, Callable[[int], RandomObject]] = {"lumps": random_object, "goods": random_good}


def measure(
    make: Callable[[int], RandomObject], first_seed: int, objects: int, views: int, size: int, threads: int
) -> dict[str, float]:
    """Seconds per stage over a run of `objects` objects."""
    seconds = {"object": 0.0, "cameras": 0.0, "render": 0.0}
    for seed in range(first_seed, first_seed + objects):
        rng = np.random.default_rng(seed)
        start = time.perf_counter()
        obj = make(seed)
        built = time.perf_counter()
        cameras = random_cameras(obj.vertices, views, size, rng)
        posed = time.perf_counter()
        render_views(obj, cameras, gains=random_gains(views, rng), sparing=True, num_threads=threads)
        seconds["object"] += built - start
        seconds["cameras"] += posed - built
        seconds["render"] += time.perf_counter() - posed
    return seconds


def measure_drawn(pool: BankPool, views: int, runs: int) -> list[float]:
    """Views per second of a pool on its device, of each of several runs; nothing waits for objects."""
    device, objects, rates = pool.lost.device, len(pool.bank.alike), []
    for run in range(runs):
        start = time.perf_counter()
        pool.draw(objects, views, torch.Generator().manual_seed(run))
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        rates.append(objects * views / (time.perf_counter() - start))
    return rates


def main() -> None:
    """Print a table: median and spread of the views per second over five runs."""
    parser = argparse.ArgumentParser(description="Random training views per second.")
    parser.add_argument("--size", type=int, default=64, help="image side in pixels")
    parser.add_argument("--views", type=int, default=8, help="views per object")
    parser.add_argument("--objects", type=int, default=60, help="objects per run")
    parser.add_argument("--threads", type=int, default=2, help="rendering threads")
    parser.add_argument("--device", help="draw on it, instead of with the compiled renderer")
    options = parser.parse_args()
    if options.device is not None:
        _print_drawn(options)
        return
    sizes = options.objects, options.views, options.size, options.threads
    print(f"{options.views} views of {options.objects} objects, {options.size} px, {options.threads} threads")
    for name, make in _FAMILIES.items():
        measure(make, 0, 2, *sizes[1:])  # compiles, or loads the compiled kernels
        runs = [measure(make, 1000 * i, *sizes) for i in range(5)]
        rates = sorted(options.objects * options.views / sum(r.values()) for r in runs)
        median = statistics.median(rates)
        print(f"{name}: {median:8.0f} views/s   (5 runs: {rates[0]:.0f} to {rates[-1]:.0f})")
        for stage in runs[0]:
            per_view = statistics.median(r[stage] for r in runs) / (options.objects * options.views)
            print(f"{1e3 * per_view:8.3f} ms per view: {stage}")


def _print_drawn(options: argparse.Namespace) -> None:
    """Print how fast the device draws, and how fast one process makes objects for it."""
    device = torch.device(options.device)
    start = time.perf_counter()
    things = [bake_thing(0, index, size=options.size) for index in range(options.objects)]
    baked = (time.perf_counter() - start) / options.objects
    pool = BankPool.empty(options.objects, options.size, device)
    pool.advance(iter(things), 0)
    measure_drawn(pool, options.views, 1)  # allocates, and compiles what is compiled
    rates = sorted(measure_drawn(pool, options.views, 5))
    print(f"{options.views} views of {options.objects} objects, {options.size} px, drawn by {device}")
    print(f"{statistics.median(rates):8.0f} views/s   (5 runs: {rates[0]:.0f} to {rates[-1]:.0f})")
    print(f"{1e3 * baked:8.1f} ms to make an object; {int(pool.figures()['lost_tests'])} tests lost")


if __name__ == "__main__":
    main()
