"""Adam over Gaussians whose number changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from agsrec.fit.adam import Adam
from agsrec.gaussians import SH_C0, Gaussians

if TYPE_CHECKING:
    from agsrec.config import Rates

__all__ = ["GaussianOptimizer"]

_NAMES = ("means", "quats", "log_scales", "opacity_logits", "sh", "sh_rest")


class GaussianOptimizer:
    """Parameters and Adam moments of a growing set of Gaussians, edited together.

    The constant and the view-dependent colour coefficients are separate parameters, because their learning
    rates differ. Also keeps the running position gradients that densification looks at.
    """

    def __init__(self, gaussians: Gaussians, rates: Rates, radius: float) -> None:
        self._rates = {
            "means": rates.means * radius,
            "quats": rates.quats,
            "log_scales": rates.log_scales,
            "opacity_logits": rates.opacity_logits,
            "sh": rates.sh,
            "sh_rest": rates.sh_rest,
        }
        self._means_decay = rates.means_decay
        # Copies of their own: the fused step takes a slice of a larger tensor for a dense one.
        own = {name: t.clone(memory_format=torch.contiguous_format) for name, t in _split(gaussians).items()}
        parameters = [own[name].requires_grad_(True) for name in _NAMES]
        self._adam = Adam(parameters, [self._rates[name] for name in _NAMES], eps=1e-15, fused=True)
        self.position_gradient = torch.zeros(len(gaussians), device=gaussians.means.device)

    def _parameter(self, name: str) -> Tensor:
        return self._adam.parameters[_NAMES.index(name)]

    @property
    def gaussians(self) -> Gaussians:
        """The current Gaussians, as part of the autograd graph."""
        p = {name: self._parameter(name) for name in _NAMES}
        return Gaussians(
            p["means"],
            p["quats"],
            p["log_scales"],
            p["opacity_logits"],
            torch.cat([p["sh"], p["sh_rest"]], dim=1) if p["sh_rest"].shape[1] else p["sh"],
        )

    def step(self, progress: float, max_scale: float, *, bounded_colors: bool = False) -> None:
        """One Adam step at `progress` in [0, 1] through the schedule; keeps scales within bounds.

        With `bounded_colors` constant colours too, between black and white.
        """
        self._adam.rates[_NAMES.index("means")] = self._rates["means"] * self._means_decay**progress
        gradient = self._parameter("means").grad
        if gradient is not None:
            self.position_gradient += gradient.norm(dim=-1)
        self._adam.step()
        with torch.no_grad():
            self._parameter("log_scales").clamp_(math.log(max_scale * 1e-3), math.log(max_scale))
            if bounded_colors:
                self._parameter("sh").clamp_(-0.5 / SH_C0, 0.5 / SH_C0)

    def replace_with(self, kept: Tensor, added: Gaussians) -> None:
        """Keep the Gaussians at index `kept` [M] with their moments, and append new ones without."""
        new = _split(added.with_sh_degree(self.gaussians.sh_degree))
        for name in _NAMES:
            fresh = torch.zeros_like(new[name])
            grown = torch.cat([self._parameter(name).detach()[kept], new[name]])
            self._exchange(name, grown, lambda moment, fresh=fresh: torch.cat([moment[kept], fresh]))
        self.position_gradient = torch.zeros(len(kept) + len(added), device=kept.device)

    def raise_sh_degree(self, degree: int) -> None:
        """Add zero coefficients up to `degree`, if there are fewer."""
        bands = (degree + 1) ** 2 - 1
        old = self._parameter("sh_rest")
        missing = bands - old.shape[1]
        if missing <= 0:
            return

        def pad(t: Tensor) -> Tensor:
            return torch.nn.functional.pad(t.detach(), (0, 0, 0, missing))

        self._exchange("sh_rest", pad(old), pad)

    def _exchange(self, name: str, parameter: Tensor, carried: Callable[[Tensor], Tensor]) -> None:
        """Put a parameter in the place of another, with what becomes of the moments of that."""
        index = _NAMES.index(name)
        self._adam.parameters[index] = parameter.requires_grad_(True)
        own = self._adam.moments[index]
        if own is not None:
            self._adam.moments[index] = replace(own, mean=carried(own.mean), square=carried(own.square))

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue exactly, as tensors and plain values."""
        return {
            "parameters": {name: self._parameter(name).detach() for name in _NAMES},
            "adam": self._adam.state_dict(),
            "position_gradient": self.position_gradient,
        }

    @staticmethod
    def restored(
        state: dict[str, Any], rates: Rates, radius: float, device: torch.device
    ) -> GaussianOptimizer:
        """One that continues from `state_dict()`."""
        p = {name: t.to(device) for name, t in state["parameters"].items()}
        sh = torch.cat([p["sh"], p["sh_rest"]], dim=1)
        gaussians = Gaussians(p["means"], p["quats"], p["log_scales"], p["opacity_logits"], sh)
        optimizer = GaussianOptimizer(gaussians, rates, radius)
        optimizer.load_state_dict(state)
        return optimizer

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`."""
        self._adam.parameters = [state["parameters"][name].clone().requires_grad_(True) for name in _NAMES]
        self._adam.load_state_dict(state["adam"])
        self.position_gradient = state["position_gradient"].clone()


def _split(gaussians: Gaussians) -> dict[str, Tensor]:
    g = gaussians.detach()
    return {
        "means": g.means,
        "quats": g.quats,
        "log_scales": g.log_scales,
        "opacity_logits": g.opacity_logits,
        "sh": g.sh[:, :1],
        "sh_rest": g.sh[:, 1:],
    }
