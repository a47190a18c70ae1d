"""`agsrec eval`: the method on scenes with ground truth."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from agsrec.cli.printing import print_run, say
from agsrec.config import PRESETS, FitConfig, PresetName
from agsrec.embedded import EMBEDDED_PRIOR
from agsrec.errors import OptionError
from agsrec.names import DeviceName, MethodName, RefereeName
from agsrec.options import prior_or_none, schedule_options
from agsrec.pipeline import Settings

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Eval"]


@dataclass(frozen=True)
class Eval:
    """Measure the method on scenes with ground truth."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Folders with images, true cameras and, where known, surface points."""
    noise: float = 8.0
    """r.m.s. rotation error of the start, degrees."""
    init: MethodName | None = None
    """Start from what this initialiser makes of the photos, instead of from disturbed true poses."""
    init_model: str | None = None
    """Checkpoint of the initialiser: a folder, a name in checkpoints/, or a hub id."""
    init_only: bool = False
    """Measure the initialiser alone, without a fit."""
    num_views: int | None = None
    """Use the first so many views; all by default."""
    seeds: tuple[int, ...] = (0,)
    """One run per seed."""
    oracle: bool = True
    """Also run from the true poses."""
    outliers: int | None = None
    """Also turn so many views of the rough start by 60 to 180 degrees, and run with the outlier loop too."""
    leave_one_out: bool = False
    """Fit all views but one instead, for each, and compare; needs cameras.json but no ground truth."""
    referee: RefereeName = "none"
    """nerf: also judge the poses of every run by radiance fields, on photos held back from them."""
    preset: PresetName = "fast"
    """Schedule to measure."""
    resolution: int | None = None
    """Longer side in pixels of the pictures that the fit ends with; see `agsrec run`."""
    prior: str = EMBEDDED_PRIOR
    """Diffusion model that judges views nobody photographed, or none."""
    device: DeviceName = "auto"
    """Where to compute."""
    json: Path | None = None
    """Write every figure of every run here."""
    fit: FitConfig = field(default_factory=lambda: PRESETS["fast"])
    """Every detail of the schedule, from the preset unless given."""

    def main(self, console: Console) -> None:
        """Run everything, print one table, and write the JSON file if asked."""
        from agsrec.export.tables import text_table
        from agsrec.files import atomic_write, prepare_folder
        from agsrec.kernels import announced

        if not self.folders:
            raise OptionError("name at least one folder with ground truth")
        if not 0 <= self.noise < math.inf:
            raise OptionError(f"--noise must be a finite number of degrees, at least 0, not {self.noise}")
        if self.init is None and (self.init_model is not None or self.init_only):
            raise OptionError("--init-model and --init-only are about an initialiser; name it with --init")
        if self.init == "file":
            raise OptionError("--init file has nothing to measure; name another initialiser")
        if self.outliers is not None and (self.init is not None or self.leave_one_out):
            raise OptionError(
                "--outliers turns views of disturbed true poses; leave --init out, and --leave-one-out"
            )
        if self.leave_one_out and self.init is not None:
            raise OptionError("--leave-one-out starts from cameras.json; leave --init out")
        if self.referee != "none" and self.init_only:
            raise OptionError("--referee judges the poses of a fit; leave --init-only out")
        if self.json is not None:
            if self.json.is_dir():
                raise OptionError(f"--json: {self.json} is a folder; give the name of a file")
            prepare_folder(self.json.parent)
        with announced(partial(say, console), self.device):
            content = self._left_out() if self.leave_one_out else self._against_truth(console)
        if self.json is not None:
            atomic_write(self.json, json.dumps(content, indent=2) + "\n")
        say(console, text_table(content["rows"]))

    def _against_truth(self, console: Console) -> dict[str, Any]:
        from agsrec.evaluate import evaluate_folders

        result = evaluate_folders(
            self.folders,
            self._settings(),
            noise_deg=self.noise,
            init=self.init,
            init_model=self.init_model,
            init_only=self.init_only,
            num_views=self.num_views,
            seeds=self.seeds,
            oracle=self.oracle,
            outliers=self.outliers,
            referee=self.referee,
            on_run=lambda run: print_run(console, run),
        )
        return {"rows": result.rows, "runs": result.runs}

    def _left_out(self) -> dict[str, Any]:
        from agsrec.dataset import load_scene
        from agsrec.evaluate import leave_one_out

        rows, settings = [], self._settings()
        for folder in self.folders:
            path = folder.absolute()
            size = settings.working_size
            scene = load_scene(path.parent, path.name, num_views=self.num_views, size=size)
            for seed in self.seeds:
                rows += leave_one_out(scene, replace(settings, seed=seed), referee=self.referee)
        return {"rows": rows}

    def _settings(self) -> Settings:
        """How to reconstruct."""
        prior = prior_or_none(self.prior)
        schedule = schedule_options(self.preset, self.fit, self.resolution)
        return Settings(**schedule, prior=prior, device=self.device)
