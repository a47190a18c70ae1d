"""Scenes and schedules so small that a whole fit takes about a second."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from agsrec.camera_files import write_cameras_json
from agsrec.cameras import Cameras
from agsrec.config import PRESETS, DensifyConfig, FitConfig, GuidanceConfig, PoseConfig, Round, Stage
from agsrec.images import save_png
from agsrec.synthetic import make_scene
from agsrec.views import Views

NAMES = ("000", "001", "002", "003", "004", "005")


@lru_cache(maxsize=4)
def tiny_scene(num_views: int = 6, size: int = 48, seed: int = 2) -> tuple[Views, Cameras]:
    """Photos of a random object and their true cameras."""
    images, cameras, _ = make_scene(seed, num_views, size)
    return Views(images, tuple(f"{i:03d}" for i in range(num_views))), cameras


def rough(cameras: Cameras, degrees: float = 6.0, seed: int = 0) -> Cameras:
    """The cameras off by `degrees` r.m.s."""
    return cameras.perturbed(degrees, torch.Generator().manual_seed(seed))


def tiny_config(*iterations: int, size: int = 48, sh_degree: int = 0, **options: Any) -> FitConfig:
    """A round with one stage for each number of iterations."""
    plan = Round(
        num_points=400,
        max_points=700,
        hull_blur=0.04,
        stages=tuple(Stage(size, n) for n in iterations or (60,)),
        rate_rotation=8e-3,
        rate_translation=5e-3,
        guided=True,
        sh_degree=sh_degree,
    )
    defaults: dict[str, Any] = {
        "densify": DensifyConfig(interval=10),
        "poses": PoseConfig(warmup=5),
        "hull_resolution": 32,
        "guidance": GuidanceConfig(interval=1, stop=1.0, size=32, full_angle=0.0),
        "log_interval": 5,
        "checkpoint_interval": 7,
    }
    return FitConfig(rounds=(plan,), **defaults | options)


def write_scene(folder: Path, *, start: Cameras | None = None) -> None:
    """The tiny scene in the demo layout: six views with rough and true cameras, and two test views."""
    views, cameras = tiny_scene(8)
    pixels = (views.images * 255).round().byte().numpy()
    inputs, tests = [0, 1, 2, 4, 5, 6], [3, 7]
    for name, i in zip(NAMES, inputs, strict=True):
        save_png(folder / "processed" / f"{name}_rgba.png", pixels[i])
    for name, i in zip(("100", "101"), tests, strict=True):
        save_png(folder / "test" / f"{name}_rgba.png", pixels[i])
    write_cameras_json(folder / "cameras.json", start or rough(cameras[inputs]), NAMES)
    write_cameras_json(folder / "cameras_gt.json", cameras[inputs], NAMES)
    write_cameras_json(folder / "cameras_test.json", cameras[tests], ("100", "101"))


def quick_options(iterations: int, *, size: int = 24) -> list[str]:
    """Options that shorten every stage of the preset `fast`, for commands in another process."""
    options: list[str] = []
    for r, plan in enumerate(PRESETS["fast"].rounds):
        for s in range(len(plan.stages)):
            stage = f"--fit.rounds.{r}.stages.{s}"
            options += [f"{stage}.iterations", str(iterations), f"{stage}.size", str(size)]
    return options
