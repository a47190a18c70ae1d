"""Training of a Zero123 model from nothing but procedural objects: autoencoder first, then the diffusion."""

from __future__ import annotations

import secrets
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from agsrec.errors import OptionError
from agsrec.files import atomic_write
from agsrec.training.acceleration import make_accelerator
from agsrec.training.config import PhaseConfig, TrainConfig
from agsrec.training.loop import Intervals, Phase, Progress, step_generator, training_key
from agsrec.training.losses import AutoencoderLoss, DiffusionLoss, clip_pixels
from agsrec.training.models import build_zero123
from agsrec.training.object_stream import TrainingObject, object_stream
from agsrec.training.pool import Pool, first_object
from agsrec.training.render_stream import RenderStream
from agsrec.training.settings import settings_json
from agsrec.training.validation import validate_autoencoder, validate_novel_views

if TYPE_CHECKING:
    from accelerate import Accelerator

    from agsrec.prior.zero123 import Zero123

_ANCHORED = 0.5  # share of the autoencoder's steps with a start-up term

__all__ = ["train_zero123"]


@dataclass(frozen=True)
class _Run:
    """What both phases of a training share."""

    config: TrainConfig
    folder: Path
    accelerator: Accelerator
    seed: int
    workers: int
    intervals: Intervals
    progress: Progress | None

    def phase(self, name: str, loss: nn.Module, settings: PhaseConfig) -> Phase:
        """An optimisation, continued from its state on disk if there is one."""
        self.accelerator.free_memory()  # the optimiser of the phase before
        key = training_key(self.config, self.seed)
        phase = Phase(name, loss, settings, self.folder, self.accelerator, key, self.progress)
        if self.accelerator.is_main_process:
            atomic_write(self.folder / "config.json", settings_json(self.config))
        return phase

    def stream(self, seed: int, first: int) -> RenderStream[TrainingObject]:
        """Objects that no other process trains on."""
        return object_stream(
            seed * 1000 + self.accelerator.process_index,
            self.config.data.views_per_object,
            self.config.image_size,
            workers=self.workers,
            first=first,
        )

    def generator(self, phase: Phase, step: int) -> torch.Generator:
        """The randomness of one step in this process."""
        return step_generator(self.seed, phase.name, self.accelerator.process_index, step)


def train_zero123(
    config: TrainConfig,
    folder: Path,
    *,
    seed: int = 0,
    workers: int = 2,
    device: torch.device | None = None,
    intervals: Intervals | None = None,
    start: Path | None = None,
    progress: Progress | None = None,
) -> bool:
    """Train, or go on with a training that was interrupted; the model goes to `folder / "model"`.

    Started by `accelerate launch`, every process trains on objects of its own and gradients are averaged.

    Args:
        config: Sizes and schedules.
        folder: State, log and validation pictures of the run.
        seed: Seed of weights, objects and draws. With equal seeds an interrupted run ends bit for bit where
            an uninterrupted one does, on one machine without a GPU.
        workers: Processes that render objects; 0 renders in this one.
        device: Where to train, accelerate's choice by default.
        intervals: When to log, save, validate and stop.
        start: Model folder whose weights to start from instead of random ones; its autoencoder is kept.
        progress: Called with every record that is written to the log.

    Returns:
        Whether the training is complete; otherwise the same call goes on with it.

    Raises:
        CheckpointError: The folder holds the state of another training, or `start` cannot be used.
        OptionError: The settings cannot be trained, or the training diverges.
        OutputError: The folder cannot be written to.
    """
    started = time.perf_counter()
    run = _Run(config, folder, make_accelerator(device), seed, workers, intervals or Intervals(), progress)
    model = _started(config, seed, start).to(run.accelerator.device)
    if start is None and not _train_autoencoder(run, model):
        return False
    complete = _train_diffusion(_with_time_left(run, time.perf_counter() - started), model)
    if run.accelerator.is_main_process:
        _save(model, folder / "model")
    run.accelerator.wait_for_everyone()
    return complete


def _with_time_left(run: _Run, spent: float) -> _Run:
    """The run with what is left of its time."""
    limit = run.intervals.stop_after_seconds
    if limit is None:
        return run
    return replace(run, intervals=replace(run.intervals, stop_after_seconds=max(0.0, limit - spent)))


def _started(config: TrainConfig, seed: int, start: Path | None) -> Zero123:
    from agsrec.prior.zero123 import Zero123

    if start is None:
        return build_zero123(config, seed)
    model = Zero123.from_pretrained(start).train().requires_grad_(True)
    if model.image_size != config.image_size:
        raise OptionError(
            f"--start: {start} works on images of {model.image_size} pixels, the --config on "
            f"{config.image_size}; change its image_size"
        )
    return model


def _save(model: Zero123, folder: Path) -> None:
    """Write the model in half precision; what was there before is replaced only once that is complete."""
    mark = secrets.token_hex(8)
    fresh, old = (folder.with_name(f".{kind}-{mark}") for kind in ("model", "old"))
    try:
        model.save_pretrained(fresh, dtype=torch.float16)
        if folder.is_dir():
            folder.replace(old)
        fresh.replace(folder)
    finally:
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)


def _train_autoencoder(run: _Run, model: Zero123) -> bool:
    """Whether the autoencoder is trained and in place, with its scaling factor set."""
    config, settings = run.config, run.config.autoencoder
    phase = run.phase("autoencoder", AutoencoderLoss(model, config.kl_weight), settings)
    if not phase.done or "scaling_factor" not in phase.notes:
        first = first_object(phase.step, settings.objects_per_step)
        with run.stream(run.seed, first) as stream:
            pool = Pool(stream, config.data, config.image_size, run.accelerator.device, first=first)

            def inputs(step: int) -> tuple[Any, ...]:
                pool.advance(first_object(step, settings.objects_per_step))
                generator = run.generator(phase, step)
                images = pool.crops(settings.batch_size, config.autoencoder_crop, generator)
                side = config.autoencoder_crop * model.latent_size // config.image_size
                noise = torch.randn(len(images), 4, side, side, generator=generator)
                anchor = max(0.0, 1 - step / (_ANCHORED * settings.steps))
                return images, noise.to(images), anchor

            phase.run(inputs, run.intervals, lambda step: validate_autoencoder(model, run.folder, step))
            if not phase.done:
                return False
            phase.use_average()
            pool.advance(first_object(settings.steps, settings.objects_per_step))
            phase.notes["scaling_factor"] = _scaling_factor(model, pool)
            phase.save()
    phase.use_average()
    model.vae.register_to_config(scaling_factor=phase.notes["scaling_factor"])
    return True


def _scaling_factor(model: Zero123, pool: Pool) -> float:
    """Factor that gives latents unit variance over the pool (Rombach et al. 2022, section D.1)."""
    from accelerate.utils import broadcast

    with torch.no_grad():
        slots = range(0, len(pool.images), max(1, len(pool.images) // 64))
        latents = [model.encode_image(pool.images[slot].float() / 255) for slot in slots]
    deviation = torch.cat(latents).std()
    broadcast(deviation)  # in place; every process has a pool of its own
    return round(model.scaling_factor / float(deviation), 5)


def _train_diffusion(run: _Run, model: Zero123) -> bool:
    """Train UNet, image encoder and projection; whether that is complete. The average is left in place."""
    config, settings = run.config, run.config.diffusion
    model.vae.requires_grad_(False).eval()
    phase = run.phase("diffusion", DiffusionLoss(model, config.snr_clip), settings)
    if not phase.done:
        first = first_object(phase.step, settings.objects_per_step)

        def encode(images: Tensor) -> Tensor:
            with torch.no_grad():
                return model.encode_image(images) / model.scaling_factor

        with run.stream(run.seed + 1, first) as stream:
            device = run.accelerator.device
            pool = Pool(stream, config.data, config.image_size, device, encode=encode, first=first)

            def inputs(step: int) -> tuple[Tensor, ...]:
                pool.advance(first_object(step, settings.objects_per_step))
                return _pair_inputs(model, pool, config, run.generator(phase, step))

            phase.run(inputs, run.intervals, lambda step: validate_novel_views(model, run.folder, step))
    phase.use_average()
    return phase.done


def _pair_inputs(
    model: Zero123, pool: Pool, config: TrainConfig, generator: torch.Generator
) -> tuple[Tensor, ...]:
    """Arguments of `DiffusionLoss` for one batch."""
    assert pool.latents is not None
    count = config.diffusion.batch_size
    objects, shown, wanted = pool.draw_pairs(count, generator)
    target = pool.latents[objects, wanted] * model.scaling_factor
    pixels = clip_pixels(model, pool.images_at(objects, shown))
    vectors = model.encode_cameras(pool.cameras_at(objects, wanted), pool.cameras_at(objects, shown))
    share = torch.rand(count, generator=generator) ** (1 / (1 + config.noise_bias))
    t = (share * model.scheduler.config["num_train_timesteps"]).long()
    noise = torch.randn(target.shape, generator=generator)
    dropped = torch.rand(count, generator=generator) < config.condition_dropout
    device = target.device
    return (
        target,
        pool.latents[objects, shown],
        pixels,
        vectors,
        t.to(device),
        noise.to(device),
        dropped.to(device),
    )
