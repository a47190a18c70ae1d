"""Adam does what PyTorch's does, bit by bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from agsrec.fit.adam import Adam

RATES = 0.1, 0.003


def tensors() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (7, 3), (5,)
    return [torch.randn(shape, generator=generator).requires_grad_(True) for shape in shapes]


def loss(parameters: list[Tensor]) -> Tensor:
    return (parameters[0] ** 2).sum() + (parameters[1] - 1).abs().pow(1.5).sum()


@pytest.mark.parametrize("fused", [False, True])
def test_steps_are_those_of_pytorch(fused: bool) -> None:
    ours, theirs = tensors(), tensors()
    options = {"betas": (0.8, 0.95), "eps": 1e-12, "fused": fused}
    adam = Adam(ours, RATES, **options)  # pyright: ignore[reportArgumentType]
    groups = [{"params": [t], "lr": rate} for t, rate in zip(theirs, RATES, strict=True)]
    reference = torch.optim.Adam(groups, **options)  # pyright: ignore[reportArgumentType]
    for step in range(6):
        adam.rates[0] = reference.param_groups[0]["lr"] = RATES[0] * 0.5**step
        loss(ours).backward()
        loss(theirs).backward()
        adam.step()
        reference.step()
        reference.zero_grad()
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
        assert all(t.grad is None for t in ours)


@pytest.mark.parametrize("fused", [False, True])
def test_it_goes_on_from_what_was_kept_even_by_pytorch(fused: bool) -> None:
    parameters = tensors()
    reference = torch.optim.Adam(parameters, lr=0.1, fused=fused)
    adam = Adam(parameters, 0.1, fused=fused)
    for _ in range(2):
        loss(parameters).backward()
        reference.step()
        reference.zero_grad()
    adam.load_state_dict(reference.state_dict())
    copies = [t.detach().clone().requires_grad_(True) for t in parameters]
    again = Adam(copies, 0.1, fused=fused)
    again.load_state_dict(adam.state_dict())
    for optimizer, own in ((reference, parameters), (again, copies)):
        loss(own).backward()
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(parameters, copies, strict=True))


def test_a_tensor_without_a_gradient_stays() -> None:
    parameters = tensors()
    before = parameters[1].detach().clone()
    adam = Adam(parameters, 1)
    (parameters[0] ** 2).sum().backward()
    adam.step()
    assert torch.equal(parameters[1], before) and adam.moments[1] is None and adam.moments[0] is not None
