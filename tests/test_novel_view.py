from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch

from agsrec.cameras import Cameras
from agsrec.errors import OptionError
from agsrec.novel_view import Viewpoint, as_strip, novel_views
from agsrec.prior.zero123 import Conditioning, Zero123
from agsrec.views import Views
from tests.tiny import tiny_scene
from tests.tiny_prior import tiny_zero123

STEPS = 2


@lru_cache(maxsize=1)
def model() -> Zero123:
    return tiny_zero123()


def photo(scale: float = 1.0) -> Views:
    """A photo whose object is off centre and takes a quarter of the picture, coloured `scale`."""
    images = torch.zeros(1, 48, 48, 4)
    images[:, 4:16, 20:32] = torch.tensor([scale, 0.3, 0.1, 1.0])
    images[:, 6:10, 22:26, :3] = 0.0
    return Views(images, ("mug",))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Conditioning, Cameras, Cameras, dict[str, Any]]]:
    """What the model is asked for; it answers with grey pictures."""
    calls: list[tuple[Conditioning, Cameras, Cameras, dict[str, Any]]] = []

    def sample(condition: Conditioning, photos: Cameras, cameras: Cameras, **options: Any) -> torch.Tensor:
        calls.append((condition, photos, cameras, options))
        return torch.full((len(cameras), 32, 32, 3), 0.5)

    monkeypatch.setattr(model(), "sample", sample)
    return calls


def test_images_depend_on_everything_that_is_asked() -> None:
    def image(view: Viewpoint, scale: float = 1.0, **options: Any) -> torch.Tensor:
        return novel_views(model(), photo(scale), [view], **{"steps": STEPS} | options)

    reference = image(Viewpoint(30.0))
    assert reference.shape == (1, 32, 32, 3) and 0 <= reference.min() < reference.max() <= 1
    assert torch.equal(image(Viewpoint(30.0)), reference)
    others = [
        image(Viewpoint(-30.0)),
        image(Viewpoint(30.0, 20.0)),
        image(Viewpoint(30.0, 0.0, 0.3)),
        image(Viewpoint(30.0), scale=0.2),
        image(Viewpoint(30.0), seed=1),
        image(Viewpoint(30.0), steps=3),
        image(Viewpoint(30.0), guidance_scale=1.0),
        image(Viewpoint(30.0), photo_elevation_deg=40.0),
    ]
    for k, other in enumerate(others):
        assert not torch.equal(other, reference), k


def test_cameras_are_the_moves_that_were_asked_for(asked: list[Any]) -> None:
    moves = [Viewpoint(0.0), Viewpoint(30.0, 25.0), Viewpoint(-90.0, 0.0, 0.5)]
    novel_views(model(), photo(), moves, photo_elevation_deg=15.0, fov_deg=50.0, steps=7, guidance_scale=2.0)
    ((_, shown, cameras, options),) = asked
    elevation, azimuth, radius = cameras.spherical()
    torch.testing.assert_close(azimuth, torch.tensor([0.0, 30.0, -90.0]), atol=1e-4, rtol=0)
    # In `Cameras` elevations are negative above the object.
    torch.testing.assert_close(elevation, torch.tensor([-15.0, -40.0, -15.0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(radius, torch.tensor([1.85, 1.85, 2.775]))
    torch.testing.assert_close(cameras.viewmats[:1], shown.viewmats)
    half = 0.5 * cameras.width / cameras.focal_lengths
    torch.testing.assert_close(half, torch.full((3, 2), math.tan(math.radians(25.0))))
    assert (cameras.width, cameras.height, shown.width) == (32, 32, 32)
    assert options["steps"] == 7 and options["guidance_scale"] == 2.0
    # A positive azimuth is to the right of the photo's camera, a positive elevation above it.
    right, up = shown.rotations[0, 0], -shown.rotations[0, 1]
    moved = cameras.centers - shown.centers
    assert float(moved[1] @ right) > 0.5 and float(moved[1] @ up) > 0.5 and float(moved[2] @ right) < -0.5


def test_photo_is_shown_cropped_to_the_object(monkeypatch: pytest.MonkeyPatch, asked: list[Any]) -> None:
    seen: list[Views] = []
    encode = Zero123.encode

    def spy(self: Zero123, views: Views) -> Conditioning:
        seen.append(views)
        return encode(self, views)

    monkeypatch.setattr(Zero123, "encode", spy)
    novel_views(model(), photo(), [Viewpoint(10.0)], steps=STEPS)
    mask = seen[0].masks[0] > 0.5
    rows, columns = (mask.any(dim).nonzero()[:, 0] for dim in (1, 0))
    for line in (rows, columns):
        assert len(line) == pytest.approx(48 / 1.2, abs=1.5)
        assert float(line.float().mean()) == pytest.approx(23.5, abs=1)
    assert len(asked) == 1


def test_many_views_are_made_in_batches(asked: list[Any]) -> None:
    images = novel_views(model(), photo(), [Viewpoint(36.0 * k) for k in range(10)], steps=STEPS)
    assert len(images) == 10 and [len(call[2]) for call in asked] == [4, 4, 2]
    azimuths = torch.cat([call[2].spherical()[1] for call in asked]) % 360
    torch.testing.assert_close(azimuths, 36.0 * torch.arange(10), atol=1e-3, rtol=0)
    # One source of noise for all of them.
    assert len({id(call[3]["generator"]) for call in asked}) == 1


def test_strip() -> None:
    images = torch.stack([torch.full((2, 2, 3), value) for value in (0.0, 0.5, 1.0)])
    images[1, 0, 0] = torch.tensor([1.0, 0.0, 0.0])
    strip = as_strip(images)
    assert strip.dtype == np.uint8 and strip.shape == (2, 6, 3)
    assert strip[1, :, 0].tolist() == [0, 0, 128, 128, 255, 255]
    assert strip[0, 2].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("view", "options", "message"),
    [
        (Viewpoint(math.nan), {}, "--azimuth"),
        (Viewpoint(0.0, math.inf), {}, "--elevation"),
        (Viewpoint(0.0, 0.0, -1.0), {}, "--distance"),
        (Viewpoint(0.0, 0.0, math.nan), {}, "--distance"),
        (Viewpoint(0.0), {"photo_elevation_deg": 90.0}, "--photo_elevation"),
        (Viewpoint(0.0), {"fov_deg": 0.0}, "--fov"),
        (Viewpoint(0.0), {"fov_deg": math.nan}, "--fov"),
        (Viewpoint(0.0), {"steps": 0}, "--steps"),
        (Viewpoint(0.0), {"steps": 1001}, "steps must be between 1 and 1000"),
        (Viewpoint(0.0), {"guidance_scale": math.nan}, "--guidance"),
        (Viewpoint(0.0), {"seed": -1}, "--seed"),
    ],
)
def test_bad_numbers(view: Viewpoint, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        novel_views(model(), photo(), [view], **{"steps": STEPS} | options)


def test_nothing_or_too_much_to_show() -> None:
    with pytest.raises(OptionError, match="at least one viewpoint"):
        novel_views(model(), photo(), [], steps=STEPS)
    views, _ = tiny_scene()
    with pytest.raises(OptionError, match="from one photo, not 6"):
        novel_views(model(), views, [Viewpoint(0.0)], steps=STEPS)
