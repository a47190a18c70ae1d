"""A Zero123 small enough for tests: 32 px images, 8 x 8 latents, random weights."""

from __future__ import annotations

from typing import Any

from agsrec.prior.zero123 import Zero123
from agsrec.training.config import DataConfig, PhaseConfig, TrainConfig
from agsrec.training.models import build_zero123

__all__ = ["tiny_config", "tiny_zero123"]


def tiny_config(**changes: Any) -> TrainConfig:
    """Settings of a training run that takes seconds."""
    phase = PhaseConfig(
        steps=4, batch_size=2, learning_rate=1e-3, warmup_steps=1, objects_per_step=0.5, ema_decay=0.9
    )
    settings: dict[str, Any] = {
        "image_size": 32,
        "vae": {"block_out_channels": [8, 8, 16], "layers_per_block": 1, "norm_num_groups": 4},
        "unet": {
            "block_out_channels": [8, 16],
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
            "layers_per_block": 1,
            "attention_head_dim": 2,
            "cross_attention_dim": 16,
            "norm_num_groups": 4,
        },
        "image_encoder": {
            "image_size": 16,
            "patch_size": 8,
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "projection_dim": 16,
        },
        "scheduler": {"prediction_type": "epsilon"},
        "data": DataConfig(views_per_object=3, pool_objects=2),
        "autoencoder": phase,
        "diffusion": phase,
        "autoencoder_crop": 16,
        "kl_weight": 1e-4,
        "condition_dropout": 0.1,
        "noise_bias": 0.5,
        "snr_clip": 5.0,
    }
    return TrainConfig(**settings | changes)


def tiny_zero123(seed: int = 0, prediction_type: str = "epsilon", *, warps: bool = False) -> Zero123:
    """An untrained model in evaluation mode, without gradients of its weights."""
    config = tiny_config(scheduler={"prediction_type": prediction_type}, warps=warps)
    return build_zero123(config, seed).eval().requires_grad_(False)
