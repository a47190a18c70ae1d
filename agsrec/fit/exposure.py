"""How bright each photo came out: a factor per photo and channel, where automatic cameras disagree.

Without it, a photo that is darker than its neighbours is explained by moving its camera, and by Gaussians
that only it can see.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from agsrec.fit.adam import Adam

if TYPE_CHECKING:
    from agsrec.config import ExposureConfig

__all__ = ["Exposures"]


class Exposures:
    """Exposures of V photos, optimised with the scene.

    Their geometric mean over the photos is one in every channel: the scene is as bright as photos are in the
    mean.
    """

    def __init__(self, count: int, config: ExposureConfig, device: torch.device | str = "cpu") -> None:
        self._config = config
        self._logs = torch.zeros(count, 3, device=device, requires_grad=config.optimize)
        self._adam = Adam([self._logs], config.rate)

    @property
    def optimized(self) -> bool:
        """Whether they are anything but one."""
        return self._config.optimize

    def factors(self) -> Tensor:
        """The exposures [V, 3], in the autograd graph."""
        return self._centred().exp()

    def penalty(self) -> Tensor:
        """The loss that keeps them near one."""
        return self._config.keep * self._centred().square().mean()

    def step(self) -> None:
        """One step of Adam."""
        self._adam.step()

    def _centred(self) -> Tensor:
        return self._logs - self._logs.mean(0)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue exactly."""
        return {"logs": self._logs.detach(), "adam": self._adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`."""
        with torch.no_grad():
            self._logs.copy_(state["logs"])
        self._adam.load_state_dict(state["adam"])
