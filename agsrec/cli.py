"""The command line: `agsrec process | run | eval`.

Options are dataclass fields, read by tyro; underscores and dashes are the same. Everything a user can do
wrong ends in one sentence on standard error and exit status 2.
"""

from __future__ import annotations

import io
import json
import logging
import math
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field, replace
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.console import Console

from agsrec.config import PRESETS, FitConfig, PresetName
from agsrec.device import DeviceName
from agsrec.errors import AgsrecError, OptionError

if TYPE_CHECKING:
    from agsrec.fit import FitProgress

__all__ = ["main"]


@dataclass(frozen=True)
class Process:
    """Cut out and centre the object in a photo, or in every photo of a folder."""

    path: tyro.conf.Positional[Path]
    """Photo, or folder of photos."""
    size: int = 512
    """Side of the square results in pixels."""
    model: str = "u2net"
    """Background model of rembg, or "grabcut" for the built-in method."""
    border_ratio: float = 0.2
    """Share of the side left free around the object."""
    recenter: bool = True
    """Centre and scale the object; --no-recenter fits the whole photo into the square."""

    def main(self, console: Console) -> None:
        """Write `processed/` and `source/` beside the photos."""
        from agsrec.preprocess import process

        done = process(
            self.path,
            size=self.size,
            model=self.model,
            border_ratio=self.border_ratio,
            recenter=self.recenter,
        )
        for file in done.files:
            console.print(str(file), soft_wrap=True, highlight=False)


@dataclass(frozen=True)
class Run:
    """Reconstruct one object: refined cameras and a 3D Gaussian scene."""

    category: str
    """Name of the object: a folder in --data."""
    num_views: int | None = None
    """Use the first so many views; all by default."""
    views: tuple[str, ...] | None = None
    """Use exactly these views, by name."""
    data: Path = Path("data/demo")
    """Folder of the objects."""
    output: Path = Path("output/demo")
    """Results go into a folder of the object's name in here."""
    preset: PresetName = "fast"
    """Schedule: fast, quality, or paper (as published)."""
    num_pts: int | None = None
    """Gaussians to grow to, instead of the preset's number."""
    device: DeviceName = "auto"
    """Where to compute; auto takes CUDA where there is one."""
    seed: int = 0
    """Seed of everything random."""
    fit: FitConfig = field(default_factory=lambda: PRESETS["fast"])
    """Every detail of the schedule, from the preset unless given."""

    def config(self) -> FitConfig:
        """The schedule with `num_pts` worked in."""
        if self.num_pts is None:
            return self.fit
        if self.num_pts < 1:
            raise OptionError(f"--num_pts must be at least 1, not {self.num_pts}")
        last = self.fit.rounds[-1]
        last = replace(last, num_points=min(last.num_points, self.num_pts), max_points=self.num_pts)
        return replace(self.fit, rounds=(*self.fit.rounds[:-1], last))

    def main(self, console: Console) -> None:
        """Reconstruct, save, and print what was measured."""
        from agsrec.dataset import load_scene
        from agsrec.device import resolve_device
        from agsrec.export.results import prepare_folder
        from agsrec.reconstruction import reconstruct

        config = self.config()
        resolve_device(self.device)
        scene = load_scene(self.data, self.category, num_views=self.num_views, views=self.views)
        folder = self.output / self.category
        prepare_folder(folder)
        with _progress_bar(console, config.iterations) as advance:
            result = reconstruct(
                scene.views,
                scene.cameras,
                preset=self.preset,
                config=config,
                seed=self.seed,
                device=self.device,
                progress=advance,
                checkpoint=folder / "checkpoint.pt",
            )
        metrics = result.save(folder, scene)
        _print_metrics(console, metrics)
        console.print(f"Results are in {folder}; open report.html", soft_wrap=True, highlight=False)


@dataclass(frozen=True)
class Eval:
    """Measure the method on scenes with ground truth."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Folders with images, true cameras and, where known, surface points."""
    noise: float = 8.0
    """r.m.s. rotation error of the start, degrees."""
    num_views: int | None = None
    """Use the first so many views; all by default."""
    seeds: tuple[int, ...] = (0,)
    """One run per seed."""
    oracle: bool = True
    """Also run from the true poses."""
    leave_one_out: bool = False
    """Fit all views but one instead, for each, and compare; needs cameras.json but no ground truth."""
    preset: PresetName = "fast"
    """Schedule to measure."""
    device: DeviceName = "auto"
    """Where to compute."""
    json: Path | None = None
    """Write every figure of every run here."""
    fit: FitConfig = field(default_factory=lambda: PRESETS["fast"])
    """Every detail of the schedule, from the preset unless given."""

    def main(self, console: Console) -> None:
        """Run everything, print one table, and write the JSON file if asked."""
        from agsrec.export.results import prepare_folder
        from agsrec.export.tables import text_table
        from agsrec.files import atomic_write

        if not self.folders:
            raise OptionError("name at least one folder with ground truth")
        if not 0 <= self.noise < math.inf:
            raise OptionError(f"--noise must be a finite number of degrees, at least 0, not {self.noise}")
        if self.json is not None:
            if self.json.is_dir():
                raise OptionError(f"--json: {self.json} is a folder; give the name of a file")
            prepare_folder(self.json.parent)
        content = self._left_out() if self.leave_one_out else self._against_truth(console)
        if self.json is not None:
            atomic_write(self.json, json.dumps(content, indent=2) + "\n")
        console.print(text_table(content["rows"]), soft_wrap=True, highlight=False, markup=False)

    def _against_truth(self, console: Console) -> dict[str, Any]:
        from agsrec.evaluate import evaluate_folders

        result = evaluate_folders(
            self.folders,
            preset=self.preset,
            config=self.fit,
            noise_deg=self.noise,
            num_views=self.num_views,
            seeds=self.seeds,
            oracle=self.oracle,
            device=self.device,
            on_run=lambda run: _print_run(console, run),
        )
        return {"rows": result.rows, "runs": result.runs}

    def _left_out(self) -> dict[str, Any]:
        from agsrec.dataset import load_scene
        from agsrec.evaluate import leave_one_out

        rows = []
        for folder in self.folders:
            path = folder.absolute()
            scene = load_scene(path.parent, path.name, num_views=self.num_views)
            for seed in self.seeds:
                rows += leave_one_out(
                    scene, preset=self.preset, config=self.fit, seed=seed, device=self.device
                )
        return {"rows": rows}


# -------------------------------------------------------------------- printing


class _progress_bar:
    """A bar with loss, PSNR and the time left; context manager that yields the fit's callback."""

    def __init__(self, console: Console, total: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("fitting at {task.fields[size]} px"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.4f}  PSNR {task.fields[psnr]:.1f} dB"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task("fit", total=total, size=0, loss=float("nan"), psnr=float("nan"))

    def __enter__(self) -> Any:
        self._bar.__enter__()
        return self._advance

    def __exit__(self, *exception: Any) -> None:
        self._bar.__exit__(*exception)

    def _advance(self, p: FitProgress) -> None:
        self._bar.update(self._task, completed=p.iteration, size=p.size, loss=p.loss, psnr=p.psnr)


def _print_metrics(console: Console, metrics: dict[str, Any]) -> None:
    from agsrec.export.tables import rich_table

    rows = []

    def add(label: str, after: float, before: float | None = None, decimals: int = 2) -> None:
        shown = ["" if value is None else f"{value:.{decimals}f}" for value in (before, after)]
        rows.append({"": label, "before": shown[0], "after": shown[1]})

    if "poses_before" in metrics:
        before, after = metrics["poses_before"]["pairs"], metrics["poses_after"]["pairs"]
        add("rotation error of view pairs, median (°)", after["median_deg"], before["median_deg"])
        add("pairs within 5° (%)", 100 * after["within_5"], 100 * before["within_5"], 0)
        add("pairs within 15° (%)", 100 * after["within_15"], 100 * before["within_15"], 0)
    add("PSNR at the photos (dB)", metrics["input"]["psnr"])
    if "novel" in metrics:
        add("PSNR at new views (dB)", metrics["novel"]["psnr"])
        add("SSIM at new views", metrics["novel"]["ssim"], decimals=3)
    add("time (s)", metrics["seconds"], decimals=1)
    console.print(rich_table(rows))


def _print_run(console: Console, run: dict[str, Any]) -> None:
    after = run["poses_after"]
    novel = f", new views {run['novel']['psnr']:.2f} dB" if "novel" in run else ""
    console.print(
        f"{run['scene']} seed {run['seed']} {run['start']}: pairs {after['pairs']['median_deg']:.2f}°, "
        f"worst view {max(after['view_errors_deg']):.1f}°{novel}, {run['seconds']:.0f} s",
        soft_wrap=True,
        highlight=False,
    )


# -------------------------------------------------------------------- entry point


def _named_preset(argv: Sequence[str]) -> PresetName:
    """The preset that `argv` asks for: every other default depends on it."""
    for option, value in zip(argv, [*argv[1:], ""], strict=False):
        name = option.removeprefix("--preset=") if option.startswith("--preset=") else value
        for preset in PRESETS:
            if option.startswith("--preset") and name == preset:
                return preset
    return "fast"


def _commands(argv: Sequence[str]) -> Any:
    """The union of all commands, with the defaults of the preset named in `argv`."""
    preset = _named_preset(argv)
    fit = PRESETS[preset]
    run = Run(category=tyro.MISSING, preset=preset, fit=fit)
    evaluation = Eval(folders=tyro.MISSING, preset=preset, fit=fit)
    return (
        Annotated[Process, tyro.conf.subcommand("process", prefix_name=False)]
        | Annotated[Run, tyro.conf.subcommand("run", default=run, prefix_name=False)]
        | Annotated[Eval, tyro.conf.subcommand("eval", default=evaluation, prefix_name=False)]
    )


def _parsed(argv: list[str]) -> Any:
    """The command with its options; exits by itself on `--help`.

    Raises:
        OptionError: The options do not parse.
    """
    description = "Sparse photos of one object to 3D."
    printed = io.StringIO()
    try:
        with redirect_stderr(printed):
            return tyro.cli(_commands(argv), prog="agsrec", args=argv, description=description)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise OptionError(_sentence(printed.getvalue())) from None


def _sentence(box: str) -> str:
    """What stands below the title in a box that tyro prints, up to the next rule, in one line."""
    lines = [line.strip(" │") for line in box.splitlines()[1:]]
    body = dropwhile(lambda line: not line.strip("─-"), lines)
    message = " ".join(takewhile(lambda line: line.strip("─-╰╯"), body))
    return f"{message.rstrip('.:')}; see the options with --help"


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; exits with 2 on anything a user can mend, 130 when interrupted."""
    argv = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    console = Console(highlight=False)
    try:
        _parsed(argv).main(console)
    except AgsrecError as error:
        print("error:", *str(error).splitlines(), file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted; the same command continues where it stood", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
