"""How surely badly posed views are found, left alone where they are good, and posed again.

python benchmarks/outliers.py SCENE... [--random 20] [--outliers 1 2] [--seeds 0 1 2] [--json FILE]

SCENE are folders with ground truth; `--random` adds procedural objects that no network was trained on. All
views start 5 degrees r.m.s. off; some are turned further, by 60 to 180 degrees about the vertical. The loop
decides without a prior and without the final fit; `agsrec eval SCENE... --outliers 1` measures that too.
Found are turned views that are posed anew or called unusable; false alarms are good views to which that
happens; suspected ones are good views that cost a search only.

`--strangers` measures the other case: one photo is swapped for one of the next object.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from machine import description, heading

from agsrec import Cameras, Views, load_gt_scene
from agsrec.evaluate import with_outliers
from agsrec.export.decisions import decision_record
from agsrec.export.tables import text_table
from agsrec.files import atomic_write
from agsrec.metrics.poses import rotation_errors_after_alignment
from agsrec.outliers import Correction, OutlierConfig, correct_outliers
from agsrec.training.nview_validation import unseen_view_sets

Case = tuple[str, Views, Cameras]
Row = dict[str, Any]


def cases(folders: Sequence[Path], random: int, first: int) -> Iterator[Case]:
    """Names, photos and true cameras."""
    for folder in folders:
        scene = load_gt_scene(folder)
        assert scene.truth is not None
        yield scene.name, scene.views, scene.truth.to(dtype=torch.float32)
    for index, (views, truth) in enumerate(unseen_view_sets(random, first)):
        yield f"random-{first + index}", views, truth.to(dtype=torch.float32)


def measured(case: Case, count: int, seed: int, noise: float, config: OutlierConfig) -> Row:
    """One run of the loop from cameras of which `count` are turned."""
    name, views, truth = case
    generator = torch.Generator().manual_seed(1000 + seed)
    cameras, wrong = with_outliers(truth.perturbed(noise, generator), count, generator)
    outcome, row = _timed(views, cameras, config, seed)
    errors = rotation_errors_after_alignment(outcome.start, truth[outcome.used])
    record = decision_record(outcome, truth)
    searched = [
        {
            "wrong": s.view in wrong,
            "errors_deg": r["true_error_deg"],
            "margin": s.margin,
            "seconds": s.seconds,
        }
        for s, r in zip(outcome.searches, record["searches"], strict=True)
    ]
    return row | {
        "scene": name,
        "seed": seed,
        "outliers": sorted(wrong),
        "errors_deg": errors.tolist(),
        "searches": searched,
        "decisions": record,
    }


def with_stranger(case: Case, other: Case, seed: int, noise: float, config: OutlierConfig) -> Row:
    """One run of the loop where a photo shows another object."""
    name, views, truth = case
    generator = torch.Generator().manual_seed(1000 + seed)
    cameras = truth.perturbed(noise, generator)
    view = int(torch.randint(len(views), (1,), generator=generator))
    images = views.images.clone()
    images[view] = other[1].images[view % len(other[1])]
    outcome, row = _timed(Views(images, views.names), cameras, config, seed)
    wrong = {"outliers": [view], "left_out": outcome.having("unusable")}
    return row | wrong | {"scene": name, "stranger": other[0], "seed": seed, "decisions": outcome.as_dict()}


def _timed(views: Views, cameras: Cameras, config: OutlierConfig, seed: int) -> tuple[Correction, Row]:
    clock, processor = time.perf_counter(), time.process_time()
    outcome = correct_outliers(views, cameras, config, seed=seed)
    return outcome, {
        "changed": outcome.having("corrected", "unusable"),
        "suspected": list(outcome.detection.suspects),
        "verdicts": list(outcome.verdicts),
        "seconds": time.perf_counter() - clock,
        "processor_seconds": time.process_time() - processor,
    }


def summary(name: str, rows: Sequence[Row]) -> Row:
    """One line of the table."""
    turned = [(r, view) for r in rows for view in r["outliers"]]
    good = [(r, view) for r in rows for view in range(len(r["verdicts"])) if view not in r["outliers"]]
    searches = [s for r in rows for s in r["searches"] if s["wrong"]]
    errors = torch.tensor([e for r in rows for e in r["errors_deg"]])
    line: Row = {"Scene": name, "Runs": len(rows), "Turned": len(turned)}
    line["Found (%)"] = _percent([view in r["changed"] for r, view in turned])
    line["Posed anew (%)"] = _percent([r["verdicts"][view] == "corrected" for r, view in turned])
    line["False alarms (%)"] = _percent([view in r["changed"] for r, view in good])
    line["Suspected (%)"] = _percent([view in r["suspected"] for r, view in good])
    line["Search < 5° (%)"] = _percent([s["errors_deg"][0] <= 5 for s in searches])
    line["Any mode < 5° (%)"] = _percent([min(s["errors_deg"]) <= 5 for s in searches])
    line["Search (s)"] = max((s["seconds"] for s in searches), default=None)
    line["Error (°)"] = float(errors.median())
    line["Views < 5° (%)"] = 100 * float((errors <= 5).float().mean())
    line["Seconds"] = sum(r["seconds"] for r in rows) / len(rows)
    line["CPU (s)"] = sum(r["processor_seconds"] for r in rows) / len(rows)
    return line


def _percent(hits: Sequence[bool]) -> float | None:
    return 100 * sum(hits) / len(hits) if hits else None


def main() -> None:
    """Run everything, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("scenes", nargs="*", type=Path, help="folders with ground truth")
    parser.add_argument("--random", type=int, default=0, help="number of procedural objects")
    parser.add_argument("--first", type=int, default=0, help="index of the first of them")
    parser.add_argument("--outliers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--noise", type=float, default=5.0, help="r.m.s. degrees")
    parser.add_argument("--strangers", action="store_true", help="swap a photo instead of turning views")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    arguments = parser.parse_args()
    about, config = description(), OutlierConfig()
    print(heading(about), flush=True)
    every = list(cases(arguments.scenes, arguments.random, arguments.first))
    if not every:
        parser.error("name a folder with ground truth, or use --random")
    rows: list[Row] = []

    def add(row: Row) -> None:
        rows.append(row)
        shown = ("scene", "seed", "outliers", "suspected", "verdicts")
        print("  ".join(f"{k} {row[k]}" for k in shown), f"{row['processor_seconds']:.0f} s", flush=True)
        if arguments.json:
            atomic_write(arguments.json, json.dumps({**about, "runs": rows}, indent=1) + "\n")

    for seed in arguments.seeds:
        for index, case in enumerate(every):
            if arguments.strangers:
                other = every[(index + 1) % len(every)]
                add(with_stranger(case, other, seed, arguments.noise, config))
                continue
            for count in arguments.outliers:
                add(measured(case, count, seed, arguments.noise, config))
    if arguments.strangers:
        right = [r["left_out"] == r["outliers"] for r in rows]
        print(f"\n{sum(right)} of {len(right)} photos of another object were left out, and no other")
        return
    names = list(dict.fromkeys(row["scene"] for row in rows))
    table = [summary(name, [r for r in rows if r["scene"] == name]) for name in names]
    for count in arguments.outliers:
        table.append(summary(f"all, {count} turned", [r for r in rows if len(r["outliers"]) == count]))
    print("\n" + text_table(table))


if __name__ == "__main__":
    main()
