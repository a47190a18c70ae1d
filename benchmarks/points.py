"""What surface points are worth as the start of a fit: fewer rounds than from the visual hull?

python benchmarks/points.py [--objects 3] [--views 4] [--noise 3] [--off 0 0.01] [--size 256]

Random objects that no training has seen, photographed from a ring, with cameras that are off by --noise
degrees r.m.s. Points are those that the photos show, moved into the frame of the cameras as they are given
(each point with the camera that sees it) and by random errors of --off of the cameras' distance: what a
network that predicts them says at best. From the hull and from the points, all rounds of the preset fast are
run, and its last alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import numpy as np
import torch
from machine import description, heading
from prior import first_views, random_scene

from agsrec import PRESETS, Cameras, FitConfig, Scene, Settings, reconstruct
from agsrec.export.tables import text_table
from agsrec.metrics.evaluation import evaluate
from agsrec.point_map import PointMap
from agsrec.synthetic import random_object, render_views
from agsrec.training.validation import FIRST_SEED

_POINTS = 20_000


def seen_points(index: int, scene: Scene, start: Cameras, off: float) -> PointMap:
    """What the photos of `random_scene(index)` show, as cameras that are off place it."""
    assert scene.truth is not None
    rendered = render_views(random_object(FIRST_SEED + 10_000 + index), scene.truth)
    generator = torch.Generator().manual_seed(index)
    points, colors, owners = [], [], []
    for view, mask in enumerate(torch.from_numpy(rendered.masks)):
        world = torch.from_numpy(rendered.points[view])[mask].double()
        true, given = (c.viewmats[view].double() for c in (scene.truth, start))
        local = world @ true[:3, :3].T + true[:3, 3]
        local = local + off * local[:, 2:] * torch.randn(
            local.shape, generator=generator, dtype=torch.float64
        )
        points.append((local - given[:3, 3]) @ given[:3, :3])
        colors.append(scene.views.images[view, ..., :3][mask])
        owners.append(torch.full((len(world),), view))
    every = torch.cat(points).float()
    some = torch.randperm(len(every), generator=generator)[:_POINTS]
    return PointMap(every[some], torch.cat(colors)[some], torch.ones(len(some)), torch.cat(owners)[some])


def measured(scene: Scene, start: Cameras, points: PointMap | None, config: FitConfig) -> tuple[float, ...]:
    """PSNR at new views, pose error in degrees and seconds of one fit."""
    clock = time.perf_counter()
    result = reconstruct(scene.views, start, Settings(fit=config, seed=0, prior=None), points=points)
    seconds = time.perf_counter() - clock
    found = evaluate(result.gaussians, result.cameras, start, scene, fitted_size=result.fitted_size)
    assert found.novel is not None and found.poses_after is not None
    return float(np.mean(found.novel.psnr.tolist())), found.poses_after.pairs.median_deg, seconds


def main(argv: Sequence[str] | None = None) -> None:
    """Fit, and print a row for every start."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--objects", type=int, default=3)
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--noise", type=float, default=3.0, help="r.m.s. degrees")
    parser.add_argument("--off", type=float, nargs="+", default=[0.0, 0.01], help="shares of the distance")
    parser.add_argument("--size", type=int, default=256, help="pixels of the photos")
    options = parser.parse_args(argv)
    print(heading(description()), flush=True)
    whole = PRESETS["fast"]
    plans = {"all": whole, "the last": replace(whole, rounds=whole.rounds[-1:])}
    figures: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for index in range(options.objects):
        scene = first_views(random_scene(index, options.size), options.views)
        assert scene.truth is not None
        start = scene.truth.perturbed(options.noise, torch.Generator().manual_seed(index))
        starts: dict[str, PointMap | None] = {"hull": None}
        for off in options.off:
            starts[f"points, {off:g} off"] = seen_points(index, scene, start, off)
        for name, points in starts.items():
            for rounds, config in plans.items():
                figures.setdefault((name, rounds), []).append(measured(scene, start, points, config))
    print(text_table([_row(key, values) for key, values in figures.items()]))


def _row(key: tuple[str, str], values: Sequence[tuple[float, ...]]) -> dict[str, Any]:
    psnr, pose, seconds = (fmean(column) for column in zip(*values, strict=True))
    return {
        "Start": key[0],
        "Rounds": key[1],
        "PSNR (dB)": round(psnr, 2),
        "Pose error (°)": round(pose, 2),
        "Seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    main()
