"""Reading and writing DUSt3R models: hub, folder, or a published .pth file. Nothing in a file is ever run."""

from __future__ import annotations

import argparse
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from agsrec.checkpoints import (
    SETTINGS_FILE,
    WEIGHTS_FILE,
    downloaded,
    filled,
    read_settings,
    require_memory,
    save_folder,
    weights_file,
)
from agsrec.embedded import find_checkpoint
from agsrec.errors import CheckpointError
from agsrec.pose_init.stereo.config import DUSt3RConfig, constructor_settings
from agsrec.weights import Weights, read_weights

__all__ = ["canonical_name", "load_model", "renamed", "save_model", "with_weights"]

M = TypeVar("M", bound=nn.Module)

_DUST3R = "naver/DUSt3R_ViTLarge_BaseDecoder_224_linear"
_MAST3R = "naver/MASt3R_ViTLarge_BaseDecoder_512_catmlpdpthead_metric"
_MATCHING = "head_local_features."  # in the names of weights that MASt3R alone has
_METRIC = "_metric"  # at the end of the names of published models whose points are in metres
_ALIAS = re.compile(r"\bscratch\.layer_rn\.(\d)\.")


def load_model(
    build: Callable[[DUSt3RConfig], M],
    source: str | Path,
    *,
    device: torch.device | str,
    dtype: torch.dtype,
    matching: bool | None = None,
) -> M:
    """The network that `build` makes of the settings, with the weights; see `DUSt3R.from_pretrained`.

    Raises:
        CheckpointError: There is no such model, it is damaged, or of another kind.
    """
    path = _weights_file(source, remedy=_remedy(bool(matching)))
    settings, weights = _contents(path, remedy=_remedy(bool(matching)))
    if matching is not None:
        _require_kind(path, weights, matching)
    settings = {"metric": _is_metric(source, path), **settings}
    try:
        config = DUSt3RConfig.from_published(settings)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return with_weights(
        lambda: build(config),
        renamed(weights, {name: canonical_name(name) for name in weights.shapes}),
        path,
        heads=("downstream_head",),
        device=device,
        dtype=dtype,
        remedy=f"is this a {_kind(bool(matching))} model?",
    )


def renamed(weights: Weights, names: Mapping[str, str]) -> Weights:
    """Those of the weights that have a new name in `names`, under it, not read yet."""
    stored = {new: old for old, new in names.items()}
    shapes = {new: weights.shapes[old] for new, old in stored.items()}
    return Weights(shapes, lambda name: weights.read(stored[name]))


def with_weights(
    build: Callable[[], M],
    weights: Weights,
    path: Path,
    *,
    heads: tuple[str, ...],
    device: torch.device | str,
    dtype: torch.dtype,
    remedy: str,
) -> M:
    """A network of this family with its weights, on a device.

    Args:
        build: Makes the network.
        weights: Its weights under canonical names, not read yet.
        path: Names them in errors.
        heads: How the names of those that stay in float32 begin.
        device: Where the network goes.
        dtype: Type of the others.
        remedy: What to do where they do not fit.

    Raises:
        CheckpointError: They do not fit into the memory, or are not those of the network.
    """
    with torch.device("meta"):
        model = build()
    count = sum(weight.numel() for weight in model.parameters())
    require_memory(path, count, torch.device(device), dtype, remedy="or take the embedded initialiser nview")
    model = filled(
        model,
        weights,
        path,
        remedy=remedy,
        dtype=lambda name: torch.float32 if name.startswith(heads) else dtype,
        stored_as=canonical_name,
    )
    return model.to(device)


def save_model(
    model: nn.Module, settings: Mapping[str, Any], folder: Path, dtype: torch.dtype | None = None
) -> None:
    """Write settings in the published terms, and weights, each once.

    Raises:
        OutputError: The folder cannot be written to.
    """
    weights = {name: weight for name, weight in model.state_dict().items() if canonical_name(name) == name}
    save_folder(folder, weights, dict(sorted(settings.items())), dtype)


# ---------------------------------------------------------------- where it is


def _weights_file(source: str | Path, remedy: str) -> Path:
    """The file with the weights, downloaded if the source is a hub id."""
    path = Path(find_checkpoint(source))
    if path.is_file():
        return path
    if not path.is_dir():
        path = downloaded(str(source), [SETTINGS_FILE, WEIGHTS_FILE], what="model", remedy=remedy)
    return weights_file(path, remedy=remedy)


def _is_metric(source: str | Path, path: Path) -> bool:
    """Whether a model is metric by its name, the only place where published ones say so."""
    return any(name.endswith(_METRIC) for name in (Path(source).stem, path.stem, path.parent.name))


def _remedy(matching: bool) -> str:
    """What to do where there is no model."""
    return (
        f"download {SETTINGS_FILE} and {WEIGHTS_FILE} of {_MAST3R if matching else _DUST3R} (or another "
        f"{_kind(matching)} model) by hand into a folder and give that, or take the embedded initialiser "
        "nview: it needs no download"
    )


def _kind(matching: bool) -> str:
    return "MASt3R" if matching else "DUSt3R"


def _require_kind(path: Path, weights: Weights, matching: bool) -> None:
    """Raise if there is a matching head among the weights of a model that must have none, or the reverse."""
    found = any(_MATCHING in name for name in weights.shapes)
    if found and not matching:
        raise CheckpointError(
            f"{path}: this is a MASt3R checkpoint (it has the weights {_MATCHING}*), not a DUSt3R one; take "
            f"the method mast3r for it, or a DUSt3R checkpoint such as {_DUST3R}"
        )
    # Of what is neither, the names that do not fit say more.
    if matching and not found and any(name.startswith("downstream_head1.") for name in weights.shapes):
        raise CheckpointError(
            f"{path}: this is a DUSt3R checkpoint (it lacks the weights {_MATCHING}*), not a MASt3R one; "
            f"take the method dust3r for it, or a MASt3R checkpoint such as {_MAST3R}"
        )


# ---------------------------------------------------------------- what is in it


def _contents(path: Path, remedy: str) -> tuple[dict[str, Any], Weights]:
    """Settings in the published terms, and the weights, not read yet."""
    settings: dict[str, Any] | None = None
    if path.suffix == ".safetensors":
        weights = read_weights(path)
    else:
        settings, weights = _read_torch(path, remedy)
    if settings is None:
        settings = read_settings(path.with_name(SETTINGS_FILE))
    return settings, weights


def canonical_name(name: str) -> str:
    """One of the two names that DPT's first convolutions have in the published weights."""
    return _ALIAS.sub(lambda found: f"scratch.layer{int(found[1]) + 1}_rn.", name)


def _read_torch(path: Path, remedy: str) -> tuple[dict[str, Any] | None, Weights]:
    """Settings, if the file has them, and weights of a file as the published training writes it."""
    try:
        # The settings of a training are a namespace of plain values; nothing else but tensors is let in.
        with torch.serialization.safe_globals([argparse.Namespace]):
            data = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it asks for {found[1]}" if found else "it is damaged or holds more than weights"
        raise CheckpointError(
            f"{path}: refused, because reading it could run code it brings along ({reason}); {remedy}"
        ) from error
    except Exception as error:  # the reader meets damaged files with many types of exception
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{path}: damaged or no checkpoint ({reason}); download it again") from error
    state = data.get("model", data) if isinstance(data, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(f"{path}: holds no DUSt3R weights; {remedy}")
    call = getattr(data.get("args"), "model", None)
    try:
        settings = constructor_settings(call) if isinstance(call, str) else None
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    state = {str(name): tensor for name, tensor in state.items()}
    shapes = {name: torch.empty(tensor.shape, device="meta") for name, tensor in state.items()}
    return settings, Weights(shapes, state.__getitem__)


def _is_zip(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == b"PK\x03\x04"
