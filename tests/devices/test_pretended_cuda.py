"""The pretended device refuses what CUDA refuses, and nothing else."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import numba
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.pretended_cuda import Traffic, WrongDeviceError, is_pretended, pretended_cuda


@pytest.fixture(autouse=True)
def traffic() -> Iterator[Traffic]:
    with pretended_cuda() as traffic:
        yield traffic


def there(*shape: int) -> Tensor:
    return torch.rand(*shape).to("cuda")


INDEX = torch.tensor([0, 2])
FAULTS: dict[str, Callable[[], Any]] = {
    "sum": lambda: there(3) + torch.rand(3),
    "product of matrices": lambda: torch.eye(3) @ there(3, 3),
    "concatenation": lambda: torch.cat([there(3), torch.rand(3)]),
    "constant made without a device": lambda: there(3) * torch.arange(3),
    "from NumPy": lambda: there(3) * torch.from_numpy(np.ones(3, np.float32)),
    "choice": lambda: torch.where(there(3) > 0.5, there(3), torch.rand(3)),
    "bounds": lambda: there(3).clamp(torch.tensor(0.0), torch.tensor(1.0)),
    "index into the CPU": lambda: torch.rand(3)[INDEX.to("cuda")],
    "values put in": lambda: there(3).index_put_((INDEX,), torch.rand(2)),
    "sampling": lambda: F.grid_sample(there(1, 1, 4, 4), torch.zeros(1, 2, 2, 2), align_corners=False),
    "module left behind": lambda: nn.Linear(3, 3)(there(2, 3)),
    "loss": lambda: F.mse_loss(there(3), torch.rand(3)),
    "generator in a factory": lambda: torch.rand(3, generator=torch.Generator(), device="cuda"),
    "generator in place": lambda: there(3).normal_(generator=torch.Generator()),
    "generator of a choice": lambda: torch.multinomial(there(3), 1, generator=torch.Generator()),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_fault(fault: str) -> None:
    with pytest.raises(WrongDeviceError, match=r"two devices|on the CPU|into a tensor|found 'cpu'"):
        FAULTS[fault]()


def test_numbers_cannot_be_had_without_a_copy() -> None:
    with pytest.raises(TypeError, match=r"can't convert cuda:0 .* Use Tensor.cpu\(\)"):
        there(3).numpy()
    with pytest.raises(TypeError, match="can't convert"):
        np.asarray(there(3))
    with pytest.raises(numba.TypingError):
        numba.njit(lambda a: a.sum())(there(3))
    assert there(3).cpu().numpy().shape == (3,)


def test_a_backward_pass_that_answers_on_the_cpu() -> None:
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return 2 * x

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> Tensor:
            return gradients[0].cpu()

    x = there(3).requires_grad_()
    optimizer = torch.optim.Adam([x])
    Doubled.apply(x).sum().backward()  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(WrongDeviceError):
        optimizer.step()


def test_what_cuda_allows_goes_well() -> None:
    x, y = there(4, 3), torch.rand(4, 3)
    assert is_pretended(x * torch.tensor(2.0)) and is_pretended(x * 2) and is_pretended(x[INDEX])
    assert torch.equal(x[[3, 1]].cpu(), x.cpu()[[3, 1]])
    assert torch.equal(x[:, [2, 0]].cpu(), x.cpu()[:, [2, 0]])
    x[0], x[1] = y[0], 1.0
    x[INDEX] = torch.tensor(3.0)
    assert torch.equal(x[0].cpu(), torch.full((3,), 3.0)) and float(x[1, 0]) == 1
    assert is_pretended(torch.where(x > 1, x, torch.tensor(0.0)))
    assert is_pretended(torch.randn(3, generator=torch.Generator()).to(x))
    assert x.sum().item() == pytest.approx(float(x.cpu().sum())) and x.tolist() == x.cpu().tolist()


def test_it_says_where_it_is() -> None:
    x = there(2)
    assert x.device == torch.device("cuda", 0) and x.is_cuda and isinstance(x, Tensor)
    made = [
        torch.tensor([1.0, 2.0], device="cuda"),
        x.new_tensor([3.0]),
        torch.as_tensor(np.ones(2), device=x.device),
        torch.zeros(2, device=x.device),
        torch.zeros_like(x),
        x.new_ones(2),
        torch.linalg.inv(torch.eye(2, device="cuda")),
        x[:1].double(),
        torch.rand(2).cuda(),
    ]
    assert all(map(is_pretended, made)) and made[0].tolist() == [1.0, 2.0] and made[1].tolist() == [3.0]
    assert not any(map(is_pretended, [x.cpu(), x.to("cpu"), x.to(torch.rand(1)), torch.zeros(2)]))
    assert torch.empty(2, device="meta").is_meta and not x.is_meta


def test_modules_move_and_learn() -> None:
    module = nn.Linear(3, 1)
    weight, optimizer = module.weight, torch.optim.AdamW(module.parameters())
    module.to("cuda")
    assert module.weight is weight and is_pretended(weight)
    before = weight.detach().cpu()
    module(there(4, 3)).square().mean().backward()
    assert weight.grad is not None and is_pretended(weight.grad)
    optimizer.step()
    assert not torch.equal(weight.detach().cpu(), before)
    stored = io.BytesIO()
    torch.save(module.state_dict(), stored)
    for place in ("cpu", "cuda"):
        stored.seek(0)
        loaded = torch.load(stored, map_location=place, weights_only=True)
        assert is_pretended(loaded["weight"]) == (place == "cuda")


def test_what_a_gpu_waits_for_is_counted(traffic: Traffic) -> None:
    x = there(4)
    before = traffic.uploads
    float(x.sum())
    x[x > 0.5].nonzero()
    (x * 2).cpu()
    torch.rand(3).to(x)
    assert traffic.waits == {"item": 1, "mask as index": 1, "nonzero": 1}
    assert traffic.uploads == before + 1 and traffic.downloads == 1
