from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from agsrec.cameras import CAMERA_DISTANCE, Cameras, optical_axis_intersection
from agsrec.errors import CameraError, MissingExtraError, ShapeError
from agsrec.lie import so3_exp, so3_log

POINTS = torch.tensor([[0.0, 0.0, 0.0], [0.3, -0.2, 0.1], [-0.4, 0.25, 0.2], [0.1, 0.5, -0.3]])


def one_camera(elevation: float, azimuth: float, radius: float = 2.0) -> Cameras:
    Ks = Cameras.intrinsics(torch.tensor([100.0]), 64, 64)
    return Cameras.orbit(elevation, azimuth, radius, Ks=Ks, width=64, height=64)


def parity(shared_dir: Path, name: str) -> dict[str, torch.Tensor]:
    path = shared_dir / "parity" / f"{name}.safetensors"
    if not path.is_file():
        pytest.skip(f"no parity fixture {name}")
    return load_file(path)


# ---------------------------------------------------------------- golden values


def test_front_camera_by_hand() -> None:
    # On +z looking back along -z: x stays right, world y up is camera y down, the origin is 2 in front.
    expected = torch.tensor([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 2], [0, 0, 0, 1]])
    torch.testing.assert_close(one_camera(0, 0).viewmats[0], expected)


@pytest.mark.parametrize(
    ("elevation", "azimuth", "center"),
    [(0, 0, (0, 0, 2)), (0, 90, (2, 0, 0)), (-90, 0, (0, 2, 0)), (90, 0, (0, -2, 0)), (0, 180, (0, 0, -2))],
)
def test_orbit_centers_by_hand(elevation: float, azimuth: float, center: tuple[float, ...]) -> None:
    centers = one_camera(elevation, azimuth).centers[0]
    torch.testing.assert_close(centers, torch.tensor(center, dtype=torch.float32), rtol=0, atol=1e-6)


def test_projection_by_hand() -> None:
    # A point 0.5 right of and 0.25 above the origin, 2 away, focal 100: 25 px right, 12.5 px up.
    uv, depth = one_camera(0, 0).project(torch.tensor([[0.5, 0.25, 0.0]]))
    torch.testing.assert_close(uv, torch.tensor([[[32 + 25.0, 32 - 12.5]]]))
    torch.testing.assert_close(depth, torch.tensor([[2.0]]))


def test_opengl_by_hand() -> None:
    # An identity rotation in OpenGL looks along -z with y up, which is the front camera.
    c2w = torch.eye(4)[None].clone()
    c2w[0, 2, 3] = 2.0
    front = one_camera(0, 0)
    torch.testing.assert_close(Cameras.from_opengl(c2w, front.Ks, 64, 64).viewmats, front.viewmats)


def test_pytorch3d_by_hand() -> None:
    # PyTorch3D's identity looks along +z from the origin with x left, y up; T = (0, 0, 2) puts it at z = -2.
    Ks = Cameras.intrinsics(torch.tensor([100.0]), 64, 64)
    camera = Cameras.from_pytorch3d_params(torch.eye(3)[None], torch.tensor([[0.0, 0.0, 2.0]]), Ks, 64, 64)
    torch.testing.assert_close(camera.centers, torch.tensor([[0.0, 0.0, -2.0]]))
    uv, _ = camera.project(torch.tensor([[0.5, 0.25, 0.0]]))
    torch.testing.assert_close(uv, torch.tensor([[[32 - 25.0, 32 - 12.5]]]))


def test_spherical_inverts_orbit(cameras: Cameras) -> None:
    elevation, azimuth, radius = cameras.spherical()
    torch.testing.assert_close(elevation, torch.tensor([-30.0, 10.0, -60.0, 45.0, -5.0]))
    torch.testing.assert_close(azimuth, torch.tensor([0.0, 72.0, 150.0, -140.0, -60.0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(radius, torch.tensor([2.0, 1.8, 1.7, 2.2, 1.9]))


def test_intrinsics_forms() -> None:
    number = Cameras.intrinsics(50, 20, 10)
    assert number.shape == (1, 3, 3) and number.is_floating_point()
    torch.testing.assert_close(number[0], torch.tensor([[50.0, 0, 10], [0, 50, 5], [0, 0, 1]]))
    assert Cameras.intrinsics(torch.tensor([50.0, 60.0]), 20, 10).shape == (2, 3, 3)
    fx_fy = Cameras.intrinsics(torch.tensor([[50.0, 60.0]]), 20, 10, torch.tensor([[1.0, 2.0]]))
    torch.testing.assert_close(fx_fy[0], torch.tensor([[50.0, 0, 1], [0, 60, 2], [0, 0, 1]]))


# ---------------------------------------------------------------- conversions


def test_round_trips(cameras: Cameras) -> None:
    size = cameras.width, cameras.height
    opengl = Cameras.from_opengl(cameras.to_opengl(), cameras.Ks, *size)
    pytorch3d = Cameras.from_pytorch3d_params(*cameras.to_pytorch3d_params(), cameras.Ks, *size)
    torch.testing.assert_close(opengl.viewmats, cameras.viewmats)
    torch.testing.assert_close(pytorch3d.viewmats, cameras.viewmats, rtol=0, atol=0)
    torch.testing.assert_close(
        cameras.c2w @ cameras.viewmats, torch.eye(4).expand(5, 4, 4), atol=1e-6, rtol=0
    )


def test_pytorch3d_params_project_alike(cameras: Cameras) -> None:
    R, T = cameras.to_pytorch3d_params()
    x = POINTS @ R + T[:, None]  # x left, y up, z forward
    expected = cameras.principal_points[:, None] - cameras.focal_lengths[:, None] * x[..., :2] / x[..., 2:]
    torch.testing.assert_close(cameras.project(POINTS)[0], expected)


def test_to_pytorch3d_says_what_is_missing(cameras: Cameras) -> None:
    try:
        import pytorch3d  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        with pytest.raises(MissingExtraError, match="pytorch3d"):
            cameras.to_pytorch3d()


def test_resized_keeps_projections_relative(cameras: Cameras) -> None:
    resized = cameras.resized(50, 300)
    assert (resized.width, resized.height) == (50, 300)
    expected = cameras.project(POINTS)[0] * torch.tensor([50 / 200, 300 / 100])
    torch.testing.assert_close(resized.project(POINTS)[0], expected)


# ---------------------------------------------------------------- batches


def test_indexing_and_cat(cameras: Cameras) -> None:
    assert len(cameras[2]) == 1 and len(cameras[1:3]) == 2
    joined = Cameras.cat([cameras[[0, 1]], cameras[torch.tensor([2, 3, 4])]])
    torch.testing.assert_close(joined.viewmats, cameras.viewmats, rtol=0, atol=0)
    torch.testing.assert_close(cameras[-1].viewmats[0], cameras.viewmats[-1], rtol=0, atol=0)
    with pytest.raises(ShapeError, match="image size"):
        Cameras.cat([cameras, cameras.resized(10, 10)])


@pytest.mark.parametrize(
    ("viewmats", "Ks", "width"),
    [((2, 3, 4), (2, 3, 3), 8), ((2, 4, 4), (1, 3, 3), 8), ((2, 4, 4), (2, 3, 3), 0)],
)
def test_wrong_shapes(viewmats: tuple[int, ...], Ks: tuple[int, ...], width: int) -> None:
    with pytest.raises(ShapeError):
        Cameras(torch.zeros(viewmats), torch.zeros(Ks), width, 8)


# ---------------------------------------------------------------- new cameras


def test_transformed_leaves_images_unchanged(cameras: Cameras) -> None:
    rotation = so3_exp(torch.tensor([0.3, -1.2, 0.7]))
    translation = torch.tensor([0.5, -2.0, 1.0])
    moved = cameras.transformed(2.5, rotation, translation)
    uv, depth = moved.project(2.5 * POINTS @ rotation.mT + translation)
    expected_uv, expected_depth = cameras.project(POINTS)
    torch.testing.assert_close(uv, expected_uv, atol=2e-3, rtol=0)
    torch.testing.assert_close(depth, 2.5 * expected_depth)


def test_optical_axis_intersection(cameras: Cameras) -> None:
    shift = torch.tensor([0.3, 0.1, -0.2])
    moved = cameras.transformed(1.0, torch.eye(3), shift)
    torch.testing.assert_close(optical_axis_intersection(moved), shift, atol=1e-6, rtol=0)


def test_parallel_axes_are_refused(cameras: Cameras) -> None:
    with pytest.raises(CameraError, match="one direction"):
        optical_axis_intersection(cameras[[0, 0, 0]])


def test_normalized_restores_a_moved_world(cameras: Cameras) -> None:
    moved = cameras.transformed(3.0, so3_exp(torch.tensor([1.0, 0.5, -0.4])), torch.tensor([1.0, 2.0, 3.0]))
    normal = moved.normalized()
    torch.testing.assert_close(optical_axis_intersection(normal), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(normal.centers.norm(dim=-1).mean(), torch.tensor(CAMERA_DISTANCE))
    # The up axis is found again, so elevations are as before; radii keep their ratios.
    torch.testing.assert_close(normal.spherical()[0], cameras.spherical()[0], atol=1e-2, rtol=0)
    ratio = normal.spherical()[2] / cameras.spherical()[2]
    torch.testing.assert_close(ratio, ratio[:1].expand(5))
    # Azimuths are as before up to one common turn.
    turn = torch.deg2rad(normal.spherical()[1] - cameras.spherical()[1])
    torch.testing.assert_close(turn.cos(), turn[:1].cos().expand(5), atol=1e-3, rtol=0)


def test_normalized_twice_changes_nothing_but_the_azimuth(cameras: Cameras) -> None:
    once = cameras.normalized()
    twice = once.normalized()
    torch.testing.assert_close(once.spherical()[0], twice.spherical()[0], atol=1e-2, rtol=0)
    torch.testing.assert_close(once.spherical()[2], twice.spherical()[2])


def test_normalized_works_with_two_cameras(cameras: Cameras) -> None:
    normal = cameras[[0, 1]].normalized()
    assert normal.viewmats.isfinite().all()
    torch.testing.assert_close(torch.linalg.det(normal.rotations), torch.ones(2))


def test_perturbed_has_the_rms_asked_for(cameras: Cameras) -> None:
    off = cameras.perturbed(8.0, torch.Generator().manual_seed(0))
    angles = so3_log(off.rotations.double() @ cameras.rotations.double().mT).norm(dim=-1).rad2deg()
    assert math.isclose(angles.square().mean().sqrt().item(), 8.0, rel_tol=1e-4)
    # About the origin: it stays where it was in every picture, at the same distance.
    torch.testing.assert_close(off.project(POINTS[:1]), cameras.project(POINTS[:1]))
    again = cameras.perturbed(8.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(off.viewmats, again.viewmats, rtol=0, atol=0)
    assert cameras.perturbed(0.0, torch.Generator()) is cameras


# ---------------------------------------------------------------- against the public implementation


@pytest.mark.parametrize("scene", ["jordan", "toy", "butter"])
def test_parity_conversions(shared_dir: Path, scene: str) -> None:
    data = parity(shared_dir, "sparseags_cameras")
    get = {key: data[f"in.{scene}.{key}"].float() for key in ("R", "T", "focal_length", "principal_point")}
    Ks = Cameras.intrinsics(get["focal_length"], 256, 256, get["principal_point"])
    cameras = Cameras.from_pytorch3d_params(get["R"], get["T"], Ks, 256, 256)
    out = {key: data[f"out.{scene}.{key}"] for key in ("w2c_opencv", "c2w", "camera_center", "latlon")}
    torch.testing.assert_close(cameras.viewmats, out["w2c_opencv"], atol=1e-5, rtol=0)
    torch.testing.assert_close(cameras.to_opengl(), out["c2w"], atol=1e-5, rtol=0)
    torch.testing.assert_close(cameras.centers, out["camera_center"], atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.stack(cameras.spherical(), -1), out["latlon"], atol=1e-3, rtol=0)
    fov = 2 * torch.atan(128 / cameras.focal_lengths.double())
    torch.testing.assert_close(fov, data[f"out.{scene}.fov_xy"], atol=1e-5, rtol=0)
    ndc = cameras.project(data[f"in.{scene}.points"])[0] / 128 - 1
    torch.testing.assert_close(ndc, data[f"out.{scene}.points_ndc"][..., :2], atol=1e-4, rtol=1e-4)


def test_parity_orbit(shared_dir: Path) -> None:
    data = parity(shared_dir, "sparseags_cameras")
    elevation, azimuth, radius = data["in.orbit.elev_azim_radius"].unbind(-1)
    Ks = Cameras.intrinsics(torch.full((len(radius),), 100.0, dtype=torch.float64), 64, 64)
    cameras = Cameras.orbit(elevation, azimuth, radius, Ks=Ks, width=64, height=64)
    torch.testing.assert_close(cameras.to_opengl().float(), data["out.orbit.pose"], atol=1e-5, rtol=0)
    angles = torch.stack(cameras.spherical(), -1)
    sure = angles[:, 0].abs() < 89.9  # at the poles the azimuth is anything
    torch.testing.assert_close(angles[sure], data["out.orbit.mat2latlon"][sure], atol=1e-3, rtol=0)


@pytest.mark.parametrize("scene", ["jordan", "ring"])
def test_parity_normalization(shared_dir: Path, scene: str) -> None:
    data = parity(shared_dir, "sparseags_normalize_up")
    Ks = Cameras.intrinsics(
        data[f"in.{scene}.focal_length"][:, 0], 256, 256, data[f"in.{scene}.principal_point"]
    )
    before = Cameras.from_pytorch3d_params(data[f"in.{scene}.R"], data[f"in.{scene}.T"], Ks, 256, 256)
    expected = Cameras.from_pytorch3d_params(data[f"out.{scene}.R"], data[f"out.{scene}.T"], Ks, 256, 256)
    intersection = optical_axis_intersection(before)
    torch.testing.assert_close(intersection, data[f"out.{scene}.p_intersect"][0], atol=1e-4, rtol=0)
    normal = before.normalized()
    # The azimuth's zero is free by half a turn: the sign of a singular vector.
    half_turn = torch.diag(torch.tensor([-1.0, 1.0, -1.0]))
    candidates = [normal, normal.transformed(1.0, half_turn, torch.zeros(3))]
    error = min((c.viewmats - expected.viewmats).abs().max().item() for c in candidates)
    assert error < 1e-4
