"""What the prior adds to a step of a fit: a demo object, the embedded prior as a fit asks it.

python benchmarks/guided_step.py [SCENE] [--views 8] [--nearest N] [--sizes 64 128 256] [--steps 60]
    [--json FILE]

SCENE is a folder in the demo layout. For every size of the photos, the same fit is run without and with the
prior in every step; a step's time is from one record to the next. The guidance alone is the loss of one novel
view with its gradient, on the scene that the fit without it ended with.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from machine import ROOT, Timing, description, heading, timed

from agsrec import PRESETS, Scene, load_scene
from agsrec.config import FitConfig, PresetName, Stage
from agsrec.device import resolve_device
from agsrec.errors import AgsrecError
from agsrec.export.tables import text_table
from agsrec.files import atomic_write
from agsrec.fit.guided import Guidance, Judging
from agsrec.fit.hull import object_sphere
from agsrec.fit.joint import FitProgress, FitResult, fit
from agsrec.prior import EMBEDDED_PRIOR, load_prior
from agsrec.prior.sds import ScoreDistillation

_WARMUP = 5  # steps, in which kernels are loaded and caches fill


def guided_round(preset: PresetName, size: int, steps: int, nearest: int | None) -> FitConfig:
    """The guided round of a preset alone, at one size, with the prior in every step, near photos too."""
    config = PRESETS[preset]
    plan = next(r for r in config.rounds if r.guided)
    return replace(
        config,
        rounds=(replace(plan, stages=(Stage(size, steps + _WARMUP),)),),
        guidance=replace(config.guidance, interval=1, stop=1.0, nearest=nearest, full_angle=0.0),
        log_interval=1,
    )


def steps_of_fit(scene: Scene, config: FitConfig, guidance: Guidance | None) -> tuple[Timing, FitResult]:
    """Milliseconds per step, and what the fit ended with."""
    clock: list[float] = []

    def tick(_: FitProgress) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        clock.append(time.perf_counter())

    result = fit(scene.views, scene.cameras, config, guidance=guidance, progress=tick)
    clock = clock[_WARMUP - 1 :]
    spent = sorted(1e3 * (after - before) for before, after in pairwise(clock))
    return Timing(statistics.median(spent), spent[0], spent[round(0.9 * (len(spent) - 1))]), result


def guidance_alone(
    scene: Scene, fitted: FitResult, config: FitConfig, guidance: Guidance, seconds: float
) -> Timing:
    """Milliseconds of the judgement of a novel view and its gradient."""
    center, _ = object_sphere(scene.views, fitted.cameras)
    generator = torch.Generator().manual_seed(0)
    gaussians = fitted.gaussians.detach()
    gaussians = replace(gaussians, means=gaussians.means.clone().requires_grad_(True))

    with Judging(guidance, config.guidance, beside=False) as judging:

        def judge() -> None:
            judging.ask(0, gaussians, fitted.cameras, center, 0.5, generator)
            judged = judging.due(config.guidance.lag)
            assert judged is not None
            judged.pull(gaussians).backward()

        return timed(judge, seconds=seconds)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("scene", nargs="?", type=Path, default=ROOT / "data" / "demo" / "jordan")
    parser.add_argument("--views", type=int, default=8, help="photos")
    parser.add_argument(
        "--nearest", type=int, help="photos shown per novel view; the prior's own number by default"
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256], help="pixels of the photos")
    parser.add_argument("--steps", type=int, default=60, help="steps per fit")
    parser.add_argument("--seconds", type=float, default=1.5, help="time spent on the guidance alone")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="fast")
    parser.add_argument("--prior", default=EMBEDDED_PRIOR)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--json", type=Path, help="write every figure here")
    options = parser.parse_args(argv)
    if options.steps < 2:
        parser.error("--steps must be at least 2")
    about = description()
    print(heading(about), flush=True)
    figures: list[dict[str, Any]] = []
    try:
        device = resolve_device(options.device)
        folder = options.scene.absolute()
        scene = load_scene(folder.parent, folder.name, num_views=options.views)
        scene = replace(scene, views=scene.views.to(device), cameras=scene.cameras.to(device))
        prior = load_prior(options.prior, device)
        for size in options.sizes:
            config = guided_round(options.preset, size, options.steps, options.nearest)
            judge = ScoreDistillation(prior, scene.views, config.guidance)
            without, fitted = steps_of_fit(scene, config, None)
            guided, _ = steps_of_fit(scene, config, judge)
            alone = guidance_alone(scene, fitted, config, judge, options.seconds)
            figures.append({"size": size, "without": without, "guided": guided, "guidance": alone})
    except AgsrecError as error:
        parser.error(str(error))
    shown = prior.photos_shown if options.nearest is None else options.nearest
    print(f"{scene.name}, {len(scene.views)} views, {shown} shown, preset {options.preset}")
    rows = [
        {"Size (px)": f["size"]}
        | {
            f"{label} (ms)": str(f[key])
            for label, key in (("Step", "without"), ("Guided", "guided"), ("Guidance", "guidance"))
        }
        for f in figures
    ]
    print(text_table(rows))
    if options.json is not None:
        plain = [{k: asdict(v) if isinstance(v, Timing) else v for k, v in f.items()} for f in figures]
        content = {**about, "scene": scene.name, "views": len(scene.views), "sizes": plain}
        atomic_write(options.json, json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
