"""Where each tensor of a model folder stands in a latent-diffusion (LDM) checkpoint.

The rules follow from the layout the two kinds of file share, so they hold for any depth and width. They run
from our names to theirs: whatever a model needs is then either found or missing.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor

from agsrec.errors import CheckpointError

__all__ = [
    "CAMERA_PREFIX",
    "CLIP_PREFIX",
    "UNET_PREFIX",
    "VAE_PREFIX",
    "Source",
    "clip_sources",
    "projection_sources",
    "unet_sources",
    "vae_sources",
]

UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."
CLIP_PREFIX = "cond_stage_model.model.visual."
CAMERA_PREFIX = "cc_projection."

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_CLIP_ENDS = {
    "embeddings.class_embedding": "class_embedding",
    "embeddings.patch_embedding.weight": "conv1.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "pre_layrnorm.weight": "ln_pre.weight",
    "pre_layrnorm.bias": "ln_pre.bias",
    "post_layernorm.weight": "ln_post.weight",
    "post_layernorm.bias": "ln_post.bias",
}
_CLIP_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


@dataclass(frozen=True)
class Source:
    """Where one tensor comes from.

    Attributes:
        key: Name in the checkpoint.
        third: Which third of the rows, where queries, keys and values are stored as one.
        transposed: Whether rows and columns are exchanged.
        pointwise: Whether a linear layer is stored as a 1 x 1 convolution.
    """

    key: str
    third: int | None = None
    transposed: bool = False
    pointwise: bool = False

    def take(self, stored: Tensor) -> Tensor:
        """The tensor as the model wants it, a view of the stored one.

        A tensor that these steps do not fit is returned as it is: its shape will tell.
        """
        if self.third is not None and stored.ndim and stored.shape[0] % 3 == 0:
            stored = stored.chunk(3)[self.third]
        if self.pointwise and stored.ndim == 4 and stored.shape[2:] == (1, 1):
            stored = stored.flatten(1)
        return stored.mT if self.transposed and stored.ndim == 2 else stored


def projection_sources() -> dict[str, Source]:
    """Sources of the camera projection."""
    return {f"proj.{kind}": Source(f"{CAMERA_PREFIX}{kind}") for kind in ("weight", "bias")}


def unet_sources(names: Collection[str]) -> dict[str, Source]:
    """Sources of a diffusers UNet with the tensors `names`.

    Raises:
        CheckpointError: The network has parts that LDM's has not.
    """
    layers = len({n.split(".")[3] for n in names if n.startswith("down_blocks.0.resnets.")})
    attended = {n.split(".")[1] for n in names if re.match(r"up_blocks\.\d+\.attentions\.", n)}
    return {name: Source(UNET_PREFIX + _unet_key(name, layers, attended)) for name in names}


def _unet_key(name: str, layers: int, attended: set[str]) -> str:
    layer, kind = name.rsplit(".", 1)
    if layer in _UNET_ENDS:
        return f"{_UNET_ENDS[layer]}.{kind}"
    match = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.+)", layer)
    if match:
        side, block, part, index, rest = match.groups()
        stride = layers + 1  # a level is its res blocks and a resampling, or one res block more
        at = int(block) * stride + int(index)
        if side == "down":
            base, last = f"input_blocks.{at + 1}", f"input_blocks.{(int(block) + 1) * stride}.0.op"
        else:
            after = 2 if block in attended else 1
            base, last = f"output_blocks.{at}", f"output_blocks.{int(block) * stride + layers}.{after}.conv"
        if part in ("downsamplers", "upsamplers"):
            return f"{last}.{kind}"
    else:
        match = re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)", layer)
        if not match:
            raise _no_counterpart(name)
        part, index, rest = match.groups()
        return f"middle_block.{2 * int(index) + (part == 'attentions')}.{_unet_part(name, part, rest)}.{kind}"
    return f"{base}.{1 if part == 'attentions' else 0}.{_unet_part(name, part, rest)}.{kind}"


def _unet_part(name: str, part: str, rest: str) -> str:
    if part == "attentions":
        return rest
    if part != "resnets" or rest not in _RESNET:
        raise _no_counterpart(name)
    return _RESNET[rest]


def vae_sources(names: Collection[str]) -> dict[str, Source]:
    """Sources of a diffusers autoencoder with the tensors `names`.

    Raises:
        CheckpointError: The network has parts that LDM's has not.
    """
    levels = len({n.split(".")[2] for n in names if n.startswith("decoder.up_blocks.")})
    return {
        name: Source(VAE_PREFIX + _vae_key(name, levels), pointwise=".attentions." in name) for name in names
    }


def _vae_key(name: str, levels: int) -> str:
    layer, kind = name.rsplit(".", 1)
    if re.fullmatch(r"(en|de)coder\.conv_(in|out)|(post_)?quant_conv", layer):
        return name
    match = re.fullmatch(r"(encoder|decoder)\.(.+)", layer)
    if not match:
        raise _no_counterpart(name)
    side, rest = match.groups()
    if rest == "conv_norm_out":
        return f"{side}.norm_out.{kind}"
    rest = rest.replace("conv_shortcut", "nin_shortcut")
    if match := re.fullmatch(r"mid_block\.resnets\.(\d)\.(.+)", rest):
        return f"{side}.mid.block_{int(match[1]) + 1}.{match[2]}.{kind}"
    if (match := re.fullmatch(r"mid_block\.attentions\.0\.(.+)", rest)) and match[1] in _VAE_ATTENTION:
        return f"{side}.mid.attn_1.{_VAE_ATTENTION[match[1]]}.{kind}"
    match = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(?:resnets\.(.+)|(down|up)samplers\.0\.conv)", rest)
    if not match:
        raise _no_counterpart(name)
    way, block, inner, sampler = match.groups()
    level = int(block) if way == "down" else levels - 1 - int(block)
    return f"{side}.{way}.{level}.{f'block.{inner}' if inner else f'{sampler}sample.conv'}.{kind}"


def clip_sources(names: Collection[str]) -> dict[str, Source]:
    """Sources of a transformers CLIP vision tower with the tensors `names`.

    Raises:
        CheckpointError: The network has parts that OpenAI's has not.
    """
    return {name: _clip_source(name) for name in names}


def _clip_source(name: str) -> Source:
    if name == "visual_projection.weight":
        return Source(CLIP_PREFIX + "proj", transposed=True)
    short = name.removeprefix("vision_model.")
    if short in _CLIP_ENDS:
        return Source(CLIP_PREFIX + _CLIP_ENDS[short])
    match = re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", short)
    if not match:
        raise _no_counterpart(name)
    block, part = f"{CLIP_PREFIX}transformer.resblocks.{match[1]}", match[2]
    if part in _CLIP_LAYER:
        return Source(f"{block}.{_CLIP_LAYER[part]}.{match[3]}")
    if stacked := re.fullmatch(r"self_attn\.([qkv])_proj", part):
        return Source(f"{block}.attn.in_proj_{match[3]}", third="qkv".index(stacked[1]))
    raise _no_counterpart(name)


def _no_counterpart(name: str) -> CheckpointError:
    return CheckpointError(
        f"the base model has a part {name} that LDM checkpoints do not have; use the public "
        "zero123-xl as base"
    )
