from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agsrec.camera_files import read_colmap, write_colmap
from agsrec.cameras import Cameras
from agsrec.errors import CameraError, ShapeError

FILES = [f"{i:03d}.png" for i in range(5)]
CAMERAS = "# a comment\n1 PINHOLE 64 32 100 110 32 16\n2 SIMPLE_PINHOLE 64 32 90 30 15\n"
IMAGES = "# comment\n1 1 0 0 0 0.5 0 2 1 a.png\n\n2 0 1 0 0 0 0 3 2 my photo.png\n10 20 -1 30 40 7\n"


def store(
    folder: Path, cameras: str | bytes = CAMERAS, images: str | bytes = IMAGES, points: str | None = None
) -> Path:
    for name, text in (("cameras.txt", cameras), ("images.txt", images), ("points3D.txt", points)):
        if text is not None:
            (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def test_golden(tmp_path: Path) -> None:
    listed = read_colmap(store(tmp_path, points="1 0.5 1 2 255 0 51 0.1 1 2\n"))
    assert listed.names == ("a", "my photo")
    expected = torch.eye(4).repeat(2, 1, 1)
    expected[0, :3, 3] = torch.tensor([0.5, 0.0, 2.0])
    expected[1, [1, 2], [1, 2]] = -1.0  # half a turn about x
    expected[1, 2, 3] = 3.0
    torch.testing.assert_close(listed.cameras.viewmats, expected)
    torch.testing.assert_close(listed.cameras.Ks[0], torch.tensor([[100.0, 0, 32], [0, 110, 16], [0, 0, 1]]))
    torch.testing.assert_close(listed.cameras.Ks[1], torch.tensor([[90.0, 0, 30], [0, 90, 15], [0, 0, 1]]))
    assert listed.points is not None and listed.colors is not None
    torch.testing.assert_close(listed.points, torch.tensor([[0.5, 1.0, 2.0]]))
    torch.testing.assert_close(listed.colors, torch.tensor([[1.0, 0.0, 0.2]]))


def test_round_trip(tmp_path: Path, cameras: Cameras) -> None:
    points, colors = torch.randn(7, 3), torch.rand(7, 3)
    write_colmap(tmp_path, cameras, FILES, points=points, colors=colors)
    listed = read_colmap(tmp_path)
    assert listed.files == tuple(FILES)
    torch.testing.assert_close(listed.cameras.viewmats, cameras.viewmats, atol=1e-6, rtol=0)
    torch.testing.assert_close(listed.cameras.Ks, cameras.Ks, rtol=0, atol=0)
    assert listed.points is not None and listed.colors is not None
    torch.testing.assert_close(listed.points, points, rtol=0, atol=0)
    torch.testing.assert_close(listed.colors, colors, rtol=0, atol=0.5 / 255 + 1e-6)


def test_round_trip_at_half_turns(tmp_path: Path, cameras: Cameras) -> None:
    viewmats = torch.eye(4).repeat(5, 1, 1)
    for i, signs in enumerate([(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1), (1, 1, 1)]):
        viewmats[i, :3, :3] = torch.diag(torch.tensor(signs, dtype=torch.float32))
    write_colmap(tmp_path, Cameras(viewmats, cameras.Ks, 200, 100), FILES)
    listed = read_colmap(tmp_path)
    torch.testing.assert_close(listed.cameras.viewmats, viewmats, atol=1e-6, rtol=0)
    assert listed.points is not None and len(listed.points) == 0


def test_points_are_optional(tmp_path: Path) -> None:
    assert read_colmap(store(tmp_path)).points is None


@pytest.mark.parametrize(
    ("cameras", "images", "points", "message"),
    [
        ("1 FOV 64 32 1 1 1 1 0", IMAGES, None, "'FOV' is not one of SIMPLE_PINHOLE, .*image_undistorter"),
        ("1", IMAGES, None, "'1' is not one of"),
        ("1 OPENCV 64 32 100 100 32 16 0 0 0", IMAGES, None, "WIDTH HEIGHT and 8 parameters"),
        ("1 RADIAL 64 32 100 32 16 -99 0", IMAGES, None, "distortion k1 -99 k2 0 .* of no lens"),
        ("1 PINHOLE 64 32 100 110 32", IMAGES, None, "4 parameters"),
        ("1 PINHOLE 64 32 x 110 32 16", IMAGES, None, "numbers"),
        ("1 PINHOLE 64 32 -5 110 32 16", IMAGES, None, "focal length"),
        ("1 PINHOLE 0 32 5 110 32 16", IMAGES, None, "width"),
        (CAMERAS, "", None, "no images"),
        (CAMERAS, "1 1 0 0 0 0 0 2 9 a.png", None, "lacks camera '9'"),
        (CAMERAS, "1 1 0 0 0 0 0 2 1", None, "QW QX QY QZ"),
        (CAMERAS, "1 0 0 0 0 0 0 2 1 a.png", None, "unit quaternion"),
        (CAMERAS, "1 1 0 0 0 nan 0 2 1 a.png", None, "finite"),
        (CAMERAS, "1 1 0 0 0 0 0 2 1 a.png\n\n2 1 0 0 0 0 0 2 1 b/a.jpg\n", None, "twice"),
        (CAMERAS, IMAGES, "1 2 3", "POINT3D_ID"),
    ],
)
def test_bad_models(tmp_path: Path, cameras: str, images: str, points: str | None, message: str) -> None:
    with pytest.raises(CameraError, match=message):
        read_colmap(store(tmp_path, cameras, images, points))


def test_missing_files(tmp_path: Path, cameras: Cameras) -> None:
    with pytest.raises(CameraError, match="no such file"):
        read_colmap(tmp_path)
    with pytest.raises(ShapeError):
        write_colmap(tmp_path, cameras, FILES[:2])


# ---------------------------------------------------------------- binary


def packed_camera(
    number: int = 1, model: int = 1, *parameters: float, size: tuple[int, int] = (64, 32)
) -> bytes:
    return struct.pack("<iiQQ", number, model, *size) + struct.pack(f"<{len(parameters)}d", *parameters)


def packed_image(number: int, pose: Sequence[float], camera: int, name: bytes, points: int = 0) -> bytes:
    head = struct.pack("<i7di", number, *pose, camera) + name + b"\0" + struct.pack("<Q", points)
    return head + points * struct.pack("<ddq", 1.0, 2.0, -1)


def store_binary(folder: Path, cameras: Sequence[bytes], images: Sequence[bytes]) -> Path:
    for name, parts in (("cameras.bin", cameras), ("images.bin", images)):
        (folder / name).write_bytes(struct.pack("<Q", len(parts)) + b"".join(parts))
    return folder


TWO_CAMERAS = [packed_camera(1, 1, 100, 110, 32, 16), packed_camera(2, 0, 90, 30, 15)]
TWO_IMAGES = [
    packed_image(1, [1, 0, 0, 0, 0.5, 0, 2], 1, b"a.png", points=3),
    packed_image(2, [0, 1, 0, 0, 0, 0, 3], 2, "dir/m\u00fcg 2.jpg".encode()),
]


def test_binary_says_what_text_says(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    text = read_colmap(store(tmp_path / "text", images=IMAGES.replace("my photo.png", "dir/m\u00fcg 2.jpg")))
    for other in ("rigs.bin", "frames.bin", "points3D.bin"):  # of newer versions, or not of interest
        (tmp_path / other).write_bytes(b"\xff" * 40)
    binary = read_colmap(store_binary(tmp_path, TWO_CAMERAS, TWO_IMAGES))
    assert binary.names == text.names == ("a", "m\u00fcg 2") and binary.files == text.files
    assert torch.equal(binary.cameras.viewmats, text.cameras.viewmats)
    assert torch.equal(binary.cameras.Ks, text.cameras.Ks)
    assert binary.lenses == (None, None) and binary.points is None
    store(tmp_path, "nonsense", "nonsense")  # beside it, as COLMAP writes both: binary goes first
    assert read_colmap(tmp_path).names == text.names


def test_models_written_by_colmap_itself(tmp_path: Path) -> None:
    pycolmap = pytest.importorskip("pycolmap")
    model, generator = pycolmap.Reconstruction(), torch.Generator().manual_seed(0)
    parameters = [140.0, 150, 83, 58, -0.2, 0.06, 0.006, -0.004]
    camera = pycolmap.Camera(model="OPENCV", width=160, height=120, params=parameters, camera_id=3)
    model.add_camera_with_trivial_rig(camera)
    poses = []
    for i in range(1, 4):
        turn = torch.nn.functional.normalize(torch.randn(4, generator=generator, dtype=torch.float64), dim=0)
        image = pycolmap.Image(name=f"sub/a{i}.jpg", camera_id=3, image_id=i)
        image.points2D = pycolmap.Point2DList([pycolmap.Point2D([1.0, i])] * i)
        poses.append(pycolmap.Rigid3d(pycolmap.Rotation3d(turn.numpy()), torch.rand(3).double().numpy()))
        model.add_image_with_trivial_frame(image, poses[-1])
    for kind in ("binary", "text"):
        (tmp_path / kind).mkdir()
        getattr(model, f"write_{kind}")(str(tmp_path / kind))
        listed = read_colmap(tmp_path / kind)
        assert listed.names == ("a1", "a2", "a3")
        assert listed.lenses[2] is not None and listed.lenses[2].coefficients[:4] == tuple(parameters[4:])
        true = torch.stack([torch.from_numpy(pose.matrix()) for pose in poses]).float()
        torch.testing.assert_close(listed.cameras.viewmats[:, :3], true, atol=1e-6, rtol=0)


def test_damaged_binary_files(tmp_path: Path) -> None:
    whole = [(store_binary(tmp_path, TWO_CAMERAS, TWO_IMAGES) / f"{n}.bin").read_bytes() for n in NAMES]
    for name, data in zip(NAMES, whole, strict=True):
        for size in range(len(data)):
            (tmp_path / f"{name}.bin").write_bytes(data[:size])
            with pytest.raises(CameraError, match=rf"{name}\.bin is damaged"):
                read_colmap(tmp_path)
        (tmp_path / f"{name}.bin").write_bytes(data)
    assert len(read_colmap(tmp_path).names) == 2


NAMES = ("cameras", "images")
HUGE = struct.pack("<Q", 2**63 + 5)


@pytest.mark.parametrize(
    ("cameras", "images", "message"),
    [
        (HUGE, None, r"cameras\.bin is damaged or incomplete"),
        (None, HUGE, r"images\.bin is damaged or incomplete"),
        (
            None,
            struct.pack("<Q", 1) + packed_image(1, [1, 0, 0, 0, 0, 0, 2], 1, b"a")[:-8] + HUGE,
            "incomplete",
        ),
        (None, struct.pack("<Q", 1) + b"\1" * 9000, "name does not end"),
        (None, struct.pack("<Q", 0), "has no images"),
        ([packed_camera(7, 7, 1, 1, 1, 1, 1)], None, "camera 7: camera model number 7 is not one of"),
        ([packed_camera(1, 1, 5, 5, 1, 1, size=(2**62, 1))], None, "camera 1, width must be"),
        ([packed_camera(1, 1, float("nan"), 5, 1, 1)], None, "finite numbers"),
        ([packed_camera(1, 1, -5, 5, 1, 1)], None, "focal length must be"),
        ([packed_camera(9, 1, 5, 5, 1, 1)], None, r"image 1: cameras\.bin lacks camera '1'"),
        (None, [packed_image(1, [1, 0, 0, 0, 0, float("inf"), 2], 1, b"a")], "image 1 must be finite"),
        (None, [packed_image(1, [0, 0, 0, 0, 0, 0, 2], 1, b"a")], "unit quaternion"),
        (None, [packed_image(1, [1, 0, 0, 0, 0, 0, 2], 1, b"..")], "path of an image"),
        (None, [TWO_IMAGES[0], TWO_IMAGES[0]], "view 'a' appears twice"),
    ],
)
def test_hostile_binary_files(tmp_path: Path, cameras: Any, images: Any, message: str) -> None:
    store_binary(tmp_path, TWO_CAMERAS, TWO_IMAGES)
    for name, content in (("cameras.bin", cameras), ("images.bin", images)):
        if content is not None:
            parts = content if isinstance(content, list) else [content]
            head = struct.pack("<Q", len(parts)) if isinstance(content, list) else b""
            (tmp_path / name).write_bytes(head + b"".join(parts))
    with pytest.raises(CameraError, match=message) as caught:
        read_colmap(tmp_path)
    assert len(str(caught.value)) < 500


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_fuzz_binary(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzz_colmap_binary"
    folder.mkdir(exist_ok=True)
    store_binary(folder, TWO_CAMERAS, TWO_IMAGES)
    path = folder / data.draw(st.sampled_from(["cameras.bin", "images.bin"]))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        assert read_colmap(folder).cameras.viewmats.isfinite().all()
    except CameraError as error:
        assert str(folder) in str(error)


# ---------------------------------------------------------------- fuzzing text


words = st.sampled_from(
    [
        "1",
        "2",
        "OPENCV",
        "PINHOLE",
        "0",
        "-1",
        "1e999",
        "nan",
        "a.png",
        "..",
        "#",
        "\n",
        "64",
        "é",
        "0.6",
        "0.8",
    ]
)


@settings(max_examples=150, deadline=None)
@given(cameras=st.lists(words, max_size=16).map(" ".join), images=st.lists(words, max_size=24).map(" ".join))
def test_fuzz(tmp_path_factory: pytest.TempPathFactory, cameras: str, images: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzz_colmap"
    folder.mkdir(exist_ok=True)
    for content in ((cameras, IMAGES, None), (CAMERAS, images, None), (CAMERAS, IMAGES, images)):
        try:
            assert read_colmap(store(folder, *content)).cameras.viewmats.isfinite().all()
        except CameraError as error:
            assert str(folder) in str(error)


@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=80))
def test_fuzz_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzz_colmap_bytes"
    folder.mkdir(exist_ok=True)
    for content in ((data, IMAGES), (CAMERAS, data)):
        with pytest.raises(CameraError):
            read_colmap(store(folder, *content))
            raise CameraError("valid after all")
