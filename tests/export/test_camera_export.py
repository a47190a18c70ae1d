"""The folder `export/`: what other programs read out of it is where the photos' cameras are."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from agsrec.camera_files import read_colmap, read_transforms_json
from agsrec.cameras import Cameras
from agsrec.export.camera_export import ExportInput, save_camera_exports
from agsrec.gaussians import Gaussians

FILES = ["a_rgba.png", "b_rgba.png", "c_rgba.png"]
WIDTH, HEIGHT = 80, 60


def cameras() -> Cameras:
    """Three cameras whose principal points are off the centre."""
    centers = torch.tensor([[38.0, 33.0], [45.5, 24.0], [40.0, 30.0]], dtype=torch.float64)
    focal = torch.tensor([70.0, 90.0, 110.0], dtype=torch.float64)
    Ks = Cameras.intrinsics(focal, WIDTH, HEIGHT, principal_point=centers)
    elevation, azimuth = torch.tensor([[-20.0, 10.0, 45.0], [15.0, 130.0, 250.0]], dtype=torch.float64)
    return Cameras.orbit(elevation, azimuth, 1.9, Ks=Ks, width=WIDTH, height=HEIGHT)


def scene() -> Gaussians:
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(3)) - 0.5
    faint = Gaussians.from_points(points[:10], points[:10] + 0.5, torch.full((10,), 0.01), opacity=0.1)
    solid = Gaussians.from_points(points, points + 0.5, torch.full((50,), 0.01), opacity=0.9)
    return Gaussians(*(torch.cat([getattr(solid, n), getattr(faint, n)]) for n in solid.__dataclass_fields__))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "views").mkdir()
    for file in FILES[:2]:
        (tmp_path / "views" / file).write_bytes(b"")
    save_camera_exports(tmp_path / "export", ExportInput(cameras(), FILES, scene()))
    return tmp_path / "export"


def test_nerfstudio_reads_the_cameras_and_finds_the_pictures(folder: Path) -> None:
    found = read_transforms_json(folder / "transforms.json")
    torch.testing.assert_close(found.cameras.viewmats, cameras().viewmats, check_dtype=False)
    torch.testing.assert_close(found.cameras.Ks, cameras().Ks, check_dtype=False)
    assert found.names == ("a", "b", "c") and (found.cameras.width, found.cameras.height) == (WIDTH, HEIGHT)
    frames = json.loads((folder / "transforms.json").read_text())["frames"]
    assert [(folder / f["file_path"]).exists() for f in frames] == [True, True, False]


def test_colmap_reads_the_cameras_and_the_solid_points(folder: Path) -> None:
    found = read_colmap(folder / "sparse" / "0")
    torch.testing.assert_close(found.cameras.viewmats, cameras().viewmats, check_dtype=False)
    torch.testing.assert_close(found.cameras.Ks, cameras().Ks, check_dtype=False)
    assert list(found.files) == FILES
    assert found.points is not None and found.colors is not None
    torch.testing.assert_close(found.points, scene().means[:50])
    torch.testing.assert_close(found.colors, scene().base_colors[:50], atol=1 / 255, rtol=0)


class Blender:
    """Of Blender's Python interface, what the script uses; it remembers what was made."""

    def __init__(self) -> None:
        self.made: list[Any] = []
        self.imported: list[str] = []
        self.linked: list[Any] = []
        objects = SimpleNamespace(link=self.linked.append)
        render = SimpleNamespace(resolution_x=1920, resolution_y=1080)
        self.scene = SimpleNamespace(collection=SimpleNamespace(objects=objects), render=render, camera=None)
        module: Any = ModuleType("bpy")
        module.context = SimpleNamespace(space_data=None, scene=self.scene)
        module.data = SimpleNamespace(
            cameras=SimpleNamespace(
                new=lambda name: SimpleNamespace(name=name, background_images=Backgrounds())
            ),
            objects=SimpleNamespace(new=self.object),
            images=SimpleNamespace(load=lambda path: path),
        )
        module.ops = SimpleNamespace(import_scene=SimpleNamespace(gltf=self.import_gltf))
        self.module = module

    def import_gltf(self, filepath: str) -> None:
        self.imported.append(filepath)

    def object(self, name: str, data: Any) -> Any:
        self.made.append(SimpleNamespace(name=name, data=data, matrix_world=None))
        return self.made[-1]


class Backgrounds(list[Any]):
    def new(self) -> Any:
        self.append(SimpleNamespace())
        return self[-1]


def in_blender(script: Path, monkeypatch: pytest.MonkeyPatch) -> Blender:
    blender = Blender()
    mathutils: Any = ModuleType("mathutils")
    mathutils.Matrix = lambda rows: np.array(rows, dtype=np.float64)
    monkeypatch.setitem(sys.modules, "bpy", blender.module)
    monkeypatch.setitem(sys.modules, "mathutils", mathutils)
    runpy.run_path(str(script))
    return blender


def seen_in_blender(camera: Any, points: np.ndarray) -> np.ndarray:
    """Pixels [N, 2], from the upper left, of points [N, 3] with +z up; as Blender's manual has it."""
    local = (points - camera.matrix_world[:3, 3]) @ camera.matrix_world[:3, :3]  # looks along -z, +y up
    lens = camera.data.lens / camera.data.sensor_width * WIDTH  # fitted horizontally
    x, y = (lens * local[:, k] / -local[:, 2] for k in (0, 1))
    middle = 0.5 * WIDTH - camera.data.shift_x * WIDTH, 0.5 * HEIGHT + camera.data.shift_y * WIDTH
    return np.stack([middle[0] + x, middle[1] - y], axis=-1)


def test_blender_sees_points_where_the_photos_have_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.parent / "mesh.glb").write_bytes(b"")
    blender = in_blender(folder / "blender.py", monkeypatch)
    assert [camera.name for camera in blender.linked] == ["a_rgba", "b_rgba", "c_rgba"]
    points = scene().means[:20].double()
    turned = np.stack([points[:, 0], -points[:, 2], points[:, 1]], axis=-1)  # +y up, as +z up
    wanted = cameras().project(points)[0]
    for camera, pixels in zip(blender.linked, wanted, strict=True):
        np.testing.assert_allclose(seen_in_blender(camera, turned), pixels, atol=1e-3)
    assert blender.imported == [str(folder.parent / "mesh.glb")]
    assert [len(camera.data.background_images) for camera in blender.linked] == [1, 1, 0]
    photo = Path(blender.linked[0].data.background_images[0].image)
    assert photo == (folder.parent / "views" / "a_rgba.png").resolve()
    assert blender.scene.camera is blender.linked[0]
    assert (blender.scene.render.resolution_x, blender.scene.render.resolution_y) == (WIDTH, HEIGHT)


def test_blender_does_without_a_mesh(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blender = in_blender(folder / "blender.py", monkeypatch)
    assert blender.imported == [] and len(blender.linked) == 3
