"""What a NoPoSplat network in training can do by now, beside the embedded `nview` on the same pairs.

python -m agsrec train noposplat --output RUN --validate-every 100
python benchmarks/mini_noposplat.py RUN [--objects 16] [--refined 0]

Pairs are two views 30, 60 and 90 degrees apart of objects that no training sees; both are told the focal
length. The learning curve is what the training's log says of them: the median of the relative rotation
errors, shares within 15 and 30 degrees, and the PSNR of the view between the two. It is carried on as a power
of the number of steps, to where it would reach the median of `nview`. --refined lets coarse scenes choose
among the guesses of `nview` too, as `--init nview` does, for so many of the objects: that takes seconds a
pair.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from machine import description, heading

from agsrec.errors import AgsrecError
from agsrec.export.tables import text_table
from agsrec.pose_init import PoseEstimate, initialize
from agsrec.pose_init.noposplat import NoPoSplat, initialize_noposplat
from agsrec.training.loop import Record, read_log
from agsrec.training.noposplat_data import UnseenPair, unseen_splat_pairs
from agsrec.training.noposplat_validation import PairFigures, measured_pairs

_FIGURES = "rotation_deg", "within_15", "within_30", "psnr"
_NVIEW_SIZE = 128  # pixels of the views that it is given, of which it takes what it needs


def posed_by_nview(pair: UnseenPair, *, refine: bool) -> PoseEstimate:
    """The pair by the embedded network."""
    focal = pair.cameras.focal_lengths[:, 0].tolist()
    return initialize(pair.views, "nview", device="cpu", focal=focal, refine=refine)


def posed_by_gaussians(pair: UnseenPair, *, model: NoPoSplat) -> PoseEstimate:
    """The pair by the network in training, without refinement."""
    focals = pair.cameras.focal_lengths[:, 0].tolist()
    return initialize_noposplat(pair.views, model=model, focals=focals, refine=False)


def curve(log: Sequence[Record]) -> list[dict[str, Any]]:
    """The validations of a run as rows, with the loss that was on record by then."""
    rows, loss = [], {}
    for record in log:
        if "loss" in record:
            loss[record["phase"]] = record["loss"]
        else:
            figures = {
                name: record.get(name, "") for name in ("rotation_deg", "within_15", "within_30", "psnr")
            }
            known = loss.get(record["phase"], "")
            rows.append({"Phase": record["phase"], "Step": record["step"], "Loss": known, **figures})
    return rows


def steps_until(goal: float, steps: Sequence[int], errors: Sequence[float]) -> float | None:
    """Steps at which errors that fall as a power of them would reach a goal; None if they do not fall."""
    slope, start = np.polyfit(np.log(steps), np.log(errors), 1)
    return None if slope >= 0 else float(np.exp((np.log(goal) - start) / slope))


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a training")
    parser.add_argument("--objects", type=int, default=16, help="unseen objects, three pairs each")
    parser.add_argument("--refined", type=int, default=0, help="objects for nview with coarse scenes")
    options = parser.parse_args(argv)
    if options.objects < 1 or not 0 <= options.refined <= options.objects:
        parser.error("at least one of the --objects is needed, and --refined some of them")
    print(heading(description()), flush=True)
    try:
        log, model = read_log(options.run), NoPoSplat.from_pretrained(options.run / "model")
    except AgsrecError as error:
        parser.error(str(error))
    rows = curve(log)
    if rows:
        print(text_table(rows), flush=True)
    large, small = (unseen_splat_pairs(options.objects, s) for s in (_NVIEW_SIZE, model.config.image_size))
    usual = measured_pairs(large, partial(posed_by_nview, refine=False))
    found = {
        "nview": usual,
        "this network": measured_pairs(small, partial(posed_by_gaussians, model=model)),
    }
    if options.refined:
        chosen = large[: 3 * options.refined]
        found["nview, refined"] = measured_pairs(chosen, partial(posed_by_nview, refine=True))
    print(text_table([_row(name, figures) for name, figures in found.items()]))
    print(_outlook([r for r in rows if r["Phase"] == "centers"], usual.report()["rotation_deg"]))


def _row(name: str, figures: PairFigures) -> dict[str, Any]:
    report, seconds = figures.report(), float(figures.seconds.median())
    return {"Method": name, "Pairs": len(figures.errors_deg), **report, "Seconds a pair": f"{seconds:.2f}"}


def _outlook(rows: Sequence[dict[str, Any]], goal: float) -> str:
    if len(rows) < 2:
        return "Too few validations for an outlook"
    steps, errors = ([row[name] for row in rows] for name in ("Step", "rotation_deg"))
    needed = steps_until(goal, steps, errors)
    if needed is None:
        return f"The median does not fall; it would not reach the {goal:.1f} degrees of nview"
    return f"At this pace the median reaches the {goal:.1f} degrees of nview after {needed:.0f} steps"


if __name__ == "__main__":
    main()
