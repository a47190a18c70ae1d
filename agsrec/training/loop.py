"""One optimisation that can be interrupted: schedule, moving average of the weights, state on disk, log."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from torch.optim import Optimizer

from agsrec.bounds import Bounded, Count, Positive
from agsrec.errors import CheckpointError, OptionError
from agsrec.files import atomic_path
from agsrec.training.supply import Supply, Window

if TYPE_CHECKING:
    from accelerate import Accelerator

    from agsrec.training.config import PhaseConfig

__all__ = [
    "Intervals",
    "Phase",
    "Progress",
    "Record",
    "adamw",
    "muon_with_adamw",
    "read_log",
    "step_generator",
    "training_key",
]

Record = dict[str, Any]
"""One line of the log: a phase and a step, and what was measured there."""
Progress = Callable[[Record], None]

_LOG = "log.jsonl"
_IN_BLOCK = re.compile(r"blocks\d*\.")  # in the name of a parameter

T = TypeVar("T")


@dataclass(frozen=True)
class Intervals(Bounded, called="the interval {}"):
    """Steps between records, states on disk and validations, and where a run may stop early."""

    log: Count = 50
    """Steps between records of the loss."""
    save: Count = 500
    """Steps between states on disk, at most."""
    save_seconds: Positive = 60.0
    """Time after which the state is written to disk in any case."""
    validate: Count = 2000
    """Steps between validations."""
    stop_after_seconds: float | None = None
    """Time after which the training stops where it is, with its state on disk."""


def step_generator(seed: int, phase: str, rank: int, step: int) -> torch.Generator:
    """The randomness of one step; a resumed run draws what an uninterrupted one would."""
    mixed = np.random.SeedSequence((seed, rank, step, *phase.encode())).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(mixed[0] >> np.uint64(1)))


def training_key(config: Any, seed: int, **others: str) -> str:
    """Digest of what a training computes, `others` being options; its state on disk is bound to it."""
    content = json.dumps({"config": asdict(config), "seed": seed, **others}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def read_log(folder: Path) -> list[Record]:
    """Records of a run by phase and step; what was taken back by an interruption is left out.

    Raises:
        CheckpointError: There is no log that can be read.
    """
    try:
        lines = (folder / _LOG).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{folder / _LOG} cannot be read: {error}; give the folder of a training"
        ) from error
    series: dict[tuple[str, bool], list[Record]] = {}
    for line in lines:
        try:
            record = json.loads(line)
            name, step = str(record["phase"]), int(record["step"])
        except (ValueError, KeyError, TypeError):
            continue  # cut off when the run was killed
        records = series.setdefault((name, "loss" in record), [])
        while records and records[-1]["step"] >= step:
            records.pop()
        records.append(record)
    phases = list(dict.fromkeys(name for name, _ in series))
    every = [record for records in series.values() for record in records]
    return sorted(every, key=lambda record: (phases.index(record["phase"]), record["step"]))


def adamw(module: nn.Module, learning_rate: float) -> list[Optimizer]:
    """AdamW for everything."""
    trained = [p for p in module.parameters() if p.requires_grad]
    return [torch.optim.AdamW(trained, lr=learning_rate, betas=(0.9, 0.99), weight_decay=0.01)]


def muon_with_adamw(module: nn.Module, learning_rate: float) -> list[Optimizer]:
    """Muon (Jordan et al. 2024) for the matrices of the blocks, AdamW at half the rate for the rest."""
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    matrices = {name for name, p in trained.items() if _IN_BLOCK.search(name) and p.ndim == 2}
    rest = [p for name, p in trained.items() if name not in matrices]
    return [
        torch.optim.Muon(
            [trained[name] for name in trained if name in matrices],
            lr=learning_rate,
            weight_decay=0.02,
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(rest, lr=0.5 * learning_rate, betas=(0.9, 0.99), weight_decay=0.01),
    ]


@dataclass
class Phase:
    """The optimisation of one loss module, up to `config.steps`.

    Attributes:
        name: Name in the log and of the state file.
        loss: Module whose parameters are trained.
        config: Schedule.
        folder: Where state and log are kept; with several processes, a folder that all of them see.
        accelerator: Devices and precision.
        key: What the state on disk is bound to, from `training_key`.
        progress: Called with every record of the log, in the main process.
        optimizers: Makes what trains the module, from it and the learning rate.
        notes: Numbers that are kept with the state.

    Raises:
        CheckpointError: The folder holds a state that is damaged or of another training.
    """

    name: str
    loss: nn.Module
    config: PhaseConfig
    folder: Path
    accelerator: Accelerator
    key: str
    progress: Progress | None = None
    optimizers: Callable[[nn.Module, float], list[Optimizer]] = adamw
    step: int = field(default=0, init=False)
    seconds: float = field(default=0.0, init=False)
    notes: dict[str, float] = field(default_factory=dict, init=False)
    _clock: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        self._trained = [p for p in self.loss.parameters() if p.requires_grad]
        optimizers = self.optimizers(self.loss, self.config.learning_rate)
        self._shares = [
            [group["lr"] / self.config.learning_rate for group in o.param_groups] for o in optimizers
        ]
        self._wrapped, *self._optimizers = self.accelerator.prepare(self.loss, *optimizers)
        self._ema = EMAModel(
            self._trained,
            decay=self.config.ema_decay,
            use_ema_warmup=True,
            power=0.75,
            foreach=self.accelerator.device.type != "cpu",
        )
        self._load()

    @property
    def state_file(self) -> Path:
        """The file that an interrupted run continues from."""
        return self.folder / f"{self.name}.pt"

    @property
    def done(self) -> bool:
        """Whether all steps were taken."""
        return self.step >= self.config.steps

    def run(
        self,
        inputs: Callable[[int], tuple[Any, ...]],
        intervals: Intervals,
        validate: Callable[[int], dict[str, float]] | None = None,
        *,
        supply: Supply | None = None,
        keep: Callable[[], None] | None = None,
    ) -> None:
        """Train to the last step, or until the time is up; the state is on disk afterwards.

        Args:
            inputs: Arguments of the loss module at a step.
            intervals: When to log, save, validate and stop.
            validate: Measures the averaged weights, which are in place while it runs.
            supply: What the inputs are made from, for the log.
            keep: Writes the averaged weights, which are in place while it runs, whenever the state is saved
                before the end.

        Raises:
            OptionError: The training has diverged.
        """
        started = self._clock = saved = time.perf_counter()
        window = Window()
        while not self.done:
            arguments = window.asked(partial(inputs, self.step), supply)
            window.losses.append(self._update(arguments))
            self.step += 1
            out_of_time = self._out_of_time(started, intervals.stop_after_seconds)
            last = self.done or out_of_time
            late = time.perf_counter() - saved > intervals.save_seconds
            saves = last or late or self.step % intervals.save == 0
            logs = last or self.step % intervals.log == 0
            if saves or logs:
                self._check_finite(window.losses)
            if logs:
                self._log(window, supply is not None)
                window = Window()
            if saves:
                self.save()
                saved = time.perf_counter()
            if saves and keep is not None and not last:
                self._averaged(keep)
            if validate is not None and (self.step % intervals.validate == 0 or last):
                self._validate(validate)
            if out_of_time:
                return

    def use_average(self) -> None:
        """Put the averaged weights in place for good."""
        self._ema.copy_to(self._trained)

    def learning_rate(self, step: int) -> float:
        """Linear rise over the warm-up, then linear fall to zero."""
        rise = (step + 1) / max(1, self.config.warmup_steps)
        fall = (self.config.steps - step) / max(1, self.config.steps - self.config.warmup_steps)
        return self.config.learning_rate * min(1.0, rise, fall)

    def save(self) -> None:
        """Write the state, in the main process; an interrupted write leaves the previous one."""
        if not self.accelerator.is_main_process:
            return
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "weights": self.loss.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "average": self._ema.state_dict(),
            "key": self.key,
            "notes": self.notes,
        }
        with atomic_path(self.state_file) as temporary:
            torch.save(state, temporary)

    def _update(self, arguments: tuple[Any, ...]) -> Tensor:
        rate = self.learning_rate(self.step)
        for optimizer, shares in zip(self._optimizers, self._shares, strict=True):
            for group, share in zip(optimizer.param_groups, shares, strict=True):
                group["lr"] = share * rate
        with self.accelerator.autocast():
            loss = self._wrapped(*arguments)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self._trained, 1.0)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self._ema.step(self._trained)
        return loss.detach()

    def _out_of_time(self, started: float, limit: float | None) -> bool:
        """Whether to stop here; all processes agree."""
        if limit is None:
            return False
        if time.perf_counter() - started > limit:
            self.accelerator.set_trigger()
        return self.accelerator.check_trigger()

    def _check_finite(self, losses: list[Tensor]) -> None:
        if not torch.stack(losses).isfinite().all():
            raise OptionError(
                f"the {self.name} training has diverged (its loss is not a number near step {self.step}); "
                "lower its learning_rate in the --config; the state on disk is from before"
            )

    def _averaged(self, call: Callable[[], T]) -> T:
        """What a call gives while the averaged weights are in place."""
        self._ema.store(self._trained)
        self._ema.copy_to(self._trained)
        try:
            return call()
        finally:
            self._ema.restore(self._trained)

    def _validate(self, validate: Callable[[int], dict[str, float]]) -> None:
        paused = time.perf_counter()
        if self.accelerator.is_main_process:
            measured = self._averaged(partial(validate, self.step))
            self._write({"phase": self.name, "step": self.step, "steps": self.config.steps, **measured})
        self.accelerator.wait_for_everyone()
        self._clock += time.perf_counter() - paused

    def _log(self, window: Window, supplied: bool) -> None:
        now = time.perf_counter()
        spent, self._clock = now - self._clock, now
        self.seconds += spent
        if not self.accelerator.is_main_process:
            return
        count = len(window.losses) * self.config.batch_size * self.accelerator.num_processes
        record = {
            "phase": self.name,
            "step": self.step,
            "steps": self.config.steps,
            "loss": round(float(torch.stack(window.losses).mean()), 5),
            "rate": self.learning_rate(self.step - 1),
            "images_per_second": round(count / spent, 1),
            "data_share": round(window.waited / spent, 3),
            "seconds": round(self.seconds, 1),
        }
        self._write(record | (window.supply() if supplied else {}))

    def _write(self, record: Record) -> None:
        # A line that was cut off by a kill must not swallow this one.
        with open(self.folder / _LOG, "ab+") as file:
            file.seek(max(0, file.seek(0, 2) - 1))
            start = "" if file.read(1) in (b"", b"\n") else "\n"
            file.write(f"{start}{json.dumps(record)}\n".encode())
        if self.progress is not None:
            self.progress(record)

    def _load(self) -> None:
        if not self.state_file.is_file():
            return
        try:
            state = torch.load(self.state_file, map_location="cpu", weights_only=True)
            key = state.get("key", self.key)  # states had none once
        except Exception as error:  # the reader meets damaged files with many types of exception
            raise self._unusable("is damaged", error) from error
        if key != self.key:
            raise CheckpointError(
                f"{self.state_file} is the state of a training with other settings or another seed; "
                "repeat its --config and --seed, or choose another --output"
            )
        try:
            self.loss.load_state_dict(state["weights"])
            for optimizer, stored in zip(self._optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(stored)
            self._ema.load_state_dict(state["average"])
            self.step, self.seconds = state["step"], state["seconds"]
            self.notes = dict(state.get("notes", {}))
        except Exception as error:
            raise self._unusable("does not fit this training", error) from error
        self._ema.to(self.accelerator.device)

    def _unusable(self, what: str, error: Exception) -> CheckpointError:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        return CheckpointError(
            f"{self.state_file} {what}: {reason} (choose another --output, or delete the file)"
        )
