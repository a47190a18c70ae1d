from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from agsrec.camera_files import read_camera_course, read_transforms_json
from agsrec.cameras import Cameras
from agsrec.dataset import Scene, load_scene
from agsrec.errors import OutputError
from agsrec.export import results as module
from agsrec.export.results import save_results
from agsrec.export.viewer_splat import thickened_for_viewers
from agsrec.figures import turntable
from agsrec.files import prepare_folder
from agsrec.gaussians import Gaussians
from agsrec.pipeline import Settings
from agsrec.pipeline.run import reconstruct
from agsrec.ply import read_ply
from agsrec.reconstruction import Reconstruction
from agsrec.result_files import load_shown, load_splat
from tests.tiny import NAMES, tiny_config, write_scene

FILES = {
    "cameras.json", "cameras_rounds.json", "splat.ply", "splat_fitted.ply", "turntable.mp4", "comparison.png",
    "cameras.png", "metrics.json", "config.json", "report.html", "views", "export",
}  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Scene, Reconstruction, dict[str, Any]]:
    """A data folder that also holds the results of its scene `blob`, in `out`."""
    root = tmp_path_factory.mktemp("data")
    write_scene(root / "blob")
    scene = load_scene(root, "blob")
    result = reconstruct(scene.views, scene.cameras, Settings(fit=tiny_config(15, size=32, sh_degree=1)))
    return root, scene, result, save_results(result, root / "out", scene)


Saved = tuple[Path, Scene, Reconstruction, dict[str, Any]]


def test_all_files_are_there(saved: Saved) -> None:
    folder = saved[0] / "out"
    assert {f.name for f in folder.iterdir()} == FILES
    for name in ("comparison.png", "cameras.png"):
        with Image.open(folder / name) as image:
            assert min(image.size) > 50
    assert b"ftyp" in (folder / "turntable.mp4").read_bytes()[:32]


def test_cameras_are_an_input_again(saved: Saved) -> None:
    root, scene, result, _ = saved
    (root / "again").mkdir()
    (root / "again" / "processed").symlink_to(root / "blob" / "processed")
    (root / "again" / "cameras.json").write_bytes((root / "out" / "cameras.json").read_bytes())
    again = load_scene(root, "again")
    assert again.views.names == NAMES and again.extras == scene.extras
    torch.testing.assert_close(again.cameras.viewmats, result.cameras.viewmats, atol=1e-5, rtol=0)
    torch.testing.assert_close(again.cameras.Ks, result.cameras.Ks)


def test_other_programs_get_the_refined_cameras(saved: Saved) -> None:
    root, _, result, _ = saved
    found = read_transforms_json(root / "out" / "export" / "transforms.json")
    torch.testing.assert_close(found.cameras.viewmats, result.cameras.viewmats, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.cameras.Ks, result.cameras.Ks)
    assert all((root / "out" / "views" / file).is_file() for file in found.files)


def test_the_course_of_the_cameras_is_kept(saved: Saved) -> None:
    root, scene, result, metrics = saved
    course = read_camera_course(root / "out" / "cameras_rounds.json")
    assert course.views == course.used == NAMES
    assert course.iterations == (0, *(record["iteration"] for record in result.history)) and (
        course.iterations[-1] == 15
    )
    assert scene.truth is not None and course.truth is not None
    exact = {"atol": 2e-6, "rtol": 0}
    torch.testing.assert_close(course.given, scene.cameras.viewmats, **exact)
    torch.testing.assert_close(course.truth, scene.truth.viewmats, **exact)
    torch.testing.assert_close(course.viewmats[0], scene.cameras.viewmats, **exact)
    torch.testing.assert_close(course.viewmats[-1], result.cameras.viewmats, **exact)
    assert all("viewmats" not in record for record in metrics["history"])


def test_the_course_starts_where_the_corrected_cameras_are(saved: Saved) -> None:
    _, scene, result, _ = saved
    start = scene.cameras[range(5)].perturbed(20, torch.Generator().manual_seed(0))
    correction: Any = SimpleNamespace(views=scene.views, given=scene.cameras, start=start)
    course = module._course(
        replace(result, views=scene.views[range(5)], history=[], correction=correction), None
    )
    assert course.views == NAMES and course.used == NAMES[:5] and course.truth is None
    assert torch.equal(course.viewmats[0], start.viewmats) and torch.equal(
        course.given, scene.cameras.viewmats
    )


def test_what_is_worked_on_further_is_exact(saved: Saved) -> None:
    root, _, result, _ = saved
    for loaded in (read_ply(root / "out" / "splat_fitted.ply"), load_splat(root / "out")):
        for name, tensor in vars(result.gaussians).items():
            assert torch.equal(getattr(loaded, name), tensor), name


def test_viewers_get_the_blur_of_the_fit_once(saved: Saved) -> None:
    root, _, result, _ = saved
    shown = thickened_for_viewers(result.gaussians, result.cameras, result.fitted_size)
    assert (shown.scales > result.gaussians.scales).all()
    for loaded in (read_ply(root / "out" / "splat.ply"), load_shown(root / "out")[0]):
        for name, tensor in vars(shown).items():
            assert torch.equal(getattr(loaded, name), tensor), name


def test_results_of_earlier_versions_have_one_splat(saved: Saved, tmp_path: Path) -> None:
    root, _, result, _ = saved
    shutil.copy(root / "out" / "splat_fitted.ply", tmp_path / "splat.ply")
    assert torch.equal(load_splat(tmp_path).log_scales, result.gaussians.log_scales)


def test_metrics_and_options_are_stored(saved: Saved) -> None:
    root, _, result, metrics = saved

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    stored = json.loads((root / "out" / "metrics.json").read_text(), parse_constant=refuse)
    assert stored == json.loads(json.dumps(metrics))
    assert stored["views"] == list(NAMES) and stored["gaussians"] == len(result.gaussians)
    assert {"input", "poses_before", "poses_after", "novel", "timings", "seconds", "history"} <= set(stored)
    assert stored["seconds"] == pytest.approx(sum(stored["timings"].values()))
    config = json.loads((root / "out" / "config.json").read_text())
    assert config["fit"]["rounds"][0]["stages"][0]["iterations"] == 15 and config["seed"] == 0


def test_report_names_the_object(saved: Saved) -> None:
    html = (saved[0] / "out" / "report.html").read_text()
    assert "blob" in html and "data:image" in html and all(name in html for name in NAMES)


def test_nothing_but_photos_and_no_steps(saved: Saved, tmp_path: Path) -> None:
    """A result without a scene around it and without a history can be saved too."""
    _, scene, _, _ = saved
    bare = reconstruct(scene.views[[0, 1]], scene.cameras[[0, 1]], Settings(fit=tiny_config(0)))
    metrics = save_results(bare, str(tmp_path / "deep" / "out"))
    assert {f.name for f in (tmp_path / "deep" / "out").iterdir()} == FILES
    assert "input" not in metrics and "poses_after" not in metrics


def test_objects_away_from_the_origin_stay_in_the_turntable(
    saved: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, scene, result, _ = saved
    shift = torch.tensor([4.0, -3.0, 2.0])
    moved = replace(
        result,
        gaussians=replace(result.gaussians, means=result.gaussians.means + shift),
        cameras=result.cameras.transformed(1.0, torch.eye(3), shift),
        initial_cameras=result.initial_cameras.transformed(1.0, torch.eye(3), shift),
    )
    covered: list[float] = []

    def watch(gaussians: Gaussians, cameras: Cameras) -> torch.Tensor:
        images = draw(gaussians, cameras)
        covered.append(float((images < 0.99).any(-1).double().mean(dim=(1, 2)).min()))
        return images

    draw = turntable.rendered_on_white
    monkeypatch.setattr(turntable, "rendered_on_white", watch)
    save_results(moved, tmp_path / "out", replace(scene, truth=None))
    assert len(covered) > 1 and min(covered) > 0.03


def test_unwritable_output_before_any_work(
    saved: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, scene, result, _ = saved
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(OutputError, match=r"cannot write .*file"):
            prepare_folder(folder)
    monkeypatch.setattr(module, "rendered_on_white", lambda *_: pytest.fail("work was done"))
    with pytest.raises(OutputError):
        save_results(result, tmp_path / "file", scene)
    assert (tmp_path / "file").read_text() == "in the way"


def test_preparing_changes_nothing(saved: Saved) -> None:
    folder = saved[0] / "out"
    before = {f.name: f.read_bytes() for f in folder.iterdir() if f.is_file()}
    prepare_folder(folder)
    assert {f.name: f.read_bytes() for f in folder.iterdir() if f.is_file()} == before
