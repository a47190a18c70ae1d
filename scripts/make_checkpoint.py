"""Make an embedded checkpoint of a finished training: weights, measured quality, model card.

python scripts/make_checkpoint.py RUN --name zero123-6dof-mini --hardware "4 cores of ..."
    [--notes "..."] [--config mini] [--seed 0] [--objects 32]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from agsrec.errors import AgsrecError, CheckpointError
from agsrec.prior.zero123 import Zero123
from agsrec.training.card import Making, write_card
from agsrec.training.config import load_config
from agsrec.training.loop import read_log

ROOT = Path(__file__).resolve().parent.parent
_MAX_BYTES = 45_000_000  # a repository that people clone


def copied(run: Path, folder: Path) -> int:
    """Write the model of a training in half precision, and return its size in bytes.

    Raises:
        CheckpointError: There is no model, or it is too large to be embedded.
    """
    model = Zero123.from_pretrained(run / "model")
    weights = 2 * sum(p.numel() for p in model.parameters())
    if weights > _MAX_BYTES:
        raise CheckpointError(
            f"{run / 'model'} takes {weights / 1e6:.0f} MB in half precision, more than "
            f"{_MAX_BYTES / 1e6:.0f} MB; train a smaller --config"
        )
    model.save_pretrained(folder, dtype=torch.float16)
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


def measured(folder: Path, objects: int) -> dict[str, Any]:
    """Figures of benchmarks/novel_views.py, which prints them too."""
    with tempfile.TemporaryDirectory() as temporary:
        figures = Path(temporary) / "quality.json"
        script = ROOT / "benchmarks" / "novel_views.py"
        options = ["--model", str(folder), "--objects", str(objects), "--json", str(figures)]
        subprocess.run([sys.executable, str(script), *options], check=True)
        return json.loads(figures.read_text(encoding="utf-8"))


def main() -> None:
    """Parse the command line, copy, measure and describe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of the training")
    parser.add_argument("--name", required=True, help="name of the checkpoint")
    parser.add_argument("--hardware", required=True, help="what the training ran on, for the card")
    parser.add_argument("--notes", default="", help="what else the card says about the training")
    parser.add_argument("--config", help="settings of the training; those in its folder by default")
    parser.add_argument("--seed", type=int, default=0, help="seed of the training")
    parser.add_argument("--objects", type=int, default=32, help="unseen objects to measure on")
    parser.add_argument("--output", type=Path, default=ROOT / "checkpoints", help="folder of the checkpoints")
    options = parser.parse_args()
    folder = options.output / options.name
    try:
        config = load_config(options.config or options.run / "config.json")
        records = read_log(options.run)
        size = copied(options.run, folder)
        quality = measured(folder, options.objects)
        name = options.config or f"{options.name}.json"
        making = Making(config, name, options.seed, records, options.hardware, quality, options.notes)
        write_card(folder, making)
    except AgsrecError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except subprocess.CalledProcessError as error:
        raise SystemExit(error.returncode) from error
    print(f"{folder} ({size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
