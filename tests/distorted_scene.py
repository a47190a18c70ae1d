"""A textured ball photographed through exact distorting lenses, as a nerfstudio and as a COLMAP folder."""

from __future__ import annotations

import json
import struct
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from agsrec.cameras import Cameras
from agsrec.images import save_png
from tests.lens_models import CAMERAS, HEIGHT, WIDTH, Rays, rays_of

VIEWS = tuple(f"view {i}" for i in range(5))
RADIUS = 0.45
_COLMAP_IDS = {"OPENCV": 4, "OPENCV_FISHEYE": 5, "SIMPLE_RADIAL": 2}
_TERMS = {"OPENCV": ("k1", "k2", "p1", "p2"), "OPENCV_FISHEYE": ("k1", "k2", "k3", "k4")}
_DISTANCE = {"OPENCV": 1.6, "OPENCV_FISHEYE": 0.9, "SIMPLE_RADIAL": 1.6}


def true_cameras(model: str) -> Cameras:
    """Poses of the photos, float64, the ball well off the middle of each; their intrinsics do not matter."""
    Ks = Cameras.intrinsics(torch.full((len(VIEWS),), 100.0, dtype=torch.float64), WIDTH, HEIGHT)
    angles = torch.tensor([-20.0, -5.0, -40.0, -15.0, 10.0]), torch.arange(len(VIEWS)) * 70.0
    cameras = Cameras.orbit(*angles, _DISTANCE[model], Ks=Ks, width=WIDTH, height=HEIGHT)
    viewmats = cameras.viewmats.clone()
    aside = torch.tensor([[0.25, 0.1], [-0.3, 0.1], [0.2, -0.1], [-0.2, -0.1], [0.3, 0.0]])
    viewmats[:, :2, 3] += aside.double() * _DISTANCE[model] / 1.6
    return Cameras(viewmats, cameras.Ks, WIDTH, HEIGHT)


def ball(rays: Rays, viewmat: np.ndarray, width: int, height: int, samples: int = 4) -> np.ndarray:
    """RGBA [H, W, 4] uint8 of the ball, straight alpha, by casting rays from a camera at `viewmat` [4, 4]."""
    total = np.zeros((height, width, 4))
    center = -viewmat[:3, :3].T @ viewmat[:3, 3]
    for i in range(samples):
        for j in range(samples):
            u, v = np.meshgrid(
                np.arange(width) + (i + 0.5) / samples, np.arange(height) + (j + 0.5) / samples
            )
            d = np.stack([*rays(u, v), np.ones_like(u)], axis=-1) @ viewmat[:3, :3]
            b, a = d @ center, (d * d).sum(-1)
            root = b * b - a * (center @ center - RADIUS**2)
            p = center + d * ((-b - np.sqrt(np.maximum(root, 0))) / a)[..., None]
            waves = np.sin(p @ np.array([[17.0, 5, -9], [6, -15, 11], [-8, 12, 16]]) + [0, 1, 2])
            rgb = 150 + 60 * waves + 30 * p[..., :1] / RADIUS
            hit = (root > 0).astype(float)[..., None]
            total += np.concatenate([rgb * hit, 255 * hit], axis=-1)
    rgb = total[..., :3] / np.maximum(total[..., 3:] / 255, 1e-9)
    return np.concatenate([rgb, total[..., 3:] / samples**2], axis=-1).round().clip(0, 255).astype(np.uint8)


@lru_cache(maxsize=3)
def photos(model: str) -> tuple[np.ndarray, ...]:
    """RGBA photos [H, W, 4] of the ball through the lens of that model."""

    made: dict[tuple[float, float], tuple[np.ndarray, np.ndarray]] = {}

    def rays(u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first = float(u[0, 0]), float(v[0, 0])  # the same samples in every view
        if first not in made:
            x, y, found = rays_of(model, CAMERAS[model], u, v)
            assert found.all()
            made[first] = x, y
        return made[first]

    viewmats = true_cameras(model).viewmats.numpy()
    return tuple(ball(rays, viewmat, WIDTH, HEIGHT) for viewmat in viewmats)


def write_photos(folder: Path, model: str, *, background: bool) -> None:
    """The photos as PNG, cut out or before a dark background with some texture."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    behind = np.dstack([30 + 8 * np.sin(u / 9), 26 + 6 * np.sin(v / 7), 35 + 5 * np.sin((u + v) / 11)])
    for name, rgba in zip(VIEWS, photos(model), strict=True):
        alpha = rgba[..., 3:] / 255
        whole = (rgba[..., :3] * alpha + behind * (1 - alpha)).round().astype(np.uint8)
        save_png(folder / f"{name}.png", whole if background else rgba)


def write_nerfstudio(file: Path, model: str, *, scale: float = 1.0) -> None:
    """The cameras as a `transforms.json`, written from scratch."""
    parameters = dict(zip(("fl_x", "fl_y", "cx", "cy", *_TERMS[model]), CAMERAS[model], strict=True))
    c2w = torch.linalg.inv(true_cameras(model).viewmats) @ torch.diag(torch.tensor([1.0, -1, -1, 1])).double()
    frames = []
    for name, matrix in zip(VIEWS, c2w, strict=True):
        rows = torch.cat([scale * matrix[:3, :3], matrix[:3, 3:]], dim=1).tolist()
        frames.append({"file_path": f"images/{name}.png", "transform_matrix": rows})
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"camera_model": model, "w": WIDTH, "h": HEIGHT, **parameters, "frames": frames}
    file.write_text(json.dumps(content))


def write_colmap(folder: Path, model: str) -> None:
    """The cameras as a binary COLMAP model, written from scratch."""
    folder.mkdir(parents=True, exist_ok=True)
    camera = struct.pack("<QiiQQ", 1, 1, _COLMAP_IDS[model], WIDTH, HEIGHT)
    numbers = struct.pack(f"<{len(CAMERAS[model])}d", *CAMERAS[model])
    (folder / "cameras.bin").write_bytes(camera + numbers)
    data = struct.pack("<Q", len(VIEWS))
    for number, (name, viewmat) in enumerate(
        zip(VIEWS, true_cameras(model).viewmats.numpy(), strict=True), 1
    ):
        pose = [*_quaternion(viewmat[:3, :3]), *viewmat[:3, 3]]
        data += struct.pack("<i7di", number, *pose, 1) + f"{name}.png".encode() + b"\0" + struct.pack("<Q", 0)
    (folder / "images.bin").write_bytes(data)


def _quaternion(R: np.ndarray) -> tuple[float, ...]:
    """wxyz of a rotation by less than half a turn."""
    w = np.sqrt(max(1 + np.trace(R), 0)) / 2
    assert w > 0.01
    return w, *(np.array([R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1]]) / (4 * w))
