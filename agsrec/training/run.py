"""What one call of any training shares: options, device, time, and the objects it renders."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import torch

from agsrec.errors import OptionError
from agsrec.files import atomic_write
from agsrec.training.acceleration import make_accelerator
from agsrec.training.loop import Intervals, Phase, Progress, step_generator, training_key
from agsrec.training.settings import settings_json

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn

    from agsrec.pose_init.noposplat.model import NoPoSplat
    from agsrec.pose_init.stereo.model import DUSt3R
    from agsrec.training.config import PhaseConfig

    Network = TypeVar("Network", DUSt3R, NoPoSplat)

__all__ = ["Run", "RunOptions", "started"]


class RunOptions(TypedDict, total=False):
    """Keyword arguments of every training.

    Started by `accelerate launch`, every process trains on objects of its own and gradients are averaged.
    """

    seed: int
    """Seed of weights, objects and draws, 0 by default. With equal seeds an interrupted run ends bit for bit
    where an uninterrupted one does, on one machine without a GPU."""
    workers: int
    """Processes that render objects, 2 by default and none for nview; 0 renders in this one."""
    device: torch.device | None
    """Where to train, accelerate's choice by default."""
    intervals: Intervals | None
    """When to log, save, validate and stop."""
    progress: Progress | None
    """Called with every record that is written to the log."""


@dataclass(frozen=True)
class Run:
    """One call of a training.

    Attributes:
        config: Settings that decide what is computed.
        folder: State and log; the model goes to its `model`.
        accelerator: Devices and precision.
        seed: See `RunOptions`.
        workers: See there.
        intervals: See there; their time is that of the whole call.
        progress: See there.
        begun: When the call began, by `time.perf_counter`.
    """

    config: Any
    folder: Path
    accelerator: Accelerator
    seed: int = 0
    workers: int = 2
    intervals: Intervals = field(default_factory=Intervals)
    progress: Progress | None = None
    begun: float = field(default_factory=time.perf_counter)

    @staticmethod
    def begin(
        config: Any,
        folder: Path,
        *,
        seed: int = 0,
        workers: int = 2,
        device: torch.device | None = None,
        intervals: Intervals | None = None,
        progress: Progress | None = None,
    ) -> Run:
        """A run on a device.

        Raises:
            OptionError: This process has trained on another device before.
        """
        begun = time.perf_counter()
        accelerator = make_accelerator(device)
        return Run(config, folder, accelerator, seed, workers, intervals or Intervals(), progress, begun)

    def phase(
        self,
        name: str,
        loss: nn.Module,
        settings: PhaseConfig,
        *,
        bound_to: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Phase:
        """An optimisation, continued from its state on disk if there is one.

        The state is bound to the settings and the seed, and to the options `bound_to` by name.

        Raises:
            CheckpointError: The folder holds the state of another training.
        """
        self.accelerator.free_memory()  # the optimiser of the phase before
        key = training_key(self.config, self.seed, **(bound_to or {}))
        phase = Phase(name, loss, settings, self.folder, self.accelerator, key, self.progress, **options)
        if self.accelerator.is_main_process:
            atomic_write(self.folder / "config.json", settings_json(self.config))
        return phase

    def objects_seed(self, offset: int = 0) -> int:
        """Seed of the objects of this process, which no other process trains on."""
        return (self.seed + offset) * 1000 + self.accelerator.process_index

    def generator(self, phase: Phase, step: int) -> torch.Generator:
        """The randomness of one step in this process."""
        return step_generator(self.seed, phase.name, self.accelerator.process_index, step)

    def time_left(self) -> Intervals:
        """The intervals, with what is left of the time of the call."""
        limit = self.intervals.stop_after_seconds
        if limit is None:
            return self.intervals
        spent = time.perf_counter() - self.begun
        return replace(self.intervals, stop_after_seconds=max(0.0, limit - spent))

    def keep(self, save: Callable[[Path], None]) -> None:
        """Have the model as it is written to `folder / "model"`, by the main process."""
        if self.accelerator.is_main_process:
            save(self.folder / "model")

    def finish(self, save: Callable[[Path], None]) -> None:
        """Have the model written for the last time, before any process goes on."""
        self.keep(save)
        self.accelerator.wait_for_everyone()


def started(
    network: Network, seed: int, start: Path | None, settings: Callable[[Any], dict[str, Any]]
) -> Network:
    """A network of the stereo family with the weights that its training starts from.

    Args:
        network: Of the sizes to train.
        seed: Of random weights.
        start: Model folder, published file or hub id to take them from instead.
        settings: Gives a network's sizes as its config.json has them.

    Raises:
        CheckpointError: `start` cannot be used.
        OptionError: It has other sizes.
    """
    if start is None:
        return network.initialize(torch.Generator().manual_seed(seed))
    given = type(network).from_pretrained(start)
    if given.config != network.config:
        raise OptionError(
            f"--start: {start} has other settings than the network of the --config; change that to "
            f"{json.dumps(settings(given.config))}"
        )
    network.load_state_dict(given.state_dict())
    return network
