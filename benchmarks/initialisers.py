"""How well an initialiser poses objects from nothing: unseen random objects, and folders with known cameras.

python benchmarks/initialisers.py [FOLDER...] [--method nview] [--model M] [--random 50] [--views 8 4]
                                  [--rough]

FOLDER holds ground truth, or a scene whose cameras.json is taken for the truth. Errors are relative rotation
errors over pairs of views; a pair with a view that could not be placed counts as 180 degrees. With --rough,
poses are measured as the network says, without the coarse scenes that better them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from machine import description, heading

from agsrec import Cameras, Views, load_gt_scene
from agsrec.dataset import load_scene
from agsrec.errors import AgsrecError, CameraError
from agsrec.export.tables import text_table
from agsrec.metrics.poses import pairwise_rotation_errors, summarize_rotations
from agsrec.pose_init import PlacementError, initialize
from agsrec.training.nview_validation import unseen_view_sets

Photos = tuple[str, Views, Cameras]


def given(folder: Path) -> Photos:
    """A folder's input views and true, or taken for true, cameras."""
    try:
        scene = load_gt_scene(folder)
        return scene.name, scene.views, scene.cameras
    except CameraError:
        scene = load_scene(folder.parent, folder.name)
        return scene.name, scene.views, scene.cameras


def errors(
    photos: Photos, views: int, method: Any, model: str | None, rough: bool
) -> tuple[torch.Tensor, float]:
    """Relative rotation errors [P] in degrees of the first views, and seconds."""
    _, pictures, truth = photos
    kept = list(range(min(views, len(pictures))))
    clock = time.perf_counter()
    found = torch.full((len(kept) * (len(kept) - 1) // 2,), 180.0, dtype=torch.float64)
    try:
        estimate = initialize(pictures[kept], method, model=model, refine=not rough)
    except PlacementError:
        return found, time.perf_counter() - clock
    seconds = time.perf_counter() - clock
    i, j = torch.triu_indices(len(kept), len(kept), 1)
    placed = estimate.placed[i] & estimate.placed[j]
    found[placed] = pairwise_rotation_errors(estimate.cameras, truth[estimate.indices]).double()
    return found, seconds


def row(
    name: str, members: Iterable[Photos], views: int, method: str, model: str | None, rough: bool
) -> dict[str, Any]:
    """One line of the table."""
    measured = [errors(photos, views, method, model, rough) for photos in members]
    summary = summarize_rotations(torch.cat([e for e, _ in measured]))
    return {
        "Photos": f"{len(measured)} {name}",
        "Views": views,
        "Median (°)": f"{summary.median_deg:.1f}",
        "Within 15° (%)": f"{100 * summary.within_15:.0f}",
        "Within 30° (%)": f"{100 * summary.within_30:.0f}",
        "Seconds": f"{sum(s for _, s in measured) / len(measured):.1f}",
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--method", default="nview")
    parser.add_argument("--model")
    parser.add_argument("--random", type=int, default=50, help="number of random objects")
    parser.add_argument("--views", type=int, nargs="+", default=[8, 4])
    parser.add_argument("--rough", action="store_true", help="the network's answer as it is")
    options = parser.parse_args(argv)
    print(heading(description()), flush=True)
    rows: list[dict[str, Any]] = []
    try:
        scenes = [given(folder) for folder in options.folders]
        unseen = [(str(k), *pair) for k, pair in enumerate(unseen_view_sets(options.random))]
        sets = {"given": scenes, "random, ring": unseen[::2], "random, scattered": unseen[1::2]}
        for views in options.views:
            for name, members in sets.items():
                if members:
                    rows.append(row(name, members, views, options.method, options.model, options.rough))
            rows.extend(row(s[0], [s], views, options.method, options.model, options.rough) for s in scenes)
    except AgsrecError as error:
        parser.error(str(error))
    print(text_table(rows))


if __name__ == "__main__":
    main()
