"""Settings of the training of a Zero123 model, and what all trainings share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agsrec.errors import OptionError
from agsrec.training.settings import load_settings

__all__ = ["DataConfig", "PhaseConfig", "TrainConfig", "load_config"]

_PREDICTIONS = "epsilon", "sample", "v_prediction"


@dataclass(frozen=True)
class DataConfig:
    """The pool of rendered objects that training pairs are drawn from."""

    views_per_object: int
    """Views rendered of every object."""
    pool_objects: int
    """Objects kept in device memory."""

    def __post_init__(self) -> None:
        _require(self.views_per_object >= 2, "views_per_object must be at least 2: one shown, one wanted")
        _require(self.pool_objects >= 1, "pool_objects must be at least 1")


@dataclass(frozen=True)
class PhaseConfig:
    """One optimisation: the autoencoder's or the diffusion model's."""

    steps: int
    """Optimisation steps in all; the learning rate falls to zero at the last."""
    batch_size: int
    """Images or pairs per step and device."""
    learning_rate: float
    """AdamW's, after the warm-up."""
    warmup_steps: int
    """Steps over which the learning rate rises."""
    objects_per_step: float
    """Objects of the pool replaced per step."""
    ema_decay: float
    """Decay of the moving average of the weights, which is what is kept."""

    def __post_init__(self) -> None:
        _require(self.steps >= 1 and self.batch_size >= 1, "steps and batch_size must be at least 1")
        _require(self.learning_rate > 0, "learning_rate must be above 0")
        _require(0 <= self.warmup_steps <= self.steps, "warmup_steps must be between 0 and steps")
        _require(self.objects_per_step >= 0, "objects_per_step must not be negative")
        _require(0 <= self.ema_decay < 1, "ema_decay must be at least 0 and below 1")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what a training run computes."""

    image_size: int
    """Side of the square images in pixels."""
    vae: dict[str, Any]
    """Settings of diffusers' AutoencoderKL."""
    unet: dict[str, Any]
    """Settings of diffusers' UNet2DConditionModel."""
    image_encoder: dict[str, Any]
    """Settings of transformers' CLIPVisionConfig."""
    scheduler: dict[str, Any]
    """Settings of diffusers' DDIMScheduler."""
    data: DataConfig
    autoencoder: PhaseConfig
    diffusion: PhaseConfig
    autoencoder_crop: int
    """Side of the random crops that the autoencoder is trained on, pixels."""
    kl_weight: float
    """Weight of the autoencoder's KL divergence, mean over latent elements."""
    condition_dropout: float
    """Share of pairs that are trained without the photo, for classifier-free guidance."""
    noise_bias: float
    """Density of the diffusion steps trained, as a power of the step: 0 is uniform, 1 favours noisy ones,
    which decide what the view shows."""
    snr_clip: float | None
    """Upper limit of the signal-to-noise ratio in the loss weight (min-SNR); no weighting without."""

    def __post_init__(self) -> None:
        channels = self.vae.get("block_out_channels")
        _require(isinstance(channels, list | tuple) and len(channels) > 0, "vae lacks block_out_channels")
        cell = 2 ** (len(self.vae["block_out_channels"]) - 1)
        for name in ("image_size", "autoencoder_crop"):
            side = getattr(self, name)
            _require(side >= cell and side % cell == 0, f"{name} must be a multiple of {cell}, not {side}")
        _require(self.autoencoder_crop <= self.image_size, "autoencoder_crop must not exceed image_size")
        _require(self.kl_weight >= 0, "kl_weight must not be negative")
        _require(0 <= self.condition_dropout <= 1, "condition_dropout must be between 0 and 1")
        _require(self.snr_clip is None or self.snr_clip > 0, "snr_clip must be above 0, or null")
        kind = self.scheduler.get("prediction_type", _PREDICTIONS[0])
        _require(kind in _PREDICTIONS, f"scheduler: prediction_type must be one of {', '.join(_PREDICTIONS)}")


def load_config(name: str | Path) -> TrainConfig:
    """Settings by their packaged name (mini, published), or from a JSON file.

    Raises:
        OptionError: No such name or file, or the file does not hold such settings.
    """
    return load_settings(TrainConfig, "zero123", name)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise OptionError(message)
