"""How well initialisers pose objects from nothing: rendered, photographed, and products from a shelf.

python benchmarks/initialisers.py [FOLDER...] [--methods nview auto] [--views 8 4] [--random 16]
                                  [--products 20] [--plain 20] [--first 0] [--model M] [--rough]
                                  [--background auto] [--photo 0] [--zooms] [--json FILE]

FOLDER holds ground truth, or a scene whose cameras.json is taken for the truth, or photos with their
background and a transforms.json: as many of these as --views says at most are taken, at even steps from
number --photo on, and cut out in a copy of the folder. Folders with one parent are shown together.

Errors are relative rotation errors over pairs of views; a pair with a view that could not be placed counts as
180 degrees. A cut-out alone does not tell where its photo's principal point was: but for photos with their
background, true cameras are turned until they look through the middle of the cut-out, which changes the
picture by a homography alone.
Each cut-out has a focal length of its own, in proportion to how much it was enlarged. Of photos that are cut
out here the initialiser knows how much; with --zooms it is told of all others too.
With --rough, poses are measured without the coarse scenes that better them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import description, heading
from torch import Tensor
from wild_photos import cut_out_copy, is_wild

from agsrec import Cameras, Views, load_gt_scene
from agsrec.dataset import load_scene
from agsrec.errors import AgsrecError, CameraError
from agsrec.export.tables import text_table
from agsrec.files import atomic_write
from agsrec.metrics.poses import pairwise_rotation_errors
from agsrec.pose_init import PlacementError, initialize
from agsrec.synthetic import product_object, random_cameras, render_views
from agsrec.training.nview_validation import unseen_view_sets

PRODUCT_SIZE = 256
SURE = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 1.01)  # bounds of the confidences that are counted together


@dataclass(frozen=True)
class Photos:
    """Views of an object with true cameras, the set that it belongs to, and the photos' folder if any."""

    name: str
    group: str
    views: Views
    cameras: Cameras
    folder: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """What an initialiser made of some photos.

    Attributes:
        asked: How many views it was to get at most.
        errors: Relative rotation errors [P] in degrees.
        right: Whether each view is within 15 degrees of most others [V].
        confidence: Of each view [V].
        ambiguous: Whether it was said that another arrangement is as good.
        odd: How many views were said not to belong with the others.
        focal: Estimated focal length over the true one.
        seconds: Time it took.
    """

    name: str
    group: str
    method: str
    asked: int
    views: int
    errors: list[float]
    right: list[bool]
    confidence: list[float]
    ambiguous: bool
    odd: int
    focal: float
    seconds: float


def given(folder: Path) -> Photos:
    """A folder's input views and true, or taken for true, cameras."""
    try:
        scene = load_gt_scene(folder)
    except CameraError:
        scene = load_scene(folder.parent, folder.name)
    return Photos(scene.name, folder.resolve().parent.name, scene.views, scene.cameras)


def photographed(folder: Path, room: Path, count: int, first: int) -> Photos:
    """Photos of a folder at even steps, cut out in a copy of it in `room`."""
    wild = cut_out_copy(folder, room / folder.name, count, first)
    print(f"{folder.name}: {', '.join(wild.views.names)}", flush=True)
    return Photos(folder.name, folder.resolve().parent.name, wild.views, wild.cameras, wild.folder)


def products(count: int, first: int, *, printed: bool) -> list[Photos]:
    """Cans, bottles, boxes and mugs in a ring of eight views."""
    found = []
    for index in range(first, first + count):
        obj, chance = product_object(index, printed=printed), np.random.default_rng((13, index))
        cameras = random_cameras(obj.vertices, 8, PRODUCT_SIZE, chance, layout="ring")
        images = torch.from_numpy(render_views(obj, cameras).images)
        views = Views(images, tuple(f"{view:03d}" for view in range(8)))
        group = "products, printed" if printed else "products, plain"
        found.append(Photos(f"{group} {index}", group, views, cameras))
    return found


def pose(
    photos: Photos, count: int, method: Any, *, model: str | None, rough: bool, background: Any, zooms: bool
) -> Outcome:
    """An initialiser's outcome for the first views."""
    kept = list(range(min(count, len(photos.views))))
    truth = photos.cameras[kept]
    if photos.folder is None:
        truth = truth.centred()
    clock = time.perf_counter()
    errors, focal = torch.full((len(kept), len(kept)), 180.0, dtype=torch.float64), 0.0
    confidence, ambiguous, odd = torch.zeros(len(kept)), False, 0
    try:
        estimate = initialize(
            photos.views[kept],
            method,
            model=model,
            zooms=truth.focal_lengths.mean(1).tolist() if zooms else None,
            folder=photos.folder,
            background=background if method == "auto" else "auto",
            refine=not rough,
        )
    except PlacementError:
        pass
    else:
        rows = torch.tensor(estimate.indices)
        i, j = torch.triu_indices(len(rows), len(rows), 1)
        found = pairwise_rotation_errors(estimate.cameras, truth[estimate.indices]).double()
        errors[rows[i], rows[j]] = errors[rows[j], rows[i]] = found
        confidence, ambiguous, odd = estimate.confidence, estimate.ambiguous, len(estimate.oddities)
        ratio = estimate.cameras.focal_lengths.mean(1) / truth[estimate.indices].focal_lengths.mean(1)
        focal = float(ratio.median())
    seconds = time.perf_counter() - clock
    return Outcome(
        name=photos.name,
        group=photos.group,
        method=method,
        asked=count,
        views=len(kept),
        errors=_pairs(errors).tolist(),
        right=_right(errors).tolist(),
        confidence=confidence.tolist(),
        ambiguous=ambiguous,
        odd=odd,
        focal=focal,
        seconds=seconds,
    )


def _pairs(errors: Tensor) -> Tensor:
    i, j = torch.triu_indices(len(errors), len(errors), 1)
    return errors[i, j]


def _right(errors: Tensor) -> Tensor:
    """Views [V] that are within 15 degrees of at least half of the others."""
    others = ~torch.eye(len(errors), dtype=torch.bool)
    near = (errors < 15) & others
    return near.sum(1) >= 0.5 * (len(errors) - 1)


def row(name: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """One line of the table."""
    errors = torch.tensor([e for o in outcomes for e in o.errors])
    focal = (torch.tensor([o.focal for o in outcomes]) - 1).abs()
    within = {limit: 100 * float((errors < limit).float().mean()) for limit in (5, 15, 30)}
    return {
        "Photos": name,
        "Views": max(o.views for o in outcomes),
        "Method": outcomes[0].method,
        "Median (°)": f"{errors.median():.1f}",
        "< 5° (%)": f"{within[5]:.0f}",
        "< 15° (%)": f"{within[15]:.0f}",
        "< 30° (%)": f"{within[30]:.0f}",
        "Focal off (%)": f"{100 * focal.median():.0f}, worst {100 * focal.max():.0f}",
        "Ambiguous": f"{sum(o.ambiguous for o in outcomes)} of {len(outcomes)}",
        "Odd": sum(o.odd for o in outcomes),
        "Seconds": f"{sum(o.seconds for o in outcomes) / len(outcomes):.1f}",
    }


def calibration(outcomes: Iterable[Outcome]) -> list[dict[str, Any]]:
    """Of views whose poses are said to be right with some confidence, how many are."""
    said = [(c, r) for o in outcomes for c, r in zip(o.confidence, o.right, strict=True)]
    rows = []
    for low, high in pairwise(SURE):
        chosen = [r for c, r in said if low <= c < high]
        if chosen:
            share = f"{100 * sum(chosen) / len(chosen):.0f}"
            rows.append({"Confidence": f"{low:.2f} on", "Views": len(chosen), "Within 15° (%)": share})
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--methods", nargs="+", default=["nview", "auto"])
    parser.add_argument("--random", type=int, default=0, help="number of random objects")
    parser.add_argument("--products", type=int, default=0, help="number of products with a printed label")
    parser.add_argument("--plain", type=int, default=0, help="number of products without print")
    parser.add_argument("--first", type=int, default=0, help="first of the random objects and products")
    parser.add_argument("--views", type=int, nargs="+", default=[8, 4])
    parser.add_argument("--model", help="checkpoint of the methods; their usual ones by default")
    parser.add_argument("--rough", action="store_true", help="without coarse scenes")
    parser.add_argument("--background", default="auto", help="of photos: auto, static or moving")
    parser.add_argument("--photo", type=int, default=0, help="first of the photos of a folder")
    parser.add_argument("--zooms", action="store_true", help="tell in which proportion focal lengths are")
    parser.add_argument("--json", type=Path, help="file for all outcomes")
    options = parser.parse_args(argv)
    print(heading(description()), flush=True)
    outcomes: list[Outcome] = []
    room = tempfile.TemporaryDirectory(prefix="agsrec-photos-")
    try:
        scenes = [
            photographed(folder, Path(room.name), max(options.views), options.photo)
            if is_wild(folder)
            else given(folder)
            for folder in options.folders
        ]
        unseen = unseen_view_sets(options.random, options.first)
        scenes += [Photos(f"random {k}", "random", *pair) for k, pair in enumerate(unseen, options.first)]
        scenes += products(options.products, options.first, printed=True)
        scenes += products(options.plain, options.first, printed=False)
        for count in options.views:
            for photos in scenes:
                for method in options.methods:
                    how = {"model": options.model, "rough": options.rough, "background": options.background}
                    how["zooms"] = options.zooms
                    outcomes.append(pose(photos, count, method, **how))
                    print(text_table([row(photos.name, outcomes[-1:])]).splitlines()[-1], flush=True)
                    if options.json is not None:
                        atomic_write(options.json, json.dumps([asdict(o) for o in outcomes]) + "\n")
    except AgsrecError as error:
        parser.error(str(error))
    finally:
        room.cleanup()
    for count in options.views:
        sets: dict[tuple[str, str], list[Outcome]] = {}
        for outcome in (o for o in outcomes if o.asked == count):
            sets.setdefault((outcome.group, outcome.method), []).append(outcome)
        rows = [row(f"{len(members)} {group}", members) for (group, _), members in sets.items()]
        print(f"\nFirst {count} views\n{text_table(rows)}")
    for method in options.methods:
        print(f"\n{method}\n{text_table(calibration(o for o in outcomes if o.method == method))}")


if __name__ == "__main__":
    main()
