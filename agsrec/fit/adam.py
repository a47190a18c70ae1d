"""Adam (Kingma and Ba, 2015) over tensors that may be exchanged, by PyTorch's own step.

`torch.optim.Adam` is not used as a class: making one imports PyTorch's compiler, which takes longer than the
first hundred steps of a fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

__all__ = ["Adam", "Moments"]


@dataclass(frozen=True)
class Moments:
    """What Adam remembers of one tensor.

    Attributes:
        step: Steps done [].
        mean: Of the gradients, decaying, like the tensor.
        square: Of their squares, likewise.
    """

    step: Tensor
    mean: Tensor
    square: Tensor


class Adam:
    """Adam over tensors with a rate each.

    Args:
        parameters: Leaves of the autograd graph.
        rates: Learning rates, one each or one for all.
        betas: Decays of the first and the second moment.
        eps: Added to the denominator.
        fused: Whether a step is one kernel.

    Attributes:
        parameters: The tensors; one may be exchanged with its moments.
        rates: Their learning rates, for the next step.
        moments: What is remembered of each, None before its first step.
    """

    def __init__(
        self,
        parameters: Sequence[Tensor],
        rates: float | Sequence[float],
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        fused: bool = False,
    ) -> None:
        self.parameters = list(parameters)
        self.rates = [float(rates)] * len(self.parameters) if isinstance(rates, float | int) else list(rates)
        self.moments: list[Moments | None] = [None] * len(self.parameters)
        self._betas, self._eps, self._fused = betas, eps, fused

    @torch.no_grad()
    def step(self) -> None:
        """Move every tensor that has a gradient, and forget the gradients."""
        for k, (parameter, rate) in enumerate(zip(self.parameters, self.rates, strict=True)):
            if parameter.grad is None:
                continue
            own = self.moments[k]
            if own is None:
                device = parameter.device if self._fused else "cpu"
                step = torch.zeros((), dtype=torch.float32, device=device)
                own = Moments(step, torch.zeros_like(parameter), torch.zeros_like(parameter))
                self.moments[k] = own
            adam(
                [parameter],
                [parameter.grad],
                [own.mean],
                [own.square],
                [],
                [own.step],
                foreach=False,
                fused=self._fused,
                amsgrad=False,
                beta1=self._betas[0],
                beta2=self._betas[1],
                lr=rate,
                weight_decay=0.0,
                eps=self._eps,
                maximize=False,
            )
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """What is remembered, as plain values and tensors, laid out as PyTorch does."""
        return {
            "state": {
                k: {"step": own.step, "exp_avg": own.mean, "exp_avg_sq": own.square}
                for k, own in enumerate(self.moments)
                if own is not None
            }
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`, where the tensors are."""
        self.moments = [None] * len(self.parameters)
        for k, own in state["state"].items():
            parameter = self.parameters[k]
            step = own["step"].to(parameter.device if self._fused else "cpu", copy=True)
            self.moments[k] = Moments(
                step, *(own[name].to(parameter, copy=True) for name in ("exp_avg", "exp_avg_sq"))
            )
