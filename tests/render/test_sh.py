from __future__ import annotations

import numpy as np
import pytest
import torch
from numba import njit

from agsrec.render.cpu.sh import sh_basis, sh_basis_grad
from agsrec.render.cpu.simd import LANES, load
from tests.reference import sh_bases


@njit
def bases_and_gradients(directions, degree, values, gradients):
    """directions: x, y and z of 16 directions, one after the other."""
    x, y, z = load(directions, 0), load(directions, LANES), load(directions, 2 * LANES)
    sh_basis(x, y, z, degree, values)
    sh_basis_grad(x, y, z, degree, gradients)


def directions() -> torch.Tensor:
    """Unit vectors [16, 3]; the axes among them."""
    d = torch.randn(LANES, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    d[:3], d[3:6] = torch.eye(3), -torch.eye(3)
    return torch.nn.functional.normalize(d, dim=-1)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_values_and_derivatives(degree: int) -> None:
    d, k = directions(), (degree + 1) ** 2
    values, gradients = np.full(16 * LANES, 7, np.float32), np.full(16 * 3 * LANES, 7, np.float32)
    bases_and_gradients(d.T.float().contiguous().numpy().ravel(), degree, values, gradients)
    got = torch.from_numpy(values).reshape(16, LANES)
    torch.testing.assert_close(got[:k].T.double(), sh_bases(d, degree), rtol=1e-5, atol=1e-6)
    jacobian = torch.autograd.functional.jacobian(lambda x: sh_bases(x, degree).sum(0), d)  # [k, 16, 3]
    slopes = torch.from_numpy(gradients).reshape(16, 3, LANES)
    want = jacobian.movedim(1, 2)  # pyright: ignore[reportAttributeAccessIssue]
    torch.testing.assert_close(slopes[:k].double(), want, rtol=1e-5, atol=1e-5)
    assert (got[k:] == 7).all() and (slopes[k:] == 7).all(), "higher bands must be left alone"


def test_golden() -> None:
    """Straight up (z): only the bands with m = 0 remain, sqrt((2 l + 1) / 4 pi) each."""
    values, gradients = np.zeros(16 * LANES, np.float32), np.zeros(48 * LANES, np.float32)
    up = np.zeros((3, LANES), np.float32)
    up[2] = 1
    bases_and_gradients(up.ravel(), 3, values, gradients)
    want = np.zeros(16)
    want[[0, 2, 6, 12]] = [np.sqrt((2 * band + 1) / (4 * np.pi)) for band in range(4)]
    np.testing.assert_allclose(values.reshape(16, LANES)[:, 5], want, atol=1e-6)
