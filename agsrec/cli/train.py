"""`agsrec train`: how the embedded models were made."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from agsrec.cli.printing import TrainingBar, say
from agsrec.errors import OptionError
from agsrec.names import DeviceName

if TYPE_CHECKING:
    from rich.console import Console

    from agsrec.cameras import Cameras
    from agsrec.views import Views

__all__ = ["Train"]


@dataclass(frozen=True)
class Train:
    """Train a model on procedural objects; the same command again goes on where it stopped."""

    what: tyro.conf.Positional[Literal["zero123", "nview", "dust3r", "noposplat"]]
    """Which model: zero123, the diffusion model behind --prior, or an initialiser of poses."""
    output: Path
    """Folder of the run: state, log, validation pictures, and the model in model/."""
    config: str = "mini"
    """Settings that come with the package (mini; for zero123 also published, for dust3r also 224), or a JSON
    file of your own."""
    seed: int = 0
    """Seed of weights, objects and draws."""
    workers: int = 2
    """Processes that render objects; 0 renders in the one that trains."""
    render: Literal["workers", "device"] = "workers"
    """For nview: who draws the views. The device that trains can draw new ones for every step, which spares
    the workers of a GPU; they make the objects then."""
    threads: int | None = None
    """CPU threads that compute; PyTorch's choice by default."""
    device: DeviceName = "auto"
    """Where to train; auto takes CUDA where there is one."""
    minutes: float | None = None
    """Stop after this time, with everything on disk to go on from."""
    validate_every: int = 2000
    """Steps between validations on objects that are never trained on."""
    start: Path | None = None
    """Model folder to start from instead of random weights; an autoencoder in it is kept."""
    scenes: tuple[Path, ...] = ()
    """For nview: folders with ground truth to validate on, besides random objects."""

    def main(self, console: Console) -> None:
        """Train, then print what the last validations measured."""
        import torch

        from agsrec.device import resolve_device
        from agsrec.locks import locked

        self._check()
        device = resolve_device(self.device)
        train, extra = self._training()
        from agsrec.training.loop import Intervals

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        limit = None if self.minutes is None else 60 * self.minutes
        first = os.environ.get("RANK", "0") == "0"  # of those that `accelerate launch` starts
        with locked(self.output) if first else nullcontext(), TrainingBar(console) as advance:
            complete = train(
                self.output,
                seed=self.seed,
                workers=self.workers,
                device=device,
                intervals=Intervals(stop_after_seconds=limit, validate=self.validate_every),
                start=self.start,
                progress=advance,
                **extra,
            )
        self._print_outcome(console, complete)

    def _training(self) -> tuple[Callable[..., bool], dict[str, Any]]:
        """The training with its settings, and the options that it alone takes."""
        # Loads the model libraries, which takes seconds: only after the options were checked.
        from agsrec.training.settings import load_settings

        if self.what == "zero123":
            from agsrec.training.config import TrainConfig
            from agsrec.training.zero123 import train_zero123

            return partial(train_zero123, load_settings(TrainConfig, self.what, self.config)), {}
        if self.what == "nview":
            from agsrec.training.nview import NViewTrainConfig, train_nview

            config = load_settings(NViewTrainConfig, self.what, self.config)
            return partial(train_nview, config), {"scenes": _scenes(self.scenes), "render": self.render}
        if self.what == "noposplat":
            from agsrec.training.noposplat import NoPoSplatTrainConfig, train_noposplat

            return partial(train_noposplat, load_settings(NoPoSplatTrainConfig, self.what, self.config)), {}
        from agsrec.training.dust3r import DUSt3RTrainConfig, train_dust3r

        return partial(train_dust3r, load_settings(DUSt3RTrainConfig, self.what, self.config)), {}

    def _check(self) -> None:
        if not 0 <= self.seed < 2**31:
            raise OptionError(f"--seed must be between 0 and 2**31 - 1, not {self.seed}")
        if self.workers < 0:
            raise OptionError(f"--workers must be at least 0, not {self.workers}")
        if self.threads is not None and self.threads < 1:
            raise OptionError(f"--threads must be at least 1, not {self.threads}")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise OptionError(f"--minutes must be a positive number, not {self.minutes}")
        if self.validate_every < 1:
            raise OptionError(f"--validate-every must be at least 1, not {self.validate_every}")
        if self.scenes and self.what != "nview":
            raise OptionError(f"--scenes is for nview alone; leave it out for {self.what}")
        if self.render != "workers" and self.what != "nview":
            raise OptionError(f"--render {self.render} is for nview alone; leave it out for {self.what}")
        if self.start is not None and not self.start.is_dir():
            raise OptionError(f"--start: {self.start} is not a folder; give that of a model")

    def _print_outcome(self, console: Console, complete: bool) -> None:
        from agsrec.export.tables import rich_table
        from agsrec.training.loop import read_log

        rows = validation_rows(read_log(self.output))
        if rows:
            console.print(rich_table(rows))
        if (self.output / "model").is_dir():
            say(console, f"The model is in {self.output / 'model'}")
        if not complete:
            say(console, "Stopped before the end; the same command goes on")


def _scenes(folders: Sequence[Path]) -> dict[str, tuple[Views, Cameras]]:
    """Views and true cameras of folders, by name."""
    from agsrec.dataset import load_gt_scene

    loaded = [load_gt_scene(folder) for folder in folders]
    return {scene.name: (scene.views, scene.cameras) for scene in loaded}


def validation_rows(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Table rows of every phase's last validation."""
    latest = {record["phase"]: record for record in log if "loss" not in record}
    return [
        {"phase": name, "step": record["step"], "figure": figure, "value": f"{value:.3f}"}
        for name, record in latest.items()
        for figure, value in record.items()
        if figure not in ("phase", "step", "steps")
    ]
