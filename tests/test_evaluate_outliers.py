"""`agsrec eval --outliers`: views are turned as asked, and what the loop makes of them is counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from agsrec.cameras import Cameras
from agsrec.errors import OptionError
from agsrec.evaluate import evaluate_folders, with_outliers
from agsrec.metrics.poses import rotation_angles
from agsrec.pipeline import Settings
from tests.cli.helpers import refused
from tests.outliers.quick import quick_loop
from tests.tiny import tiny_config, tiny_scene, write_scene


def test_views_are_turned_about_the_vertical() -> None:
    cameras = tiny_scene(8)[1]
    angles = []
    for seed in range(20):
        turned, which = with_outliers(cameras, 2, torch.Generator().manual_seed(seed))
        moved = rotation_angles(turned.rotations.mT @ cameras.rotations)
        others = [view for view in range(8) if view not in which]
        assert float(moved[others].max()) < 0.1 and len(set(which)) == 2
        torch.testing.assert_close(turned.centers[:, 1], cameras.centers[:, 1], atol=1e-4, rtol=0)
        angles += moved[list(which)].tolist()
    assert min(angles) > 59.9 and max(angles) <= 180 and 100 < sum(angles) / len(angles) < 140
    untouched, which = with_outliers(cameras, 0, torch.Generator())
    assert untouched is cameras and which == ()


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    write_scene(tmp_path / "blob")
    return tmp_path / "blob"


def test_found_and_false_alarms_are_counted(blob: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agsrec.evaluate.OutlierConfig", quick_loop)

    def planted(cameras: Cameras, count: int, _: torch.Generator) -> tuple[Cameras, tuple[int, ...]]:
        from tests.outliers.quick import turned

        return (turned(cameras, 4, 130), (4,)) if count else (cameras, ())

    monkeypatch.setattr("agsrec.evaluate.with_outliers", planted)
    result = evaluate_folders([blob], Settings(fit=tiny_config(25, size=32)), noise_deg=4.0, outliers=1)
    assert [run["start"] for run in result.runs] == ["oracle", "rough", "loop"]
    oracle, plain, loop = result.runs
    assert "outliers" not in oracle and plain["outliers"] == loop["outliers"] == ["004"]
    assert "decisions" not in plain and loop["decisions"]["verdicts"]["004"] == "corrected"
    assert max(plain["poses_after"]["view_errors_deg"]) > 60 > max(loop["poses_after"]["view_errors_deg"])
    rows = {row["Start"]: row for row in result.rows if row["Scene"] == "all"}
    assert rows["loop"]["Found (%)"] == 100 and rows["loop"]["False alarms (%)"] == 0
    assert "Found (%)" not in rows["rough"]
    json.dumps(result.runs, allow_nan=False)


def test_no_more_than_the_loop_may_find(blob: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OptionError, match="must be between 0 and 2 for the 6 views of blob, not 3"):
        evaluate_folders([blob], outliers=3)
    message = refused(capsys, "eval", str(blob), "--outliers", "1", "--init", "nview")
    assert "leave --init" in message
