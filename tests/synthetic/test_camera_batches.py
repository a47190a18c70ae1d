"""Cameras drawn for many sets at once are of the kinds that are drawn for one."""

from __future__ import annotations

import torch
from torch import Tensor

from agsrec.cameras import Cameras
from agsrec.synthetic import random_object
from agsrec.synthetic.camera_batches import Manners, cropped_intrinsics, gain_batch, orbit_batch

SETS, VIEWS, SIZE = 40, 8, 64


def manners(ring: bool, front: bool, **ranges: tuple[float, float]) -> Manners:
    limits = {"elevation_deg": (-10.0, 60.0), "fov_deg": (25.0, 55.0), "fill": (0.8, 0.9), **ranges}
    rows = {name: torch.tensor([values]).expand(SETS, 2) for name, values in limits.items()}
    return Manners(
        torch.tensor([ring] * SETS), torch.tensor([front] * SETS), roll_deg=torch.zeros(SETS), **rows
    )


def orbit(how: Manners) -> tuple[Tensor, Tensor]:
    return orbit_batch(how, VIEWS, torch.Generator().manual_seed(1))


def azimuths(viewmats: Tensor) -> Tensor:  # [B, V], degrees, in order
    centers = -(viewmats[..., :3, :3].mT @ viewmats[..., :3, 3:])[..., 0]
    return torch.atan2(centers[..., 0], centers[..., 2]).rad2deg().sort(-1).values


def gaps(viewmats: Tensor) -> Tensor:  # [B, V]
    angles = azimuths(viewmats)
    return torch.cat([angles, angles[:, :1] + 360], -1).diff(dim=-1)


def test_rings_go_around_and_fronts_do_not() -> None:
    ring, front, scattered = (
        orbit(manners(*kind))[0] for kind in ((True, False), (False, True), (False, False))
    )
    assert float(gaps(ring).max()) < 1.7 * 360 / VIEWS
    assert float(gaps(front).amax(-1).min()) > 200  # of a set's views, on the other side
    assert float(gaps(scattered).max()) > 2 * 360 / VIEWS


def test_heights_stay_within_their_limits() -> None:
    for kind in ((True, False), (False, False)):
        viewmats = orbit(manners(*kind))[0]
        centers = -(viewmats[..., :3, :3].mT @ viewmats[..., :3, 3:])[..., 0]
        above = (centers[..., 1] / centers.norm(dim=-1)).asin().rad2deg()
        assert float(above.min()) > -10.01 and float(above.max()) < 60.01
        assert float(above.max() - above.min()) > 40


def test_objects_fill_the_picture() -> None:
    vertices = torch.from_numpy(random_object(2).vertices).float().expand(SETS, -1, 3)
    viewmats, crops = orbit(manners(True, False))
    Ks = cropped_intrinsics(vertices, viewmats, crops, SIZE)
    for i in range(3):
        pixels = Cameras(viewmats[i], Ks[i], SIZE, SIZE).project(vertices[i])[0]
        low, high = pixels.amin(1), pixels.amax(1)
        fill = (high - low).amax(-1) / SIZE
        assert torch.allclose(fill, crops[i, :, 0], atol=1e-4)
        assert float(low.min()) > 0 and float(high.max()) < SIZE


def test_gains() -> None:
    none = gain_batch(torch.zeros(3), VIEWS, torch.Generator().manual_seed(0))
    assert torch.equal(none, torch.ones(3, VIEWS, 3))
    some = gain_batch(torch.full((400,), 0.2), VIEWS, torch.Generator().manual_seed(0)).log()
    assert abs(float(some.mean(-1).std()) - 0.2) < 0.02
    assert abs(float((some - some.mean(-1, keepdim=True)).square().mean().sqrt()) - 0.049) < 0.005
