from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agsrec.camera_files import read_cameras_json, write_cameras_json
from agsrec.cameras import Cameras
from agsrec.errors import CameraError, OutputError, ShapeError

NAMES = ("001", "002", "b", "d", "c")


def entry() -> dict[str, Any]:
    return {
        "R": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        "T": [0.0, 0.0, 2.0],
        "focal_length": [300.0, 310.0],
        "principal_point": [128.0, 127.0],
        "flag": 1,
        "needs_checking": False,
        "filepath": "data/demo/x/processed/a_rgba.png",
    }


def store(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "cameras.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_round_trip(tmp_path: Path, cameras: Cameras) -> None:
    path = tmp_path / "cameras.json"
    extras = {"b": {"note": {"deep": [1, None]}, "filepath": "elsewhere/b.png", "R": "ignored"}}
    write_cameras_json(path, cameras, NAMES, extras=extras, flags=[1, 1, 0, 1, 1])
    listed = read_cameras_json(path, 200, 100)
    assert listed.names == NAMES and listed.flags == (1, 1, 0, 1, 1)
    assert listed.files == ("001_rgba.png", "002_rgba.png", "b.png", "d_rgba.png", "c_rgba.png")
    torch.testing.assert_close(listed.cameras.viewmats, cameras.viewmats, rtol=0, atol=0)
    torch.testing.assert_close(listed.cameras.Ks, cameras.Ks)
    assert listed.extras["b"]["note"] == {"deep": [1, None]}
    # What was read is written back the same.
    write_cameras_json(
        tmp_path / "again.json", listed.cameras, NAMES, extras=listed.extras, flags=listed.flags
    )
    assert json.loads((tmp_path / "again.json").read_text()).keys() == json.loads(path.read_text()).keys()
    assert json.loads((tmp_path / "again.json").read_text())["b"]["note"] == {"deep": [1, None]}


def test_golden_entry(tmp_path: Path) -> None:
    listed = read_cameras_json(store(tmp_path, {"a": entry()}), 512, 256)
    # Identity in PyTorch3D turns about +z by half to OpenCV; intrinsics double in x only.
    torch.testing.assert_close(listed.cameras.viewmats[0].diagonal(), torch.tensor([-1.0, -1.0, 1.0, 1.0]))
    torch.testing.assert_close(
        listed.cameras.Ks[0], torch.tensor([[600.0, 0, 256], [0, 310, 127], [0, 0, 1]])
    )
    assert listed.files == ("a_rgba.png",)


@pytest.mark.parametrize("name", ["jordan", "butter", "toy"])
def test_public_files_come_back_unchanged(shared_dir: Path, tmp_path: Path, name: str) -> None:
    path = shared_dir / "data" / "photos" / name / "cameras.json"
    listed = read_cameras_json(path, 256, 256)
    write_cameras_json(
        tmp_path / "out.json", listed.cameras, listed.names, extras=listed.extras, flags=listed.flags
    )
    written, original = json.loads((tmp_path / "out.json").read_text()), json.loads(path.read_text())
    assert list(written) == list(original)
    for view, content in original.items():
        assert written[view].keys() == content.keys()
        for key, value in content.items():
            if isinstance(value, list):
                expected = torch.tensor(value).expand(torch.tensor(written[view][key]).shape)
                torch.testing.assert_close(torch.tensor(written[view][key]), expected, rtol=1e-6, atol=1e-6)
            else:
                assert written[view][key] == value


def test_a_printed_rotation_is_accepted_and_made_exact(tmp_path: Path, cameras: Cameras) -> None:
    path = tmp_path / "cameras.json"
    write_cameras_json(path, cameras, NAMES)
    content = json.loads(path.read_text())
    for view in content.values():
        view["R"] = [[round(v, 4) for v in row] for row in view["R"]]
    rotations = read_cameras_json(store(tmp_path, content), 200, 100).cameras.rotations
    torch.testing.assert_close(rotations @ rotations.mT, torch.eye(3).expand(5, 3, 3), rtol=0, atol=1e-6)
    torch.testing.assert_close(rotations, cameras.rotations, rtol=0, atol=1e-4)


@pytest.mark.parametrize("focal", [300, [300], [300, 300], 300.0])
def test_forms_of_the_focal_length(tmp_path: Path, focal: Any) -> None:
    listed = read_cameras_json(store(tmp_path, {"a": entry() | {"focal_length": focal}}), 256, 256)
    assert listed.cameras.focal_lengths.tolist() == [[300, 300]]


BAD_FIELDS = [
    ("R", [[2.0, 0, 0], [0, 1, 0], [0, 0, 1]], "R is not a rotation"),
    ("R", [[1.0, 0, 0], [0, 1, 0], [0, 0, -1]], "mirrors"),
    ("R", [[1.0, 0, 0], [0, 1, 0]], r"R must be a 3 x 3 matrix"),
    ("R", [[1.0, 0, 0], [0, "1", 0], [0, 0, 1]], r"R\[1\]\[1\] must be a finite number"),
    ("R", [[math.nan] * 3] * 3, r"R\[0\]\[0\] must be a finite number"),
    ("R", 5, "R must be"),
    ("T", [0, 0], "T must be a list of 3 numbers"),
    ("T", [0, 0, math.inf], r"T\[2\] must be a finite"),
    ("T", [0, 0, 10**400], r"T\[2\] must be a finite"),
    ("T", [0, 0, True], r"T\[2\] must be"),
    ("T", None, "T must be"),
    ("focal_length", 0, "focal_length must be a finite number between 0.01"),
    ("focal_length", -300.0, "focal_length must be"),
    ("focal_length", [300, 300, 300], "focal_length must be a positive number"),
    ("focal_length", [], "focal_length must be"),
    ("principal_point", [128], "principal_point must be a list of 2"),
    ("flag", "yes", "flag must be 1"),
    ("flag", math.nan, "flag must be 1"),
    ("flag", [], "flag must be 1"),
    ("filepath", 3, "filepath must be"),
    ("filepath", "processed/..", "filepath must be"),
    ("filepath", "a\0b.png", "filepath must be"),
]


@pytest.mark.parametrize(("key", "value", "message"), BAD_FIELDS)
def test_bad_field_is_named(tmp_path: Path, key: str, value: Any, message: str) -> None:
    path = store(tmp_path, {"good": entry(), "bad": entry() | {key: value}})
    with pytest.raises(CameraError, match=message) as error:
        read_cameras_json(path, 256, 256)
    assert str(path) in str(error.value) and "'bad'" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["R", "T", "focal_length", "principal_point"])
def test_missing_key_is_named(tmp_path: Path, key: str) -> None:
    bad = entry()
    del bad[key]
    with pytest.raises(CameraError, match=f"'bad' lacks {key};"):
        read_cameras_json(store(tmp_path, {"bad": bad}), 256, 256)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[]", "must hold a JSON object"),
        ("null", "must hold a JSON object"),
        ("{}", "has no views"),
        ('{"a": 1}', "must be an object"),
        ('{"a": {}, "a": {}}', "'a' appears twice"),
        ('{"../up": {}}', "without slashes"),
        ('{"\\ud800": {}}', "printable"),
        ('{"": {}}', "printable"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ' + "[" * 500 + "]" * 500 + "}", "nested too deeply"),
        ('{"a": ' + "9" * 10_000 + "}", "not valid JSON"),
    ],
)
def test_bad_file(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(CameraError, match=message):
        read_cameras_json(store(tmp_path, content), 256, 256)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="no such file"):
        read_cameras_json(tmp_path / "cameras.json", 256, 256)
    with pytest.raises(CameraError, match="is a folder"):
        read_cameras_json(tmp_path, 256, 256)


def test_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "cameras.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"a": entry()}).encode())
    assert read_cameras_json(path, 256, 256).names == ("a",)


def test_writing_checks_its_arguments(tmp_path: Path, cameras: Cameras) -> None:
    with pytest.raises(ShapeError, match="unique names"):
        write_cameras_json(tmp_path / "c.json", cameras, ["a"] * 5)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_cameras_json(tmp_path / "file" / "c.json", cameras, NAMES)


# ---------------------------------------------------------------- fuzzing

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def read_or_refuse(path: Path) -> None:
    try:
        listed = read_cameras_json(path, 64, 48)
    except CameraError as error:
        assert str(path) in str(error)
    else:
        assert listed.cameras.viewmats.isfinite().all() and listed.cameras.Ks.isfinite().all()


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=200))
def test_fuzz_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz_cameras_bytes.json"
    path.write_bytes(data)
    read_or_refuse(path)


@settings(max_examples=250, deadline=None)
@given(
    content=json_values,
    key=st.sampled_from([*entry(), "other"]),
    index=st.lists(st.integers(0, 2), max_size=2),
)
def test_fuzz_values(
    tmp_path_factory: pytest.TempPathFactory, content: Any, key: str, index: list[int]
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz_cameras.json"
    path.write_text(json.dumps(content))
    read_or_refuse(path)
    mutated = copy.deepcopy(entry())
    target: Any = mutated
    last: Any = key
    for i in index:  # a value inside R, T, ... instead of the whole
        inner = target.get(last) if isinstance(target, dict) else target[last]
        if isinstance(inner, list):
            target, last = inner, min(i, len(inner) - 1)
    target[last] = content
    path.write_text(json.dumps({"a": entry(), "b": mutated}))
    read_or_refuse(path)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_fuzz_flipped_bytes(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    valid = bytearray(json.dumps({"a": entry(), "b": entry()}).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        valid[data.draw(st.integers(0, len(valid) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "fuzz_cameras_flipped.json"
    path.write_bytes(valid)
    read_or_refuse(path)
