"""Photos of a plain ball on a patterned table: only the table tells where they were taken from."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from agsrec.cameras import Cameras
from agsrec.matching import Whole

WIDTH, HEIGHT, FOCAL, BALL = 480, 400, 460.0, 0.3
VIEW = 160
_TABLE = 900  # pixels of the pattern, which is 6 units wide


def cameras_around(azimuths: list[float]) -> Cameras:
    """Cameras that look down on the table, past the ball, which is not in the middle of their photos."""
    count = len(azimuths)
    K = torch.tensor([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]], dtype=torch.float64)
    elevation = torch.linspace(-35, -45, count, dtype=torch.float64)
    around = torch.tensor(azimuths, dtype=torch.float64)
    cameras = Cameras.orbit(elevation, around, 3.0, Ks=K.repeat(count, 1, 1), width=WIDTH, height=HEIGHT)
    viewmats = cameras.viewmats.clone()
    viewmats[:, 0, 3] += torch.linspace(-0.3, 0.3, count)
    return Cameras(viewmats, cameras.Ks, WIDTH, HEIGHT)


def turned_to_origin(viewmat: torch.Tensor) -> torch.Tensor:
    """A camera that is turned without roll until it looks at the origin."""
    forward = torch.nn.functional.normalize(viewmat[:3, 3], dim=0)
    axis = torch.linalg.cross(forward, torch.tensor([0.0, 0.0, 1.0]).double())
    cross = torch.tensor([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]]).double()
    turn = torch.eye(3).double() + cross + cross @ cross / (1 + forward[2])
    out = viewmat.clone()
    out[:3] = turn @ viewmat[:3]
    return out


def photographed(cameras: Cameras, *, turntable: bool = False) -> list[NDArray[np.uint8]]:
    """RGBA photos [H, W, 4], opaque where the ball is; on a turntable all have the first one's background."""
    pattern = _pattern()
    onto = np.array([[6 / _TABLE, 0, -3], [0, 0, -BALL], [0, 6 / _TABLE, -3], [0, 0, 1.0]])
    photos = []
    for k in range(len(cameras)):
        of = 0 if turntable else k
        P = cameras.Ks[of].numpy() @ cameras.viewmats[of, :3].numpy()
        table = cv2.warpPerspective(pattern, P @ onto, (WIDTH, HEIGHT), borderValue=(90, 90, 90))
        ball = _ball(cameras, of)
        rgb = np.where(ball[..., None], np.uint8(190 - 8 * k), table)
        photos.append(np.dstack([rgb, ball.astype(np.uint8) * 255]))
    return photos


def view_box(alpha: NDArray[np.uint8]) -> tuple[int, int, int]:
    """Left edge, upper edge and side of the square around what is opaque."""
    ys, xs = np.nonzero(alpha)
    side = round(1.25 * max(np.ptp(xs), np.ptp(ys)))
    return int(xs.min() + np.ptp(xs) // 2 - side // 2), int(ys.min() + np.ptp(ys) // 2 - side // 2), side


def wholes(photos: list[NDArray[np.uint8]]) -> list[Whole]:
    """The photos as what views of `VIEW` pixels are pieces of."""
    found = []
    for photo in photos:
        x, y, side = view_box(photo[..., 3])
        shown = np.ones(photo.shape[:2], bool)
        rgb = np.ascontiguousarray(photo[..., :3])
        middle = (WIDTH / 2, HEIGHT / 2)
        found.append(Whole(rgb, shown, VIEW / side, (float(x), float(y)), middle, float(WIDTH)))
    return found


def _pattern() -> NDArray[np.uint8]:
    chance = np.random.default_rng(0)
    total = np.zeros((_TABLE, _TABLE, 3), np.float32)
    for size in (12, 30, 75, 180):
        noise = chance.normal(size=(size, size, 3)).astype(np.float32)
        total += cv2.resize(noise, (_TABLE, _TABLE), interpolation=cv2.INTER_CUBIC)
    return (128 + 40 * total).clip(0, 255).astype(np.uint8)


def _ball(cameras: Cameras, index: int) -> NDArray[np.bool_]:
    """Where rays meet a ball at the origin [H, W]."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    rays = np.stack([(x - WIDTH / 2) / FOCAL, (y - HEIGHT / 2) / FOCAL, np.ones_like(x)], -1)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    center = cameras.viewmats[index, :3, 3].numpy()
    along = rays @ center
    return center @ center - along**2 < BALL**2
