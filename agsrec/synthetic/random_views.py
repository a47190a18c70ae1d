"""Random camera sets around an object, as photographers and their croppers make them."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from agsrec.cameras import CAMERA_DISTANCE, Cameras
from agsrec.lie import se3_exp
from agsrec.synthetic.fast_render import render_views
from agsrec.synthetic.random_objects import OBJECT_RADIUS, random_object

__all__ = ["make_scene", "random_cameras", "random_gains"]

FRONT_DEG = 60.0, 150.0  # arc from which views of one side are taken


def random_cameras(
    vertices: NDArray[np.floating],  # [N, 3]
    num_views: int,
    size: int,
    rng: np.random.Generator,
    *,
    elevation_range_deg: tuple[float, float] = (-15.0, 70.0),
    fov_range_deg: tuple[float, float] = (25.0, 55.0),
    roll_sigma_deg: float = 6.0,
    fill_range: tuple[float, float] = (0.78, 0.96),
    layout: Literal["ring", "scattered", "front"] | None = None,
) -> Cameras:
    """Cameras around an object, each cropped to the object's box with jitter.

    A set is a ring (azimuths all around, heights within a band), scattered at random, or all from one side.

    Args:
        vertices: what has to be in the picture.
        num_views: number of cameras V.
        size: image width and height in pixels.
        rng: source of all randomness.
        elevation_range_deg: degrees ABOVE the object's horizon (the sign is turned for `Cameras.orbit`).
        fov_range_deg: field of view that an object-filling picture has; decides the distance.
        roll_sigma_deg: standard deviation of the in-plane rotation.
        fill_range: share of the picture's side that the longer side of the object's box takes; what is over
            1 is cut by the frame.
        layout: kind of set; a ring or scattered with equal chances by default.
    """
    low, high = elevation_range_deg
    if layout == "ring" or (layout is None and rng.random() < 0.5):
        azimuth = (
            rng.uniform(0, 360)
            + 360.0 * (np.arange(num_views) + rng.uniform(-0.3, 0.3, num_views)) / num_views
        )
        azimuth = rng.permutation(azimuth)
        middle = rng.uniform(low + 10.0, high - 10.0)
        above = np.clip(middle + rng.uniform(-15.0, 15.0, num_views), low, high)
    else:
        azimuth = rng.uniform(0.0, 360.0, num_views)
        if layout == "front":
            azimuth = azimuth[0] + azimuth * rng.uniform(*FRONT_DEG) / 360.0
        above = rng.uniform(low, high, num_views)
    fov = np.deg2rad(rng.uniform(*fov_range_deg))
    radius = OBJECT_RADIUS / np.sin(0.5 * fov) * rng.uniform(0.92, 1.08, num_views)
    xi = np.zeros((num_views, 6))
    xi[:, 5] = np.deg2rad(roll_sigma_deg) * rng.standard_normal(num_views)
    Ks = torch.eye(3, dtype=torch.float64).repeat(num_views, 1, 1)
    angles = torch.from_numpy(-above), torch.from_numpy(azimuth), torch.from_numpy(radius)
    cameras = Cameras.orbit(*angles, Ks=Ks, width=size, height=size)
    viewmats = se3_exp(torch.from_numpy(xi)) @ cameras.viewmats
    return Cameras(viewmats, _crop_intrinsics(viewmats.numpy(), vertices, size, rng, fill_range), size, size)


def _crop_intrinsics(
    viewmats: NDArray[np.float64],
    vertices: NDArray[np.floating],
    size: int,
    rng: np.random.Generator,
    fill_range: tuple[float, float],
) -> torch.Tensor:  # [V, 3, 3]
    """Intrinsics with which the box of the projected vertices nearly fills the picture, nearly centred."""
    low, high = _projected_boxes(np.ascontiguousarray(vertices, dtype=np.float64), viewmats)
    extent = (high - low).max(axis=1)  # [V]
    fill = rng.uniform(*fill_range, len(viewmats))
    focal = fill * size / extent
    slack = 0.5 * np.abs(1.0 - fill) * size
    shift = rng.uniform(-0.8, 0.8, (len(viewmats), 2)) * slack[:, None]
    Ks = np.tile(np.eye(3), (len(viewmats), 1, 1))
    Ks[:, 0, 0] = Ks[:, 1, 1] = focal
    Ks[:, :2, 2] = 0.5 * size - focal[:, None] * 0.5 * (low + high) + shift
    return torch.from_numpy(Ks)


@njit(cache=True, nogil=True, error_model="numpy")
def _projected_boxes(vertices, viewmats):
    """Smallest and largest x / z and y / z [V, 2] of the vertices in each camera."""
    low, high = np.full((len(viewmats), 2), np.inf), np.full((len(viewmats), 2), -np.inf)
    for v in range(len(viewmats)):
        m = viewmats[v]
        for i in range(len(vertices)):
            x, y, z = vertices[i, 0], vertices[i, 1], vertices[i, 2]
            scale = 1.0 / (m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + m[2, 3])
            for axis in range(2):
                t = scale * (m[axis, 0] * x + m[axis, 1] * y + m[axis, 2] * z + m[axis, 3])
                low[v, axis] = min(low[v, axis], t)
                high[v, axis] = max(high[v, axis], t)
    return low, high


def random_gains(
    num_views: int, rng: np.random.Generator, sigma: float = 0.12
) -> NDArray[np.float64]:  # [V, 3]
    """Exposure (common to the channels) and a weaker white balance error per view."""
    exposure = sigma * rng.standard_normal((num_views, 1))
    return np.exp(exposure + 0.3 * sigma * rng.standard_normal((num_views, 3)))


def make_scene(seed: int, num_views: int, size: int) -> tuple[torch.Tensor, Cameras, torch.Tensor]:
    """A small posed scene for tests: a random object seen from a ring of cameras at the usual distance.

    Returns:
        Images [V, size, size, 4] (float32, straight alpha), cameras, and the visible surface points [M, 3].
    """
    rng = np.random.default_rng(seed)
    obj = random_object(seed)
    above = torch.from_numpy(rng.uniform(0.0, 40.0, num_views)).float()
    azimuth = torch.from_numpy(
        360.0 * (np.arange(num_views) + rng.uniform(-0.2, 0.2, num_views)) / num_views
    ).float()
    focal = 0.5 * size / np.tan(np.deg2rad(20.0))
    Ks = Cameras.intrinsics(torch.full((num_views,), float(focal)), size, size)
    cameras = Cameras.orbit(-above, azimuth, CAMERA_DISTANCE, Ks=Ks, width=size, height=size)
    views = render_views(obj, cameras, supersampling=3)
    return torch.from_numpy(views.images), cameras, torch.from_numpy(views.points[views.masks])
