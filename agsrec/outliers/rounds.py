"""The loop's state: what it has worked out so far, by name, on disk where a file is given."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from agsrec.cameras import Cameras
from agsrec.fit import FitResult
from agsrec.fit.checkpoint import load_checkpoint, save_checkpoint
from agsrec.gaussians import Gaussians

if TYPE_CHECKING:
    import torch

    from agsrec.fit import Checkpointing

__all__ = ["Rounds", "fit_from_plain", "plain_fit"]


class Rounds:
    """Results of steps that are computed once, and read back when an interrupted run is started again.

    Args:
        where: File and key; without them nothing is kept.
    """

    def __init__(self, where: Checkpointing | None = None) -> None:
        self._where = where
        stored = None if where is None else load_checkpoint(where.path, where.key)
        self._known: dict[str, Any] = stored or {}

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        """The result of a step: known, or computed now and stored. Plain values and tensors only."""
        if name not in self._known:
            clock = time.perf_counter()
            value = compute()
            self._known[name] = {"value": value, "seconds": time.perf_counter() - clock}
            if self._where is not None:
                save_checkpoint(self._where.path, self._where.key, self._known)
        return self._known[name]["value"]

    @property
    def seconds(self) -> float:
        """Time that all steps took, in interrupted runs too."""
        return sum(step["seconds"] for step in self._known.values())


def plain_fit(result: FitResult) -> dict[str, Any]:
    """A fit as tensors and numbers."""
    cameras = result.cameras
    return {
        "gaussians": {f.name: getattr(result.gaussians, f.name).cpu() for f in fields(Gaussians)},
        "viewmats": cameras.viewmats.cpu(),
        "Ks": cameras.Ks.cpu(),
        "size": [cameras.width, cameras.height],
        "fitted_size": result.fitted_size,
        "seconds": result.seconds,
    }


def fit_from_plain(plain: dict[str, Any], device: torch.device) -> FitResult:
    """The fit that `plain_fit` stored, without its history."""
    gaussians = Gaussians(**plain["gaussians"]).to(device)
    cameras = Cameras(plain["viewmats"], plain["Ks"], *plain["size"]).to(device)
    return FitResult(gaussians, cameras, plain["fitted_size"], [], plain["seconds"])
