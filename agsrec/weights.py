"""Weights from files of unknown origin. Nothing in such a file is ever run."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from agsrec.errors import CheckpointError

__all__ = ["Weights", "read_weights"]

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"

# Training frameworks leave notes of their own beside the weights. Their classes are replaced by an empty one.
_FRAMEWORKS = ("argparse", "lightning", "lightning_fabric", "omegaconf", "pytorch_lightning")


@dataclass(frozen=True)
class Weights:
    """The tensors of a checkpoint, read when asked for.

    Attributes:
        shapes: Every tensor by name, without its values (on PyTorch's "meta" device).
        read: The tensor of a name.
    """

    shapes: dict[str, Tensor]
    read: Callable[[str], Tensor]


class _Inert:
    """Stands for an object that is not needed; takes any arguments and state and does nothing with them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def read_weights(path: Path) -> Weights:
    """Open a `.safetensors` file or a PyTorch checkpoint, without loading it into memory.

    Raises:
        CheckpointError: There is no such file, it is damaged, is no checkpoint, or could only be read by
            running code that it brings along.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise CheckpointError(f"{path}: {what}; give the checkpoint file, such as zero123_6dof_23k.ckpt")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    return _read_torch(path)


def _read_safetensors(path: Path) -> Weights:
    from safetensors import SafetensorError, safe_open

    try:
        file = safe_open(path, framework="pt")
        names = list(file.keys())
        shapes = {n: torch.empty(file.get_slice(n).get_shape(), device="meta") for n in names}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: no complete safetensors file ({error}); download it again") from error
    return Weights(shapes, file.get_tensor)


def _read_torch(path: Path) -> Weights:
    try:
        with open(path, "rb") as file:
            start = file.read(4)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}; check its permissions") from error
    if start != _ZIP and not start.startswith(_PICKLE):
        raise CheckpointError(
            f"{path}: no PyTorch checkpoint; expected a .ckpt, .pt, .pth or .safetensors file"
        )
    zipped = start == _ZIP
    try:
        with _frameworks_ignored(path, zipped), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the file's age; whether it can be read is what counts
            data = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refusal(path, str(error))) from error
    except Exception as error:  # the reader meets damaged files with many types of exception
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: damaged or no checkpoint ({reason}); download it again") from error
    state = data.get("state_dict", data.get("model", data)) if isinstance(data, dict) else None
    if not isinstance(state, dict) or not any(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(f"{path}: holds no weights; expected a dictionary of tensors or a `state_dict`")
    odd = [str(name) for name, value in state.items() if not isinstance(value, Tensor)]
    if odd:
        raise CheckpointError(
            f"{path}: {odd[0]} and {len(odd) - 1} more entries of its weights are no tensors"
        )
    shapes = {name: torch.empty(value.shape, device="meta") for name, value in state.items()}
    return Weights(shapes, state.__getitem__)


def _frameworks_ignored(path: Path, zipped: bool) -> AbstractContextManager[Any]:
    """While this lasts, objects of known training frameworks load as nothing instead of being refused."""
    names: list[str] = []
    if zipped:
        # Lists the names by reading the instructions, not by following them.
        found = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        names = [name for name in found if name.split(".")[0] in _FRAMEWORKS]
    return torch.serialization.safe_globals([(type("_Inert", (_Inert,), {}), name) for name in names])


def _refusal(path: Path, error: str) -> str:
    if not re.search(r"GLOBAL|Unsupported (class|operand|global)|persistent", error, re.IGNORECASE):
        return f"{path}: damaged or no checkpoint; download it again"
    found = re.search(r"GLOBAL ([\w.]+)", error)
    reason = f"it asks for {found[1]}" if found else "it holds more than tensors"
    return (
        f"{path}: refused, because reading it could run code it brings along ({reason}); if you trust it, "
        "save its weights alone where it was made: "
        "torch.save({'state_dict': model.state_dict()}, 'weights.ckpt')"
    )
