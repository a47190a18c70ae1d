"""Make an embedded checkpoint of a finished training: weights, measured quality, model card.

python scripts/make_checkpoint.py RUN --name zero123-6dof-mini --hardware "4 cores of ..."
    [--start MODEL] [--notes "..."] [--config mini] [--seed 0] [--objects 32] [--scenes FOLDER...]

RUN is the folder of a training of zero123 or nview; which of the two, its model says.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from agsrec.checkpoints import SETTINGS_FILE
from agsrec.errors import AgsrecError, CheckpointError
from agsrec.pose_init.nview.weights import load_nview, save_nview
from agsrec.prior.zero123 import Zero123
from agsrec.training.card import Making, write_card
from agsrec.training.config import load_config
from agsrec.training.loop import read_log
from agsrec.training.nview import NViewTrainConfig
from agsrec.training.nview_card import NViewMaking, write_nview_card
from agsrec.training.settings import load_settings

ROOT = Path(__file__).resolve().parent.parent
_MAX_BYTES = 45_000_000  # a repository that people clone


def copied(run: Path, folder: Path, *, nview: bool) -> int:
    """Write the model of a training in half precision, and return its size in bytes.

    Raises:
        CheckpointError: There is no model, or it is too large to be embedded.
    """
    model = load_nview(run / "model") if nview else Zero123.from_pretrained(run / "model")
    weights = 2 * sum(p.numel() for p in model.parameters())
    if weights > _MAX_BYTES:
        raise CheckpointError(
            f"{run / 'model'} takes {weights / 1e6:.0f} MB in half precision, more than "
            f"{_MAX_BYTES / 1e6:.0f} MB; train a smaller --config"
        )
    if isinstance(model, Zero123):
        model.save_pretrained(folder, dtype=torch.float16)
    else:
        save_nview(model, folder)
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


def novel_views(folder: Path, objects: int) -> dict[str, Any]:
    """Figures of benchmarks/novel_views.py, which prints them too."""
    with tempfile.TemporaryDirectory() as temporary:
        figures = Path(temporary) / "quality.json"
        options = ["--model", str(folder), "--objects", str(objects), "--json", str(figures)]
        subprocess.run([sys.executable, str(ROOT / "benchmarks" / "novel_views.py"), *options], check=True)
        return json.loads(figures.read_text(encoding="utf-8"))


def poses(folder: Path, objects: int, scenes: list[Path]) -> tuple[str, list[dict[str, str]]]:
    """Heading and rows of what benchmarks/initialisers.py prints."""
    options = [*map(str, scenes), "--methods", "nview", "--model", str(folder), "--random", str(objects)]
    command = [sys.executable, str(ROOT / "benchmarks" / "initialisers.py"), *options]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    print(text, end="")
    return printed_table(text)


def printed_table(text: str) -> tuple[str, list[dict[str, str]]]:
    """A benchmark's heading, and the rows of its tables of photos: columns are two spaces or more apart."""
    lines = [re.split(r" {2,}", line.strip()) for line in text.splitlines()]
    rows: list[dict[str, str]] = []
    for start in (k for k, line in enumerate(lines) if line[0] == "Photos"):
        table = itertools.takewhile(lambda cells: cells != [""], lines[start + 2 :])
        rows += [dict(zip(lines[start], cells, strict=True)) for cells in table]
    if not rows:
        raise CheckpointError("benchmarks/initialisers.py printed no table; run it by hand to see why")
    return " ".join(lines[0]), rows


def describe(options: argparse.Namespace, folder: Path, *, nview: bool) -> None:
    """Measure the checkpoint and write its card.

    Raises:
        CheckpointError: Log or figures do not hold what is needed.
    """
    name = options.config or f"{options.name}.json"
    settings = options.config or options.run / "config.json"
    records = read_log(options.run)
    if nview:
        config = load_settings(NViewTrainConfig, "nview", settings)
        measured, rows = poses(folder, options.objects, options.scenes)
        told = records, options.hardware, rows, measured, options.notes, options.start
        write_nview_card(folder, NViewMaking(config, name, options.seed, *told))
    else:
        config = load_config(settings)
        quality = novel_views(folder, options.objects)
        told = records, options.hardware, quality, options.notes, options.start
        write_card(folder, Making(config, name, options.seed, *told))


def main() -> None:
    """Parse the command line, copy, measure and describe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of the training")
    parser.add_argument("--name", required=True, help="name of the checkpoint")
    parser.add_argument("--hardware", required=True, help="what the training ran on, for the card")
    parser.add_argument("--start", default="", help="model that it went on from, as the card names it")
    parser.add_argument("--notes", default="", help="what else the card says about the training")
    parser.add_argument("--config", help="settings of the training; those in its folder by default")
    parser.add_argument("--seed", type=int, default=0, help="seed of the training")
    parser.add_argument("--objects", type=int, default=32, help="unseen objects to measure on")
    parser.add_argument(
        "--scenes", type=Path, nargs="*", default=[], help="of nview: folders with known cameras"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "checkpoints", help="folder of the checkpoints")
    options = parser.parse_args()
    folder = options.output / options.name
    nview = (options.run / "model" / SETTINGS_FILE).is_file()  # the other has settings per part
    try:
        size = copied(options.run, folder, nview=nview)
        describe(options, folder, nview=nview)
    except AgsrecError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except subprocess.CalledProcessError as error:
        print(error.stderr or "", file=sys.stderr, end="")
        raise SystemExit(error.returncode) from error
    print(f"{folder} ({size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
