"""`agsrec mesh`, and the mesh that `agsrec run` makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
    assert figures["psnr"] > figures["psnr_baked"] > 15
    assert (result / "mesh_comparison.png").stat().st_size > 1000


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
