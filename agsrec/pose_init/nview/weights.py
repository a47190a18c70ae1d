"""The network on disk: settings and weights in a folder."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from agsrec.errors import CheckpointError, OutputError
from agsrec.files import atomic_path, atomic_write, read_bytes
from agsrec.pose_init.nview.network import NView, NViewConfig
from agsrec.prior import find_checkpoint
from agsrec.prior.convert_read import read_weights
from agsrec.prior.loading import require_finite

__all__ = ["load_nview", "save_nview"]

_SETTINGS, _WEIGHTS = "config.json", "model.safetensors"
_SETTINGS_LIMIT = 2**20  # bytes
_KIND = "NView"
_REMEDY = "the embedded network is checkpoints/nview-mini; `agsrec train nview` makes another"


def load_nview(source: str | Path) -> NView:
    """A trained network in single precision, by its folder or its name in `checkpoints/`.

    Raises:
        CheckpointError: There is no such network, it is damaged, or the folder holds something else.
    """
    folder = Path(find_checkpoint(source))
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder; {_REMEDY}")
    for name in (_SETTINGS, _WEIGHTS):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder}: {name} is missing; {_REMEDY}")
    with torch.device("meta"):
        network = NView(_config(folder / _SETTINGS))
    weights = read_weights(folder / _WEIGHTS)
    expected = {name: weight.shape for name, weight in network.state_dict().items()}
    wrong = sorted(expected.keys() ^ weights.shapes.keys())
    wrong += [n for n, shape in expected.items() if n in weights.shapes and weights.shapes[n].shape != shape]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise CheckpointError(
            f"{folder / _WEIGHTS}: the weights do not belong to the settings: {wrong[0]}{more}; {_REMEDY}"
        )
    state: dict[str, Tensor] = {name: weights.read(name).float() for name in expected}
    network.load_state_dict(state, assign=True)
    require_finite(network, folder / _WEIGHTS)
    return network.eval().requires_grad_(False)


def save_nview(network: NView, folder: Path) -> None:
    """Write settings, and weights in half precision.

    Raises:
        OutputError: The folder cannot be written to.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    state = {n: w.detach().to("cpu", torch.float16).contiguous() for n, w in network.state_dict().items()}
    try:
        with atomic_path(folder / _WEIGHTS) as temporary:
            save_file(state, temporary, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OutputError(
            f"cannot write {folder / _WEIGHTS}: {error}; choose a folder with space left"
        ) from error
    settings = {"_class_name": _KIND, **asdict(network.config)}
    atomic_write(folder / _SETTINGS, json.dumps(settings, indent=2) + "\n")


def _config(path: Path) -> NViewConfig:
    data = read_bytes(path, error=CheckpointError, what="a network's settings", limit=_SETTINGS_LIMIT)
    try:
        settings: Any = json.loads(data)
        kind = settings.pop("_class_name")
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: no settings of an {_KIND} network; {_REMEDY}") from error
    if kind != _KIND:
        raise CheckpointError(f"{path}: holds the settings of {kind}, not of {_KIND}; {_REMEDY}")
    try:
        return NViewConfig(**settings)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: unusable settings ({error}); {_REMEDY}") from error
