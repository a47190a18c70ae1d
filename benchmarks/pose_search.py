"""How well, how surely and how fast a photo finds its place in a finished scene.

python benchmarks/pose_search.py SCENE... [--random 10] [--views 8 4] [--limit 16] [--json FILE]

SCENE are folders with ground truth; `--random` adds procedural objects. A scene is fitted to its first input
views from their true poses, without a prior; then its test views, which no fit has seen, are searched for
from nothing. Errors are rotation errors against the true pose in the frame of the fitted cameras. A view is
called ambiguous where the search itself says so: its margin is below 0.1.
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
from prior import first_views, random_scene

from agsrec import PRESETS, Scene, Settings, load_gt_scene, reconstruct
from agsrec.config import PresetName
from agsrec.export.tables import text_table
from agsrec.files import atomic_write
from agsrec.metrics.poses import align_cameras, rotation_angles
from agsrec.pose_search import GaussianRenderer, search_pose

_AMBIGUOUS = 0.1

Row = dict[str, Any]


def scenes(arguments: argparse.Namespace) -> Iterator[tuple[Scene, int]]:
    """Scenes with test views, and how many of their views to fit."""
    for count in arguments.views:
        for folder in arguments.scenes:
            yield first_views(load_gt_scene(folder), count), count
        for index in range(arguments.random):
            yield first_views(random_scene(index, 256), count), count


def searched(scene: Scene, preset: PresetName, limit: int) -> list[Row]:
    """What the search finds for the first `limit` test views."""
    assert scene.truth is not None and scene.test_views is not None and scene.test_cameras is not None
    fitted = reconstruct(scene.views, scene.truth, Settings(preset=preset))
    world = align_cameras(fitted.cameras, scene.truth).rotation.float()
    focal = float(fitted.cameras.resized(fitted.fitted_size, fitted.fitted_size).focal_lengths.mean())
    render = GaussianRenderer(fitted.gaussians, focal=focal)
    rows = []
    for index in range(min(limit, len(scene.test_views))):
        clock = time.perf_counter()
        found = search_pose(render, scene.test_views.images[index], scene.test_cameras.Ks[index])
        seconds = time.perf_counter() - clock
        truth = scene.test_cameras.rotations[index]
        errors = rotation_angles(found.viewmats[:, :3, :3] @ world.mT @ truth.mT)
        rows.append(
            {
                "error": float(errors[0]),
                "best": float(errors.min()),
                "margin": found.margin,
                "overlap": float(found.overlaps[0]),
                "seconds": seconds,
            }
        )
    return rows


def summary(name: str, views: int | str, rows: Sequence[Row]) -> Row:
    """One line of the table."""
    errors, best, margins, seconds = (
        torch.tensor([row[key] for row in rows]) for key in ("error", "best", "margin", "seconds")
    )
    wrong, unsure = errors > 5, margins < _AMBIGUOUS

    def percent(which: torch.Tensor) -> str:
        return f"{100 * float(which.float().mean()):.0f}"

    return {
        "scene": name,
        "fitted views": views,
        "searched": len(rows),
        "median deg": f"{float(errors.median()):.2f}",
        "% within 5": percent(~wrong),
        "% any mode": percent(best <= 5),
        "% ambiguous": percent(unsure),
        "% wrong, unsaid": percent(wrong & ~unsure),
        "mean s": f"{float(seconds.mean()):.1f}",
        "max s": f"{float(seconds.max()):.1f}",
    }


def main() -> None:
    """Fit, search, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("scenes", nargs="*", type=Path, help="folders with ground truth")
    parser.add_argument("--random", type=int, default=0, help="procedural objects")
    parser.add_argument("--views", type=int, nargs="+", default=[8], help="views to fit")
    parser.add_argument("--limit", type=int, default=16, help="test views to search per scene")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="fast", help="of the fit")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    arguments = parser.parse_args()
    about = description()
    print(heading(about))
    table, everything, figures = [], [], []
    for scene, views in scenes(arguments):
        rows = searched(scene, arguments.preset, arguments.limit)
        everything += rows
        table.append(summary(scene.name, views, rows))
        figures.append({"scene": scene.name, "views": views, "searches": rows})
        print("  ".join(f"{k} {v}" for k, v in table[-1].items()), flush=True)
    if not everything:
        parser.error("name a folder with ground truth, or use --random")
    table.append(summary("all", "", everything))
    print("\n" + text_table(table))
    if arguments.json:
        atomic_write(arguments.json, json.dumps({**about, "scenes": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
