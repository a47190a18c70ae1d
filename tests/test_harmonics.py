"""Spherical harmonics are those of the renderer, and turn with the world."""

from __future__ import annotations

import pytest
import torch
from scipy.special import sph_harm_y

from agsrec.harmonics import harmonics, turned_harmonics
from agsrec.lie import so3_exp

TURN = so3_exp(torch.tensor([0.7, -1.1, 0.4], dtype=torch.float64))


def directions(count: int) -> torch.Tensor:
    points = torch.randn(count, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.nn.functional.normalize(points, dim=-1)


def test_values() -> None:
    """By SciPy's complex ones: real parts for m >= 0, imaginary ones for m < 0, which fixes all but signs."""
    d = directions(20)
    polar, azimuth = d[:, 2].acos().numpy(), torch.atan2(d[:, 1], d[:, 0]).numpy()
    found = harmonics(d, 3)
    for degree in range(4):
        for m in range(-degree, degree + 1):
            value = torch.from_numpy(sph_harm_y(degree, abs(m), polar, azimuth)).resolve_conj()
            value = (value.imag if m < 0 else value.real) * (2**0.5 if m else 1)
            ours = found[:, degree * degree + degree + m]
            torch.testing.assert_close(ours.abs(), value.abs(), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_turned(degree: int) -> None:
    """A turned colour seen from a turned direction is the colour."""
    count = (degree + 1) ** 2
    sh = torch.randn(5, count, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    d = directions(30)
    before = torch.einsum("dk,nkc->ndc", harmonics(d, degree), sh)
    after = torch.einsum("dk,nkc->ndc", harmonics(d @ TURN.T, degree), turned_harmonics(sh, TURN))
    torch.testing.assert_close(after, before, atol=1e-10, rtol=1e-10)
    back = turned_harmonics(turned_harmonics(sh, TURN), TURN.T)
    torch.testing.assert_close(back, sh, atol=1e-10, rtol=1e-10)
