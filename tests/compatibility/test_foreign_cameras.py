"""Cameras as other programs write them, from the file to the views. Rows of docs/compatibility.md."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agsrec.camera_files import read_cameras_json, read_colmap, read_photo_cameras
from agsrec.cameras import Cameras
from agsrec.cli import main
from agsrec.errors import CameraError
from agsrec.images import save_png
from agsrec.pose_init import initialize
from agsrec.preprocess import process
from agsrec.view_files import load_unposed_views, load_views

SIZE = (80, 60)
VIEWS = ("a", "b", "c", "d")


def cut_out(width: int, height: int) -> np.ndarray:
    """RGBA [H, W, 4] of a box off the middle."""
    rgba = np.random.default_rng(0).integers(50, 255, (height, width, 4), dtype=np.uint8)
    rgba[..., 3] = 0
    rgba[10 : height // 2 + 10, 15 : width // 2 + 15, 3] = 255
    return rgba


def true_cameras(count: int = len(VIEWS)) -> Cameras:
    """Cameras of the photos, around the object."""
    Ks = Cameras.intrinsics(torch.full((count,), 90.0), *SIZE)
    angles = torch.tensor([-20.0, -5.0, -40.0, -15.0, 10.0, 0.0])[:count], torch.arange(count) * 50.0
    return Cameras.orbit(*angles, 2.0, Ks=Ks, width=SIZE[0], height=SIZE[1])


def frames(cameras: Cameras, names: Sequence[str] = VIEWS) -> list[dict[str, Any]]:
    return [
        {"file_path": f"images/{name}.png", "transform_matrix": pose}
        for name, pose in zip(names, cameras.to_opengl().tolist(), strict=True)
    ]


def write(file: Path, content: dict[str, Any], names: Sequence[str] = VIEWS) -> Path:
    """A transforms.json, with photos in the `images/` beside it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    for name in names:
        save_png(file.parent / "images" / f"{name}.png", cut_out(*SIZE))
    return file


def usual(cameras: Cameras | None = None, **changes: Any) -> dict[str, Any]:
    known = {"w": SIZE[0], "h": SIZE[1], "fl_x": 90.0}
    return known | {"frames": frames(true_cameras() if cameras is None else cameras)} | changes


def posed(folder: Path, file: Path | None = None) -> Cameras:
    """Cameras of the cut-out photos of a folder, by the file in it."""
    process(folder, size=64, cameras=file)
    estimate = initialize(load_views(folder), "file", file=file or folder, folder=folder)
    assert len(estimate.cameras) == len(load_views(folder))
    return estimate.cameras


def require_true_turns(cameras: Cameras, true: Cameras) -> None:
    turns = [c.rotations.double() @ c.rotations[0].double().mT for c in (cameras, true)]
    torch.testing.assert_close(*turns, atol=1e-5, rtol=0)


# -------------------------------------------------------------------- transforms.json


def larger_world(content: dict[str, Any]) -> None:
    for frame in content["frames"]:
        for row in frame["transform_matrix"][:3]:
            row[3] *= 1000.0


def own_intrinsics(content: dict[str, Any]) -> None:
    del content["fl_x"], content["w"], content["h"]
    for k, frame in enumerate(content["frames"]):
        frame |= {"fl_x": 90.0 + k, "fl_y": 90.0 + k, "cx": 40.0, "cy": 30.0, "w": 80, "h": 60}
        frame |= {"timestamp": 1.5 * k, "blur_score": 200.0}


def windows_paths(content: dict[str, Any]) -> None:
    for frame in content["frames"]:
        frame["file_path"] = "C:\\Users\\me\\mug\\" + frame["file_path"].replace("/", "\\")


def applied(content: dict[str, Any]) -> None:
    content["applied_transform"] = [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]]
    content |= {"applied_scale": 0.3, "ply_file_path": "sparse_pc.ply", "aabb_scale": 16}


@pytest.mark.parametrize("change", [larger_world, own_intrinsics, windows_paths, applied])
def test_kinds_of_transforms_json(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = usual()
    change(content)
    write(tmp_path / "mug" / "transforms.json", content)
    cameras = posed(tmp_path / "mug")
    require_true_turns(cameras, true_cameras())
    assert cameras.centers.norm(dim=-1).mean() == pytest.approx(1.85, rel=1e-4)


def test_blenders_folders(tmp_path: Path) -> None:
    """The photos are in `train/` beside the file, named without ending; of intrinsics there is an angle."""
    made = frames(true_cameras())
    for name, frame in zip(VIEWS, made, strict=True):
        frame |= {"file_path": f"./train/{name}", "rotation": 0.01}
        save_png(tmp_path / "train" / f"{name}.png", cut_out(*SIZE))
    content = {"camera_angle_x": 2 * float(np.arctan(40 / 90)), "frames": made}
    file = tmp_path / "transforms_train.json"
    file.write_text(json.dumps(content))
    cameras = posed(tmp_path / "train", file)
    require_true_turns(cameras, true_cameras())
    crop = process(tmp_path / "train", size=64, cameras=file).crops["a"]
    assert cameras.focal_lengths[0, 0] == pytest.approx(90 * cameras.width / crop.side)


def test_frames_and_photos_that_have_no_partner(tmp_path: Path) -> None:
    content = usual()
    content["frames"] = content["frames"][1:]
    content["frames"][2] |= {"file_path": "images/gone.png"}
    write(tmp_path / "transforms.json", content)
    process(tmp_path, size=64)
    estimate = initialize(load_views(tmp_path), "file", file=tmp_path / "transforms.json", folder=tmp_path)
    assert estimate.placed.tolist() == [False, True, True, False]


def test_cameras_that_look_away(tmp_path: Path) -> None:
    """Poses with OpenCV axes where OpenGL axes belong: the commonest mistake of scripts."""
    content = usual()
    content["frames"] = [
        frame | {"transform_matrix": pose}
        for frame, pose in zip(
            content["frames"], torch.linalg.inv(true_cameras().viewmats).tolist(), strict=True
        )
    ]
    write(tmp_path / "transforms.json", content)
    with pytest.raises(CameraError, match=r"look away from the place where their axes meet; .* right, up"):
        posed(tmp_path)


# -------------------------------------------------------------------- sizes


@pytest.mark.parametrize("kind", ["transforms.json", "sparse"])
def test_portrait_beside_landscape(tmp_path: Path, kind: str) -> None:
    """Every crop has the camera of its own photo, whatever the sizes of the others."""
    true = true_cameras()
    sizes = [SIZE, SIZE[::-1], SIZE, (160, 120)]
    focals = [90.0, 90.0, 95.0, 180.0]
    for name, size in zip(VIEWS, sizes, strict=True):
        save_png(tmp_path / "images" / f"{name}.png", cut_out(*size))
    if kind == "sparse":
        (tmp_path / "sparse").mkdir()
        models = [
            f"{k} SIMPLE_PINHOLE {w} {h} {f} {w / 2} {h / 2}"
            for k, ((w, h), f) in enumerate(zip(sizes, focals, strict=True))
        ]
        (tmp_path / "sparse" / "cameras.txt").write_text("\n".join(models))
        (tmp_path / "sparse" / "images.txt").write_text(
            colmap_images(true, [f"{n}.png" for n in VIEWS], [0, 1, 2, 3])
        )
    else:
        made = frames(true)
        for frame, (w, h), focal in zip(made, sizes, focals, strict=True):
            frame |= {"w": w, "h": h, "fl_x": focal}
        (tmp_path / "transforms.json").write_text(json.dumps({"frames": made}))
    cameras = posed(tmp_path)
    require_true_turns(cameras, true)
    crops = process(tmp_path, size=64).crops
    for k, name in enumerate(VIEWS):
        crop, scale = crops[name], cameras.width / crops[name].side
        center = [scale * (sizes[k][0] / 2 - crop.x0), scale * (sizes[k][1] / 2 - crop.y0)]
        assert cameras.principal_points[k].tolist() == pytest.approx(center, rel=1e-4)
        assert cameras.focal_lengths[k, 0] == pytest.approx(scale * focals[k], rel=1e-4)
    views = load_unposed_views(tmp_path)
    with pytest.raises(CameraError, match="80 x 60 pixels and other sizes but the views are"):
        initialize(views, "file", file=tmp_path / kind)


# -------------------------------------------------------------------- COLMAP


def colmap_images(true: Cameras, files: Sequence[str], models: Sequence[int], points: str = "\n") -> str:
    """An images.txt with gaps among its ids."""
    lines = []
    for k, (file, model) in enumerate(zip(files, models, strict=True)):
        quat = quaternion(true.rotations[k].double().numpy())
        pose = " ".join(f"{v:.12g}" for v in [*quat, *true.viewmats[k, :3, 3].tolist()])
        lines.append(f"{7 * k + 3} {pose} {model} {file}\n{points}")
    return "# comment\n" + "".join(lines)


def quaternion(rotation: np.ndarray) -> list[float]:
    """wxyz of a rotation [3, 3] that is not by half a turn."""
    w = np.sqrt(1 + np.trace(rotation)) / 2
    skew = rotation - rotation.T
    return [w, *(np.array([skew[2, 1], skew[0, 2], skew[1, 0]]) / (4 * w)).tolist()]


@pytest.mark.parametrize("points", ["\n", "", "5 6 -1 7 8 9\n", "1 2 3 4 5 6 7 8 9 1 2 3\n"])
def test_colmap_text_with_and_without_points(tmp_path: Path, points: str) -> None:
    """Programs other than COLMAP leave the line of points empty, or out."""
    true = turned_a_little()
    files = ["my photos/a b.png", "sub\\folder\\c.png", "d.png"]
    (tmp_path / "cameras.txt").write_text("4 PINHOLE 80 60 90 90 40 30\n9 SIMPLE_RADIAL 80 60 90 40 30 0\n")
    (tmp_path / "images.txt").write_text(colmap_images(true, files, [4, 9, 4], points))
    listed = read_colmap(tmp_path)
    assert listed.names == ("a b", "c", "d")
    torch.testing.assert_close(listed.cameras.viewmats, true.viewmats, atol=1e-5, rtol=0)


def turned_a_little() -> Cameras:
    true = true_cameras(3)
    viewmats = true.viewmats @ torch.linalg.inv(true.viewmats[0])
    return Cameras(viewmats, true.Ks, *SIZE)


def test_a_rig_of_colmap_itself(tmp_path: Path) -> None:
    """Two cameras on a rig, at two moments: rigs and frames have files of their own, poses stay per image."""
    pycolmap = pytest.importorskip("pycolmap")
    model, rig = pycolmap.Reconstruction(), pycolmap.Rig(rig_id=1)
    for k in (1, 2):
        camera = pycolmap.Camera(model="PINHOLE", width=80, height=60, params=[90, 90, 40, 30], camera_id=k)
        model.add_camera(camera)
        if k == 1:
            rig.add_ref_sensor(camera.sensor_id)
        else:
            aside = pycolmap.Rigid3d(pycolmap.Rotation3d(), np.array([0.25, 0.0, 0.0]))
            rig.add_sensor(camera.sensor_id, aside)
    model.add_rig(rig)
    for moment in (1, 2):
        frame = pycolmap.Frame(frame_id=moment, rig_id=1)
        frame.rig_from_world = pycolmap.Rigid3d(pycolmap.Rotation3d(), np.array([0.0, 0.0, float(moment)]))
        images = []
        for k in (1, 2):
            image = pycolmap.Image(
                name=f"cam{k}/{moment}_{k}.png", camera_id=k, image_id=2 * moment + k, frame_id=moment
            )
            frame.add_data_id(image.data_id)
            images.append(image)
        model.add_frame(frame)
        for image in images:
            model.add_image(image)
        model.register_frame(moment)
    for kind in ("binary", "text"):
        (tmp_path / kind).mkdir()
        getattr(model, f"write_{kind}")(str(tmp_path / kind))
        assert any(f.stem == "rigs" for f in (tmp_path / kind).iterdir())
        listed = read_colmap(tmp_path / kind)
        places = dict(zip(listed.names, listed.cameras.viewmats[:, :3, 3].tolist(), strict=True))
        assert places == {"1_1": [0, 0, 1], "1_2": [0.25, 0, 1], "2_1": [0, 0, 2], "2_2": [0.25, 0, 2]}


def test_photos_of_a_rig_with_the_same_names(tmp_path: Path) -> None:
    (tmp_path / "cameras.txt").write_text("4 PINHOLE 80 60 90 90 40 30\n")
    text = colmap_images(turned_a_little(), ["left/1.png", "right/1.png", "left/2.png"], [4] * 3)
    (tmp_path / "images.txt").write_text(text)
    with pytest.raises(CameraError, match="view '1' appears twice; rename one of them"):
        read_colmap(tmp_path)


# -------------------------------------------------------------------- others


@pytest.mark.parametrize("name", ["predictions.npz", "scene.glb", "sparse_pc.ply", "output.pt"])
@pytest.mark.parametrize("command", ["process", "poses"])
def test_what_networks_save_is_no_camera_file(
    tmp_path: Path, name: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    save_png(tmp_path / "a.png", cut_out(*SIZE))
    (tmp_path / name).write_bytes(b"PK\3\4" + b"\0" * 99)
    option = "--cameras" if command == "process" else "--file"
    with pytest.raises(SystemExit) as stop:
        main([command, str(tmp_path), option, str(tmp_path / name)])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and f"{name} is not a camera file that can be read; have the" in error


def test_polycams_raw_cameras_are_refused(tmp_path: Path) -> None:
    entry = {f"t_{i}{j}": float(i == j) for i in range(3) for j in range(4)} | {"fx": 90.0, "width": 80}
    (tmp_path / "1234.json").write_text(json.dumps(entry))
    with pytest.raises(CameraError, match=r"1234\.json has no list of frames; expected a transforms\.json"):
        read_photo_cameras(tmp_path / "1234.json")


def test_windows_paths_in_cameras_json(tmp_path: Path) -> None:
    entry = {"R": np.eye(3).tolist(), "T": [0, 0, 2], "focal_length": [300.0], "principal_point": [128, 128]}
    content = {"a": entry | {"filepath": "D:\\data\\processed\\a_rgba.png"}}
    (tmp_path / "cameras.json").write_text(json.dumps(content))
    assert read_cameras_json(tmp_path / "cameras.json", 64, 64).files == ("a_rgba.png",)
