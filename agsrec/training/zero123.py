"""Training of a Zero123 model from nothing but procedural objects: autoencoder first, then the diffusion."""

from __future__ import annotations

import secrets
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from agsrec.errors import OptionError
from agsrec.prior.model_folder import WARPING_CHANNELS
from agsrec.training.config import TrainConfig
from agsrec.training.losses import AutoencoderLoss, DiffusionLoss, clip_pixels
from agsrec.training.models import build_zero123
from agsrec.training.object_stream import TrainingObject, object_stream
from agsrec.training.pool import Pool, first_object
from agsrec.training.render_stream import RenderStream
from agsrec.training.run import Run, RunOptions
from agsrec.training.validation import validate_autoencoder, validate_novel_views

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from agsrec.prior.zero123 import Zero123

_ANCHORED = 0.5  # share of the autoencoder's steps with a start-up term

__all__ = ["train_zero123"]


def train_zero123(
    config: TrainConfig, folder: Path, *, start: Path | None = None, **options: Unpack[RunOptions]
) -> bool:
    """Train, or go on with a training that was interrupted; the model goes to `folder / "model"`.

    Args:
        config: Sizes and schedules.
        folder: State, log and validation pictures of the run.
        start: Model folder whose weights to start from instead of random ones; its autoencoder is kept.
        options: See `RunOptions`.

    Returns:
        Whether the training is complete; otherwise the same call goes on with it.

    Raises:
        CheckpointError: The folder holds the state of another training, or `start` cannot be used.
        OptionError: The settings cannot be trained, or the training diverges.
        OutputError: The folder cannot be written to.
    """
    run = Run.begin(config, folder, **options)
    model = _started(config, run.seed, start).to(run.accelerator.device)
    if start is None and not _train_autoencoder(run, model):
        return False
    complete = _train_diffusion(run, model)
    run.finish(partial(_save, model))
    return complete


def _stream(run: Run, first: int, seed_offset: int = 0) -> RenderStream[TrainingObject]:
    views, size = run.config.data.views_per_object, run.config.image_size
    seed, warp = run.objects_seed(seed_offset), seed_offset > 0 and run.config.warps
    return object_stream(seed, views, size, workers=run.workers, first=first, warp=warp)


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
    if config.warps and not model.warps:  # what it is not shown yet is to be learned
        _widen(model)
    return model


def _widen(model: Zero123) -> None:
    """Give the UNet inputs for the photos as seen from the wanted camera, without effect at first."""
    old = model.unet.conv_in
    new = torch.nn.Conv2d(WARPING_CHANNELS, old.out_channels, old.kernel_size, padding=old.padding)
    weight = torch.zeros_like(new.weight)
    weight[:, : old.in_channels] = old.weight.detach()
    new.load_state_dict({"weight": weight, "bias": old.bias})
    model.unet.conv_in = new
    model.unet.register_to_config(in_channels=WARPING_CHANNELS)


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


def _train_autoencoder(run: Run, model: Zero123) -> bool:
    """Whether the autoencoder is trained and in place, with its scaling factor set."""
    config, settings = run.config, run.config.autoencoder
    phase = run.phase("autoencoder", AutoencoderLoss(model, config.kl_weight), settings)
    if not phase.done or "scaling_factor" not in phase.notes:
        first = first_object(phase.step, settings.objects_per_step)
        with _stream(run, first) as stream:
            pool = Pool(stream, config.data, config.image_size, run.accelerator.device, first=first)

            def inputs(step: int) -> tuple[Any, ...]:
                pool.advance(first_object(step, settings.objects_per_step))
                generator = run.generator(phase, step)
                images = pool.crops(settings.batch_size, config.autoencoder_crop, generator)
                side = config.autoencoder_crop * model.latent_size // config.image_size
                noise = torch.randn(len(images), 4, side, side, generator=generator)
                anchor = max(0.0, 1 - step / (_ANCHORED * settings.steps))
                return images, noise.to(images), anchor

            phase.run(
                inputs,
                run.time_left(),
                lambda step: validate_autoencoder(model, run.folder, step),
                supply=stream,
            )
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


def _train_diffusion(run: Run, model: Zero123) -> bool:
    """Train UNet, image encoder and projection; whether that is complete. The average is left in place."""
    config, settings = run.config, run.config.diffusion
    model.vae.requires_grad_(False).eval()
    phase = run.phase("diffusion", DiffusionLoss(model, config.snr_clip), settings)
    if not phase.done:
        first = first_object(phase.step, settings.objects_per_step)

        def encode(images: Tensor) -> Tensor:
            with torch.no_grad():
                return model.encode_image(images) / model.scaling_factor

        with _stream(run, first, seed_offset=1) as stream:
            device = run.accelerator.device
            pool = Pool(stream, config.data, config.image_size, device, encode=encode, first=first)

            def inputs(step: int) -> tuple[Tensor, ...]:
                pool.advance(first_object(step, settings.objects_per_step))
                return _pair_inputs(model, pool, config, run.generator(phase, step))

            phase.run(
                inputs,
                run.time_left(),
                lambda step: validate_novel_views(model, run.folder, step),
                supply=stream,
                keep=partial(run.keep, partial(_save, model)),
            )
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
    latents = pool.latents[objects, shown]
    if pool.warped is not None:
        latents = torch.cat([latents, pool.warped[objects, wanted]], dim=1)
    pixels = clip_pixels(model, pool.images_at(objects, shown))
    vectors = model.encode_cameras(pool.cameras_at(objects, wanted), pool.cameras_at(objects, shown))
    share = torch.rand(count, generator=generator) ** (1 / (1 + config.noise_bias))
    t = (share * model.scheduler.config["num_train_timesteps"]).long()
    noise = torch.randn(target.shape, generator=generator)
    dropped = torch.rand(count, generator=generator) < config.condition_dropout
    device = target.device
    return (
        target,
        latents,
        pixels,
        vectors,
        t.to(device),
        noise.to(device),
        dropped.to(device),
    )
