"""Turntables: the orbit's geometry, and files that read back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch

from agsrec.cameras import Cameras
from agsrec.errors import OptionError, OutputError, ShapeError
from agsrec.figures.video import orbit_cameras, write_turntable, write_video
from tests.export.made_up import ring


def read(path: Path) -> tuple[np.ndarray, float]:
    """All frames [T, H, W, 3] and the frame rate."""
    reader = imageio_ffmpeg.read_frames(str(path))
    meta = next(reader)
    width, height = meta["size"]  # type: ignore[index]
    frames = [np.frombuffer(f, np.uint8).reshape(height, width, 3) for f in reader]  # type: ignore[arg-type]
    reader.close()
    return np.stack(frames), meta["fps"]  # type: ignore[index]


def test_orbit_closes_and_frames_the_object() -> None:
    like = ring(5)
    orbit = orbit_cameras(like, frames=12, elevation_deg=-30)
    elevation, azimuth, radius = orbit.spherical()
    assert torch.allclose(elevation, torch.full_like(elevation, -30.0))
    assert torch.allclose(radius, torch.full_like(radius, 1.8))
    steps = azimuth.diff().remainder(360)
    assert torch.allclose(steps, torch.full_like(steps, 30.0))
    assert azimuth[0].item() == pytest.approx(like.spherical()[1][0].item())
    center, _ = orbit.project(torch.zeros(1, 3, dtype=torch.float64))
    assert torch.allclose(center, torch.full_like(center, 24.0))


def test_orbit_keeps_the_objects_size_in_the_picture() -> None:
    like = ring(3)
    zoomed = Cameras(like.viewmats, like.Ks * torch.tensor([2.0, 2.0, 1.0])[:, None], 48, 48)
    assert torch.allclose(orbit_cameras(zoomed).focal_lengths, 2 * like.focal_lengths[:1])


@pytest.mark.parametrize(("height", "width"), [(32, 48), (33, 47), (3, 5)])
def test_video_reads_back(tmp_path: Path, height: int, width: int) -> None:
    ramp = np.linspace(20, 235, 9).astype(np.uint8)
    frames = np.broadcast_to(ramp[:, None, None, None], (9, height, width, 3)).copy()
    path = tmp_path / "new folder" / "t.mp4"
    write_video(path, frames, fps=15)
    found, fps = read(path)
    assert found.shape == (9, height + height % 2, width + width % 2, 3)
    assert fps == 15
    assert np.abs(found[:, 0, 0, 0].astype(int) - ramp).max() <= 6
    assert [p.name for p in path.parent.iterdir()] == ["t.mp4"]


def test_video_plays_while_it_loads(tmp_path: Path) -> None:
    write_video(tmp_path / "t.mp4", np.zeros((4, 16, 16, 3), np.uint8))
    data = (tmp_path / "t.mp4").read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")


def test_turntable_renders_every_camera_once(tmp_path: Path) -> None:
    seen: list[int] = []

    def render(cameras: Cameras) -> torch.Tensor:
        seen.append(len(cameras))
        return torch.full((len(cameras), 16, 16, 3), 1.5)

    write_turntable(tmp_path / "t.mp4", render, orbit_cameras(ring(3), frames=14))
    assert sum(seen) == 14 and max(seen) <= 8
    found, _ = read(tmp_path / "t.mp4")
    assert len(found) == 14 and found.min() > 245


def test_an_interrupted_video_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "t.mp4"
    path.write_bytes(b"old")

    def frames() -> Iterator[np.ndarray]:
        yield np.zeros((16, 16, 3), np.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(path, frames())
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_named_errors(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="at least one frame"):
        write_video(tmp_path / "t.mp4", [])
    with pytest.raises(ShapeError, match="one size"):
        write_video(tmp_path / "t.mp4", [np.zeros((16, 16, 3), np.uint8), np.zeros((8, 8, 3), np.uint8)])
    with pytest.raises(ShapeError, match="uint8"):
        write_video(tmp_path / "t.mp4", [np.zeros((16, 16, 3))])
    with pytest.raises(OptionError, match="at least 1 frame"):
        orbit_cameras(ring(2), frames=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_video(tmp_path / "file" / "t.mp4", np.zeros((2, 16, 16, 3), np.uint8))
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
