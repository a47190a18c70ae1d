"""What every stage is given beside its input: the settings, who listens, and where values are kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from agsrec.device import resolve_device
from agsrec.errors import OptionError
from agsrec.kernels import announced
from agsrec.pipeline.listener import STAGES, Listener, StageName
from agsrec.pipeline.settings import Settings
from agsrec.store import Checkpointing, Request, Store

if TYPE_CHECKING:
    import torch

__all__ = ["STORE_FOLDER", "VERSIONS", "Desk"]

STORE_FOLDER = "stages"
"""Where a result folder keeps the values of its stages."""

VERSIONS: dict[StageName, int] = {
    **dict.fromkeys(STAGES, 1),
    "cutout": 2,
    "poses": 10,
    "outliers": 2,
    "fit": 5,
    "mesh": 4,
    "export": 3,
}
"""Raised whenever a stage would make something else of the same."""

_FITTING = ("poses", "outliers", "fit")  # stages whose kernels take long to compile

T = TypeVar("T")


@dataclass(frozen=True)
class Desk:
    """Settings, listener and store of one run."""

    settings: Settings = field(default_factory=Settings)
    listener: Listener = field(default_factory=Listener)
    store: Store = field(default_factory=Store)

    @staticmethod
    def at(
        folder: Path | None,
        settings: Settings,
        listener: Listener | None = None,
        again: Collection[str] = (),
        *,
        look: bool = False,
    ) -> Desk:
        """A desk whose store is in a result folder.

        Raises:
            OptionError: There is no stage of a name in `again`.
        """
        for name in again:
            if name not in STAGES:
                raise OptionError(f"there is no stage {name!r}; there are {', '.join(STAGES)}")
        place = None if folder is None else folder / STORE_FOLDER
        return Desk(settings, listener or Listener(), Store(place, again, look=look))

    @property
    def device(self) -> torch.device:
        """Where to compute."""
        return resolve_device(self.settings.device)

    def request(self, stage: StageName, inputs: Mapping[str, Any], **options: Any) -> Request:
        """The request for a stage's value, from what it depends on."""
        return Request.of(stage, VERSIONS[stage], inputs, options)

    def once(self, request: Request, text: str, compute: Callable[[Checkpointing | None], T]) -> T:
        """The value of a stage: that of an earlier run, or computed now and kept.

        Args:
            request: What it depends on.
            text: What is being done.
            compute: Makes the value; given the place for the state of unfinished work, if there is one.
        """
        stage: Any = request.stage
        found = self.store.find(request)
        if found is not None:
            self.listener.reused(stage)
            return found
        telling = announced(self.listener.say, self.settings.device) if stage in _FITTING else nullcontext()
        with self.listener.stage(stage, text), telling:
            value = compute(self.store.begun(request))
        self.store.keep(request, value)
        return value
