"""What judges novel views in a run: a prior is loaded while the first rounds of the fit do without it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from agsrec.checkpoints import fingerprint
from agsrec.pipeline.ahead import Ahead
from agsrec.prior import load_prior

if TYPE_CHECKING:
    from torch import Tensor

    from agsrec.config import FitConfig, GuidanceConfig
    from agsrec.fit import Guidance
    from agsrec.fit.guided import NovelViews
    from agsrec.prior.sds import Glimpse, ScoreDistillation
    from agsrec.prior.zero123 import Zero123
    from agsrec.views import Views

__all__ = ["Judge"]

_CUSTOM = "custom"  # name of a judge that is neither a model nor one's name


class Judge:
    """What judges novel views, as the settings name it; a model is loaded when it is first asked for.

    Args:
        named: See `agsrec.pipeline.Settings.prior`.
        device: Where it computes.

    Attributes:
        name: What tells it from others; None without one.
    """

    def __init__(self, named: Zero123 | Guidance | str | Path | None, device: torch.device) -> None:
        self._named, self._device = named, device
        self._shown: _ShownPrior | None = None
        self._loading: Ahead[Zero123] | None = None
        model = _model(named)
        if isinstance(named, str | Path):
            self.name = fingerprint(named)
            self._loading = Ahead(lambda: load_prior(named, device))
        elif model is not None:
            self.name = model.fingerprint()
            self._loading = Ahead(lambda: model.to(device))
        else:
            self.name = None if named is None else _CUSTOM

    @property
    def seconds(self) -> float | None:
        """Time that the run waited for a model; None where there is none."""
        return None if self._loading is None else self._loading.waited

    @property
    def glimpses(self) -> tuple[Glimpse, ...]:
        """What a model saw at a few moments of the fit."""
        return () if self._shown is None else self._shown.glimpses

    def begin(self) -> None:
        """Load a model in a thread of its own, beside what does not need it yet."""
        if self._loading is not None:
            self._loading.begin()

    def check(self) -> None:
        """Raise if a model turned out to be of no use.

        Raises:
            CheckpointError: It cannot be used.
        """
        if self._loading is not None:
            self._loading.check()

    def load(self) -> None:
        """Have the model ready.

        Raises:
            CheckpointError: It cannot be used.
        """
        if self._loading is not None:
            self._loading.value()

    def shown(self, views: Views, config: FitConfig) -> Guidance | None:
        """The judge for a fit of these photos."""
        if self._loading is not None:
            self._shown = _ShownPrior(self._loading, views, config.guidance)
            return self._shown
        assert not isinstance(self._named, str | Path)
        return self._named


class _ShownPrior:
    """Score distillation whose model sees the photos when it is first asked."""

    def __init__(self, loading: Ahead[Zero123], views: Views, config: GuidanceConfig) -> None:
        self._loading, self._views, self._config = loading, views, config
        self._ready: ScoreDistillation | None = None
        self._state: dict[str, Any] = {}

    @property
    def glimpses(self) -> tuple[Glimpse, ...]:
        return tuple(self._distillation().glimpses) if self._ready or self._state else ()

    def __call__(self, novel: NovelViews) -> Tensor:
        return self._distillation()(novel)

    def state_dict(self) -> dict[str, Any]:
        return self._state if self._ready is None else self._ready.state_dict()

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self._state, self._ready = state, None

    def _distillation(self) -> ScoreDistillation:
        if self._ready is None:
            from agsrec.prior.sds import ScoreDistillation

            self._ready = ScoreDistillation(self._loading.value(), self._views, self._config)
            if self._state:
                self._ready.load_state_dict(self._state)
        return self._ready


def _model(named: Zero123 | Guidance | str | Path | None) -> Zero123 | None:
    """The prior, if it is one; its libraries are only loaded where something may be."""
    if not isinstance(named, torch.nn.Module):
        return None
    from agsrec.prior.zero123 import Zero123

    return named if isinstance(named, Zero123) else None
