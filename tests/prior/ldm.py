"""A small latent-diffusion (LDM) checkpoint and the model folder it belongs on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from agsrec.prior.convert_keys import Source, clip_sources, unet_sources, vae_sources
from agsrec.prior.zero123 import Zero123

__all__ = ["ldm_checkpoint"]


def ldm_checkpoint(model: Zero123) -> dict[str, Tensor]:
    """The state dict of LDM's training that `model` would have come from, with everything such files have."""
    alphas: Tensor = model.scheduler.alphas_cumprod
    state = {"betas": torch.zeros(1000), "alphas_cumprod": alphas.clone()}
    parts: list[tuple[Any, Any]] = [
        (model.unet, unet_sources),
        (model.vae, vae_sources),
        (model.image_encoder, clip_sources),
    ]
    for part, rule in parts:
        tensors = part.state_dict()
        thirds: dict[str, dict[int, Tensor]] = {}
        for name, source in rule(list(tensors)).items():
            if source.third is not None:
                thirds.setdefault(source.key, {})[source.third] = tensors[name].clone()
            else:
                state[source.key] = _as_stored(tensors[name], source)
        for key, rows in thirds.items():
            state[key] = torch.cat([rows[i] for i in range(3)])
    state["cc_projection.weight"] = model.camera_projection.proj.weight.detach().clone()
    state["cc_projection.bias"] = model.camera_projection.proj.bias.detach().clone()
    averages = {
        f"model_ema.{k.removeprefix('model.').replace('.', '')}": v.clone()
        for k, v in state.items()
        if "diff" in k
    }
    text = {"cond_stage_model.model.logit_scale": torch.tensor(1.0)}
    return state | averages | text | {"model_ema.decay": torch.tensor(0.999)}


def _as_stored(tensor: Tensor, source: Source) -> Tensor:
    if source.transposed:
        return tensor.mT.contiguous()
    return tensor[:, :, None, None].clone() if source.pointwise and tensor.ndim == 2 else tensor.clone()
