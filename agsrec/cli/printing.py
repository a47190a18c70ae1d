"""What the commands print while they work and when they are done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from agsrec.fit import FitProgress
    from agsrec.pipeline.run import Finished
    from agsrec.training.loop import Record

__all__ = [
    "FitBar",
    "TrainingBar",
    "mesh_sentence",
    "print_finished",
    "print_run",
    "say",
    "training_status",
]


def say(console: Console, text: str) -> None:
    """Print text as it is: neither wrapped, nor coloured, nor read as markup."""
    console.print(text, soft_wrap=True, highlight=False, markup=False)


class FitBar:
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
        return self.advance

    def __exit__(self, *exception: Any) -> None:
        self._bar.__exit__(*exception)

    def advance(self, p: FitProgress) -> None:
        """Show a step of the fit."""
        self._bar.update(
            self._task, completed=p.iteration, total=p.total, size=p.size, loss=p.loss, psnr=p.psnr
        )


class TrainingBar:
    """A bar per phase with loss, speed and the time left; context manager that yields the callback."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[shown]}"),
            console=console,
        )
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Any:
        self._bar.__enter__()
        return self._advance

    def __exit__(self, *exception: Any) -> None:
        self._bar.__exit__(*exception)

    def _advance(self, record: Record) -> None:
        name = record["phase"]
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(name, total=record["steps"], shown="")
        self._bar.update(self._tasks[name], completed=record["step"])
        if "loss" in record:
            self._bar.update(self._tasks[name], shown=training_status(record))


def training_status(record: Record) -> str:
    """Loss, images per second and the time left, the last from the time per step so far."""
    left = record["seconds"] / max(1, record["step"]) * (record["steps"] - record["step"])
    minutes = round(left / 60)
    time = f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
    return f"loss {record['loss']:.4f}  {record['images_per_second']:.1f} images/s  {time} left"


def print_finished(console: Console, done: Finished) -> None:
    """The figures of a run, its mesh, and what was decided about its poses."""
    from agsrec.export.decisions import decision_sentences

    _print_metrics(console, done.metrics)
    if done.mesh is not None:
        say(console, mesh_sentence(done.mesh, done.metrics["mesh"]))
    if done.result.correction is not None:
        say(console, " ".join(decision_sentences(done.result.correction)))


def mesh_sentence(file: Path, figures: dict[str, Any]) -> str:
    """What to tell about a mesh."""
    closed = "closed" if figures["watertight"] else "not closed"
    return (
        f"Mesh: {file}, {figures['faces']} triangles, {closed}; PSNR at the photos {figures['psnr']:.1f} dB, "
        f"silhouettes agree to {figures['silhouette_iou']:.0%}"
    )


def _print_metrics(console: Console, metrics: dict[str, Any]) -> None:
    """The figures of one reconstruction, as a table."""
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


def print_run(console: Console, run: dict[str, Any]) -> None:
    """The figures of one run of an evaluation, in one line."""
    head = f"{run['scene']} seed {run['seed']} {run['start']}: "
    if "poses_after" not in run:  # an initialiser alone, or one that placed nothing
        errors = sorted(run["pair_errors_before_deg"])
        within = 100 * sum(e <= 15 for e in errors) / len(errors)
        say(
            console,
            f"{head}{run['placed']} of {run['views']} views placed, pairs {errors[len(errors) // 2]:.1f}°, "
            f"{within:.0f} % within 15°, {run['seconds']:.1f} s",
        )
        return
    after = run["poses_after"]
    novel = f", new views {run['novel']['psnr']:.2f} dB" if "novel" in run else ""
    say(
        console,
        f"{head}pairs {after['pairs']['median_deg']:.2f}°, "
        f"worst view {max(after['view_errors_deg']):.1f}°{novel}, {run['seconds']:.0f} s",
    )
