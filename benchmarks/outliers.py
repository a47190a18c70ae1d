"""How surely badly posed views are found, left alone where they are good, and posed again.

python benchmarks/outliers.py SCENE... [--random 20] [--outliers 1 2] [--seeds 0 1 2] [--json FILE]

SCENE are folders with ground truth; `--random` adds procedural objects that no network was trained on. All
views start 5 degrees r.m.s. off; some are turned further, by 60 to 180 degrees about the vertical. The loop
decides without a prior and without the final fit; `agsrec eval SCENE... --outliers 1` measures that too.
Found are turned views that are posed anew or called unusable; false alarms are good views to which that
happens; suspected ones are good views that cost a search only. The search's error is that of its first
answer; "posed < 5°" counts all turned views after the fit that decides about the correction.

`--pictures` keeps a picture of every search for a turned view that ends more than 5 degrees off: the photo,
and the trusted views' scene from the given pose, from those that were found, and from the true one.

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
from PIL import Image

from agsrec import Cameras, Views, load_gt_scene
from agsrec.evaluate import with_outliers
from agsrec.export.decisions import decision_record, decision_section
from agsrec.export.report import Picture
from agsrec.export.tables import text_table
from agsrec.files import atomic_write
from agsrec.metrics.poses import rotation_errors_after_alignment
from agsrec.outliers import Correction, OutlierConfig, correct_outliers
from agsrec.training.nview_validation import unseen_view_sets

Case = tuple[str, Views, Cameras]
Row = dict[str, Any]

_CLOSE_DEG = 5.0


def cases(folders: Sequence[Path], random: int, first: int) -> Iterator[Case]:
    """Names, photos and true cameras."""
    for folder in folders:
        scene = load_gt_scene(folder)
        assert scene.truth is not None
        yield scene.name, scene.views, scene.truth.to(dtype=torch.float32)
    for index, (views, truth) in enumerate(unseen_view_sets(random, first)):
        yield f"random-{first + index}", views, truth.to(dtype=torch.float32)


def measured(
    case: Case, count: int, seed: int, noise: float, config: OutlierConfig, pictures: Path | None = None
) -> Row:
    """One run of the loop from cameras of which `count` are turned."""
    name, views, truth = case
    generator = torch.Generator().manual_seed(1000 + seed)
    cameras, wrong = with_outliers(truth.perturbed(noise, generator), count, generator)
    outcome, row = _timed(views, cameras, config, seed)
    errors = rotation_errors_after_alignment(outcome.start, truth[outcome.used])
    record = decision_record(outcome, truth)
    after = dict(zip(outcome.used, errors.tolist(), strict=True))
    searched = [
        {
            "view": s.view,
            "wrong": s.view in wrong,
            "after_deg": after.get(s.view),
            "ambiguous": s.ambiguous,
            "errors_deg": r["true_error_deg"],
            "margin": s.margin,
            "seconds": s.seconds,
        }
        for s, r in zip(outcome.searches, record["searches"], strict=True)
    ]
    if pictures is not None:
        sheets = [part for part in decision_section(outcome, truth).parts if isinstance(part, Picture)]
        for search, sheet in zip(searched, sheets, strict=True):
            if search["wrong"] and search["errors_deg"][0] > _CLOSE_DEG:
                file = f"{name}-{count}-turned-seed-{seed}-view-{search['view']}.png"
                Image.fromarray(sheet.image).save(pictures / file)
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
    line["Search < 5° (%)"] = _percent([s["errors_deg"][0] <= _CLOSE_DEG for s in searches])
    posed = [s["after_deg"] for s in searches]
    missed = [False] * (len(turned) - len(searches))
    line["Posed < 5° (%)"] = _percent([d is not None and d <= _CLOSE_DEG for d in posed] + missed)
    line["Search (s)"] = max((s["seconds"] for s in searches), default=None)
    line["Error (°)"] = float(errors.median())
    line["Views < 5° (%)"] = 100 * float((errors <= _CLOSE_DEG).float().mean())
    line["Seconds"] = sum(r["seconds"] for r in rows) / len(rows)
    line["CPU (s)"] = sum(r["processor_seconds"] for r in rows) / len(rows)
    return line


def misses(rows: Sequence[Row]) -> list[Row]:
    """One line for every search for a turned view that ended far off."""
    return [
        {
            "Scene": row["scene"],
            "Turned": len(row["outliers"]),
            "Seed": row["seed"],
            "View": search["view"],
            "Error (°)": search["errors_deg"][0],
            "Best mode (°)": min(search["errors_deg"]),
            "Margin": search["margin"],
            "After the fit (°)": search["after_deg"],
        }
        for row in rows
        for search in row["searches"]
        if search["wrong"] and search["errors_deg"][0] > _CLOSE_DEG
    ]


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
    parser.add_argument("--pictures", type=Path, help="folder for pictures of searches that went wrong")
    arguments = parser.parse_args()
    about, config = description(), OutlierConfig()
    print(heading(about), flush=True)
    if arguments.pictures:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
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
                add(measured(case, count, seed, arguments.noise, config, arguments.pictures))
    if arguments.strangers:
        right = [r["left_out"] == r["outliers"] for r in rows]
        print(f"\n{sum(right)} of {len(right)} photos of another object were left out, and no other")
        return
    names = list(dict.fromkeys(row["scene"] for row in rows))
    table = [summary(name, [r for r in rows if r["scene"] == name]) for name in names]
    for count in arguments.outliers:
        table.append(summary(f"all, {count} turned", [r for r in rows if len(r["outliers"]) == count]))
    print("\n" + text_table(table))
    if missed := misses(rows):
        print(f"\nSearches more than {_CLOSE_DEG:g}° off\n" + text_table(missed))


if __name__ == "__main__":
    main()
