"""Every example runs, on inputs as small as they get."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch

from agsrec import PRESETS, Gaussians, load_scene, write_ply
from agsrec.camera_files import read_cameras_json, write_colmap, write_transforms_json
from agsrec.cameras import Cameras
from agsrec.errors import CameraError
from agsrec.images import load_image
from tests.tiny import NAMES, tiny_config, tiny_scene, write_scene

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def example(name: str) -> ModuleType:
    """An example as a module; its number keeps it from an ordinary import."""
    spec = importlib.util.spec_from_file_location(name[3:], EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_all_examples_are_tested() -> None:
    assert [file.stem for file in sorted(EXAMPLES.glob("*.py"))] == [
        "01_reconstruct",
        "02_render_a_splat",
        "03_own_cameras",
        "04_app_from_python",
    ]


def test_reconstruct(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scene(tmp_path / "data/thing")
    monkeypatch.setitem(PRESETS, "fast", tiny_config(5))
    example("01_reconstruct").main(name="thing", data=tmp_path / "data", output=tmp_path / "out", num_views=4)
    assert (tmp_path / "out/report.html").is_file() and (tmp_path / "out/splat.ply").is_file()
    out = capsys.readouterr().out
    assert "step 5 of 5" in out and "dB at the photos" in out


def test_render_a_splat(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    points = 0.2 * torch.randn(200, 3, generator=generator) + torch.tensor([3.0, 0.0, -1.0])
    colors = torch.tensor([[0.9, 0.1, 0.1]]).expand(200, 3)
    write_ply(tmp_path / "a.ply", Gaussians.from_points(points, colors, torch.full((200,), 0.08), 0.9))
    example("02_render_a_splat").main(splat=tmp_path / "a.ply", output=tmp_path / "turn", frames=3, size=48)
    files = sorted((tmp_path / "turn").glob("*.png"))
    assert [file.name for file in files] == ["000.png", "001.png", "002.png"]
    for file in files:
        rgba, _ = load_image(file)
        red, _, blue = rgba[24, 24, :3].tolist()
        # Red in the middle although the object is not at the origin, white in the corner.
        assert red > 180 and blue < 80
        assert rgba[0, 0, :3].tolist() == [255, 255, 255]


@pytest.fixture
def photos(tmp_path: Path) -> tuple[Path, Cameras]:
    """A folder whose photos of 96 x 64 were cropped at (20, 4) to 56 and enlarged to 112, and its cameras."""
    folder = tmp_path / "mug"
    crop = {"width": 96, "height": 64, "x0": 20, "y0": 4, "side": 56, "size": 112}
    (folder / "processed").mkdir(parents=True)
    (folder / "processed/crops.json").write_text(json.dumps({name: crop for name in NAMES}))
    _, cameras = tiny_scene(len(NAMES))
    Ks = Cameras.intrinsics(torch.full((len(NAMES),), 90.0), 96, 64)
    return folder, Cameras(cameras.viewmats, Ks, 96, 64)


@pytest.mark.parametrize("kind", ["colmap", "nerfstudio"])
def test_own_cameras(photos: tuple[Path, Cameras], tmp_path: Path, kind: str) -> None:
    folder, cameras = photos
    files = [f"{name}.jpg" for name in NAMES]
    source = tmp_path / kind
    if kind == "colmap":
        write_colmap(source, cameras.resized(192, 128), files)  # made at twice the resolution
    else:
        write_transforms_json(source, cameras, files)
    example("03_own_cameras").main(source=source, folder=folder)
    read = read_cameras_json(folder / "cameras.json", 112, 112)
    assert read.names == NAMES
    # Worked out by hand: the crop is central and enlarged twice.
    assert torch.allclose(read.cameras.focal_lengths, torch.tensor(180.0), atol=1e-2)
    assert torch.allclose(read.cameras.principal_points, torch.tensor([56.0, 56.0]), atol=1e-2)
    assert float(read.cameras.centers.norm(dim=-1).mean()) == pytest.approx(1.85, abs=1e-4)
    # The same pictures: relative poses agree up to the scale.
    relative = [c.rotations @ c.rotations[0].mT for c in (cameras, read.cameras)]
    assert torch.allclose(relative[0], relative[1], atol=1e-4)


def test_own_cameras_of_other_photos(photos: tuple[Path, Cameras], tmp_path: Path) -> None:
    folder, cameras = photos
    write_colmap(tmp_path / "model", cameras, [f"other{i}.jpg" for i in range(len(cameras))])
    with pytest.raises(CameraError, match="share 0 view names"):
        example("03_own_cameras").main(source=tmp_path / "model", folder=folder)
    assert not (folder / "cameras.json").exists()


def test_the_result_loads_as_a_scene(photos: tuple[Path, Cameras], tmp_path: Path) -> None:
    write_scene(tmp_path / "data/thing")
    folder, cameras = photos
    write_colmap(tmp_path / "model", cameras, [f"{name}.png" for name in NAMES])
    example("03_own_cameras").main(source=tmp_path / "model", folder=folder)
    (folder / "cameras.json").replace(tmp_path / "data/thing/cameras.json")
    scene = load_scene(tmp_path / "data", "thing")
    assert len(scene.cameras) == len(NAMES)
