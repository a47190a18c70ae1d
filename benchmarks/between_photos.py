"""What each part of the last round does for views between the photos: an ablation, from the true poses.

python benchmarks/between_photos.py FOLDER... [--views 8] [--size 128] [--seeds 0 1] [--json FILE]

FOLDER holds ground truth. The last round of the preset `fast` alone is run, up to pictures of --size pixels,
and compared at the test views after `agsrec.metrics.alignment.align_scene`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from machine import description, heading

from agsrec import load_gt_scene
from agsrec.config import PRESETS, FitConfig, LossConfig, PoseConfig, Stage
from agsrec.dataset import Scene
from agsrec.errors import AgsrecError
from agsrec.export.tables import text_table
from agsrec.files import atomic_write
from agsrec.fit import fit
from agsrec.metrics import pairwise_rotation_errors
from agsrec.metrics.alignment import align_scene, scene_starts
from agsrec.metrics.evaluation import novel_quality


def last_round(size: int) -> FitConfig:
    """The last round of `fast` as far as a picture size."""
    config = PRESETS["fast"]
    plan = config.rounds[-1]
    stages = tuple(stage for stage in plan.stages if stage.size < size)
    rest = sum(stage.iterations for stage in plan.stages if stage.size >= size)
    plan = replace(plan, guided=False, stages=(*stages, Stage(size, rest)))
    return replace(config, rounds=(plan,), poses=replace(config.poses, refine_focal=False))


def with_loss(**changes: Any) -> Callable[[FitConfig], FitConfig]:
    """A change of the loss."""
    return lambda config: replace(config, loss=replace(config.loss, **changes))


def nothing(config: FitConfig) -> FitConfig:
    """The fit without anything that concerns views between the photos, or exposures."""
    plain = replace(config.loss, drop=0.0, roughness=0.0, bounded_colors=False)
    return replace(config, loss=plain, exposure=replace(config.exposure, optimize=False))


def alone(**changes: Any) -> Callable[[FitConfig], FitConfig]:
    """One of the parts, and nothing else."""
    return lambda config: with_loss(**changes)(nothing(config))


def held(config: FitConfig) -> FitConfig:
    """All parts, and the true poses."""
    return replace(config, poses=PoseConfig(optimize=False))


_USUAL: LossConfig = PRESETS["fast"].loss
VARIANTS: Mapping[str, Callable[[FitConfig], FitConfig]] = {
    "nothing": nothing,
    "colours bounded": alone(bounded_colors=True),
    "dropping": alone(drop=_USUAL.drop),
    "smooth surfaces": alone(roughness=_USUAL.roughness),
    "all": lambda config: config,
    "all, dropping to the end": with_loss(drop_until=1.0),
    "all but exposures": lambda config: replace(config, exposure=replace(config.exposure, optimize=False)),
    "all, true poses held": held,
}


def measured(scene: Scene, config: FitConfig, seed: int) -> dict[str, float]:
    """Quality at the test views, and how far poses drifted."""
    assert scene.truth is not None
    result = fit(scene.views, scene.truth.to("cpu", torch.float32), config, seed=seed)
    starts, size = scene_starts(result.gaussians, result.cameras, scene.truth), result.fitted_size
    to_truth = align_scene(result.gaussians, starts, scene.truth, scene.views, fitted_size=size)
    quality = novel_quality(result.gaussians, to_truth, scene, fitted_size=size)
    assert quality is not None
    drift = pairwise_rotation_errors(result.cameras, scene.truth)
    return {**quality.means(), "pair_error_deg": float(drift.median())}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--size", type=int, default=128, help="pixels of the last pictures")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--json", type=Path, help="file for all figures")
    options = parser.parse_args(argv)
    print(heading(description()), flush=True)
    records: list[dict[str, Any]] = []
    try:
        for folder in options.folders:
            scene = load_gt_scene(folder, options.views)
            for name in options.variants:
                config = VARIANTS[name](last_round(options.size))
                for seed in options.seeds:
                    record = {"scene": scene.name, "variant": name, "seed": seed}
                    records.append(record | measured(scene, config, seed))
                    print(", ".join(f"{k} {v}" for k, v in records[-1].items()), flush=True)
                    if options.json is not None:
                        atomic_write(options.json, json.dumps(records) + "\n")
    except AgsrecError as error:
        parser.error(str(error))
    print(text_table([row(name, [r for r in records if r["variant"] == name]) for name in options.variants]))


def row(name: str, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One line of the table."""
    return {
        "Variant": name,
        "PSNR (dB)": f"{fmean(r['psnr'] for r in records):.2f}",
        "SSIM": f"{fmean(r['ssim'] for r in records):.4f}",
        "Pair error (°)": f"{fmean(r['pair_error_deg'] for r in records):.2f}",
    }


if __name__ == "__main__":
    main()
