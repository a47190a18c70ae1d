"""NoPoSplat models on disk: hub, folder, or a published .ckpt file. Nothing in a file is ever run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from agsrec.checkpoints import SETTINGS_FILE, WEIGHTS_FILE, downloaded, read_settings
from agsrec.embedded import find_checkpoint
from agsrec.errors import CheckpointError
from agsrec.pose_init.noposplat.config import PUBLISHED, NoPoSplatConfig
from agsrec.pose_init.stereo.weights import canonical_name, renamed, with_weights
from agsrec.weights import Weights, read_weights

__all__ = ["load_model"]

M = TypeVar("M", bound=nn.Module)

_USUAL = next(iter(PUBLISHED))
_REMEDY = f"download {_USUAL} of huggingface.co/botaoye/NoPoSplat by hand and name the file"
_PREFIX = "encoder."
_TRAINING = ("decoder.", "losses.")  # what the published training keeps beside the network, if anything
_HEADS = ("downstream_head", "gaussian_param_head")


def load_model(
    build: Callable[[NoPoSplatConfig], M],
    source: str | Path,
    *,
    device: torch.device | str,
    dtype: torch.dtype,
) -> M:
    """The network that `build` makes of the settings, with the weights; see `NoPoSplat.from_pretrained`.

    Raises:
        CheckpointError: There is no such model, it is damaged, or of another kind.
    """
    path = _weights_file(source)
    weights = _own_weights(read_weights(path), path)
    return with_weights(
        lambda: build(_settings(path)),
        weights,
        path,
        heads=_HEADS,
        device=device,
        dtype=dtype,
        remedy=f"is this a NoPoSplat model? Else {_REMEDY}",
    )


# ---------------------------------------------------------------- where it is


def _weights_file(source: str | Path) -> Path:
    """The file with the weights, downloaded if the source is a hub id."""
    path = Path(find_checkpoint(source))
    if path.is_file():
        return path
    if not path.is_dir():
        wanted = [SETTINGS_FILE, WEIGHTS_FILE, _USUAL]
        path = downloaded(str(source), wanted, what="NoPoSplat model", remedy=_REMEDY)
    for name in (WEIGHTS_FILE, *PUBLISHED):
        if (path / name).is_file():
            return path / name
    raise CheckpointError(f"{path}: no NoPoSplat weights, {WEIGHTS_FILE} or {_USUAL}; {_REMEDY}")


def _settings(path: Path) -> NoPoSplatConfig:
    """The settings beside the weights, or else what is known of a published file by its name."""
    settings = path.with_name(SETTINGS_FILE)
    if not settings.is_file():
        return PUBLISHED.get(path.name, PUBLISHED[_USUAL])
    try:
        return NoPoSplatConfig.from_settings(read_settings(settings))
    except CheckpointError as error:
        raise CheckpointError(f"{settings}: {error}") from error


# ---------------------------------------------------------------- what is in it


def _own_weights(weights: Weights, path: Path) -> Weights:
    """The weights under the network's names, not read yet."""
    relative = _relative(weights.shapes)
    if relative is not None:
        raise CheckpointError(
            f"{path}: a {relative} checkpoint, not one of NoPoSplat; name the initialiser it belongs to, or "
            f"{_REMEDY}"
        )
    wrapped = any(name.startswith(_PREFIX) for name in weights.shapes)
    names = {
        name: canonical_name(name.removeprefix(_PREFIX))
        for name in weights.shapes
        if not (wrapped and name.startswith(_TRAINING))
    }
    return renamed(weights, names)


def _relative(names: Iterable[str]) -> str | None:
    """Which relative of NoPoSplat the weights belong to by their names, if to one."""
    names = set(names)
    if "patch_embed.proj.weight" not in names or not any(n.startswith("downstream_head1.") for n in names):
        return None
    matching = any(n.startswith("downstream_head1.head_local_features.") for n in names)
    return "MASt3R" if matching else "DUSt3R"
