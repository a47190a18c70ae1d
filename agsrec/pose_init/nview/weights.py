"""The network on disk: settings and weights in a folder."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch

from agsrec.checkpoints import (
    SETTINGS_FILE,
    filled,
    read_settings,
    save_folder,
    weights_file,
)
from agsrec.embedded import find_checkpoint
from agsrec.errors import CheckpointError, OptionError
from agsrec.pose_init.nview.network import NView, NViewConfig
from agsrec.weights import read_weights

__all__ = ["load_nview", "save_nview"]

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
    path = weights_file(folder, remedy=_REMEDY)
    with torch.device("meta"):
        network = NView(_config(folder / SETTINGS_FILE))
    return filled(network, read_weights(path), path, remedy=_REMEDY)


def save_nview(network: NView, folder: Path) -> None:
    """Write settings, and weights in half precision.

    Raises:
        OutputError: The folder cannot be written to.
    """
    settings = {"_class_name": _KIND, **asdict(network.config)}
    save_folder(folder, network.state_dict(), settings, torch.float16)


def _config(path: Path) -> NViewConfig:
    settings = read_settings(path)
    kind = settings.pop("_class_name", None)
    if kind != _KIND:
        raise CheckpointError(f"{path}: holds the settings of {kind}, not of {_KIND}; {_REMEDY}")
    try:
        return NViewConfig(**settings)
    except (TypeError, OptionError) as error:
        raise CheckpointError(f"{path}: unusable settings ({error}); {_REMEDY}") from error
