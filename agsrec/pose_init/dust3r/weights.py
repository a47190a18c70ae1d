"""Reading and writing DUSt3R models: hub, folder, or a published .pth file. Nothing in a file is ever run."""

from __future__ import annotations

import argparse
import json
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from agsrec.errors import CheckpointError, OutputError
from agsrec.files import atomic_path, atomic_write, read_bytes
from agsrec.pose_init.dust3r.config import DUSt3RConfig, constructor_settings
from agsrec.pose_init.dust3r.model import DUSt3R
from agsrec.prior import find_checkpoint
from agsrec.prior.convert_read import Weights, read_weights
from agsrec.prior.loading import require_finite

__all__ = ["load_model", "save_model"]

_SETTINGS, _WEIGHTS = "config.json", "model.safetensors"
_SETTINGS_LIMIT = 2**20  # bytes
_REMEDY = (
    f"download {_SETTINGS} and {_WEIGHTS} of naver/DUSt3R_ViTLarge_BaseDecoder_224_linear (or another DUSt3R "
    "model) by hand into a folder and give that, or take the embedded initialiser nview: it needs no download"
)
_ALIAS = re.compile(r"\bscratch\.layer_rn\.(\d)\.")


def load_model(source: str | Path, *, device: torch.device | str, dtype: torch.dtype) -> DUSt3R:
    """A trained model, ready to predict; see `DUSt3R.from_pretrained`.

    Raises:
        CheckpointError: There is no such model, it is damaged, or of another kind.
    """
    path = _weights_file(source)
    settings, weights = _contents(path)
    try:
        config = DUSt3RConfig.from_published(settings)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    with torch.device("meta"):
        model = DUSt3R(config)
    stored = {_canonical(name): name for name in weights.shapes}
    _check(path, model, {name: tuple(weights.shapes[key].shape) for name, key in stored.items()})
    _require_memory(path, model, torch.device(device), dtype)
    state: dict[str, Tensor] = {}
    for name, key in stored.items():
        tensor = weights.read(key)
        if not tensor.is_floating_point():
            raise CheckpointError(f"{path}: {key} holds whole numbers; is this a DUSt3R model?")
        state[name] = tensor.to(torch.float32 if name.startswith("downstream_head") else dtype)
    model.load_state_dict({name: state[_canonical(name)] for name in model.state_dict()}, assign=True)
    require_finite(model, path)
    return model.eval().requires_grad_(False).to(device)


def save_model(model: DUSt3R, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Write settings and weights; see `DUSt3R.save_pretrained`.

    Raises:
        OutputError: The folder cannot be written to.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {
        name: tensor.detach().to("cpu", dtype).contiguous()
        for name, tensor in model.state_dict().items()
        if _canonical(name) == name
    }
    try:
        with atomic_path(folder / _WEIGHTS) as temporary:
            save_file(tensors, temporary, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OutputError(
            f"cannot write {folder / _WEIGHTS}: {error}; choose a folder with space left"
        ) from error
    text = json.dumps(model.config.to_published(), indent=2, sort_keys=True)
    atomic_write(folder / _SETTINGS, text + "\n")


# ---------------------------------------------------------------- where it is


def _weights_file(source: str | Path) -> Path:
    """The file with the weights, downloaded if the source is a hub id."""
    path = Path(find_checkpoint(source))
    if path.is_file():
        return path
    folder = path if path.is_dir() else _downloaded(str(source))
    if not (folder / _SETTINGS).is_file() or not (folder / _WEIGHTS).is_file():
        lacking = next(name for name in (_SETTINGS, _WEIGHTS) if not (folder / name).is_file())
        raise CheckpointError(f"{folder}: {lacking} is missing; {_REMEDY}")
    return folder / _WEIGHTS


def _downloaded(source: str) -> Path:
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", source) or Path(source).parent.is_dir():
        raise CheckpointError(f"{source}: no such model; {_REMEDY}")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, allow_patterns=[_SETTINGS, _WEIGHTS]))
    except Exception as error:  # of several HTTP libraries, depending on the hub client's version
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{source}: no such folder, and not to be had from the Hugging Face hub ({reason}); {_REMEDY}"
        ) from error


# ---------------------------------------------------------------- what is in it


def _contents(path: Path) -> tuple[dict[str, Any], Weights]:
    """Settings in the published terms, and the weights, not read yet."""
    settings: dict[str, Any] | None = None
    if path.suffix == ".safetensors":
        weights = read_weights(path)
    else:
        settings, weights = _read_torch(path)
    if settings is None:
        settings = _read_settings(path.with_name(_SETTINGS))
    return settings, weights


def _canonical(name: str) -> str:
    """One of the two names that DPT's first convolutions have in the published weights."""
    return _ALIAS.sub(lambda found: f"scratch.layer{int(found[1]) + 1}_rn.", name)


def _read_settings(path: Path) -> dict[str, Any]:
    data = read_bytes(path, error=CheckpointError, what="a model's settings", limit=_SETTINGS_LIMIT)
    try:
        settings = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: no settings file ({error}); download it again") from error
    if not isinstance(settings, dict):
        raise CheckpointError(f"{path}: no settings file (no dictionary); download it again")
    return settings


def _read_torch(path: Path) -> tuple[dict[str, Any] | None, Weights]:
    """Settings, if the file has them, and weights of a file as the published training writes it."""
    try:
        # The settings of a training are a namespace of plain values; nothing else but tensors is let in.
        with torch.serialization.safe_globals([argparse.Namespace]):
            data = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it asks for {found[1]}" if found else "it is damaged or holds more than weights"
        raise CheckpointError(
            f"{path}: refused, because reading it could run code it brings along ({reason}); {_REMEDY}"
        ) from error
    except Exception as error:  # the reader meets damaged files with many types of exception
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{path}: damaged or no checkpoint ({reason}); download it again") from error
    state = data.get("model", data) if isinstance(data, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(f"{path}: holds no DUSt3R weights; {_REMEDY}")
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


# ---------------------------------------------------------------- whether it fits


def _check(path: Path, model: nn.Module, found: dict[str, tuple[int, ...]]) -> None:
    expected = {_canonical(name): tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    misshapen = [
        f"{name} {list(found[name])} instead of {list(shape)}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    problems = {
        "missing": [name for name in expected if name not in found],
        "unexpected": [name for name in found if name not in expected],
        "misshapen": misshapen,
    }
    told = [f"{kind} {_some(names)}" for kind, names in problems.items() if names]
    if told:
        raise CheckpointError(
            f"{path}: the weights do not belong to the settings: {'; '.join(told)}; is this a DUSt3R model?"
        )


def _some(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _require_memory(path: Path, model: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    import psutil

    needed = sum(weight.numel() for weight in model.parameters()) * dtype.itemsize
    free = {"cpu": psutil.virtual_memory().available}
    if device.type == "cuda":
        free["cuda"] = torch.cuda.mem_get_info(device)[0]
    for place, count in free.items():
        if needed > count:
            raise CheckpointError(
                f"{path}: the weights take {needed / 2**30:.1f} GiB, but only {count / 2**30:.1f} GiB are "
                f"free on {place}; close other programs, or take the embedded initialiser nview"
            )
