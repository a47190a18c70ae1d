"""Many photos of one object: how many are registered, how well, how long it takes, and what memory.

python benchmarks/many_photos.py OBJECT... [--counts 12 24 50] [--foreign 0.2] [--size 384] [--alone]
    [--json FILE]

OBJECT is `product-SEED` or `random-SEED` of `agsrec.synthetic`, or a folder with true cameras, of which all
views are taken. A share `--foreign` more photos show another object and must stay out. Every case is run in a
process of its own, on files, as `agsrec run` does; its memory is what that process had at most. The
proportions of the focal lengths are given, as cutting photos of one camera out tells them; not with --alone.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from machine import description, heading

from agsrec.cameras import Cameras
from agsrec.dataset import load_gt_scene
from agsrec.export.tables import text_table
from agsrec.files import atomic_write
from agsrec.images import save_png
from agsrec.metrics.poses import rotation_errors_after_alignment
from agsrec.pose_init.ace0.initializer import pose_many
from agsrec.synthetic import product_object, random_cameras, random_object, render_views
from agsrec.view_files import SizedViews

MAKERS = {"product": product_object, "random": random_object}
OTHER = 1000  # what is added to an object's seed for photos of another one
GOOD_DEG = 5.0


@dataclass(frozen=True)
class Outcome:
    """Of one object and number of photos.

    Attributes:
        photos: Photos of the object.
        registered: Share of them that have poses.
        good: Share of all of them whose poses are within 5 degrees, after the best alignment.
        median_deg: Median error of those that have poses.
        foreign: How many photos of something else were registered, of how many.
        seconds: Time, everything but rendering.
        cpu_seconds: The same of processors.
        memory_mib: What the process had at most.
    """

    name: str
    photos: int
    registered: float
    good: float
    median_deg: float
    foreign: tuple[int, int]
    seconds: float
    cpu_seconds: float
    memory_mib: float


def rendered(name: str, count: int, size: int, folder: Path, prefix: str, other: int = 0) -> Cameras:
    """Photos of an object in a folder, half of them in a ring and half scattered; returns their cameras."""
    kind, seed = name.split("-")
    seed = int(seed) + other
    chance = np.random.default_rng(seed)
    obj = MAKERS[kind](seed)
    ring = random_cameras(obj.vertices, count - count // 2, size, chance, layout="ring")
    others = random_cameras(obj.vertices, max(1, count // 2), size, chance, layout="scattered")
    viewmats = torch.cat([ring.viewmats, others.viewmats])[:count]
    Ks = torch.cat([ring.Ks, others.Ks])[:count]
    cameras = Cameras(viewmats, Ks, size, size)
    for k in range(count):
        view = render_views(obj, cameras[k], supersampling=2)
        save_png(
            folder / f"{prefix}{k:03d}_rgba.png", (view.images[0] * 255).round().clip(0, 255).astype(np.uint8)
        )
    return cameras


def given(folder: Path, target: Path, most: int) -> Cameras:
    """The views of a folder with true cameras, as files; returns these."""
    scene = load_gt_scene(folder)
    images, cameras = scene.views.images, scene.cameras
    if scene.test_views is not None and scene.test_cameras is not None:
        images = torch.cat([images, scene.test_views.images])
        viewmats = torch.cat([cameras.viewmats, scene.test_cameras.viewmats])
        Ks = torch.cat([cameras.Ks, scene.test_cameras.Ks])
        cameras = Cameras(viewmats, Ks, cameras.width, cameras.height)
    count = min(most, len(images))
    for k in range(count):
        save_png(target / f"a{k:03d}_rgba.png", (images[k] * 255).round().byte().numpy())
    return cameras[list(range(count))]


def measured(name: str, count: int, size: int, foreign: float, *, alone: bool = False) -> Outcome:
    """One case, in this process."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        is_made = name.split("-")[0] in MAKERS
        truth = rendered(name, count, size, folder, "a") if is_made else given(Path(name), folder, count)
        others = round(foreign * len(truth))
        if others:
            rendered(name if is_made else "random-1", others, size, folder, "z", OTHER)
        files = {f.name.removesuffix("_rgba.png"): f for f in sorted(folder.glob("*.png"))}
        photos = SizedViews.of(files)
        focals = truth.focal_lengths.mean(1)
        zooms = [*(focals / focals.median()).tolist(), *[1.0] * others]
        clock, busy = time.perf_counter(), time.process_time()
        found = pose_many(photos, photos.full.names, zooms=None if alone else zooms)
        seconds, cpu = time.perf_counter() - clock, time.process_time() - busy
    own = [v for v in found.indices if photos.full.names[v].startswith("a")]
    wrong = len(found.indices) - len(own)
    camera = {v: k for k, v in enumerate(found.indices)}
    errors = torch.zeros(0)
    if len(own) > 1:
        estimated, true = found.cameras[[camera[v] for v in own]].centred(), truth[own].centred()
        errors = rotation_errors_after_alignment(estimated, true)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return Outcome(
        Path(name).name,
        len(truth),
        len(own) / len(truth),
        float((errors <= GOOD_DEG).sum()) / len(truth),
        float(errors.median()) if len(errors) else float("nan"),
        (wrong, others),
        seconds,
        cpu,
        memory,
    )


def table(outcomes: list[Outcome]) -> str:
    """All outcomes as text."""
    return text_table(
        [
            {
                "object": o.name,
                "photos": str(o.photos),
                "registered": f"{o.registered:.0%}",
                "< 5 deg": f"{o.good:.0%}",
                "median deg": f"{o.median_deg:.2f}",
                "foreign in": f"{o.foreign[0]} of {o.foreign[1]}",
                "s": f"{o.seconds:.0f}",
                "CPU s": f"{o.cpu_seconds:.0f}",
                "MiB": f"{o.memory_mib:.0f}",
            }
            for o in outcomes
        ]
    )


def main() -> None:
    """Run every case in a process of its own, and print what came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("objects", nargs="+", metavar="OBJECT")
    parser.add_argument("--counts", type=int, nargs="+", default=[12, 24, 50])
    parser.add_argument("--foreign", type=float, default=0.2)
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--alone", action="store_true", help="nothing is known of the lenses")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--here", action="store_true", help="run the one case in this process")
    options = parser.parse_args()
    if options.here:
        one, count = options.objects[0], options.counts[0]
        case = measured(one, count, options.size, options.foreign, alone=options.alone)
        print(json.dumps(asdict(case)))
        return
    about, outcomes = description(), []
    print(heading(about), flush=True)
    for name in options.objects:
        for count in options.counts:
            command = [sys.executable, __file__, name, "--counts", str(count), "--here"]
            command += ["--foreign", str(options.foreign), "--size", str(options.size)]
            command += ["--alone"] if options.alone else []
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                print(f"{name}, {count} photos: {done.stderr.strip().splitlines()[-1]}", flush=True)
                continue
            said = json.loads(done.stdout.strip().splitlines()[-1])
            outcomes.append(Outcome(**{**said, "foreign": tuple(said["foreign"])}))
            print(table(outcomes[-1:]), flush=True)
    print(table(outcomes))
    if options.json:
        entries = [asdict(o) for o in outcomes]
        atomic_write(options.json, json.dumps({"about": about, "outcomes": entries}, indent=2) + "\n")


if __name__ == "__main__":
    main()
