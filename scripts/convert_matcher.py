"""Makes the weights of `checkpoints/disk-lightglue` from those of the authors.

python scripts/convert_matcher.py depth-save.pth disk_lightglue.pth checkpoints/disk-lightglue
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from agsrec.matching.networks import FEATURES_FILE, MATCHER_FILE

BLOCKS = ("self_attn", "cross_attn")


def kornia_name(name: str) -> str:
    """LightGlue's name of a weight as kornia has it: both kinds of attention of a layer belong together."""
    kind, *rest = name.split(".")
    return ".".join(["transformers", rest[0], kind, *rest[1:]]) if kind in BLOCKS else name


def halved(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights in half precision, without the scalars that training left behind."""
    kept = {name: value for name, value in weights.items() if not name.endswith(".r")}
    return {kornia_name(name): value.half().contiguous() for name, value in kept.items()}


def main(argv: Sequence[str] | None = None) -> None:
    """Read both files, write both files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("disk", type=Path)
    parser.add_argument("lightglue", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(argv)
    options.folder.mkdir(parents=True, exist_ok=True)
    disk = torch.load(options.disk, map_location="cpu", weights_only=True)["extractor"]
    lightglue = torch.load(options.lightglue, map_location="cpu", weights_only=True)
    save_file(halved(disk), options.folder / FEATURES_FILE)
    save_file(halved(lightglue), options.folder / MATCHER_FILE)


if __name__ == "__main__":
    main()
