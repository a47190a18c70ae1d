"""What the prior is worth: the same fits with and without it, measured on views nobody photographed.

python benchmarks/prior.py SCENE... [--random 20] [--views 3 4 8] [--noise 0 8] [--json FILE]

SCENE are folders with ground truth; `--random` adds procedural objects that no training has seen. Both fits
of a pair start from the same cameras with the same seed. An unseen view is more than 60 degrees from every
input view. With `--json`, pairs that the file already holds are not run again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from machine import description, heading

from agsrec import PRESETS, Cameras, FitConfig, Scene, Settings, Views, load_gt_scene, reconstruct
from agsrec.cameras import CAMERA_DISTANCE
from agsrec.export.tables import text_table
from agsrec.files import atomic_write
from agsrec.metrics.evaluation import evaluate
from agsrec.prior import EMBEDDED_PRIOR, load_prior
from agsrec.synthetic import random_object, render_views
from agsrec.training.validation import FIRST_SEED

_UNSEEN_DEG = 60.0
_INPUTS, _TESTS = 8, 16

Pair = dict[str, Any]


def random_scene(index: int, size: int) -> Scene:
    """An unseen random object: a ring of inputs in shuffled order and test views over the sphere."""
    rng = np.random.default_rng((7, index))
    obj = random_object(FIRST_SEED + 10_000 + index)
    ring = 360 * (np.arange(_INPUTS) + rng.uniform(-0.25, 0.25, _INPUTS)) / _INPUTS
    inputs = _cameras(rng.uniform(-5, 40, _INPUTS), rng.permutation(ring), size)
    tests = _cameras(rng.uniform(-20, 60, _TESTS), rng.uniform(0, 360, _TESTS), size)
    photos, held = (
        Views(torch.from_numpy(render_views(obj, c).images), tuple(f"{i:03d}" for i in range(len(c))))
        for c in (inputs, tests)
    )
    return Scene(f"random-{index}", photos, inputs, inputs, held, tests)


def _cameras(above_deg: np.ndarray, azimuth_deg: np.ndarray, size: int) -> Cameras:
    focal = 0.5 * size / np.tan(np.deg2rad(20.0))
    Ks = Cameras.intrinsics(torch.full((len(above_deg),), float(focal)), size, size)
    elevation, azimuth = torch.from_numpy(-above_deg).float(), torch.from_numpy(azimuth_deg).float()
    return Cameras.orbit(elevation, azimuth, CAMERA_DISTANCE, Ks=Ks, width=size, height=size)


def first_views(scene: Scene, count: int) -> Scene:
    """The scene with its first input views alone."""
    kept = list(range(count))
    truth = None if scene.truth is None else scene.truth[kept]
    return replace(scene, views=scene.views[kept], cameras=scene.cameras[kept], truth=truth)


def nearest_input_deg(scene: Scene) -> torch.Tensor:
    """Angle at the object from each test view to its nearest input view [T], degrees."""
    assert scene.truth is not None and scene.test_cameras is not None
    inputs, tests = (
        torch.nn.functional.normalize(c.centers.double(), dim=-1) for c in (scene.truth, scene.test_cameras)
    )
    return (tests @ inputs.mT).clamp(-1, 1).amax(1).acos().rad2deg()


def measured(scene: Scene, noise: float, seed: int, config: FitConfig, prior: Any) -> dict[str, Any]:
    """Quality of one fit at the test views."""
    assert scene.truth is not None
    initial = scene.truth.perturbed(noise, torch.Generator().manual_seed(1000 + seed))
    result = reconstruct(scene.views, initial, Settings(fit=config, seed=seed, prior=prior))
    size = result.fitted_size
    evaluation = evaluate(result.gaussians, result.cameras, initial, scene, fitted_size=size)
    assert evaluation.novel is not None and evaluation.poses_after is not None
    return {
        "psnr": evaluation.novel.psnr.tolist(),
        "ssim": evaluation.novel.ssim.tolist(),
        "pose_deg": evaluation.poses_after.pairs.median_deg,
        "seconds": sum(result.timings.values()),
    }


def table(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    """One row per set of scenes, number of views and pose error."""
    groups: dict[tuple[Any, ...], list[Pair]] = {}
    for pair in pairs:
        groups.setdefault((pair["set"], pair["views"], pair["noise"]), []).append(pair)
    return [_row(group, members) for group, members in groups.items()]


def _row(group: tuple[Any, ...], pairs: Sequence[Pair]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "Scenes": f"{len({p['scene'] for p in pairs})} {group[0]}",
        "Views": group[1],
        "Noise (°)": group[2],
    }
    for metric, unit, digits in (("psnr", " (dB)", 2), ("ssim", "", 4)):
        for label, unseen in (("", False), (" unseen", True)):
            off, on = (list(_values(pairs, side, metric, unseen)) for side in ("off", "on"))
            if off:
                name = f"{metric.upper()}{label}"
                row[f"{name} off{unit}"], row[f"{name} on{unit}"] = fmean(off), fmean(on)
                row[f"{name} gain"] = round(fmean(on) - fmean(off), digits + 1)
    row["Unseen views"] = len(list(_values(pairs, "on", "psnr", True)))
    row["Seconds"] = "{:.0f} / {:.0f}".format(*(fmean(p[s]["seconds"] for p in pairs) for s in ("off", "on")))
    return row


def _values(pairs: Sequence[Pair], side: str, metric: str, unseen: bool) -> Iterator[float]:
    for pair in pairs:
        for angle, value in zip(pair["nearest_deg"], pair[side][metric], strict=True):
            if angle > _UNSEEN_DEG or not unseen:
                yield value


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("scenes", nargs="*", type=Path)
    parser.add_argument("--random", type=int, default=20, help="number of random objects")
    parser.add_argument("--first", type=int, default=0, help="index of the first random object")
    parser.add_argument("--views", type=int, nargs="+", default=[3, 4, 8])
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 8.0], help="r.m.s. degrees")
    parser.add_argument("--size", type=int, default=256, help="pixels of the random objects' photos")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prior", default=EMBEDDED_PRIOR)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    about = description()
    print(heading(about), flush=True)
    prior, config = load_prior(options.prior), PRESETS["fast"]
    done: list[Pair] = []
    if options.json is not None and options.json.is_file():
        done = json.loads(options.json.read_text(encoding="utf-8"))["pairs"]
    scenes = [("given", load_gt_scene(folder)) for folder in options.scenes]
    indices = range(options.first, options.first + options.random)
    scenes += [("random", random_scene(index, options.size)) for index in indices]
    for kind, scene in scenes:
        for count in options.views:
            for noise in options.noise:
                key = {"set": kind, "scene": scene.name, "views": count, "noise": noise, "seed": options.seed}
                if any(key.items() <= pair.items() for pair in done):
                    continue
                part = first_views(scene, count)
                fits = {
                    side: measured(part, noise, options.seed, config, judge)
                    for side, judge in (("off", None), ("on", prior))
                }
                done.append(key | fits | {"nearest_deg": nearest_input_deg(part).tolist()})
                gain = fmean(fits["on"]["psnr"]) - fmean(fits["off"]["psnr"])
                print(f"{scene.name} {count} views, {noise:g} deg: {gain:+.2f} dB", flush=True)
                if options.json is not None:
                    atomic_write(options.json, json.dumps({"about": about, "pairs": done}) + "\n")
    print(text_table(table(done)))


if __name__ == "__main__":
    main()
