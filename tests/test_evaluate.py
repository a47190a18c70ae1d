from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agsrec.dataset import load_gt_scene, load_scene
from agsrec.errors import CameraError, OptionError
from agsrec.evaluate import EvalResult, evaluate_folders, leave_one_out
from agsrec.pipeline import Settings
from agsrec.radiance import RadianceConfig, RadianceLevel, held_back, held_back_fold
from tests.pose_init.fakes import install, knowing
from tests.tiny import NAMES, rough, tiny_config, write_scene


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[EvalResult, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("data") / "blob"
    write_scene(folder)
    seen: list[dict[str, Any]] = []
    config = tiny_config(30, size=32)
    return evaluate_folders(
        [folder], Settings(fit=config), noise_deg=6.0, seeds=(0, 1), on_run=seen.append
    ), seen


def test_every_run_is_recorded(outcome: tuple[EvalResult, list[dict[str, Any]]]) -> None:
    result, seen = outcome
    assert seen == result.runs
    assert [(r["scene"], r["seed"], r["start"]) for r in result.runs] == [
        ("blob", 0, "oracle"),
        ("blob", 0, "rough"),
        ("blob", 1, "oracle"),
        ("blob", 1, "rough"),
    ]
    for run in result.runs:
        assert {"noise_deg", "seconds", "input", "poses_before", "poses_after", "novel"} <= set(run)
        assert len(run["pair_errors_deg"]) == 15 and run["peak_memory_mb"] > 50
    json.dumps(result.runs, allow_nan=False)


def test_starts_differ_as_asked(outcome: tuple[EvalResult, list[dict[str, Any]]]) -> None:
    before = [run["poses_before"] for run in outcome[0].runs]
    assert before[0]["pairs"]["median_deg"] == pytest.approx(0, abs=1e-3)
    rms = [math.sqrt(sum(e * e for e in b["view_errors_deg"]) / 6) for b in (before[1], before[3])]
    assert all(3 < value < 8 for value in rms) and rms[0] != rms[1]


def test_rows_pool_the_runs(outcome: tuple[EvalResult, list[dict[str, Any]]]) -> None:
    result, _ = outcome
    assert [(row["Scene"], row["Start"]) for row in result.rows] == [
        ("blob", "oracle"),
        ("blob", "rough"),
        ("all", "oracle"),
        ("all", "rough"),
    ]
    rough = result.rows[1]
    assert rough | {"Scene": "all"} == result.rows[3]
    runs = [run for run in result.runs if run["start"] == "rough"]
    assert rough["PSNR (dB)"] == pytest.approx(sum(run["novel"]["psnr"] for run in runs) / 2)
    pooled = [e for run in runs for e in run["pair_errors_deg"]]
    assert rough["Pairs < 5° (%)"] == pytest.approx(100 * sum(e <= 5 for e in pooled) / len(pooled))
    assert rough["Pairs < 15° (%)"] >= rough["Pairs < 5° (%)"]
    assert "Chamfer" not in rough, "there are no surface points"


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    write_scene(tmp_path / "blob")
    return tmp_path / "blob"


def test_from_an_initialiser(blob: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = load_gt_scene(blob).cameras
    install(monkeypatch, knowing(rough(truth, 10), NAMES, lost=["003"]))
    result = evaluate_folders([blob], Settings(fit=tiny_config(30, size=32)), init="auto")
    assert [(r["start"], r["placed"], r["views"]) for r in result.runs] == [("oracle", 6, 6), ("auto", 5, 6)]
    run, row = result.runs[1], result.rows[1]
    before, after = run["pair_errors_before_deg"], run["pair_errors_deg"]
    assert len(before) == len(after) == 15 and "noise_deg" not in run
    # Pairs with view 3, in the order (0, 1), (0, 2), (0, 3), ..., count as wrong.
    lost = [2, 6, 9, 12, 13]
    assert [i for i, e in enumerate(before) if e == 180] == lost
    assert [i for i, e in enumerate(after) if e == 180] == lost
    assert row["Placed (%)"] == pytest.approx(100 * 5 / 6)
    assert row["Init < 15° (%)"] == pytest.approx(100 * sum(e <= 15 for e in before) / 15)
    assert row["Init < 30° (%)"] == pytest.approx(100 * 10 / 15)
    assert row["Init error (°)"] == pytest.approx(sorted(before)[7], abs=1e-4)
    assert row["Pairs < 15° (%)"] <= 100 * 10 / 15 + 1e-6 and row["Views < 5° (%)"] <= 100 * 5 / 6 + 1e-6
    assert row["PSNR (dB)"] > 10 and run["seconds"] >= run["init_seconds"] >= 0
    assert "Placed (%)" not in result.rows[0]
    json.dumps(result.runs, allow_nan=False)


@pytest.fixture
def quick_referee(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields that are trained for a moment."""
    brief = RadianceConfig(object_size=16, levels=(RadianceLevel(8, 8),), batch=128)
    for function in (held_back, held_back_fold):
        monkeypatch.setattr(f"agsrec.evaluate.{function.__name__}", partial(function, config=brief))
    monkeypatch.setattr("agsrec.evaluate.refine_poses", lambda _, __, start, **___: start)


@pytest.mark.usefixtures("quick_referee")
def test_a_referee(blob: Path) -> None:
    settings = Settings(fit=tiny_config(8, size=32))
    result = evaluate_folders([blob], settings, oracle=False, referee="nerf")
    (run,) = result.runs
    judged = run["referee"]
    assert set(judged["by_view"]) == set(NAMES) and judged["standard_error"] is None
    assert result.rows[0]["NeRF (dB)"] == judged["psnr"] > 8
    json.dumps(run, allow_nan=False)
    scene = load_scene(blob.parent, blob.name, num_views=3)
    rows = leave_one_out(scene, settings, referee="nerf")
    assert [row["View"] for row in rows] == list(NAMES[:3]) and all(row["NeRF (dB)"] > 5 for row in rows)


def test_an_initialiser_alone(blob: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = load_gt_scene(blob).cameras
    monkeypatch.setattr("agsrec.evaluate.reconstruct", lambda *_, **__: pytest.fail("a fit was done"))
    install(monkeypatch, knowing(truth, NAMES))
    result = evaluate_folders([blob], init="auto", init_only=True, num_views=4, seeds=(0, 1))
    assert [(r["start"], r["placed"]) for r in result.runs] == [("auto", 4)] * 2
    assert result.rows[0]["Init < 15° (%)"] == 100 and "PSNR (dB)" not in result.rows[0]
    assert result.rows[0]["Init error (°)"] < 0.1


def test_an_initialiser_that_finds_nothing_is_a_figure_too(
    blob: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = load_gt_scene(blob).cameras
    install(monkeypatch, knowing(truth, NAMES, lost=NAMES))
    result = evaluate_folders([blob], init="auto", oracle=False)
    (run,) = result.runs
    assert run["placed"] == 0 and run["pair_errors_before_deg"] == [180.0] * 15 and "novel" not in run
    assert result.rows[0]["Placed (%)"] == 0 and result.rows[0]["Init < 30° (%)"] == 0
    with pytest.raises(OptionError, match="--init"):
        evaluate_folders([blob], init_only=True)


def test_bad_folders_are_named_before_any_work(tmp_path: Path) -> None:
    write_scene(tmp_path / "blob")
    write_scene(tmp_path / "other")
    (tmp_path / "other" / "cameras_gt.json").unlink()
    runs: list[dict[str, Any]] = []
    with pytest.raises(CameraError, match=r"cameras_gt.json is missing"):
        evaluate_folders([tmp_path / "blob", tmp_path / "other"], on_run=runs.append)
    with pytest.raises(OptionError, match=r"neither transforms.json nor cameras.json"):
        evaluate_folders([tmp_path / "blob", tmp_path], on_run=runs.append)
    with pytest.raises(OptionError, match="9 views asked for"):
        evaluate_folders([tmp_path / "blob"], num_views=9, on_run=runs.append)
    assert runs == []
