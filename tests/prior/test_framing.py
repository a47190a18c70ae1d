from __future__ import annotations

import torch

from agsrec.cameras import Cameras
from agsrec.prior.framing import object_framing
from agsrec.views import Views


def photo(left: int, top: int, width: int, height: int, size: int = 64) -> torch.Tensor:
    """A transparent picture with an opaque rectangle whose colour grows from left to right."""
    image = torch.zeros(size, size, 4)
    image[top : top + height, left : left + width, 0] = torch.linspace(0.2, 0.8, width)
    image[top : top + height, left : left + width, 3] = 1
    return image


def test_object_is_centred_at_the_wanted_size() -> None:
    views = Views(torch.stack([photo(2, 10, 16, 8), photo(30, 4, 20, 40)]), ("a", "b"))
    cropped = object_framing(views, 0.8).views(views)
    for mask in cropped.masks > 0.5:
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        extent = max(len(rows), len(columns))
        assert abs(extent - 0.8 * 64) <= 1
        assert abs(int(rows[0] + rows[-1]) - 63) <= 1 and abs(int(columns[0] + columns[-1]) - 63) <= 1
    colors = cropped.images[0, 32, :, 0][cropped.masks[0, 32] > 0.99]
    assert abs(float(colors[0]) - 0.2) < 0.03 and abs(float(colors[-1]) - 0.8) < 0.03


def test_cameras_follow_the_crop() -> None:
    views = Views(torch.stack([photo(2, 10, 16, 8)]), ("a",))
    Ks = Cameras.intrinsics(torch.tensor([80.0]), 64, 64)
    camera = Cameras.orbit(0.0, torch.tensor([30.0]), 1.85, Ks=Ks, width=64, height=64)
    framing = object_framing(views, 0.8)
    points = torch.tensor([[0.1, 0.2, -0.1], [-0.2, 0.05, 0.1]])
    before, after = camera.project(points)[0], framing.cameras(camera).project(points)[0]
    zoom = 0.8 * 64 / 16
    # The box's centre (10, 14) goes to the middle of the picture.
    torch.testing.assert_close(after, (before - torch.tensor([10.0, 14.0])) * zoom + 32, rtol=1e-4, atol=1e-3)


def test_empty_mask_is_framed_whole() -> None:
    views = Views(torch.zeros(1, 32, 32, 4), ("a",))
    framing = object_framing(views, 0.8)
    assert framing.sides.tolist() == [32] and framing.corners.tolist() == [[0, 0]]
