"""The turntable shows scene and mesh from the same cameras, side by side."""

from __future__ import annotations

from pathlib import Path

import imageio_ffmpeg
import numpy as np
import torch
import trimesh

from agsrec.figures.turntable import save_turntable, side_by_side
from agsrec.gaussians import Gaussians
from agsrec.mesh import TexturedMesh
from agsrec.metrics.evaluation import rendered_on_white
from tests.export.made_up import ring

RED, BLUE = (0.8, 0.1, 0.1), (0.1, 0.1, 0.8)
RADIUS = 0.3


def ball() -> Gaussians:
    """A blue one."""
    index = torch.arange(3000) + 0.5
    z, turn = 1 - 2 * index / 3000, index * 2.399963
    flat = (1 - z**2).sqrt()
    points = RADIUS * torch.stack([flat * turn.cos(), flat * turn.sin(), z], -1)
    return Gaussians.from_points(points, torch.tensor(BLUE).expand(3000, 3), torch.full((3000,), 0.008), 0.95)


def red_ball() -> TexturedMesh:
    sphere = trimesh.creation.icosphere(subdivisions=3, radius=RADIUS)
    texture = np.full((8, 8, 3), RED, dtype=np.float32)
    corners = np.asarray(sphere.vertices, dtype=np.float64)
    return TexturedMesh(
        corners, np.asarray(sphere.faces, dtype=np.int32), np.full((len(corners), 2), 0.5), texture
    )


def test_splat_left_and_mesh_right_at_the_same_place() -> None:
    cameras = ring(3).to(dtype=torch.float32)
    pair = side_by_side(rendered_on_white(ball(), cameras), red_ball(), cameras)
    assert pair.shape == (3, 48 + 28, 2 * 48, 3)
    left, right = pair[:, 28:, :48], pair[:, 28:, 48:]
    torch.testing.assert_close(left[0, 24, 24], torch.tensor(BLUE), atol=0.05, rtol=0)
    torch.testing.assert_close(right[0, 24, 24], torch.tensor(RED), atol=0.05, rtol=0)
    seen = [(half < 0.9).any(-1) for half in (left, right)]
    assert not (seen[1] & ~seen[0]).any(), "splats reach a little further"
    assert seen[1].sum() > 0.7 * seen[0].sum()
    assert (pair[:, :28] < 0.7).any(), "there are words above"


def frame(path: Path) -> np.ndarray:
    reader = imageio_ffmpeg.read_frames(str(path))
    width, height = next(reader)["size"]  # type: ignore[index]
    first = np.frombuffer(next(reader), np.uint8).reshape(height, width, 3)  # type: ignore[arg-type]
    reader.close()
    return first


def test_the_video_has_the_mesh_only_where_there_is_one(tmp_path: Path) -> None:
    cameras = ring(3).to(dtype=torch.float32)
    save_turntable(tmp_path / "t.mp4", ball(), cameras)
    assert frame(tmp_path / "t.mp4").shape == (48, 48, 3)
    save_turntable(tmp_path / "t.mp4", ball(), cameras, red_ball())
    both = frame(tmp_path / "t.mp4")
    assert both.shape == (76, 96, 3)
    assert both[52, 24].argmax() == 2 and both[52, 72].argmax() == 0
