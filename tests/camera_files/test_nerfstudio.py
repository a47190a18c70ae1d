from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from agsrec.camera_files import read_transforms_json, write_transforms_json
from agsrec.cameras import Cameras
from agsrec.errors import CameraError, ShapeError
from agsrec.lenses import Lens

FILES = [f"images/{i:03d}_rgba.png" for i in range(5)]
POSE = [[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2], [0, 0, 0, 1]]


def document(**shared: Any) -> dict[str, Any]:
    return {
        "w": 64,
        "h": 32,
        "fl_x": 100.0,
        "frames": [{"file_path": "a.png", "transform_matrix": POSE}],
    } | shared


def store(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "transforms.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_round_trip(tmp_path: Path, cameras: Cameras) -> None:
    path = tmp_path / "transforms.json"
    write_transforms_json(path, cameras, FILES, extras={"001": {"sharpness": 3}})
    listed = read_transforms_json(path)
    assert listed.names == ("000", "001", "002", "003", "004")
    assert listed.extras["001"] == {"sharpness": 3} and listed.files[0] == "000_rgba.png"
    assert (listed.cameras.width, listed.cameras.height) == (200, 100)
    torch.testing.assert_close(listed.cameras.viewmats, cameras.viewmats, atol=1e-6, rtol=0)
    torch.testing.assert_close(listed.cameras.Ks, cameras.Ks, rtol=0, atol=0)


def test_golden(tmp_path: Path) -> None:
    camera = read_transforms_json(store(tmp_path, document())).cameras
    # Two behind the origin on +z, looking along -z with y up: flipped to OpenCV axes.
    expected = torch.tensor([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 2], [0, 0, 0, 1]])
    torch.testing.assert_close(camera.viewmats[0], expected)
    torch.testing.assert_close(camera.Ks[0], torch.tensor([[100.0, 0, 32], [0, 100, 16], [0, 0, 1]]))


def test_field_of_view_stands_in_for_the_focal_length(tmp_path: Path) -> None:
    content = document(camera_angle_x=math.pi / 2)
    del content["fl_x"]
    assert read_transforms_json(store(tmp_path, content)).cameras.focal_lengths.tolist() == [[32.0, 32.0]]


def test_frame_overrides_file_and_size_can_be_given(tmp_path: Path) -> None:
    content = document()
    content["frames"][0] |= {"fl_x": 50.0, "fl_y": 60.0, "cx": 30.0}
    camera = read_transforms_json(store(tmp_path, content), 128, 64).cameras
    torch.testing.assert_close(camera.Ks[0], torch.tensor([[100.0, 0, 60], [0, 120, 32], [0, 0, 1]]))
    del content["w"], content["h"]
    camera = read_transforms_json(store(tmp_path, content), 128, 64).cameras
    torch.testing.assert_close(camera.Ks[0], torch.tensor([[50.0, 0, 30], [0, 60, 32], [0, 0, 1]]))


def test_scaled_and_short_matrices(tmp_path: Path, cameras: Cameras) -> None:
    path = tmp_path / "transforms.json"
    write_transforms_json(path, cameras, FILES)
    content = json.loads(path.read_text())
    for frame, scale in zip(content["frames"], (0.1, 1.0, 3.0, 1e3, 0.5), strict=True):
        rows = frame["transform_matrix"]
        frame["transform_matrix"] = [[*(scale * v for v in row[:3]), row[3]] for row in rows[:3]]
    listed = read_transforms_json(store(tmp_path, content))
    torch.testing.assert_close(listed.cameras.viewmats, cameras.viewmats, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("stored", "present", "file"),
    [
        ("./images/a.png", "images/a.png", "a.png"),
        ("images\\a.jpg", "images/a.jpg", "a.jpg"),
        ("./train/a", "train/a.png", "a.png"),
        ("a.b", "images/a.b.jpg", "a.b.png"),
        ("C:\\elsewhere\\a.jpg", "images/a.jpg", "a.jpg"),
        ("../../a.jpg", "images/a.jpg", "a.jpg"),
    ],
)
def test_size_of_the_photo_where_the_file_has_none(
    tmp_path: Path, stored: str, present: str, file: str
) -> None:
    (tmp_path / present).parent.mkdir(exist_ok=True)
    Image.new("RGB", (60, 40)).save(tmp_path / present)
    frame = {"file_path": stored, "transform_matrix": POSE}
    content = {"camera_angle_x": math.pi / 2, "frames": [frame]}
    listed = read_transforms_json(store(tmp_path, content))
    assert (listed.cameras.width, listed.cameras.height) == (60, 40) and listed.files == (file,)
    assert listed.cameras.Ks[0].tolist() == [[30, 0, 30], [0, 30, 20], [0, 0, 1]]
    content["camera_angle_y"] = 2 * math.atan(0.5)
    assert read_transforms_json(store(tmp_path, content)).cameras.Ks[0, 1].tolist() == [0, 40, 20]
    frame["fl_x"] = 77.0
    assert read_transforms_json(store(tmp_path, content)).cameras.Ks[0, 0].tolist() == [77, 0, 30]
    (tmp_path / present).write_bytes(b"no picture")
    with pytest.raises(CameraError, match=r"frame 0 has no image size .* is not an image"):
        read_transforms_json(store(tmp_path, content))


def test_a_photo_elsewhere_is_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
    content = {"camera_angle_x": 1.0, "frames": [{"file_path": "../a.png", "transform_matrix": POSE}]}
    with pytest.raises(CameraError, match="its photo is not beside the file"):
        read_transforms_json(store(tmp_path / "here", content))


def test_lenses(tmp_path: Path) -> None:
    content = document(k1=-0.1, p2=0.01, camera_model="OPENCV")
    content["frames"].append(content["frames"][0] | {"file_path": "b.png", "k1": 0.0, "p2": 0.0})
    content["frames"].append(content["frames"][0] | {"file_path": "c.png", "camera_model": "OPENCV_FISHEYE"})
    listed = read_transforms_json(store(tmp_path, content), 128, 64)
    bent, straight, fisheye = listed.lenses
    assert straight is None and bent is not None and fisheye is not None
    assert bent == Lens("perspective", (-0.1, 0, 0, 0.01, 0, 0, 0, 0), (200, 200), (64, 32), 128, 64)
    assert (fisheye.kind, fisheye.coefficients) == ("fisheye", (-0.1, 0, 0, 0))
    for camera, lens in ((0, bent), (2, fisheye)):
        torch.testing.assert_close(listed.cameras.Ks[camera], torch.from_numpy(lens.pinhole).float())
    assert listed.extras == {"a": {}, "b": {}, "c": {}}
    flag = read_transforms_json(store(tmp_path, document(is_fisheye=True))).lenses[0]
    assert flag is not None and flag.kind == "fisheye"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": []}, "no list of frames"),
        ({"frames": {}}, "no list of frames"),
        ({"frames": [1]}, "frame 0 must be"),
        ({"frames": [{"file_path": "a"}]}, "frame 0 lacks transform_matrix"),
        ({"w": 0}, "width must be"),
        ({"w": 1.5}, "whole pixels"),
        ({"h": None}, "height must be"),
        ({"fl_x": -1}, "fl_x must be"),
        ({"cx": "left"}, "cx must be"),
        ({"k1": "much"}, "k1 must be"),
        ({"k1": -99.0}, "distortion k1 -99 .* of no lens"),
        ({"k4": 0.1}, "k4 is for fisheye lenses"),
        ({"camera_model": "EQUIRECTANGULAR"}, "camera_model must be one of .*OPENCV_FISHEYE"),
        ({"camera_model": []}, "camera_model must be"),
        ({"camera_angle_y": 7}, "camera_angle_y"),
    ],
)
def test_bad_content(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(CameraError, match=message):
        read_transforms_json(store(tmp_path, document(**change)))


def test_missing_pieces(tmp_path: Path) -> None:
    for key, message in (("w", "no image size"), ("fl_x", "no focal length")):
        content = document()
        del content[key]
        with pytest.raises(CameraError, match=message):
            read_transforms_json(store(tmp_path, content))


def test_bad_matrices(tmp_path: Path) -> None:
    content = document()
    for matrix, message in (
        ([row[:3] for row in POSE], "list of 4 numbers"),
        (POSE[:2], "4 x 4 matrix"),
        ([*POSE[:3], [0, 0, 1, 1]], "last row"),
        ([[2, 0, 0, 0], *POSE[1:]], "not a rotation"),
        ([[0.0] * 4] * 3, "a rotation times a scale"),
        ([[-1, 0, 0, 0], *POSE[1:]], "mirrors"),
        ([[-2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0]], "mirrors"),
    ):
        content["frames"][0]["transform_matrix"] = matrix
        with pytest.raises(CameraError, match=message):
            read_transforms_json(store(tmp_path, content))


def test_duplicates_and_mixed_sizes(tmp_path: Path) -> None:
    frame = document()["frames"][0]
    with pytest.raises(CameraError, match="twice"):
        read_transforms_json(store(tmp_path, document(frames=[frame, frame | {"file_path": "b/a_rgba.png"}])))
    mixed = store(tmp_path, document(frames=[frame, frame | {"file_path": "b.png", "w": 63}]))
    assert read_transforms_json(mixed).sizes == ((64, 32), (63, 32))
    with pytest.raises(CameraError, match="mixes image sizes"):
        read_transforms_json(mixed, 64, 32)


def test_writing_checks_its_arguments(tmp_path: Path, cameras: Cameras) -> None:
    with pytest.raises(ShapeError):
        write_transforms_json(tmp_path / "t.json", cameras, FILES[:4])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=10,
)
KEYS = ["w", "h", "fl_x", "fl_y", "cx", "cy", "camera_angle_x", "k1", "k2", "p1", "frames"]
KEYS += ["camera_model", "is_fisheye"]


@settings(max_examples=200, deadline=None)
@given(
    shared=st.dictionaries(st.sampled_from(KEYS), json_values, max_size=3),
    frame=st.dictionaries(st.sampled_from([*KEYS, "file_path", "transform_matrix"]), json_values, max_size=3),
)
def test_fuzz(
    tmp_path_factory: pytest.TempPathFactory, shared: dict[str, Any], frame: dict[str, Any]
) -> None:
    content = document()
    content["frames"][0] |= frame
    path = tmp_path_factory.getbasetemp() / "fuzz_transforms.json"
    path.write_text(json.dumps(content | shared))
    try:
        cameras = read_transforms_json(path).cameras
        assert cameras.viewmats.isfinite().all() and cameras.Ks.isfinite().all()
    except CameraError as error:
        assert str(path) in str(error)
