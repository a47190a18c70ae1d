"""Settings of the training of a Zero123 model, and what all trainings share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from agsrec.bounds import Bounded, Count, NonNegative, Positive, Range, Share, ShareBelow, Whole
from agsrec.errors import OptionError
from agsrec.training.settings import load_settings

__all__ = ["DataConfig", "PhaseConfig", "TrainConfig", "load_config"]

_PREDICTIONS = "epsilon", "sample", "v_prediction"


@dataclass(frozen=True)
class DataConfig(Bounded):
    """The pool of rendered objects that training pairs are drawn from."""

    views_per_object: Annotated[int, Range(2)]
    """Views rendered of every object: one shown, one wanted at least."""
    pool_objects: Count
    """Objects kept in device memory."""


@dataclass(frozen=True)
class PhaseConfig(Bounded):
    """One optimisation: the autoencoder's or the diffusion model's."""

    steps: Count
    """Optimisation steps in all; the learning rate falls to zero at the last."""
    batch_size: Count
    """Images or pairs per step and device."""
    learning_rate: Positive
    """AdamW's, after the warm-up."""
    warmup_steps: Whole
    """Steps over which the learning rate rises."""
    objects_per_step: NonNegative
    """Objects of the pool replaced per step."""
    ema_decay: ShareBelow
    """Decay of the moving average of the weights, which is what is kept."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.warmup_steps <= self.steps, "warmup_steps must be between 0 and steps")


@dataclass(frozen=True)
class TrainConfig(Bounded):
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
    kl_weight: NonNegative
    """Weight of the autoencoder's KL divergence, mean over latent elements."""
    condition_dropout: Share
    """Share of pairs that are trained without the photo, for classifier-free guidance."""
    noise_bias: float
    """Density of the diffusion steps trained, as a power of the step: 0 is uniform, 1 favours noisy ones,
    which decide what the view shows."""
    snr_clip: Annotated[float | None, Range(0, above=True)]
    """Upper limit of the signal-to-noise ratio in the loss weight (min-SNR); no weighting without."""
    warps: bool = False
    """Show the photos from the wanted camera too, on the visual hull of their masks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        channels = self.vae.get("block_out_channels")
        _require(isinstance(channels, list | tuple) and len(channels) > 0, "vae lacks block_out_channels")
        cell = 2 ** (len(self.vae["block_out_channels"]) - 1)
        for name in ("image_size", "autoencoder_crop"):
            side = getattr(self, name)
            _require(side >= cell and side % cell == 0, f"{name} must be a multiple of {cell}, not {side}")
        _require(self.autoencoder_crop <= self.image_size, "autoencoder_crop must not exceed image_size")
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
