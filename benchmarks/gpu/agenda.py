"""The steps of a day on a GPU, the most worthwhile first."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from steps import Step
from training import base_settings, fitted_settings, pace, training_figures

from agsrec.embedded import embedded_folder

__all__ = ["CHECKS", "STEPS", "TRAINING", "Day", "agenda"]

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(__file__).resolve().parent

CHECKS = (
    "gsplat", "pace", "pace_drawn", "tests", "kernels", "fast", "quality", "loop", "nview", "poses", "stereo",
    "paper", "published",
)  # fmt: skip
TRAINING = ("feed", "train", "parts")
STEPS = (*CHECKS, *TRAINING)

# Settings, and the embedded model to start from: a larger network starts from nothing.
_TRAININGS = {"nview": ("large", None), "zero123": ("mini-warped", "zero123-6dof-mini")}
_COMPILING = {"MAX_JOBS": "16", "TORCH_CUDA_ARCH_LIST": "9.0"}
_TO_FINISH = 60.0  # seconds that a training may take after its time is up
_PACE_SECONDS = 25.0
_PACES = {"workers": "pace", "device": "pace_drawn"}  # steps by who renders
_DEMO = ("--category", "jordan", "--data", str(ROOT / "data/demo"))
_STAGES = ((0, 2), (1, 1), (2, 3))  # how many each round of the preset `fast` has


@dataclass(frozen=True)
class Day:
    """What decides the steps.

    Attributes:
        folder: Where everything goes.
        tiny: Whether sizes are tiny, on the CPU.
        model: Kind of model that is trained.
        settings: Its settings.
        start: Folder of the model that it starts from.
        workers: Processes that render for it.
        renders: Who may render, of `agsrec train --render`; the fastest does.
        part_mib: Size of the parts that it is written in, if it is.
    """

    folder: Path
    tiny: bool
    model: str
    settings: dict[str, Any]
    start: Path | None
    workers: int
    renders: tuple[str, ...]
    part_mib: float | None

    @staticmethod
    def of(options: argparse.Namespace) -> Day:
        """As the options of the command say."""
        tiny = options.dry_run
        usual, model = _TRAININGS[options.train]
        config = usual if options.train_config is None else options.train_config
        packaged = ROOT / f"agsrec/training/configs/{options.train}/{config}.json"
        settings = base_settings(options.train, packaged, batch=options.batch_size, tiny=tiny)
        model = model if options.start is None else options.start
        start = None if model is None else embedded_folder(model)
        workers = min(1, options.workers) if tiny else options.workers
        folder = options.output.resolve()
        draws = options.train == "nview" and not settings["network"]["fine_tokens"]
        renders = ("workers", "device") if draws else ("workers",)
        start = None if tiny else start
        return Day(folder, tiny, options.train, settings, start, workers, renders, options.part_mib)

    @property
    def device(self) -> str:
        """Where to compute."""
        return "cpu" if self.tiny else "cuda"


def agenda(day: Day) -> list[Step]:
    """All steps."""
    build = {name: value for name, value in _COMPILING.items() if name not in os.environ}
    steps = [
        _in_the_background(_measured(day, "gsplat", 420, environment=build)),
        *(_pace(day, render) for render in day.renders),
        _measured(day, "tests", 90, after="gsplat"),
        _measured(day, "kernels", 60, after="gsplat"),
        _reconstructed(day, "fast", 90, *_DEMO, "--preset", "fast"),
        _reconstructed(day, "quality", 120, *_DEMO, "--preset", "quality"),
        _reconstructed(day, "loop", 120, *_DEMO, "--enable_loop", "--mesh_format", "none"),
        _reconstructed(day, "nview", 90, str(ROOT / "data/demo/jordan/processed"), "--init", "nview"),
        _measured(day, "poses", 60, after="gsplat"),
        _measured(day, "stereo", 60),
        _reconstructed(day, "paper", 150, *_DEMO, "--preset", "paper", "--mesh_format", "none"),
        _measured(day, "published", 120, after="gsplat"),
        _measured(day, "feed", 60, "--workers", str(day.workers)),
        _train(day),
    ]
    return steps if day.part_mib is None else [*steps, _parts(day, day.part_mib)]


def _in_the_background(step: Step) -> Step:
    """A step that leaves the processor to others wherever they want it."""
    return replace(step, command=lambda limit: ["nice", "-n", "19", *step.command(limit)])


def _measured(day: Day, name: str, limit: float, *extra: str, **about: Any) -> Step:
    """A figure of `measure.py`."""
    file = day.folder / f"{name}.json"
    command = [sys.executable, str(SCRIPTS / "measure.py"), name, "--json", str(file), "--device", day.device]
    command += [*(["--tiny"] if day.tiny else []), *extra]
    return Step(name, lambda _: command, limit, partial(_read, file), **about)


def _reconstructed(day: Day, name: str, limit: float, *extra: str) -> Step:
    """A whole run of the command line."""
    output = day.folder / "runs" / name
    command = [sys.executable, str(ROOT / "run.py"), *extra, "--device", day.device, "--output", str(output)]
    command += _tiny_run(extra) if day.tiny else []
    return Step(name, lambda _: command, limit, partial(_reconstruction, output), after="gsplat")


def _tiny_run(given: Sequence[str]) -> list[str]:
    options = ["--num_views", "3", "--prior", "none"]
    options += [] if "--mesh_format" in given else ["--mesh_format", "none"]
    rounds = ((0, 1),) if "paper" in given else _STAGES
    for r, s in ((r, s) for r, stages in rounds for s in range(stages)):
        stage = f"--fit.rounds.{r}.stages.{s}"
        options += [f"{stage}.iterations", "3", f"{stage}.size", "24"]
    return options


def _pace(day: Day, render: str) -> Step:
    """The training for some seconds, to see how fast it goes."""
    config, output = day.folder / "pace-settings.json", day.folder / _PACES[render]

    def command(limit: float) -> list[str]:
        config.write_text(json.dumps(day.settings), encoding="utf-8")
        return _training_command(day, config, output, min(_PACE_SECONDS, limit), render)

    def figures() -> dict[str, Any]:
        return {"steps_per_second": pace(output), **training_figures(output)}

    return Step(_PACES[render], command, 90, figures)


def _train(day: Day) -> Step:
    """The training, for all the time that is left."""
    config, output = day.folder / "train-settings.json", day.folder / "train"

    def command(limit: float) -> list[str]:
        seconds = max(1.0, limit - _TO_FINISH)
        rates = {render: pace(day.folder / _PACES[render]) for render in day.renders}
        fastest = max(day.renders, key=lambda render: rates[render] or 0.0)
        fitted_settings(day.model, day.settings, rates[fastest], 3.0 if day.tiny else seconds, config)
        return _training_command(day, config, output, seconds, fastest)

    figures = partial(training_figures, output)
    return Step("train", command, 3600, figures, lambda found: found["step"] == found["steps"])


def _training_command(day: Day, config: Path, output: Path, seconds: float, render: str) -> list[str]:
    command = [sys.executable, "-m", "agsrec", "train", day.model, "--output", str(output)]
    command += ["--config", str(config), "--device", day.device, "--workers", str(day.workers)]
    command += ["--minutes", str(seconds / 60), "--render", render]
    return command if day.start is None else [*command, "--start", str(day.start)]


def _parts(day: Day, part_mib: float) -> Step:
    """The trained model, in parts."""
    target = day.folder / "parts"
    script = [sys.executable, str(SCRIPTS / "parts.py"), str(day.folder / "train/model"), str(target)]
    return Step(
        "parts",
        lambda _: [*script, str(part_mib)],
        60,
        lambda: {"files": sorted(path.name for path in target.iterdir())},
        after="train",
    )


# -------------------------------------------------------------------- figures


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))


def _reconstruction(output: Path) -> dict[str, Any]:
    """Time and quality of the run in a folder."""
    (file,) = output.glob("*/metrics.json")
    metrics = _read(file)
    found = {"timings": metrics["timings"], "psnr": metrics["input"]["psnr"]}
    for name in ("poses_before", "poses_after"):
        if name in metrics:
            found[name] = metrics[name]["pairs"]["median_deg"]
    return found | {name: metrics[name] for name in ("novel", "mesh") if name in metrics}
