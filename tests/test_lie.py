from __future__ import annotations

import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from agsrec.lie import se3_exp, se3_log, skew, so3_exp, so3_log

ANGLES = [
    0.0,
    1e-12,
    1e-8,
    1e-6,
    1e-4,
    1e-3,
    0.03,
    0.04,
    0.4,
    0.6,
    1.0,
    2.0,
    3.0,
    math.pi - 1e-4,
    math.pi - 1e-8,
]


def random_axes(n: int, seed: int = 0) -> torch.Tensor:
    axes = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return axes / axes.norm(dim=-1, keepdim=True)


def tangents(n: int = 8) -> torch.Tensor:
    """Tangent vectors [len(ANGLES) * n, 6] at every angle."""
    omega = torch.cat([angle * random_axes(n, i) for i, angle in enumerate(ANGLES)])
    v = torch.randn(len(omega), 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return torch.cat([v, omega], dim=-1)


def test_skew_is_cross_product() -> None:
    a, b = random_axes(2)
    torch.testing.assert_close(skew(a) @ b, torch.linalg.cross(a, b))


def test_quarter_turn_about_z() -> None:
    expected = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    omega = torch.tensor([0.0, 0.0, math.pi / 2], dtype=torch.float64)
    torch.testing.assert_close(so3_exp(omega), expected)


def test_translation_comes_first_and_is_untouched_without_rotation() -> None:
    transform = se3_exp(torch.tensor([1.0, 2.0, 3.0, 0.0, 0.0, 0.0]))
    expected = torch.eye(4)
    expected[:3, 3] = torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(transform, expected, rtol=0, atol=0)


def test_half_turn_moves_along_a_circle() -> None:
    # Driving along x while turning by pi about z describes a half circle of diameter 2 * 1 / pi.
    transform = se3_exp(torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0, math.pi], dtype=torch.float64))
    expected = torch.tensor([0.0, 2 / math.pi, 0.0], dtype=torch.float64)
    torch.testing.assert_close(transform[:3, 3], expected)


def test_exp_agrees_with_scipy() -> None:
    omega = tangents()[:, 3:]
    expected = torch.from_numpy(Rotation.from_rotvec(omega.numpy()).as_matrix())
    torch.testing.assert_close(so3_exp(omega), expected, rtol=0, atol=1e-14)


def test_exp_agrees_with_matrix_exponential() -> None:
    xi = tangents()
    generator = torch.zeros(len(xi), 4, 4, dtype=torch.float64)
    generator[:, :3, :3], generator[:, :3, 3] = skew(xi[:, 3:]), xi[:, :3]
    torch.testing.assert_close(se3_exp(xi), torch.linalg.matrix_exp(generator), rtol=0, atol=1e-13)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 3e-5)])
def test_log_inverts_exp(dtype: torch.dtype, tolerance: float) -> None:
    xi = tangents()
    # In float32 the axis' sign is lost closer to pi than its rounding.
    xi = xi[xi[:, 3:].norm(dim=-1) < math.pi - (1e-3 if dtype == torch.float32 else 1e-9)].to(dtype)
    torch.testing.assert_close(se3_log(se3_exp(xi)), xi, rtol=0, atol=tolerance)


@pytest.mark.parametrize("axis", [*torch.eye(3).tolist(), [0.6, 0.0, 0.8], [-0.6, 0.48, 0.64]])
def test_log_at_exactly_pi(axis: list[float]) -> None:
    unit = torch.tensor(axis, dtype=torch.float64)
    half_turn = 2 * unit[:, None] * unit - torch.eye(3, dtype=torch.float64)
    omega = so3_log(half_turn)
    torch.testing.assert_close(omega.norm(), torch.tensor(math.pi, dtype=torch.float64))
    torch.testing.assert_close(so3_exp(omega), half_turn, rtol=0, atol=1e-12)


def test_log_never_exceeds_pi() -> None:
    omega = so3_log(so3_exp(random_axes(50) * torch.linspace(3.2, 6.2, 50, dtype=torch.float64)[:, None]))
    assert (omega.norm(dim=-1) <= math.pi + 1e-12).all()


def test_rotations_are_orthonormal_in_float32() -> None:
    rotation = so3_exp(tangents()[:, 3:].float())
    identity = torch.eye(3).expand_as(rotation)
    torch.testing.assert_close(rotation @ rotation.mT, identity, rtol=0, atol=2e-6)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(len(rotation)), rtol=0, atol=2e-6)


def test_inverse_is_negative_tangent() -> None:
    xi = tangents()
    identity = torch.eye(4, dtype=torch.float64).expand(len(xi), 4, 4)
    torch.testing.assert_close(se3_exp(xi) @ se3_exp(-xi), identity, rtol=0, atol=1e-13)


def test_batch_equals_loop() -> None:
    xi = tangents()[:24].reshape(2, 3, 4, 6)
    batch = se3_exp(xi)
    assert batch.shape == (2, 3, 4, 4, 4)
    loop = torch.stack([se3_exp(x) for x in xi.reshape(-1, 6)]).reshape(batch.shape)
    torch.testing.assert_close(batch, loop, rtol=0, atol=1e-15)
    logs = torch.stack([se3_log(t) for t in batch.reshape(-1, 4, 4)]).reshape(xi.shape)
    torch.testing.assert_close(se3_log(batch), logs, rtol=0, atol=1e-15)


@pytest.mark.parametrize("angle", [0.0, 1e-6, 1e-3, 0.031, 0.032, 0.5, 2.0, 3.0])
def test_gradients(angle: float) -> None:
    omega = angle * random_axes(2)
    xi = torch.cat([random_axes(2, 5), omega], dim=-1).requires_grad_()
    assert torch.autograd.gradcheck(se3_exp, xi)
    assert torch.autograd.gradcheck(so3_exp, omega.clone().requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient_at_zero_is_the_generator(dtype: torch.dtype) -> None:
    jacobian = torch.autograd.functional.jacobian(se3_exp, torch.zeros(6, dtype=dtype))
    expected = torch.zeros(4, 4, 6, dtype=dtype)
    for i in range(3):
        expected[i, 3, i] = 1
        expected[:3, :3, 3 + i] = skew(torch.eye(3, dtype=dtype)[i])
    torch.testing.assert_close(jacobian, expected, rtol=0, atol=0)


def test_float32_is_accurate_across_the_taylor_switch() -> None:
    xi = torch.cat([random_axes(200), random_axes(200, 1) * torch.linspace(0.3, 0.7, 200)[:, None]], -1)
    torch.testing.assert_close(se3_exp(xi.float()).double(), se3_exp(xi), rtol=0, atol=5e-7)
