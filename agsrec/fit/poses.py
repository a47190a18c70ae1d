"""Camera updates: tangent vectors about the object, and a common factor of the focal lengths."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec.fit.adam import Adam
from agsrec.lie import se3_exp

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.config import PoseConfig

__all__ = ["PoseOptimizer", "PoseParameters", "moved"]


@dataclass(frozen=True)
class PoseParameters:
    """What the optimiser moves.

    Attributes:
        xi: Tangents [V, 6], translation then rotation, in camera axes about the object's centre: rotating
            a camera about itself would push the object out of the picture, which couples every rotation
            with a translation.
        log_focal: Logarithm [1] of what all focal lengths are multiplied with: the photos are from one
            camera. The cameras back off by as much, so that the object keeps its size in the pictures and
            only the perspective changes; free focal lengths would be traded for sizes and distances.
    """

    xi: Tensor  # [V, 6]
    log_focal: Tensor  # [1]

    @staticmethod
    def zeros(like: Tensor) -> PoseParameters:
        """No change to V cameras; `like` [V, ...] gives dtype and device."""
        return PoseParameters(like.new_zeros(len(like), 6), like.new_zeros(1))


def moved(cameras: Cameras, pivot: Tensor, parameters: PoseParameters) -> Cameras:
    """`exp(xi)` applied on the left of every viewmat about the world point `pivot` [3], then the zoom."""
    center = cameras.rotations @ pivot + cameras.viewmats[:, :3, 3]  # in each camera
    v, omega = parameters.xi[:, :3], parameters.xi[:, 3:]
    about_camera = torch.cat([v - torch.linalg.cross(omega, center), omega], dim=-1)
    viewmats = se3_exp(about_camera) @ cameras.viewmats
    zoom = parameters.log_focal.exp()
    scale = torch.stack([zoom, zoom, torch.ones_like(zoom)], dim=-1)
    # Only the focal lengths scale: the principal point is in the third column.
    Ks = cameras.Ks * torch.stack([scale, scale, torch.ones_like(scale)], dim=-1)
    away = (zoom - 1) * (viewmats[:, 2, :3] @ pivot + viewmats[:, 2, 3])
    viewmats = viewmats + F.pad(away[:, None, None], (3, 0, 2, 1))
    return replace(cameras, viewmats=viewmats, Ks=Ks)


class PoseOptimizer:
    """Adam over pose parameters whose components have rates of their own.

    Adam's step is about one in every component, whatever the gradient's size; here it is scaled afterwards,
    so that rotations, translations and focal lengths move at their own rates.
    """

    def __init__(self, parameters: PoseParameters, config: PoseConfig) -> None:
        self.parameters = parameters
        self._config = config
        parameters.xi.requires_grad_(config.optimize)
        parameters.log_focal.requires_grad_(bool(config.refine_focal))
        self._adam = Adam(
            [parameters.xi, parameters.log_focal], 1.0, betas=(config.beta1, config.beta2), eps=1e-15
        )

    def step(self, rate_rotation: float, rate_translation: float, factor: float) -> None:
        """One step; rates in radians and world units, all of them times `factor`."""
        xi, log_focal = self.parameters.xi, self.parameters.log_focal
        if xi.grad is None and log_focal.grad is None:
            return
        before = xi.detach().clone(), log_focal.detach().clone()
        self._adam.step()
        rates = factor * xi.new_tensor([rate_translation] * 3 + [rate_rotation] * 3)
        with torch.no_grad():
            xi.copy_(before[0] + (xi - before[0]) * rates)
            log_focal.copy_(before[1] + (log_focal - before[1]) * factor * self._config.rate_focal)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue exactly."""
        return {
            "xi": self.parameters.xi.detach(),
            "log_focal": self.parameters.log_focal.detach(),
            "adam": self._adam.state_dict(),
        }

    @staticmethod
    def restored(state: dict[str, Any], config: PoseConfig, device: torch.device) -> PoseOptimizer:
        """Continue from `state_dict()`."""
        parameters = PoseParameters(*(state[k].to(device).clone() for k in ("xi", "log_focal")))
        optimizer = PoseOptimizer(parameters, config)
        optimizer._adam.load_state_dict(state["adam"])
        return optimizer
