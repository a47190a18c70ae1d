"""Models on disk: whether their weights fit and are usable, and how folders are written."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from agsrec.embedded import find_checkpoint
from agsrec.errors import CheckpointError, OutputError
from agsrec.files import atomic_path, atomic_write, contents_digest, read_bytes
from agsrec.limits import memory
from agsrec.weights import Weights

__all__ = [
    "SETTINGS_FILE",
    "WEIGHTS_FILE",
    "downloaded",
    "filled",
    "fingerprint",
    "misfits",
    "read_settings",
    "require_finite",
    "require_memory",
    "save_folder",
    "some_of",
    "weights_file",
]

SETTINGS_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
"""The two files of a network's folder."""

_SETTINGS_LIMIT = 2**20  # bytes
_FILE_ENDINGS = (".ckpt", ".pt", ".pth", ".safetensors", ".tar")

Network = TypeVar("Network", bound=nn.Module)


# ---------------------------------------------------------------- where it is


def fingerprint(source: str | Path) -> str:
    """What tells a model from others: the digest of its files, or its name where they are not here.

    Raises:
        CheckpointError: It is a model of the project's own, and not there or damaged.
    """
    place = find_checkpoint(source)
    return contents_digest(place) if os.path.exists(place) else str(place)


def downloaded(source: str, patterns: Sequence[str], *, what: str, remedy: str) -> Path:
    """Folder of a model of the Hugging Face hub.

    Args:
        source: Hub id, such as naver/DUSt3R_ViTLarge_BaseDecoder_224_linear.
        patterns: Names of the files to fetch, with wildcards.
        what: What it should be, for errors.
        remedy: What to do without it, for errors.

    Raises:
        CheckpointError: This is no hub id, or the hub does not have it.
    """
    path = Path(source)
    if (
        not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", source)
        or path.suffix in _FILE_ENDINGS
        or path.parent.is_dir()  # a name in a folder of the user's, misspelt
    ):
        raise CheckpointError(f"{source}: no such {what}; {remedy}")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, allow_patterns=list(patterns)))
    except Exception as error:  # of several HTTP libraries, depending on the hub client's version
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{source}: no such {what}, and not to be had from the Hugging Face hub ({reason}); {remedy}"
        ) from error


def weights_file(folder: Path, *, remedy: str) -> Path:
    """The weights in a folder that has settings beside them.

    Raises:
        CheckpointError: One of the two is missing.
    """
    for name in (SETTINGS_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder}: {name} is missing; {remedy}")
    return folder / WEIGHTS_FILE


def read_settings(path: Path) -> dict[str, Any]:
    """The dictionary in a model's JSON file.

    Raises:
        CheckpointError: It cannot be read, or holds none.
    """
    data = read_bytes(path, error=CheckpointError, what="a model's settings", limit=_SETTINGS_LIMIT)
    try:
        settings = json.loads(data)
        if not isinstance(settings, dict):
            raise ValueError("no dictionary")
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: no settings file ({error}); download it again") from error
    return settings


# ---------------------------------------------------------------- whether it can be used


def misfits(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Names of weights that are "missing", "unexpected" or "misshapen", as far as there are any."""
    problems = {
        "missing": [name for name in expected if name not in found],
        "unexpected": [name for name in found if name not in expected],
        "misshapen": [
            f"{name} {list(found[name].shape)} instead of {list(weight.shape)}"
            for name, weight in expected.items()
            if name in found and found[name].shape != weight.shape
        ],
    }
    return {kind: names for kind, names in problems.items() if names}


def some_of(names: Iterable[str], most: int = 3) -> str:
    """The first few names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def filled(
    network: Network,
    weights: Weights,
    path: Path,
    *,
    remedy: str,
    dtype: Callable[[str], torch.dtype] = lambda _: torch.float32,
    stored_as: Callable[[str], str] = lambda name: name,
) -> Network:
    """A network with the weights of a file, in evaluation mode and with gradients off.

    Args:
        network: Made on the "meta" device; its weights are replaced.
        weights: Those of the file.
        path: Names the file in errors.
        remedy: What to do about weights that do not fit, for errors.
        dtype: Type of a weight by its name.
        stored_as: The name in the file of a weight of the network.

    Raises:
        CheckpointError: Weights are missing, unexpected, of other shapes, whole numbers or not finite.
    """
    empty = network.state_dict()
    problems = misfits({stored_as(name): weight for name, weight in empty.items()}, weights.shapes)
    if problems:
        told = "; ".join(f"{kind} {some_of(names)}" for kind, names in problems.items())
        raise CheckpointError(f"{path}: the weights do not belong to the settings: {told}; {remedy}")
    stored: dict[str, Tensor] = {}
    for name in empty:
        key = stored_as(name)
        if key in stored:
            continue
        tensor = weights.read(key)
        if not tensor.is_floating_point():
            raise CheckpointError(f"{path}: {key} holds whole numbers; {remedy}")
        stored[key] = tensor.to(dtype(name))
    network.load_state_dict({name: stored[stored_as(name)] for name in empty}, assign=True)
    require_finite(network, path)
    return network.eval().requires_grad_(False)


def require_finite(part: nn.Module, where: Path) -> None:
    """Refuse weights with NaNs or infinities.

    Raises:
        CheckpointError: There are some.
    """
    for name, weight in part.named_parameters():
        if weight.numel() and not torch.stack(weight.detach().aminmax()).isfinite().all():
            raise CheckpointError(
                f"{where}: {name} holds NaN or infinite values as {_plain(weight.dtype)}; try "
                "another precision, or download the file again"
            )


def require_memory(path: Path, count: int, device: torch.device, dtype: torch.dtype, *, remedy: str) -> None:
    """Refuse more weights than memory is free for.

    Raises:
        CheckpointError: Main memory, where weights come together, or that of the device will not do.
    """
    needed = count * dtype.itemsize
    for place in {torch.device("cpu"), device}:
        free = _free_bytes(place)
        if needed > free:
            raise CheckpointError(
                f"{path}: the weights take {needed / 2**30:.1f} GiB as {_plain(dtype)}, but only "
                f"{free / 2**30:.1f} GiB are free on {place}; close other programs, {remedy}"
            )


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return memory().free


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


# ---------------------------------------------------------------- writing


def save_folder(
    folder: Path, weights: Mapping[str, Tensor], settings: Mapping[str, Any], dtype: torch.dtype | None = None
) -> None:
    """Write weights, in a type or as they are, and the settings that go with them.

    Raises:
        OutputError: The folder cannot be written to.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = folder / WEIGHTS_FILE
    tensors = {name: weight.detach().to("cpu", dtype).contiguous() for name, weight in weights.items()}
    try:
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OutputError(f"cannot write {path}: {error}; choose a folder with space left") from error
    atomic_write(folder / SETTINGS_FILE, json.dumps(settings, indent=2) + "\n")
