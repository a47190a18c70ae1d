"""Photos reach the network as the published loader brings them, and its pixels find back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from agsrec.cameras import Cameras
from agsrec.errors import ImageError
from agsrec.pose_init.stereo.images import fit_image, prepare_views
from agsrec.views import Views


@pytest.mark.parametrize("case", range(8))
def test_published_pixels(shared_dir: Path, case: int) -> None:
    path = shared_dir / "parity" / "dust3r_load_images.safetensors"
    if not path.is_file():
        pytest.skip("no parity fixture dust3r_load_images")
    data, notes = load_file(path), json.loads(path.with_suffix(".json").read_text())["cases"][case]
    image = Image.fromarray(data[f"in.{case}.pixels"].numpy()).convert("RGB")
    found = np.asarray(fit_image(image, notes["size"]).image)
    assert [*found.shape[:2]] == notes["output_hw"]
    np.testing.assert_array_equal(found, data[f"out.{case}.pixels"].numpy())


def test_square_image_kept() -> None:
    image = Image.new("RGB", (80, 80))
    assert fit_image(image, 64).image.size == (64, 48)
    assert fit_image(image, 64, keep_square=True).image.size == (64, 64)
    assert fit_image(image, 64, square=True).image.size == (64, 64)
    # Sides stay multiples of 16 where three quarters of a square are none.
    assert fit_image(image, 112).image.size == (112, 80)


def test_too_narrow() -> None:
    with pytest.raises(ImageError, match="400x4 pixels is too narrow"):
        fit_image(Image.new("RGB", (400, 4)), 64)


def spots(width: int, height: int) -> tuple[Views, torch.Tensor]:
    """Views with one opaque disc each, and the discs' centres [2, 2] in pixels."""
    centers = torch.tensor([[0.42 * width, 0.36 * height], [0.55 * width, 0.6 * height]])
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    radius = (torch.stack([x, y], -1) - centers[:, None, None]).norm(dim=-1)
    alpha = (8 - radius).clamp(0, 1)
    color = torch.tensor([1.0, 0.0, 0.0]).expand(*alpha.shape, 3)
    return Views(torch.cat([color, alpha[..., None]], -1), ("a", "b")), centers


@pytest.mark.parametrize(
    ("shape", "size", "square", "rule", "expected"),
    [
        ((256, 256), 224, None, "pad", (224, 224)),
        ((120, 90), 224, None, "pad", (224, 224)),
        ((90, 150), 224, None, "pad", (224, 224)),
        ((100, 100), 64, True, "pad", (64, 64)),
        ((256, 256), 512, None, "pad", (512, 384)),
        ((256, 256), 512, None, "crop", (512, 384)),
        ((256, 256), 512, None, "keep", (512, 512)),
        ((300, 150), 512, None, "pad", (512, 256)),
        ((200, 133), 512, None, "pad", (512, 336)),
    ],
)
def test_pixels_find_back(shape, size, square, rule, expected) -> None:
    views, centers = spots(*shape)
    made = prepare_views(views, size, square=square, square_views=rule)
    assert made.images.shape == (2, expected[1], expected[0], 3) and made.masks.shape == made.images.shape[:3]
    assert made.images.min() >= -1 and made.images.max() == 1 and made.masks.max() == 1
    y, x = torch.meshgrid(
        *(torch.arange(n, dtype=torch.float64) + 0.5 for n in expected[::-1]), indexing="ij"
    )
    redness = (1 - made.images[..., 1]).double() / 2  # white has as much green as red
    for weight in (made.masks.double(), redness):
        mean = (
            torch.stack([(weight * x).sum((1, 2)), (weight * y).sum((1, 2))], -1)
            / weight.sum((1, 2))[:, None]
        )
        back = torch.cat([mean, torch.ones(2, 1)], -1) @ made.to_view.mT
        # Nearly: whole numbers of pixels have a rounding of the size.
        torch.testing.assert_close(back[:, :2], centers.double(), atol=0.15, rtol=0)


def test_padding_keeps_the_object_whole() -> None:
    views = Views(torch.ones(1, 60, 60, 4) * torch.tensor([0.2, 0.4, 0.6, 1.0]), ("a",))
    padded = prepare_views(views, 512)
    assert padded.images.shape[1:3] == (384, 512)
    assert (padded.images[0, :, :48] == 1).all() and (padded.images[0, :, -48:] == 1).all()
    assert padded.masks[0, [0, -1], 256].min() == 1  # top and bottom are there
    assert padded.masks[0, :, [0, -1]].max() == 0
    cut = prepare_views(views, 512, square_views="crop")
    assert cut.masks.min() == 1 and cut.to_view[1, 2] == pytest.approx(60 / 8)


def test_intrinsics_follow() -> None:
    made = prepare_views(spots(256, 256)[0], 224)
    Ks = Cameras.intrinsics(torch.tensor([300.0, 320.0]), 224, 224)
    found = made.view_intrinsics(Ks)
    # The published size is an exact resizing of a square view.
    torch.testing.assert_close(found, Cameras.intrinsics(torch.tensor([300.0, 320.0]) * 256 / 224, 256, 256))
    torch.testing.assert_close(made.network_intrinsics(found), Ks)


def test_transparent_is_white() -> None:
    made = prepare_views(Views(torch.zeros(1, 256, 256, 4), ("a",)), 224)
    assert (made.images == 1).all() and (made.masks == 0).all()
