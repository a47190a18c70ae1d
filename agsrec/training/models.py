"""Untrained Zero123 models from settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModelWithProjection

from agsrec.errors import OptionError
from agsrec.prior.camera_projection import CLIPCameraProjection
from agsrec.prior.model_folder import WARPING_CHANNELS
from agsrec.prior.zero123 import Zero123

if TYPE_CHECKING:
    from agsrec.training.config import TrainConfig

__all__ = ["build_zero123"]

_CAMERA_INPUTS = 18  # the 6-DoF vector

# Stable Diffusion's noise schedule, as in all published Zero123 models.
_SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def build_zero123(config: TrainConfig, seed: int) -> Zero123:
    """A model with random weights; equal seeds give equal weights.

    Raises:
        OptionError: No such networks can be built.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return _built(config)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise OptionError(f"--config: no networks can be built from these settings: {error}") from error


def _built(config: TrainConfig) -> Zero123:
    levels = len(config.vae["block_out_channels"])
    latent_size = config.image_size // 2 ** (levels - 1)
    clip_size = config.image_encoder["image_size"]
    vae_settings: dict[str, Any] = {
        "latent_channels": 4,
        "sample_size": config.image_size,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
    }
    vae = AutoencoderKL(**vae_settings, **config.vae)
    channels = WARPING_CHANNELS if config.warps else 8
    unet = UNet2DConditionModel(**config.unet, sample_size=latent_size, in_channels=channels, out_channels=4)
    clip_settings: dict[str, Any] = config.image_encoder | {"attn_implementation": "sdpa"}
    encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(**clip_settings))
    projection = CLIPCameraProjection(config.image_encoder["projection_dim"], _CAMERA_INPUTS)
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": clip_size}, crop_size={"height": clip_size, "width": clip_size}
    )
    scheduler = DDIMScheduler(**(_SCHEDULER | config.scheduler))
    return Zero123(unet, vae, encoder, projection, scheduler, processor)
