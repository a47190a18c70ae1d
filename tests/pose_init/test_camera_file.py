from __future__ import annotations

import torch

from agsrec.cameras import Cameras
from agsrec.pose_init.camera_file import _cropped
from agsrec.preprocess import Crop


def test_crops_of_different_sizes_become_views_of_one() -> None:
    """A point of a photo is where its view shows it: by the crop's corner, and by view over side."""
    viewmats = torch.eye(4).repeat(2, 1, 1)
    viewmats[:, 2, 3] = 2.0
    cameras = Cameras(viewmats, Cameras.intrinsics(torch.tensor([500.0, 450.0]), 600, 400), 600, 400)
    point = torch.tensor([[0.2, -0.1, 0.1]])
    crops = [Crop(600, 400, 120, -30, 320, 320), Crop(1200, 800, 500, 60, 700, 350)]  # native, and scaled
    views = _cropped(cameras, [(600, 400)] * 2, crops, 256)
    assert (views.width, views.height) == (256, 256)
    for i, crop in enumerate(crops):
        photo = cameras[[i]].resized(crop.width, crop.height).project(point)[0][0, 0]
        expected = (photo - torch.tensor([float(crop.x0), float(crop.y0)])) * 256 / crop.side
        torch.testing.assert_close(views[[i]].project(point)[0][0, 0], expected)
