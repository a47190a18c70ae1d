from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from agsrec.config import PRESETS, PoseConfig
from agsrec.errors import AgsrecError, DeviceError, OptionError, ShapeError
from agsrec.fit import FitProgress
from agsrec.gaussians import Gaussians
from agsrec.outliers import OutlierConfig
from agsrec.pipeline import Listener, Settings, StageName
from agsrec.pipeline.run import reconstruct
from agsrec.point_map import PointMap
from tests.pose_init.fakes import install, knowing
from tests.tiny import rough, tiny_config, tiny_scene

CONFIG = tiny_config(12, size=32)


class Steps(Listener):
    """Keeps the steps of the fit."""

    def __init__(self) -> None:
        self.seen: list[FitProgress] = []

    def step(self, name: StageName, progress: FitProgress) -> None:
        assert name == "fit"
        self.seen.append(progress)


def test_result_is_complete() -> None:
    views, truth = tiny_scene()
    start = rough(truth).to(dtype=torch.float64)
    steps = Steps()
    result = reconstruct(views, start, Settings(fit=CONFIG, seed=3, device="cpu"), listener=steps)
    assert result.views is views and result.initial_cameras is start
    assert result.cameras.viewmats.dtype == torch.float32 and len(result.cameras) == 6
    assert not result.cameras.viewmats.requires_grad and not result.gaussians.means.requires_grad
    assert result.history and len(steps.seen) == len(result.history)
    assert result.timings["fit"] > 0
    assert result.options["seed"] == 3 and result.options["device"] == "cpu"
    assert result.options["fit"]["rounds"][0]["stages"][0] == {"size": 32, "iterations": 12}


def test_cameras_are_estimated_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    views, truth = tiny_scene()
    install(monkeypatch, knowing(truth, views.names, lost=[views.names[2]]))
    result = reconstruct(views, settings=Settings(fit=CONFIG, device="cpu"))
    kept = [0, 1, 3, 4, 5]
    assert result.views.names == tuple(views.names[k] for k in kept)
    assert torch.equal(result.initial_cameras.viewmats, truth[kept].viewmats)
    assert set(result.timings) == {"poses", "fit"}
    assert float((result.cameras.focal_lengths - truth[kept].focal_lengths).abs().min()) > 1e-3


@pytest.mark.parametrize(
    ("known", "wanted", "refined"),
    [(True, None, False), (False, None, True), (True, True, True), (False, False, False)],
)
def test_focal_lengths_are_refined_where_they_were_estimated(
    known: bool, wanted: bool | None, refined: bool
) -> None:
    views, truth = tiny_scene()
    config = tiny_config(3, size=32, poses=PoseConfig(refine_focal=wanted))
    result = reconstruct(views, truth, Settings(fit=config), focal_known=known)
    assert torch.equal(result.cameras.Ks, truth.Ks) is not refined
    assert result.options["fit"]["poses"]["refine_focal"] is refined


def test_preset_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "quality", CONFIG)
    views, truth = tiny_scene()
    result = reconstruct(views, truth, Settings(preset="quality"))
    assert result.history[-1]["iteration"] == 12 and result.options["preset"] == "quality"


def test_points_are_the_first_scene(tmp_path: Path) -> None:
    """Also where an earlier result without them, or with others, was kept."""
    views, truth = tiny_scene()
    config = tiny_config(1, size=32)
    blob = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    red = Gaussians.from_points(0.3 * blob, torch.tensor([[0.9, 0.1, 0.1]]).expand(400, 3), torch.ones(400))
    points = PointMap.from_gaussians(red)
    settings = Settings(fit=config)
    hull = reconstruct(views, truth, settings, keep=tmp_path)
    first = reconstruct(views, truth, settings, points=points, keep=tmp_path)
    moved = replace(points, points=points.points + 0.1)
    second = reconstruct(views, truth, settings, points=moved, keep=tmp_path)
    reds = first.gaussians.base_colors.mean(0)
    assert float(reds[0] - reds[2]) > 0.5 > float((hull.gaussians.base_colors.mean(0) - reds).abs().min())
    assert float((second.gaussians.means.mean(0) - first.gaussians.means.mean(0)).min()) > 0.05
    with pytest.raises(OptionError, match="points go with cameras"):
        reconstruct(views, settings=settings, points=points)


def test_points_of_the_initialiser_are_the_first_scene(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where asked for, in the last round alone, and the same after an interruption."""
    views, truth = tiny_scene()
    blob = 0.3 * torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    red = PointMap(blob, torch.tensor([[0.9, 0.1, 0.1]]).expand(400, 3), torch.ones(400))
    known = knowing(truth, views.names)
    install(monkeypatch, lambda task: replace(known(task), points=red))
    plan = tiny_config(2, size=32).rounds[0]
    config = replace(tiny_config(2, size=32, log_interval=1), rounds=(plan, plan))
    settings = Settings(fit=config, init_points=True)

    class Impatient(Listener):
        def step(self, name: StageName, progress: FitProgress) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reconstruct(views, settings=settings, keep=tmp_path, listener=Impatient())
    install(monkeypatch, lambda task: pytest.fail("the poses are kept, and their points"))
    found = reconstruct(views, settings=settings, keep=tmp_path)
    assert [record["round"] for record in found.history] == [0, 0] and found.options["init_points"] is True
    reds = found.gaussians.base_colors.mean(0)
    assert float(reds[0] - reds[2]) > 0.5
    install(monkeypatch, lambda task: replace(known(task), points=red))
    unbroken = reconstruct(views, settings=settings)
    assert torch.equal(unbroken.gaussians.means, found.gaussians.means)
    assert torch.equal(unbroken.cameras.viewmats, found.cameras.viewmats)
    usual = reconstruct(views, settings=replace(settings, init_points=False), keep=tmp_path)
    assert [record["round"] for record in usual.history] == [0, 0, 1, 1]


def test_points_that_there_are_not_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    views, truth = tiny_scene()
    install(monkeypatch, knowing(truth, views.names))
    settings = Settings(fit=tiny_config(1, size=32), init_points=True)
    with pytest.raises(OptionError, match="found no surface points"):
        reconstruct(views, settings=settings)
    with pytest.raises(OptionError, match="these photos have cameras"):
        reconstruct(views, truth, settings)
    with pytest.raises(OptionError, match="--init-points and --enable_loop exclude each other"):
        replace(settings, outliers=OutlierConfig())


@pytest.mark.parametrize(
    ("change", "continued"),
    [
        ({}, True),
        ({"seed": 1}, False),
        ({"fit": replace(CONFIG, log_interval=4)}, False),
        ({"views": "pixel"}, False),
        ({"cameras": "pose"}, False),
        ({"prior": lambda novel: novel.images.sum() * 0}, False),
    ],
)
def test_what_is_kept_is_used_only_for_the_same_request(
    tmp_path: Path, change: dict[str, Any], continued: bool
) -> None:
    views, truth = tiny_scene()
    reconstruct(views, truth, Settings(fit=CONFIG), keep=tmp_path)
    if "views" in change:
        images = views.images.clone()
        images[0, 0, 0, 0] = 0.5
        views = replace(views, images=images)
    cameras = rough(truth, 0.01) if "cameras" in change else truth
    options = {k: v for k, v in change.items() if k not in ("views", "cameras")}
    steps = Steps()
    settings = replace(Settings(fit=CONFIG), **options)
    reconstruct(views, cameras, settings, listener=steps, keep=tmp_path)
    assert (steps.seen == []) == continued


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"preset": "best"}, OptionError, "unknown preset 'best'; there are fast, quality, paper"),
        ({"seed": -1}, OptionError, "--seed must be between"),
        ({"seed": 2**63}, OptionError, "--seed must be between"),
        ({"device": "tpu"}, OptionError, "--device must be"),
        ({"device": "cuda"}, DeviceError, "no CUDA device"),
    ],
)
def test_bad_options(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], error: type[AgsrecError], message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    views, truth = tiny_scene()
    with pytest.raises(error, match=message):
        reconstruct(views, truth, Settings(**options))


def test_inputs_that_do_not_match() -> None:
    views, truth = tiny_scene()
    with pytest.raises(OptionError, match="at least 2 views, not 1"):
        reconstruct(views[[0]], truth[[0]])
    with pytest.raises(ShapeError, match="6 views but 5 cameras"):
        reconstruct(views, truth[:5])
    with pytest.raises(ShapeError, match=r"photos are 48x48 pixels but cameras 96x48; use Cameras.resized"):
        reconstruct(views, truth.resized(96, 48))
