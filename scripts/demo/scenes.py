"""The demo scenes: views of five modelled objects, true cameras, and initial cameras with a known error.

Everything follows from the seeds in `DEMO_SCENES`; `write_demo_scene` gives the same files bit for bit every
time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from agsrec.camera_files import write_cameras_json
from agsrec.cameras import CAMERA_DISTANCE, Cameras
from agsrec.lie import se3_exp, so3_exp
from scripts.demo.models import butter, eagle, jordan, robot, toy
from scripts.demo.rendering import Model, render_model

__all__ = [
    "DEMO_SCENES",
    "DemoScene",
    "disturb_cameras",
    "input_cameras",
    "novel_cameras",
    "write_demo_scene",
]

ROTATION_ERROR_DEG = 8.0
"""R.m.s. rotation error of the initial cameras over the views, exactly."""
TRANSLATION_ERROR = 0.03
"""R.m.s. translation error of the initial cameras, as a fraction of the camera distance."""
NOVEL_VIEWS = 8
"""Test views per scene."""
_MIN_SEPARATION_DEG = 8.0  # of a test view from every input view
_SPREAD_DEG = 20.0  # of test views among themselves


@dataclass(frozen=True)
class DemoScene:
    """What defines a demo scene."""

    name: str
    build: Callable[[], Model]
    num_views: int
    fov_deg: float
    """Field of view, horizontal and vertical."""
    seed: int
    backdrop: tuple[str, str]
    """Colours at the top and bottom of the photos in `source/`."""
    outlier: tuple[int, float] | None = None
    """View whose initial azimuth is wrong, and by how many degrees."""


DEMO_SCENES = {
    scene.name: scene
    for scene in (
        DemoScene("jordan", jordan.build, 8, 35.5, 101, ("#dfe3e6", "#b9bcbf")),
        DemoScene("butter", butter.build, 6, 40.5, 102, ("#cfd8e4", "#8fa0b5")),
        DemoScene("toy", toy.build, 4, 41.0, 103, ("#e9e6df", "#b8b2a6")),
        DemoScene("robot", robot.build, 8, 38.0, 104, ("#c9cdd6", "#9a9fae")),
        DemoScene("eagle", eagle.build, 8, 36.0, 105, ("#cfe0f2", "#aebfcf"), outlier=(5, 125.0)),
    )
}


# -------------------------------------------------------------------- cameras


def input_cameras(scene: DemoScene, size: int = 256) -> Cameras:
    """Wide-baseline cameras: azimuth all around with +-12 deg of jitter, 2..42 deg above, roll +-4 deg."""
    rng = np.random.default_rng(scene.seed)
    count = scene.num_views
    azimuth = 360.0 / count * np.arange(count) + rng.uniform(-12.0, 12.0, count) + rng.uniform(0.0, 360.0)
    elevation = -(2.0 + 40.0 * (rng.permutation(count) + rng.uniform(0.0, 1.0, count)) / count)
    order = rng.permutation(count)
    return _handheld(scene, elevation[order], azimuth[order], 4.0, rng, size)


def novel_cameras(scene: DemoScene, size: int = 256) -> Cameras:
    """Test cameras -8..50 deg above, at least 8 deg from every input camera as seen from the object."""
    rng = np.random.default_rng(scene.seed + 1000)
    taken = _directions(input_cameras(scene, size))
    chosen: list[tuple[float, float]] = []
    for _ in range(10_000):
        elevation, azimuth = rng.uniform(-50.0, 8.0), rng.uniform(-180.0, 180.0)
        direction = _directions(_handheld(scene, [elevation], [azimuth], 0.0, None, size))[0]
        others = [_directions(_handheld(scene, [e], [a], 0.0, None, size))[0] for e, a in chosen]
        apart = _angles(taken, direction).min() > _MIN_SEPARATION_DEG
        if apart and all(_angles(o[None], direction).min() > _SPREAD_DEG for o in others):
            chosen.append((elevation, azimuth))
        if len(chosen) == NOVEL_VIEWS:
            break
    elevations, azimuths = np.array(chosen).T
    return _handheld(scene, elevations, azimuths, 0.0, None, size)


def _handheld(
    scene: DemoScene,
    elevation_deg: Sequence[float] | NDArray[np.float64],
    azimuth_deg: Sequence[float] | NDArray[np.float64],
    roll_deg: float,
    rng: np.random.Generator | None,
    size: int,
) -> Cameras:
    """Orbit cameras; with a generator they also roll, vary in distance and aim a little off the origin."""
    count = len(elevation_deg)
    focal = 0.5 * size / np.tan(np.deg2rad(0.5 * scene.fov_deg))
    Ks = Cameras.intrinsics(torch.full((count,), focal, dtype=torch.float64), size, size)
    radius = np.ones(count)
    xi = np.zeros((count, 6))
    if rng is not None:
        radius += rng.uniform(-0.06, 0.06, count)
        xi[:, :2] = rng.uniform(-0.02, 0.02, (count, 2))
        xi[:, 5] = np.deg2rad(rng.uniform(-roll_deg, roll_deg, count))
    radius *= CAMERA_DISTANCE / radius.mean()
    elevation, azimuth = torch.tensor(np.asarray(elevation_deg)), torch.tensor(np.asarray(azimuth_deg))
    cameras = Cameras.orbit(elevation, azimuth, torch.tensor(radius), Ks=Ks, width=size, height=size)
    return Cameras(se3_exp(torch.tensor(xi)) @ cameras.viewmats, Ks, size, size)


def _directions(cameras: Cameras) -> NDArray[np.float64]:
    """Unit vectors [V, 3] from the origin to the cameras."""
    centers = cameras.centers.double().numpy()
    return centers / np.linalg.norm(centers, axis=1, keepdims=True)


def _angles(directions: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.rad2deg(np.arccos(np.clip(directions @ other, -1.0, 1.0)))


def disturb_cameras(
    cameras: Cameras,
    seed: int,
    *,
    rotation_deg: float = ROTATION_ERROR_DEG,
    outlier: tuple[int, float] | None = None,
) -> Cameras:
    """Initial cameras as a pose estimator would give them.

    View v becomes `D_v @ viewmat_v @ O_v`. `O_v` rotates the camera about the object centre by a random
    vector (isotropic normal, then scaled so that the r.m.s. angle over the views is exactly `rotation_deg`),
    so the object stays where it is in the image. `D_v` moves the camera in its own frame by an isotropic
    normal vector with r.m.s. length `TRANSLATION_ERROR` times its distance. The outlier, a view and an angle,
    is also turned about the vertical axis, so that its azimuth grows by that many degrees; the r.m.s. does
    not count this turn.
    """
    rng = np.random.default_rng(seed)
    omega = rng.standard_normal((len(cameras), 3))
    omega *= np.deg2rad(rotation_deg) / np.sqrt((omega**2).sum(axis=1).mean())
    shift = rng.standard_normal((len(cameras), 3)) * TRANSLATION_ERROR / np.sqrt(3.0)
    viewmats = cameras.viewmats.double().clone()
    distance = cameras.centers.double().norm(dim=-1, keepdim=True)
    viewmats[:, :3, :3] = viewmats[:, :3, :3] @ so3_exp(torch.tensor(omega))
    viewmats[:, :3, 3] += distance * torch.tensor(shift)
    if outlier is not None:
        view, degrees = outlier
        turn = so3_exp(torch.tensor([0.0, -np.deg2rad(degrees), 0.0], dtype=torch.float64))
        viewmats[view, :3, :3] = viewmats[view, :3, :3] @ turn
    return Cameras(viewmats, cameras.Ks, cameras.width, cameras.height)


# -------------------------------------------------------------------- files


def write_demo_scene(scene: DemoScene, folder: Path, *, size: int = 256, supersampling: int = 4) -> None:
    """Write `source/`, `processed/`, `test/` and the camera files of one scene into `folder`."""
    cameras, novel = input_cameras(scene, size), novel_cameras(scene, size)
    rendered = render_model(scene.build(), Cameras.cat([cameras, novel]), supersampling=supersampling).images
    inputs, tests = rendered[: len(cameras)], rendered[len(cameras) :]
    for i, image in enumerate(inputs):
        _save(folder / "source" / f"{i:03d}.png", _photo(image, scene.backdrop))
        _save(folder / "processed" / f"{i:03d}_rgba.png", image)
    for i, image in enumerate(tests):
        _save(folder / "test" / f"{i:03d}_rgba.png", image)
    initial = disturb_cameras(cameras, scene.seed + 2000, outlier=scene.outlier)
    _write_cameras(folder / "cameras.json", initial, scene.name, "processed")
    _write_cameras(folder / "cameras_gt.json", cameras, scene.name, "processed")
    _write_cameras(folder / "cameras_test.json", novel, scene.name, "test")


def _write_cameras(path: Path, cameras: Cameras, name: str, images: str) -> None:
    names = [f"{i:03d}" for i in range(len(cameras))]
    extras = {n: {"filepath": f"data/demo/{name}/{images}/{n}_rgba.png"} for n in names}
    write_cameras_json(path, cameras, names, extras=extras)


def _photo(
    image: NDArray[np.float32], backdrop: tuple[str, str]
) -> NDArray[np.float32]:  # [H, W, 4] -> [H, W, 3]
    """The object in front of a backdrop that darkens softly from top to bottom."""
    top, bottom = (np.array([int(c[i : i + 2], 16) for i in (1, 3, 5)]) / 255.0 for c in backdrop)
    t = np.linspace(0.0, 1.0, len(image))[:, None, None] ** 1.5
    wall = np.broadcast_to(top + (bottom - top) * t, (*image.shape[:2], 3))
    return (image[..., :3] * image[..., 3:] + wall * (1.0 - image[..., 3:])).astype(np.float32)


def _save(path: Path, image: NDArray[np.float32]) -> None:
    """Write RGB or RGBA in [0, 1] as 8-bit PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.round(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)).save(path, optimize=True)
