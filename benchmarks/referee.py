"""Whether a radiance field tells how wrong poses are, without knowing the true ones.

python benchmarks/referee.py SCENE... [--degrees 1 2 3 4 5 6 8 10 12 15] [--folds 2] [--seeds 0] [--json FILE]

SCENE are folders with ground truth. Photos are held back from fields that learn from the others, with the
true poses and with poses that are off by random angles of so many degrees r.m.s., drawn anew for every number
of degrees. *Rank* is Spearman's correlation between degrees and loss of PSNR over the disturbed poses;
*chance* is the standard error over the seeds of what the smallest disturbance costs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import description, heading
from scipy.stats import rankdata

from agsrec import Scene, load_gt_scene
from agsrec.device import resolve_device
from agsrec.errors import AgsrecError
from agsrec.export.tables import text_table
from agsrec.files import atomic_write
from agsrec.radiance import HeldBack, RadianceConfig, compared, held_back

Row = dict[str, Any]


def judged(scene: Scene, degrees: list[float], arguments: argparse.Namespace) -> Iterator[HeldBack]:
    """What the referee says of the true poses, and of poses disturbed by each number of degrees."""
    assert scene.truth is not None
    device = resolve_device(arguments.device)
    for index, rms in enumerate((0.0, *degrees)):
        generator = torch.Generator().manual_seed(arguments.draw + index)
        cameras = scene.truth.perturbed(rms, generator)
        yield held_back(
            scene.views,
            cameras,
            folds=arguments.folds,
            seeds=arguments.seeds,
            config=RadianceConfig(),
            device=device,
        )


def measured(scene: Scene, degrees: list[float], arguments: argparse.Namespace) -> Row:
    """Everything about one scene."""
    found, clock = [], time.process_time()
    for each, rms in zip(judged(scene, degrees, arguments), (0.0, *degrees), strict=True):
        found.append(each)
        print(f"{scene.name}: {rms:g} degrees, {float(each.psnr.mean()):.2f} dB", flush=True)
    seconds = (time.process_time() - clock) / (len(found) * len(arguments.seeds) * arguments.folds)
    true, *disturbed = found
    chance = asdict(compared(true, disturbed[0])) if len(arguments.seeds) > 1 else None
    scores = [float(each.psnr.mean()) for each in found]
    rank = float(np.corrcoef(rankdata(degrees), rankdata([-score for score in scores[1:]]))[0, 1])
    return {
        "scene": scene.name,
        "degrees": [0.0, *degrees],
        "psnr": scores,
        "by_photo": [each.psnr.mean(0).tolist() for each in found],
        "smallest": chance,
        "rank": rank,
        "seconds_per_field": seconds,
    }


def table_row(record: Row) -> Row:
    """One line of the table: loss of PSNR against the true poses."""
    true, *disturbed = record["psnr"]
    row: Row = {"Scene": record["scene"], "true, dB": true}
    row |= {f"{d:g}°": true - p for d, p in zip(record["degrees"][1:], disturbed, strict=True)}
    if record["smallest"] is not None:
        row["chance"] = record["smallest"]["error"]
    return row | {"Rank": record["rank"], "s/field": record["seconds_per_field"]}


def main() -> None:
    """Disturb, train, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("scenes", nargs="+", type=Path, help="folders with ground truth")
    usual = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 15.0]
    parser.add_argument("--degrees", type=float, nargs="+", default=usual, help="r.m.s. rotation errors")
    parser.add_argument("--folds", type=int, default=2, help="trainings per seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of folds and trainings")
    parser.add_argument("--draw", type=int, default=1000, help="seed of the disturbances")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    arguments = parser.parse_args()
    try:
        scenes = [load_gt_scene(folder) for folder in arguments.scenes]
    except AgsrecError as error:
        parser.error(str(error))
    about = description()
    print(heading(about))
    records = []
    for scene in scenes:
        records.append(measured(scene, sorted(arguments.degrees), arguments))
        if arguments.json:
            atomic_write(arguments.json, json.dumps({**about, "scenes": records}, indent=1) + "\n")
    print("\n" + text_table([table_row(record) for record in records]))


if __name__ == "__main__":
    main()
