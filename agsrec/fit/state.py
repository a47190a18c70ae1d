"""A fit in progress, and what of it is kept to continue it exactly."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from agsrec.fit.exposure import Exposures
from agsrec.fit.gaussian_optimizer import GaussianOptimizer
from agsrec.fit.poses import PoseOptimizer, PoseParameters, moved

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.config import FitConfig

__all__ = ["FitState", "Way"]

_LAST = 3  # the loss of a round is the mean of its last third: every step has a background of its own


@dataclass(frozen=True)
class Way:
    """Where a round has led that was begun from cameras which earlier rounds had moved.

    Attributes:
        viewmats: Cameras at its end [V, 4, 4].
        Ks: Their intrinsics [V, 3, 3].
        exposures: State of the photos' exposures.
        history: Records of the fit up to there.
        loss: At its end.
    """

    viewmats: Tensor
    Ks: Tensor
    exposures: dict[str, Any]
    history: list[dict[str, Any]]
    loss: float


@dataclass
class FitState:
    """Everything of a fit that changes from step to step."""

    cameras: Cameras
    """Cameras at the start of the current round."""
    start: Cameras
    """Cameras at the start of the fit."""
    exposures: Exposures
    generator: torch.Generator
    optimizer: GaussianOptimizer | None = None
    poses: PoseOptimizer | None = None
    center: Tensor | None = None
    radius: float = 0.0
    round: int = 0
    iteration: int = 0
    """Steps done in the current round."""
    done: int = 0
    """Steps done in all."""
    history: list[dict[str, Any]] = field(default_factory=list)
    guidance_loss: float | None = None
    """The latest, weighted, where the round is guided."""
    seconds: float = 0.0
    way: Way | None = None
    """Where the current round has led, while it is run a second time, from the cameras as given."""

    @staticmethod
    def at(cameras: Cameras, config: FitConfig, seed: int) -> FitState:
        """The start of a fit."""
        exposures = Exposures(len(cameras), config.exposure, cameras.viewmats.device)
        return FitState(cameras, cameras, exposures, torch.Generator().manual_seed(seed))

    def current(self) -> Cameras:
        """The cameras as optimised so far, in the autograd graph."""
        if self.poses is None or self.center is None:
            return self.cameras
        return moved(self.cameras, self.center, self.poses.parameters)

    # ---------------------------------------------------------------- from round to round

    def end_round(self, config: FitConfig) -> None:
        """On to the next round; or to this one from the cameras as given, and then on from the better end."""
        if config.both_ways(self.round) and self.way is None:
            self.way = self._way()
            self._stand_at(self.start, config)
            self.history = []
            self.exposures = Exposures(len(self.start), config.exposure, self.start.viewmats.device)
        else:
            if self.way is not None and self.way.loss <= self._way().loss:
                self._take(self.way, config)
            self.round, self.way = self.round + 1, None
        self.iteration = 0

    def _way(self) -> Way:
        """Where the round has led."""
        with torch.no_grad():
            cameras = self.current()
        losses = [record["loss"] for record in self.history if record["round"] == self.round]
        loss = fmean(losses[-max(1, len(losses) // _LAST) :])
        return Way(cameras.viewmats, cameras.Ks, self.exposures.state_dict(), self.history, loss)

    def _take(self, way: Way, config: FitConfig) -> None:
        """Go on from there."""
        self._stand_at(self._cameras(way.viewmats, way.Ks), config)
        self.history = way.history
        self.exposures.load_state_dict(way.exposures)

    def _stand_at(self, cameras: Cameras, config: FitConfig) -> None:
        self.cameras = cameras
        self.poses = PoseOptimizer(PoseParameters.zeros(cameras.viewmats), config.poses)

    def _cameras(self, viewmats: Tensor, Ks: Tensor) -> Cameras:
        device = self.start.viewmats.device
        return replace(self.start, viewmats=viewmats.to(device), Ks=Ks.to(device))

    # ---------------------------------------------------------------- kept

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue exactly."""
        assert self.optimizer is not None and self.poses is not None and self.center is not None
        return {
            "round": self.round,
            "iteration": self.iteration,
            "done": self.done,
            "viewmats": self.cameras.viewmats,
            "Ks": self.cameras.Ks,
            "poses": self.poses.state_dict(),
            "exposures": self.exposures.state_dict(),
            "center": self.center,
            "radius": self.radius,
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "history": self.history,
            "seconds": self.seconds,
            "way": None if self.way is None else vars(self.way),
        }

    def load_state_dict(self, stored: dict[str, Any], config: FitConfig) -> None:
        """Continue from `state_dict()`."""
        device = self.start.viewmats.device
        self.round, self.iteration, self.done = stored["round"], stored["iteration"], stored["done"]
        self.cameras = self._cameras(stored["viewmats"], stored["Ks"])
        self.center, self.radius = stored["center"].to(device), stored["radius"]
        self.poses = PoseOptimizer.restored(stored["poses"], config.poses, device)
        self.optimizer = GaussianOptimizer.restored(stored["optimizer"], config.rates, self.radius, device)
        self.exposures.load_state_dict(stored["exposures"])
        self.generator.set_state(stored["generator"].cpu())
        self.history, self.seconds = stored["history"], stored["seconds"]
        self.way = None if stored["way"] is None else Way(**stored["way"])
