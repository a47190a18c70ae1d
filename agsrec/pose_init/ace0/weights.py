"""ACE's weights from files, as published: an encoder, the head of a scene, or both. Nothing in one is run."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor

from agsrec.checkpoints import filled
from agsrec.errors import CheckpointError
from agsrec.pose_init.ace0.network import Encoder, EncoderConfig, Head, HeadConfig, Regressor
from agsrec.weights import Weights, read_weights

__all__ = ["load_encoder", "load_head", "load_regressor"]

_WHERE = (
    "download ace_encoder_pretrained.pt from github.com/nianticlabs/acezero and name that file, or leave the "
    "model out: the embedded features need no download"
)
_ENCODER, _HEAD = "encoder.", "heads."
_CONVOLUTIONS = ("conv1", "conv2", "conv3", "conv4")
_BLOCK = re.compile(r"(\d+)c0\.weight")


def load_encoder(source: str | Path, *, device: torch.device | str = "cpu") -> Encoder:
    """An encoder, ready to use: of a file of its own, or of one with a whole network.

    Raises:
        CheckpointError: There is no such file, it is damaged, or holds no ACE encoder.
    """
    path, weights = _opened(source)
    if any(name.startswith(_ENCODER) for name in weights.shapes):
        weights = _part(weights, _ENCODER)
    elif "res3_conv1.weight" in weights.shapes and "conv1.weight" not in weights.shapes:
        raise CheckpointError(f"{path}: this is the map of a scene (an ACE head), not an encoder; {_WHERE}")
    with torch.device("meta"):
        network = Encoder(_encoder_config(path, weights.shapes))
    return filled(network, weights, path, remedy=_WHERE).to(device)


def load_head(source: str | Path, *, device: torch.device | str = "cpu") -> Head:
    """The head of a scene, ready to use: of a published map, or of a file with a whole network.

    Raises:
        CheckpointError: There is no such file, it is damaged, or holds no ACE head.
    """
    path, weights = _opened(source)
    if any(name.startswith(_HEAD) for name in weights.shapes):
        weights = _part(weights, _HEAD)
    with torch.device("meta"):
        network = Head(_head_config(path, weights.shapes))
    return filled(network, weights, path, remedy="name a map that ACE or ACE0 wrote").to(device)


def load_regressor(source: str | Path, *, device: torch.device | str = "cpu") -> Regressor:
    """Encoder and head of one file, ready to use.

    Raises:
        CheckpointError: There is no such file, it is damaged, or lacks one of the two.
    """
    path, weights = _opened(source)
    encoder = _encoder_config(path, _part(weights, _ENCODER).shapes)
    head = _head_config(path, _part(weights, _HEAD).shapes)
    with torch.device("meta"):
        network = Regressor(encoder, head)
    return filled(network, weights, path, remedy=_WHERE).to(device)


def _opened(source: str | Path) -> tuple[Path, Weights]:
    path = Path(source)
    if not path.is_file():
        what = "a folder, not a file" if path.is_dir() else "no such file"
        raise CheckpointError(f"{path}: {what}; {_WHERE}")
    return path, read_weights(path)


def _part(weights: Weights, prefix: str) -> Weights:
    """The weights whose names begin so, without that."""
    shapes = {n.removeprefix(prefix): shape for n, shape in weights.shapes.items() if n.startswith(prefix)}
    return Weights(shapes, lambda name: weights.read(prefix + name))


def _encoder_config(path: Path, shapes: dict[str, Tensor]) -> EncoderConfig:
    """The sizes of an encoder, which its weights alone tell."""
    one, two, three, four = (_rows(path, shapes, f"{name}.weight") for name in _CONVOLUTIONS)
    return EncoderConfig(
        (one, two, three, four),
        _rows(path, shapes, "res2_conv1.weight"),
        _rows(path, shapes, "res2_conv3.weight"),
    )


def _head_config(path: Path, shapes: dict[str, Tensor]) -> HeadConfig:
    """The sizes of a head, which its weights alone tell; its scales are among these."""
    channels = _rows(path, shapes, "res3_conv1.weight")
    blocks = sum(_BLOCK.fullmatch(name) is not None for name in shapes)
    homogeneous = _rows(path, shapes, "fc3.weight") == 4
    features = shapes["res3_conv1.weight"].shape[1]
    return HeadConfig(features, channels, blocks, homogeneous)


def _rows(path: Path, shapes: dict[str, Tensor], name: str) -> int:
    """Output channels of a convolution."""
    if name not in shapes or shapes[name].ndim != 4:
        raise CheckpointError(f"{path}: no weights of ACE: {name} is missing; {_WHERE}")
    return shapes[name].shape[0]
