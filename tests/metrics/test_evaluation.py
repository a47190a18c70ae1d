from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache

import pytest
import torch

from agsrec.cameras import Cameras
from agsrec.dataset import Scene
from agsrec.fit import FitResult, fit
from agsrec.gaussians import Gaussians
from agsrec.metrics.evaluation import evaluate, input_quality, rendered_on_white
from agsrec.synthetic import make_scene
from tests.tiny import rough, tiny_config, tiny_scene


@lru_cache(maxsize=1)
def scene() -> tuple[Scene, FitResult]:
    """Six views and two test views with everything known, and a fit from the true cameras."""
    views, cameras = tiny_scene(8)
    _, _, points = make_scene(2, 8, 48)
    inputs, tests = [0, 1, 2, 4, 5, 6], [3, 7]
    visible = torch.ones(len(points), dtype=torch.bool)
    visible[::5] = False
    made = Scene(
        "blob", views[inputs], rough(cameras[inputs]), cameras[inputs],
        views[tests], cameras[tests], points, visible,
    )  # fmt: skip
    return made, fit(made.views, cameras[inputs], tiny_config(60))


def without(scene: Scene, *names: str) -> Scene:
    return replace(scene, **dict.fromkeys(names))


def test_a_good_result_scores_well() -> None:
    known, result = scene()
    assert known.truth is not None
    out = evaluate(result.gaussians, result.cameras, known.cameras, known).as_dict()
    assert set(out) == {"input", "poses_before", "poses_after", "novel", "novel_realigned", "surface"}
    assert out["novel_realigned"]["psnr"] > out["novel"]["psnr"] - 0.1
    assert sum(out["novel"]["by_view"]["psnr"]) / 2 == pytest.approx(out["novel"]["psnr"])
    assert out["poses_before"]["views"]["median_deg"] > 2
    assert out["poses_after"]["pairs"]["median_deg"] < out["poses_before"]["pairs"]["median_deg"] + 3
    assert len(out["poses_after"]["view_errors_deg"]) == 6
    assert out["input"]["psnr"] > 20 and out["novel"]["psnr"] > 16
    assert 0.5 < out["novel"]["ssim"] <= 1
    assert 0 < out["surface"]["chamfer"] < 0.2
    json.dumps(out, allow_nan=False)


def test_true_cameras_have_no_error() -> None:
    known, result = scene()
    assert known.truth is not None
    out = evaluate(result.gaussians, known.truth, known.cameras, known).as_dict()
    assert out["poses_after"]["pairs"]["median_deg"] == pytest.approx(0, abs=1e-3)
    assert out["poses_after"]["pairs"]["within_5"] == 1 and out["poses_after"]["center_accuracy"] == 1


def test_the_choice_of_world_does_not_matter() -> None:
    """Scene and cameras shrunk and moved together: the same figures, but for rounding."""
    known, result = scene()
    shift = torch.tensor([1.0, -2.0, 0.5])
    g = result.gaussians
    smaller = replace(g, means=0.5 * g.means + shift, log_scales=g.log_scales + torch.tensor(0.5).log())
    cameras = result.cameras.transformed(0.5, torch.eye(3), shift)
    here = evaluate(g, result.cameras, known.cameras, known).as_dict()
    there = evaluate(smaller, cameras, known.cameras, known).as_dict()
    assert there["input"]["psnr"] == pytest.approx(here["input"]["psnr"], abs=0.3)
    assert there["novel"]["psnr"] == pytest.approx(here["novel"]["psnr"], abs=0.5)
    assert there["surface"]["chamfer"] == pytest.approx(here["surface"]["chamfer"], rel=0.1)


def test_only_what_is_known_is_reported() -> None:
    known, result = scene()

    def keys(scene: Scene) -> set[str]:
        return set(evaluate(result.gaussians, result.cameras, known.cameras, scene).as_dict())

    assert keys(without(known, "truth", "test_views", "test_cameras", "points", "points_visible")) == {
        "input"
    }
    no_tests = without(known, "test_views", "test_cameras")
    assert keys(no_tests) == {"input", "poses_before", "poses_after", "surface"}
    assert "surface" not in keys(without(known, "points", "points_visible"))
    assert "surface" in keys(without(known, "points_visible"))


def test_invisible_gaussians_have_no_surface() -> None:
    known, result = scene()
    faint = replace(result.gaussians, opacity_logits=torch.full((len(result.gaussians),), -9.0))
    assert "surface" not in evaluate(faint, result.cameras, known.cameras, known).as_dict()


def test_white_stands_behind_the_object(cameras: Cameras) -> None:
    nothing = Gaussians.from_points(torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0))
    assert torch.equal(rendered_on_white(nothing, cameras), torch.ones(5, 100, 200, 3))
    known, result = scene()
    quality = input_quality(result.gaussians, result.cameras, known.views)
    assert quality.psnr.shape == (6,) and float(quality.psnr.min()) > 15
