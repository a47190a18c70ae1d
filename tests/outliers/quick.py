"""Scenes with planted mistakes, and a loop so short that it takes seconds."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch

from agsrec.cameras import Cameras
from agsrec.config import FitConfig, LossConfig, PoseConfig, Rates, Round, Stage
from agsrec.lie import so3_exp
from agsrec.outliers import OutlierConfig
from agsrec.pose_search import Level, SearchConfig
from agsrec.synthetic import make_scene
from agsrec.views import Views
from tests.tiny import rough

WRONG = 5


def quick_fit(*stages: Stage, points: int = 300, warmup: int = 20) -> FitConfig:
    """One round with those stages."""
    plan = Round(
        num_points=points,
        max_points=points,
        hull_blur=0.06,
        stages=stages,
        rate_rotation=1e-2,
        rate_translation=6e-3,
        rate_decay=0.2,
    )
    return FitConfig(
        rounds=(plan,),
        rates=Rates(means=6e-3),
        loss=LossConfig(mask=0.5),
        poses=PoseConfig(warmup=warmup),
        hull_resolution=32,
    )


def quick_loop(**options: Any) -> OutlierConfig:
    """The loop with short fits of small pictures and a sparser search."""
    search = SearchConfig(
        directions=300,
        rolls=6,
        max_roll_deg=30.0,
        coarse_size=24,
        patch_size=20,
        levels=(Level(24, 3, 10), Level(40, 3, 3)),
    )
    values: dict[str, Any] = {
        "probe": quick_fit(Stage(24, 60)),
        "probe_size": 24,
        "suspicion": 0.7,
        "scene": quick_fit(Stage(32, 80), Stage(48, 40), points=500),
        "search": search,
        "contest": quick_fit(Stage(40, 40), points=500, warmup=5),
        "contest_size": 40,
    }
    return OutlierConfig(**values | options)


@lru_cache(maxsize=1)
def photos() -> tuple[Views, Cameras]:
    """Eight photos of a random object and their true cameras."""
    images, cameras, _ = make_scene(2, 8, 48)
    return Views(images, tuple(f"{i:03d}" for i in range(8))), cameras


def turned(cameras: Cameras, view: int, degrees: float) -> Cameras:
    """Cameras of which one is turned about the vertical."""
    turn = torch.eye(4)
    turn[:3, :3] = so3_exp(torch.tensor([0.0, math.radians(degrees), 0.0]))
    viewmats = cameras.viewmats.clone()
    viewmats[view] = viewmats[view] @ turn
    return replace(cameras, viewmats=viewmats)


def spoiled(degrees: float = 120.0) -> tuple[Views, Cameras, Cameras]:
    """Photos, rough cameras of which `WRONG` is off by that much, and the true ones."""
    views, truth = photos()
    return views, turned(rough(truth, 4.0), WRONG, degrees), truth
