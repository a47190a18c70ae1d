"""The scene of the other views says where a view belongs."""

from __future__ import annotations

from dataclasses import replace

import torch

from agsrec.cameras import Cameras
from agsrec.config import Stage
from agsrec.fit import fit
from agsrec.fit.coarse import coarse_schedule
from agsrec.lie import so3_exp, so3_log
from agsrec.pose_init.elsewhere import views_elsewhere
from tests.tiny import tiny_scene

SCHEDULE = coarse_schedule(Stage(32, 60), warmup=40)


def turned(cameras: Cameras, view: int, degrees: float) -> Cameras:
    about_up = so3_exp(torch.tensor([0.0, degrees, 0.0]).deg2rad())
    viewmats = cameras.viewmats.clone()
    viewmats[view, :3, :3] = viewmats[view, :3, :3] @ about_up
    return replace(cameras, viewmats=viewmats)


def test_a_view_that_is_turned_is_the_first_and_goes_back() -> None:
    views, truth = tiny_scene()
    wrong = turned(truth, 4, 105.0)
    scene = fit(views, wrong, SCHEDULE)
    first, *others = views_elsewhere(views, wrong, scene, SCHEDULE)
    off = so3_log(first.cameras.rotations @ truth.rotations.mT).norm(dim=-1).rad2deg()
    assert float(off[4]) < 20 and float(off[[0, 1, 2, 3, 5]].max()) < 1e-3
    assert first.ratio < 1 and len(others) == 2
    assert all(first.ratio < other.ratio for other in others)
