from __future__ import annotations

from pathlib import Path

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
        ("1 OPENCV 64 32 1 1 1 1 0 0 0 0", IMAGES, None, "'OPENCV' is not PINHOLE"),
        ("1", IMAGES, None, "is not PINHOLE"),
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
        (CAMERAS + "3 PINHOLE 9 9 5 5 4 4", IMAGES.replace("3 2 my", "3 3 my"), None, "mixes image sizes"),
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


words = st.sampled_from(
    ["1", "2", "PINHOLE", "0", "-1", "1e999", "nan", "a.png", "..", "#", "\n", "64", "é", "0.6", "0.8"]
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
