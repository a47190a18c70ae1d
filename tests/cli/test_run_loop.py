"""`agsrec run --enable_loop`, and what its folder says of the decisions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from agsrec.camera_files import FORMAT_SIZE, read_cameras_json, write_cameras_json
from agsrec.cameras import Cameras
from agsrec.cli import main
from agsrec.dataset import load_scene
from agsrec.errors import SceneError
from agsrec.match_localization import posed_by_matches
from agsrec.metrics.poses import rotation_angles, rotation_errors_after_alignment
from agsrec.pose_search.photo import centred_photo
from agsrec.render import render_scene
from agsrec.result_files import fitted_size, load_fitted
from agsrec.views import Views
from tests.cli.helpers import refused
from tests.exact_dust3r import ExactScene
from tests.exact_mast3r import ExactMatcher
from tests.outliers.quick import quick_loop, turned
from tests.tiny import NAMES, quick_options, rough, tiny_scene, write_scene

WRONG = 4


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of a scene of which one view was turned by 130 degrees."""
    root = tmp_path_factory.mktemp("data")
    truth = tiny_scene(8)[1][[0, 1, 2, 4, 5, 6]]
    write_scene(root / "blob", start=turned(rough(truth, 4.0), WRONG, 130))
    patch = pytest.MonkeyPatch()
    patch.setattr("agsrec.outliers.OutlierConfig", quick_loop)
    options = ["--prior", "none", "--mesh_format", "none", "--output", str(root / "out")]
    options += quick_options(15, size=48)
    try:
        main(["run", "--category", "blob", "--data", str(root), "--enable_loop", *options])
    finally:
        patch.undo()
    return root / "out" / "blob"


def test_the_result_is_made_from_the_corrected_poses(result: Path) -> None:
    listed = read_cameras_json(result / "cameras.json", FORMAT_SIZE, FORMAT_SIZE)
    truth = load_scene(result.parents[1], "blob").truth
    assert truth is not None and listed.names == NAMES
    errors = rotation_errors_after_alignment(listed.cameras.to(dtype=torch.float32), truth)
    assert float(errors[WRONG]) < 15, errors
    extras = listed.extras
    assert extras["004"]["branch"] == "corrected" and extras["004"]["pose"] == "corrected"
    assert extras["000"]["pose"] == "trusted"


def test_decisions_are_written_with_their_numbers(result: Path) -> None:
    metrics = json.loads((result / "metrics.json").read_text(encoding="utf-8"))
    decisions = metrics["outliers"]
    assert decisions["verdicts"]["004"] == "corrected"
    assert max(decisions["trials"][0]["scores"], key=decisions["trials"][0]["scores"].get) == "004"
    assert decisions["searches"][0]["true_error_deg"][0] < 15
    assert metrics["timings"]["outliers"] > 0 and metrics["poses_before"]["view_errors_deg"][WRONG] > 100
    options = json.loads((result / "config.json").read_text(encoding="utf-8"))
    assert options["outliers"]["probe_size"] == 24
    report = (result / "report.html").read_text(encoding="utf-8")
    assert "Badly posed photos" in report and "Photo 004 was badly posed" in report


def test_rounds_are_kept_beside_the_result(result: Path) -> None:
    folders = sorted(f.name for f in (result / "rounds").iterdir())
    assert folders == ["corrected", "given", "trusted"]
    for name in folders:
        listed = read_cameras_json(result / "rounds" / name / "cameras.json", FORMAT_SIZE, FORMAT_SIZE)
        assert ("004" in listed.names) is (name != "trusted")
        assert (result / "rounds" / name / "splat.ply").stat().st_size > 1000
    assert any((result / "stages").glob("outliers-*.value"))


def test_a_photo_is_localized_in_the_result(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = result.parents[1] / "blob" / "processed" / "001_rgba.png"
    output = result / "poses" / "new.json"
    main(["localize", str(result), str(photo), "--output", str(output)])
    said = capsys.readouterr().out
    assert "was taken from azimuth" in said and "taken from the reconstruction's photos" in said
    record = json.loads(output.read_text(encoding="utf-8"))
    assert (record["width"], record["height"]) == (48, 48) and record["overlap"] > 0.75
    known = read_cameras_json(result / "cameras.json", FORMAT_SIZE, FORMAT_SIZE)
    own = known.cameras.rotations[known.names.index("001")]
    assert float(rotation_angles(torch.tensor(record["viewmat"])[:3, :3] @ own.float().mT)) < 12
    assert record["ambiguous"] is (record["margin"] < 0.1) and len(record["runners_up"]) <= 3
    assert output.with_suffix(".png").stat().st_size > 1000


def test_a_photo_is_localized_by_its_matches(result: Path) -> None:
    """With a network that knows which surface point every pixel shows."""
    gaussians, views, cameras = load_fitted(result)
    photo, K = views.images[1], cameras.Ks[1].float()
    centred = centred_photo(photo, K, views.width)
    turn = torch.eye(4)
    turn[:3, :3] = centred.turn
    side = views.width
    own = Cameras((turn @ cameras.viewmats[1].float())[None], centred.K(side)[None], side, side)
    everyone = Cameras.cat([own, cameras.to(dtype=torch.float32)])
    seen = render_scene(gaussians, everyone, fitted_size=fitted_size(result))
    assert seen.depth is not None
    v, u = torch.meshgrid(*(torch.arange(side) + 0.5,) * 2, indexing="ij")
    rays = torch.stack([u, v, torch.ones_like(u)], -1) @ torch.linalg.inv(everyone.Ks).mT[:, None]
    points = (rays * seen.depth[..., None]) @ everyone.rotations[:, None] + everyone.centers[:, None, None]
    picture = centred.at(side)
    picture = torch.cat([picture[..., :3] / picture[..., 3:].clamp_min(1e-6), picture[..., 3:]], -1)
    shown = Views(torch.cat([picture.clamp(0, 1)[None], views.images]), ("new", *views.names))
    network = ExactMatcher(ExactScene(shown, everyone, points))
    found = posed_by_matches(result, Path("new.png"), photo, K, network, torch.device("cpu"))
    turned = found.viewmats[0, :3, :3] @ cameras.rotations[1].float().mT
    assert float(rotation_angles(turned)) < 2 and float(found.overlaps[0]) > 0.75

    everything = frozenset((i, j) for i in range(7) for j in range(7))
    blind = replace(network, blind=everything)
    with pytest.raises(SceneError, match=r"new\.png: no pose explains it .* --method search"):
        posed_by_matches(result, Path("new.png"), photo, K, blind, torch.device("cpu"))


def test_what_cannot_be_localized_is_said(
    result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = str(result.parents[1] / "blob" / "test" / "100_rgba.png")
    assert "is not a folder" in refused(capsys, "localize", str(tmp_path / "nowhere"), photo)
    assert "has no splat.ply" in refused(capsys, "localize", str(tmp_path), photo)
    assert "no such file" in refused(capsys, "localize", str(result), str(tmp_path / "photo.png"))
    assert "--focal must be" in refused(capsys, "localize", str(result), photo, "--focal", "0")
    assert "--roll must be" in refused(capsys, "localize", str(result), photo, "--roll", "0")
    assert "search has no model" in refused(capsys, "localize", str(result), photo, "--model", "some")
    other = ("--method", "mast3r", "--model", str(tmp_path / "nowhere"))
    assert "nowhere" in refused(capsys, "localize", str(result), photo, *other)
    assert "must end in .json" in refused(capsys, "localize", str(result), photo, "--output", "pose.png")
    write_cameras_json(tmp_path / "cameras.json", tiny_scene(8)[1], tuple("abcdefgh"))
    (tmp_path / "splat.ply").write_bytes(b"ply")
    assert "splat.ply" in refused(capsys, "localize", str(tmp_path), photo)


def test_a_photo_of_something_else_gets_no_pose(
    result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import numpy as np

    from agsrec.images import save_png

    bar = np.zeros((48, 48, 4), np.uint8)
    bar[22:26, 2:46] = (255, 0, 255, 255)
    save_png(tmp_path / "bar_rgba.png", bar)
    assert "no pose explains it" in refused(capsys, "localize", str(result), str(tmp_path / "bar_rgba.png"))
    assert not (tmp_path / "bar_pose.json").exists()
