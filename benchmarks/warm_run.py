"""A whole run with schedules of a few seconds, in a process that has everything loaded before it starts."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

from agsrec.config import DensifyConfig, FitConfig, PoseConfig, Round, Stage
from agsrec.fit.coarse import coarse_schedule
from agsrec.mesh.config import MeshConfig
from agsrec.outliers import OutlierConfig
from agsrec.pipeline import PhotoFolder, Settings
from agsrec.pipeline.run import run
from agsrec.pipeline.settings import Posing
from agsrec.pose_search import SearchConfig
from agsrec.pose_search.config import Level

__all__ = ["reconstruct", "start"]


def start(photos: Path, output: Path) -> BaseProcess:
    """Begin one run of the photos in a fork of this process."""
    process = multiprocessing.get_context("fork").Process(target=_run, args=(photos, output))
    process.start()
    return process


def reconstruct(photos: Path, output: Path) -> None:
    """The run, in this process."""
    run(PhotoFolder(photos), output / photos.name, _settings())


def _run(photos: Path, output: Path) -> None:
    """Reconstruct; Ctrl-C ends with 130, as on the command line."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        reconstruct(photos, output)
    except KeyboardInterrupt:
        sys.exit(130)


def _settings() -> Settings:
    """Every stage as short as it can be; a view is always suspected, searched for and judged."""
    outliers = OutlierConfig(
        probe=coarse_schedule(Stage(24, 30), warmup=10),
        probe_size=24,
        suspicion=1e-6,
        scene=_fit(30),
        search=SearchConfig(directions=100, rolls=6, max_roll_deg=45.0, levels=(Level(24, 2, 6),)),
        contest=_fit(20),
        contest_size=32,
    )
    mesh = MeshConfig(faces=500, grid=24, texture_size=64)
    return Settings(fit=_fit(40, 20), posing=Posing(method="nview"), outliers=outliers, mesh=mesh)


def _fit(*iterations: int) -> FitConfig:
    """One round at 32 pixels; it keeps where it stands every fifth step."""
    plan = Round(
        num_points=300,
        max_points=500,
        hull_blur=0.04,
        stages=tuple(Stage(32, number) for number in iterations),
        rate_rotation=8e-3,
        rate_translation=5e-3,
    )
    return FitConfig(
        rounds=(plan,),
        densify=DensifyConfig(interval=10),
        poses=PoseConfig(warmup=5),
        hull_resolution=32,
        checkpoint_interval=5,
    )
