"""`agsrec mesh`, and the mesh that `agsrec run` makes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
import torch
import trimesh

from agsrec.cli import main
from agsrec.gaussians import Gaussians
from agsrec.images import load_image
from agsrec.ply import write_ply
from tests.cli.helpers import refused
from tests.tiny import NAMES, quick_options, tiny_scene, write_scene
from tests.tiny_prior import tiny_zero123


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reconstruction with its mesh."""
    root = tmp_path_factory.mktemp("data")
    write_scene(root / "blob")
    options = [
        "--prior",
        "none",
        "--faces",
        "600",
        "--output",
        str(root / "out"),
        *quick_options(25, size=48),
    ]
    main(["run", "--category", "blob", "--data", str(root), *options])
    return root / "out" / "blob"


def test_run_makes_a_mesh(result: Path) -> None:
    mesh: Any = trimesh.load(result / "mesh.glb", force="mesh")
    assert 100 < len(mesh.faces) <= 600
    figures = json.loads((result / "metrics.json").read_text())["mesh"]
    assert figures["silhouette_iou"] > 0.8 and figures["faces"] == len(mesh.faces)
    assert figures["psnr"] == figures["psnr_baked"] > 15
    assert (result / "mesh_comparison.png").stat().st_size > 1000
    assert figures["file"] == "mesh.glb" and figures["bytes"] == (result / "mesh.glb").stat().st_size


def sections(page: str) -> list[str]:
    return re.findall(r'<section id="([^"]*)"', page)


def video_size(path: Path) -> tuple[int, int]:
    return next(imageio_ffmpeg.read_frames(str(path)))["size"]  # type: ignore[index]


def test_report_and_video_show_the_mesh(result: Path) -> None:
    page = (result / "report.html").read_text()
    assert sections(page)[:3] == ["photos-and-model", "turntable", "mesh"] and "mesh.glb (" in page
    figures = json.loads((result / "metrics.json").read_text())["mesh"]
    assert f"{figures['faces']} triangles, closed" in page and "the mesh (right)" in page
    width, height = video_size(result / "turntable.mp4")
    assert (width, height) == (2 * 48, 48 + 28)


def test_photos_are_kept_with_the_result(result: Path) -> None:
    views, _ = tiny_scene(8)
    kept = [load_image(result / "views" / f"{name}_rgba.png")[0] for name in NAMES]
    wanted = (views.images[[0, 1, 2, 4, 5, 6]] * 255).round().byte().numpy()
    assert all(np.array_equal(a, b) for a, b in zip(kept, wanted, strict=True))


def test_once_more_and_otherwise(result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--mesh_format", "obj", "--output", str(tmp_path), "--faces", "300", "--texture_size", "128"]
    main(["mesh", str(result), *options, "--refine_steps", "5", "--grid", "48"])
    written = {f.name for f in tmp_path.iterdir()}
    assert {"mesh.obj", "mesh.mtl", "mesh.png"} <= written and "mesh.glb" not in written
    mesh: Any = trimesh.load(tmp_path / "mesh.obj", force="mesh")
    assert len(mesh.faces) <= 300
    assert "mesh.obj" in capsys.readouterr().out
    assert video_size(tmp_path / "turntable.mp4") == (96, 76) and not (tmp_path / "report.html").exists()


def test_the_report_follows(result: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(result, folder)
    before = sections((folder / "report.html").read_text())
    options = ["--faces", "300", "--texture_size", "128", "--refine_steps", "0", "--grid", "32"]
    main(["mesh", str(folder), *options])
    page = (folder / "report.html").read_text()
    assert sections(page) == before, "replaced, not added"
    figures = json.loads((folder / "metrics.json").read_text())
    assert figures["mesh"]["faces"] <= 300 and f"holds {figures['mesh']['faces']} triangles" in page
    assert "128 x 128" in page and "1024 x 1024" not in page
    assert {"input", "views", "history"} <= set(figures), "the rest of the figures stays"


def test_a_prior_has_its_say(
    result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("agsrec.prior.load_prior", lambda name, device: tiny_zero123())
    options = ["--faces", "300", "--texture_size", "64", "--refine_steps", "4", "--grid", "32"]
    textures = []
    for prior in ("none", "some"):
        main(["mesh", str(result), "--output", str(tmp_path / prior), "--prior", prior, *options])
        assert json.loads((tmp_path / prior / "metrics.json").read_text())["mesh"]["prior"] is (
            prior == "some"
        )
        mesh: Any = trimesh.load(tmp_path / prior / "mesh.glb", force="mesh")
        textures.append(np.asarray(mesh.visual.material.baseColorTexture).astype(int))
    assert 0 < np.abs(textures[0] - textures[1]).max() < 40
    monkeypatch.undo()
    assert "nowhere" in refused(capsys, "mesh", str(result), "--output", str(tmp_path), "--prior", "nowhere")


@pytest.mark.parametrize(
    ("missing", "words"),
    [("splat.ply", "no splat.ply"), ("cameras.json", "no cameras.json"), ("views", "no views")],
)
def test_incomplete_results(
    result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], missing: str, words: str
) -> None:
    for part in ("splat.ply", "cameras.json", "views"):
        if part != missing:
            (tmp_path / part).symlink_to(result / part)
    assert words in refused(capsys, "mesh", str(tmp_path))


def test_wrong_options(result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--faces must be between" in refused(capsys, "mesh", str(result), "--faces", "3")
    assert "not a folder" in refused(capsys, "mesh", str(tmp_path / "nowhere"))
    assert "stl" in refused(capsys, "mesh", str(result), "--mesh_format", "stl")


def test_an_empty_scene_is_named_and_its_splat_kept(
    result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faint = Gaussians.from_points(torch.rand(50, 3), torch.rand(50, 3), torch.full((50,), 0.01), opacity=0.01)
    write_ply(tmp_path / "splat.ply", faint)
    for part in ("cameras.json", "views"):
        (tmp_path / part).symlink_to(result / part)
    assert "nothing to make a mesh of" in refused(capsys, "mesh", str(tmp_path))
    assert (tmp_path / "splat.ply").exists()
