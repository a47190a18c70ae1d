"""Training of the all-views pose network from nothing but procedural objects."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from agsrec.errors import OptionError
from agsrec.files import atomic_write
from agsrec.pose_init.nview.network import NView, NViewConfig
from agsrec.pose_init.nview.weights import load_nview, save_nview
from agsrec.training.acceleration import make_accelerator
from agsrec.training.config import PhaseConfig
from agsrec.training.loop import Intervals, Phase, Progress, muon_with_adamw, step_generator, training_key
from agsrec.training.nview_data import VIEWS_PER_SET, ViewPool, ViewSets, render_view_sets
from agsrec.training.nview_losses import NViewLoss, Truth
from agsrec.training.nview_validation import validate_poses
from agsrec.training.pool import first_object
from agsrec.training.render_stream import RenderStream
from agsrec.training.settings import settings_json

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.views import Views

__all__ = ["NViewTrainConfig", "train_nview"]

# How often a batch has so many views per object.
_VIEWS = {2: 0.1, 3: 0.1, 4: 0.2, 6: 0.1, VIEWS_PER_SET: 0.45, 12: 0.05}


@dataclass(frozen=True)
class NViewTrainConfig:
    """Everything that decides what a training run computes."""

    network: NViewConfig
    """Sizes of the network."""
    pool_objects: int
    """Objects kept in device memory."""
    training: PhaseConfig
    """Schedule; a batch is so many views, shared among objects."""

    def __post_init__(self) -> None:
        if self.pool_objects < 1:
            raise OptionError("pool_objects must be at least 1")


def train_nview(
    config: NViewTrainConfig,
    folder: Path,
    *,
    seed: int = 0,
    workers: int = 0,
    device: torch.device | None = None,
    intervals: Intervals | None = None,
    start: Path | None = None,
    scenes: Mapping[str, tuple[Views, Cameras]] | None = None,
    progress: Progress | None = None,
) -> bool:
    """Train, or go on with a training that was interrupted; the network goes to `folder / "model"`.

    Started by `accelerate launch`, every process trains on objects of its own and gradients are averaged.

    Args:
        config: Sizes and schedule.
        folder: State and log of the run.
        seed: Seed of weights, objects and draws. With equal seeds an interrupted run ends bit for bit where
            an uninterrupted one does, on one machine without a GPU.
        workers: Processes that render objects; 0 renders in this one.
        device: Where to train, accelerate's choice by default.
        intervals: When to log, save, validate and stop.
        start: Folder of a network whose weights to start from instead of random ones.
        scenes: Views and true cameras to validate on besides unseen random objects, by name.
        progress: Called with every record that is written to the log.

    Returns:
        Whether the training is complete; otherwise the same call goes on with it.

    Raises:
        CheckpointError: The folder holds the state of another training, or `start` cannot be used.
        OptionError: The training diverges.
        OutputError: The folder cannot be written to.
    """
    started = time.perf_counter()
    intervals = Intervals() if intervals is None else intervals
    accelerator = make_accelerator(device)
    network = _started(config.network, seed, start).to(accelerator.device)
    settings = config.training
    phase = Phase(
        "nview",
        NViewLoss(network),
        settings,
        folder,
        accelerator,
        training_key(config, seed),
        progress,
        optimizers=muon_with_adamw,
    )
    if accelerator.is_main_process:
        atomic_write(folder / "config.json", settings_json(config))
    if not phase.done:
        first = first_object(phase.step, settings.objects_per_step)
        size = config.network.image_size
        render = partial(render_view_sets, seed * 1000 + accelerator.process_index, size=size)
        with RenderStream[ViewSets](render, workers=workers, first=first) as stream:
            pool = ViewPool.empty(config.pool_objects, size, accelerator.device, first=first)

            def inputs(step: int) -> tuple[Tensor, Truth]:
                pool.advance(stream, first_object(step, settings.objects_per_step))
                generator = step_generator(seed, phase.name, accelerator.process_index, step)
                views = _draw_views(generator)
                return pool.draw(max(1, settings.batch_size // views), views, generator)

            limit = intervals.stop_after_seconds
            if limit is not None:
                left = max(0.0, limit - (time.perf_counter() - started))
                intervals = replace(intervals, stop_after_seconds=left)
            phase.run(inputs, intervals, lambda step: validate_poses(network, scenes or {}))
    phase.use_average()
    if accelerator.is_main_process:
        save_nview(network, folder / "model")
    accelerator.wait_for_everyone()
    return phase.done


def _started(config: NViewConfig, seed: int, start: Path | None) -> NView:
    if start is None:
        torch.manual_seed(seed)
        return NView(config)
    network = load_nview(start)
    if network.config != config:
        changed = [name for name, value in asdict(config).items() if getattr(network.config, name) != value]
        raise OptionError(f"--start: {start} has another {', '.join(changed)} than the --config")
    return network.train().requires_grad_(True)


def _draw_views(generator: torch.Generator) -> int:
    counts = list(_VIEWS)
    share = torch.tensor([_VIEWS[count] for count in counts])
    return counts[int(torch.multinomial(share, 1, generator=generator))]
