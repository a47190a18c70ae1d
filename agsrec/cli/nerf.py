"""`agsrec nerf`: how well the poses of a finished reconstruction explain photos that are held back."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from agsrec.cli.printing import say
from agsrec.errors import CameraError, OptionError
from agsrec.names import DeviceName
from agsrec.radiance.config import RadianceConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from agsrec.cameras import Cameras
    from agsrec.radiance.referee import Comparison, HeldBack
    from agsrec.views import Views

__all__ = ["Nerf"]


@dataclass(frozen=True)
class Nerf:
    """Judge the poses of a finished reconstruction by a radiance field: it learns from some photos and draws
    the others."""

    result: tyro.conf.Positional[Path]
    """Folder of the reconstruction, with its cameras.json and views/."""
    cameras: Path | None = None
    """Another cameras.json of the same photos: say which of the two explains them better."""
    folds: int = 4
    """Trainings per seed, each without its share of the photos; as many as there are photos, or more, leave
    out one at a time."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """The whole is done with each; what they disagree by is chance."""
    picture: Path | None = None
    """PNG file for the photos and what the field draws when it has not seen them."""
    json: Path | None = None
    """Write every figure here."""
    device: DeviceName = "auto"
    """Where to compute; auto takes CUDA where there is one."""
    training: RadianceConfig = field(default_factory=RadianceConfig)
    """How fields are trained."""

    def main(self, console: Console) -> None:
        """Train, print the figures by photo and a sentence, and write what was asked for."""
        from agsrec.export.tables import text_table
        from agsrec.files import atomic_write
        from agsrec.radiance.referee import compared
        from agsrec.result_files import load_other_cameras, load_posed

        self._check()
        views, cameras = load_posed(self.result)
        own = self.result / "cameras.json"
        sets = {own: cameras}
        if self.cameras is not None:
            if self.cameras.exists() and self.cameras.samefile(own):
                raise OptionError(f"--cameras: {self.cameras} is the reconstruction's own; give another file")
            sets[self.cameras] = load_other_cameras(self.cameras, views)
        judged = self._judged(console, views, sets)
        first, *others = judged.values()
        comparison = compared(first, others[0]) if others else None
        say(console, text_table(_rows(judged)))
        files = [str(file) for file in judged]
        say(console, _sentence(first) if comparison is None else _verdict(files, comparison, len(views)))
        if self.json is not None:
            record = {file: each.as_dict() for file, each in zip(files, judged.values(), strict=True)}
            atomic_write(self.json, json.dumps(record, indent=2) + "\n")
        if self.picture is not None:
            self._draw(first)

    def _check(self) -> None:
        from agsrec.files import prepare_folder

        if self.cameras is not None and len(self.seeds) < 2:
            raise OptionError("--seeds must name at least 2 to tell a difference from chance")
        if self.picture is not None and self.picture.suffix.lower() != ".png":
            raise OptionError(f"--picture: {self.picture} must end in .png")
        for option, file in (("--json", self.json), ("--picture", self.picture)):
            if file is not None:
                if file.is_dir():
                    raise OptionError(f"{option}: {file} is a folder; give the name of a file")
                prepare_folder(file.parent)

    def _judged(self, console: Console, views: Views, sets: dict[Path, Cameras]) -> dict[Path, HeldBack]:
        """By file, how its cameras explain the photos."""
        from agsrec.device import resolve_device
        from agsrec.radiance.referee import held_back

        device = resolve_device(self.device)
        total = len(sets) * len(self.seeds) * min(self.folds, len(views))
        judged = {}
        with console.status("training") as status:
            on_fold = _counting(lambda done: status.update(f"training: {done} of {total} fields"))
            for file, cameras in sets.items():
                try:
                    judged[file] = held_back(
                        views,
                        cameras,
                        folds=self.folds,
                        seeds=self.seeds,
                        config=self.training,
                        device=device,
                        on_fold=on_fold,
                    )
                except CameraError as error:
                    raise CameraError(f"{file}: {error}") from error
        return judged

    def _draw(self, judged: HeldBack) -> None:
        from agsrec.figures.panels import comparison_figure
        from agsrec.images import save_png

        assert self.picture is not None
        save_png(self.picture, comparison_figure(judged.names, judged.photos, judged.renders))


def _counting(report: Callable[[int], None]) -> Callable[[], None]:
    """A callback that reports how often it was called."""
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1
        report(calls)

    return call


def _rows(judged: dict[Path, HeldBack]) -> list[dict[str, Any]]:
    """PSNR of every photo when it was held back, with each camera file, and the mean."""
    columns = {f"{file}, dB": each.psnr.mean(0) for file, each in judged.items()}
    first, *others = columns.values()
    if others:
        columns["Difference, dB"] = first - others[0]
    names = next(iter(judged.values())).names
    rows: list[dict[str, Any]] = [
        {"Photo": name} | {title: float(values[i]) for title, values in columns.items()}
        for i, name in enumerate(names)
    ]
    return [*rows, {"Photo": "mean"} | {title: float(values.mean()) for title, values in columns.items()}]


def _sentence(judged: HeldBack) -> str:
    text = f"Held-back photos are explained to {float(judged.psnr.mean()):.2f} dB"
    if judged.error is not None:
        text += f", standard error over {len(judged.psnr)} seeds {judged.error:.2f} dB"
    return f"{text}."


def _verdict(files: list[str], comparison: Comparison, photos: int) -> str:
    size, error = abs(comparison.difference), comparison.error
    if not comparison.decided:
        return (
            f"Neither explains the held-back photos better: {files[0]} and {files[1]} differ by {size:.2f} "
            f"dB, which is within the noise of seeds (standard error {error:.2f} dB)."
        )
    better, worse = files if comparison.difference > 0 else files[::-1]
    return (
        f"{better} explains the held-back photos better than {worse}: by {size:.2f} dB, standard error over "
        f"seeds {error:.2f} dB, on {comparison.photos} of {photos} photos."
    )
