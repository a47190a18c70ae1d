"""LEAP weights from files: the published checkpoint, or a folder with safetensors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec.checkpoints import SETTINGS_FILE, WEIGHTS_FILE, downloaded, misfits, read_settings, some_of
from agsrec.errors import CheckpointError
from agsrec.pose_init.leap.config import LEAP_VARIANTS, LeapConfig
from agsrec.pose_init.leap.model import Leap
from agsrec.weights import read_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["load_leap", "matched_weights", "transformers_backbone"]

_WHERE = (
    "download the Kubric checkpoint named in the README of github.com/hwjiang1510/LEAP, unpack it, and name "
    "the file cpt_last.pth.tar"
)
_NAMES = (WEIGHTS_FILE, "cpt_last.pth.tar", "cpt_best.pth.tar", "leap.pth")
_PREFIX = "module."
_POSITION_OFFSET = 0.1  # of DINOv2's resampling of position embeddings

# DINOv2's own names of a layer's tensors, and those in transformers.
_LAYER_NAMES = {
    "norm1": "norm1",
    "norm2": "norm2",
    "attn.proj": "attention.o_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_OUTER_NAMES = {
    "cls_token": "embeddings.cls_token",
    "mask_token": "embeddings.mask_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
    "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
    "norm.weight": "layernorm.weight",
    "norm.bias": "layernorm.bias",
}


def load_leap(
    source: str | Path,
    *,
    device: torch.device | str = "cpu",
    variant: str = "kubric",
) -> Leap:
    """A LEAP model with its weights, ready to use.

    Args:
        source: Checkpoint file; folder with one and, if its sizes are not the published ones, `config.json`;
            or hub id of such a folder.
        device: Where to.
        variant: Which published model it is where no `config.json` says so; see `LEAP_VARIANTS`.

    Raises:
        CheckpointError: There is no such model, or its files are damaged or of another model.
    """
    if variant not in LEAP_VARIANTS:
        raise CheckpointError(f"there is no LEAP variant {variant!r}; choose {' or '.join(LEAP_VARIANTS)}")
    path = Path(source)
    if not path.exists():
        wanted = [SETTINGS_FILE, *_NAMES]
        path = downloaded(str(source), wanted, what="LEAP checkpoint", remedy=_WHERE)
    file = path if path.is_file() else _weights_file(path)
    settings = file.with_name(SETTINGS_FILE)
    config = LEAP_VARIANTS[variant]
    if settings.is_file():
        config = LeapConfig.from_dict(read_settings(settings), str(settings))
    weights = read_weights(file)
    with torch.device("meta"):
        model = Leap(config)
    named = {name: weights.read(name) for name in weights.shapes}
    state = matched_weights(named, model, str(file))
    model.load_state_dict(state, strict=True, assign=True)
    return model.float().eval().to(device)


def matched_weights(published: Mapping[str, Tensor], model: Leap, where: str) -> dict[str, Tensor]:
    """The weights under the names of our model, complete and of the right shapes.

    Args:
        published: By the names of the checkpoint, with DINOv2's or transformers' names of the backbone.
        model: What they are for.
        where: Names the file in errors.

    Raises:
        CheckpointError: Weights are missing, of other shapes, or belong to something else; all are named in
            one message.
    """
    plain = {name.removeprefix(_PREFIX): tensor for name, tensor in published.items()}
    backbone = {k.removeprefix("backbone."): v for k, v in plain.items() if k.startswith("backbone.")}
    ours = {k: v for k, v in plain.items() if not k.startswith("backbone.")}
    if "pos_embed" in backbone:
        backbone = transformers_backbone(backbone, model.config.grid_size)
    ours |= {f"backbone.{name}": tensor for name, tensor in backbone.items()}
    wanted = model.state_dict()
    problems = [
        f"{len(names)} {kind} ({some_of(sorted(names))})" for kind, names in misfits(wanted, ours).items()
    ]
    if problems:
        raise CheckpointError(f"{where}: not the weights of this LEAP model: {'; '.join(problems)}; {_WHERE}")
    # Tensors of a memory-mapped file would keep it open and must not be written to.
    return {name: tensor.clone().to(wanted[name].dtype) for name, tensor in ours.items()}


def transformers_backbone(published: Mapping[str, Tensor], side: int) -> dict[str, Tensor]:
    """DINOv2 weights by the names of transformers; those without a counterpart keep theirs.

    Args:
        published: By the names of the original code.
        side: Patches along a side of the pictures. Position embeddings are resampled to that here, by the
            original rule: transformers' own differs from it by a fraction of a patch.
    """
    out: dict[str, Tensor] = {}
    for name, tensor in published.items():
        found = re.fullmatch(r"blocks\.(\d+)\.(.+)\.(weight|bias|gamma)", name)
        if found is None:
            out[_OUTER_NAMES.get(name, name)] = tensor
            continue
        layer, part, kind = found.groups()
        prefix = f"encoder.layer.{layer}"
        if part == "attn.qkv" and len(tensor) % 3 == 0:
            for target, piece in zip("qkv", tensor.chunk(3), strict=True):
                out[f"{prefix}.attention.{target}_proj.{kind}"] = piece
        elif part in ("ls1", "ls2") and kind == "gamma":
            out[f"{prefix}.layer_scale{part[2]}.lambda1"] = tensor
        elif part in _LAYER_NAMES:
            out[f"{prefix}.{_LAYER_NAMES[part]}.{kind}"] = tensor
        else:
            out[name] = tensor
    positions = out.get("embeddings.position_embeddings")
    if positions is not None and positions.ndim == 3:
        out["embeddings.position_embeddings"] = _resampled_positions(positions, side)
    return out


def _resampled_positions(positions: Tensor, side: int) -> Tensor:
    """Position embeddings [1, 1 + n * n, C] for pictures of `side` x `side` patches."""
    patches = positions.shape[1] - 1
    given = round(patches**0.5)
    if given == side or given * given != patches:
        return positions
    grid = positions[:, 1:].float().unflatten(1, (given, given)).permute(0, 3, 1, 2)
    factor = (side + _POSITION_OFFSET) / given
    grid = F.interpolate(grid, scale_factor=(factor, factor), mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1].float(), grid.flatten(2).mT], dim=1)


def _weights_file(folder: Path) -> Path:
    for name in _NAMES:
        if (folder / name).is_file():
            return folder / name
    raise CheckpointError(f"{folder}: no LEAP weights; expected {' or '.join(_NAMES[:2])}; {_WHERE}")
