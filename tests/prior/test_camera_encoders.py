"""Camera vectors: what they say about simple pairs of cameras, without reference data."""

from __future__ import annotations

import math

import pytest
import torch

from agsrec.cameras import Cameras
from agsrec.errors import CheckpointError
from agsrec.prior.camera_encoders import (
    CAMERA_ENCODERS,
    encode_spherical,
    encode_zero123_6dof,
    encode_zeronvs,
    encoder_for_width,
)


def orbit(elevation: float, azimuth: float, radius: float, focal: float = 100.0, size: int = 64) -> Cameras:
    Ks = Cameras.intrinsics(torch.tensor([focal], dtype=torch.float64), size, size)
    return Cameras.orbit(elevation, azimuth, radius, Ks=Ks, width=size, height=size)


@pytest.mark.parametrize(("name", "width"), [("zero123-6dof", 18), ("zero123", 4), ("zeronvs", 19)])
def test_width_names_the_encoder(cameras: Cameras, name: str, width: int) -> None:
    found, encoder = encoder_for_width(width)
    assert found == name and encoder is CAMERA_ENCODERS[name][1]
    assert encoder(cameras, cameras).shape == (5, width)


def test_unknown_width() -> None:
    with pytest.raises(CheckpointError, match=r"takes 7 camera numbers; known are 18 \(zero123-6dof\), 4"):
        encoder_for_width(7)


def test_same_camera(cameras: Cameras) -> None:
    identity = torch.eye(4).flatten().expand(5, 16)
    found = encode_zero123_6dof(cameras, cameras)
    torch.testing.assert_close(found, torch.cat([identity, torch.zeros(5, 2)], 1), atol=1e-5, rtol=0)
    torch.testing.assert_close(encode_zeronvs(cameras, cameras)[:, :16], identity, atol=1e-5, rtol=0)
    zero = torch.tensor([0.0, 0.0, 1.0, 0.0]).expand(5, 4)
    torch.testing.assert_close(encode_spherical(cameras, cameras), zero)


def test_6dof_maps_condition_to_target_coordinates() -> None:
    """A target one unit nearer to the object has the photo's camera one unit behind it: +z in OpenGL."""
    vector = encode_zero123_6dof(orbit(0, 30, 1, focal=200.0), orbit(0, 30, 2, focal=100.0))[0]
    expected = torch.eye(4, dtype=torch.float64)
    expected[2, 3] = 1
    torch.testing.assert_close(vector[:16], expected.flatten())
    torch.testing.assert_close(vector[16:], torch.full((2,), math.log(2), dtype=torch.float64))


def test_6dof_is_the_same_wherever_the_world_is_turned_to() -> None:
    target, condition = orbit(-20, 50, 1.9), orbit(10, -70, 1.7)
    turn = orbit(33, 77, 1).rotations[0]
    moved = [c.transformed(1.0, turn, torch.tensor([0.3, -0.2, 1.0]).double()) for c in (target, condition)]
    torch.testing.assert_close(encode_zero123_6dof(*moved), encode_zero123_6dof(target, condition))


def test_6dof_knows_roll_and_both_focal_lengths() -> None:
    condition = orbit(0, 0, 2)
    Ks = Cameras.intrinsics(torch.tensor([[50.0, 300.0]], dtype=torch.float64), 64, 64)
    target = Cameras(condition.viewmats, Ks, 64, 64)
    found = encode_zero123_6dof(target, condition)[0, 16:]
    torch.testing.assert_close(found, torch.tensor([math.log(0.5), math.log(3)], dtype=torch.float64))


def test_spherical_directions() -> None:
    """Polar angles grow from the top down; azimuths counter-clockwise, seen from above."""
    condition = orbit(-30, 10, 2)
    lower = encode_spherical(orbit(0, 10, 2), condition)[0]
    torch.testing.assert_close(lower, torch.tensor([math.radians(30), 0, 1, 0], dtype=torch.float64))
    aside = encode_spherical(orbit(-30, 100, 2.5), condition)[0]
    torch.testing.assert_close(aside, torch.tensor([0, 1, 0, 0.5], dtype=torch.float64))
    across = encode_spherical(orbit(-30, -175, 2), orbit(-30, 175, 2))[0]  # over the seam
    ten = math.radians(10)
    torch.testing.assert_close(
        across, torch.tensor([0, math.sin(ten), math.cos(ten), 0], dtype=torch.float64)
    )


def test_zeronvs_direction_scale_and_field_of_view() -> None:
    near, far = orbit(0, 0, 1), orbit(0, 0, 2)
    vector = encode_zeronvs(near, far, scale=0.5)[0]
    # The target stands one unit (two scales) before the photo's camera: -z in OpenGL.
    torch.testing.assert_close(vector[11], torch.tensor(-5 * math.tanh(0.2), dtype=torch.float64))
    fov = 2 * math.atan(32 / 100)
    expected = torch.tensor([fov, math.sin(fov), math.cos(fov)], dtype=torch.float64)
    torch.testing.assert_close(vector[16:], expected)
    tiny = encode_zeronvs(near, far, scale=0.0)  # no division by nothing
    torch.testing.assert_close(tiny[0, 11], torch.tensor(-5 * math.tanh(10), dtype=torch.float64))


@pytest.mark.parametrize("encode", [encode_zero123_6dof, encode_spherical, encode_zeronvs])
def test_gradients_reach_the_target(encode: object) -> None:
    target, condition = orbit(-20, 50, 1.9), orbit(10, -70, 1.7)
    viewmats = target.viewmats.clone().requires_grad_()
    encode(Cameras(viewmats, target.Ks, 64, 64), condition).square().sum().backward()  # type: ignore[operator]
    assert viewmats.grad is not None and viewmats.grad.isfinite().all() and viewmats.grad.abs().sum() > 0
