"""One figure in a process of its own, for `day.py`: python benchmarks/gpu/measure.py WHAT --json FILE."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from figures import ROOT, fits, gpu_tests, rasterizer
from prior import guided_fits

from agsrec import load_scene
from agsrec.files import atomic_write

Record = dict[str, Any]
SCENE = "jordan"
_TINY = {
    "img_size": [32, 32], "square_images": True, "enc_embed_dim": 32, "enc_depth": 1, "enc_num_heads": 2,
    "dec_embed_dim": 32, "dec_depth": 4, "dec_num_heads": 2, "head_type": "dpt", "dpt_width": 8,
    "dpt_last_width": 8, "dpt_level_widths": [8, 8, 8, 8],
}  # fmt: skip


def gsplat(options: argparse.Namespace) -> Record:
    """Compile gsplat's kernels, or find them compiled; on a CPU there is nothing to compile."""
    start = time.perf_counter()
    if options.device != "cuda":
        return {"compiled": False}
    backend = importlib.import_module("gsplat.cuda._backend")
    if backend._C is None:
        raise SystemExit("gsplat has no kernels: is nvcc of PyTorch's CUDA version in the PATH?")
    return {"compiled": True, "seconds": time.perf_counter() - start}


def tests(options: argparse.Namespace) -> Record:
    """Outcome of the tests marked `gpu`."""
    outcome = gpu_tests()
    if outcome["status"] not in (0, 5):
        atomic_write(options.json, json.dumps(outcome))
        raise SystemExit(f"tests failed: {outcome['summary']}")
    return outcome


def kernels(options: argparse.Namespace) -> Record:
    """gsplat against the CPU kernels, in values, gradients and time."""
    few = ["--gaussians", "5000", "--skip-compilation"] if options.tiny else []
    return rasterizer(options.json.parent, 0.0 if options.tiny else 0.3, *few)


def poses(options: argparse.Namespace) -> Record:
    """The embedded pose network alone, and with coarse scenes that better its poses, against true cameras."""
    from agsrec.metrics.poses import pairwise_rotation_errors, summarize_rotations
    from agsrec.pose_init import initialize

    scene = load_scene(ROOT / "data/demo", SCENE)
    assert scene.truth is not None
    chosen = list(range(4))
    views, truth = scene.views[chosen], scene.truth[chosen]
    found: Record = {}
    for refine in (False,) if options.tiny else (False, True):
        start = time.perf_counter()
        estimate = initialize(views, "nview", device=options.device, refine=refine)
        errors = pairwise_rotation_errors(estimate.cameras, truth[list(estimate.indices)])
        found["refined" if refine else "network alone"] = {
            "seconds": time.perf_counter() - start,
            "median_deg": summarize_rotations(errors).median_deg,
        }
    return found


def stereo(options: argparse.Namespace) -> Record:
    """Seconds and memory of MASt3R and NoPoSplat in their published sizes, with random weights."""
    return {
        "mast3r": _cost(options, "dust3r_cost.py", "--mast3r", "--iterations", "50"),
        "noposplat": _cost(options, "noposplat_cost.py"),
    }


def _cost(options: argparse.Namespace, script: str, *extra: str) -> Record:
    """Figures of a script that measures what a network costs."""
    file = options.json.with_name(script.replace(".py", ".json"))
    command = [sys.executable, str(ROOT / "benchmarks" / script), "--device", options.device, *extra]
    if options.tiny:
        network = options.json.with_name("tiny-network.json")
        atomic_write(network, json.dumps(_TINY))
        command += ["--network", str(network)]
    subprocess.run([*command, "--json", str(file)], cwd=ROOT, check=True)
    return json.loads(file.read_text(encoding="utf-8"))


def published(options: argparse.Namespace) -> Record:
    """The published schedule's time, without a prior and with one of published size."""
    size: Record = {"device": options.device, "tiny": options.tiny}
    without = fits(SCENE, 1, presets=False, **size)
    atomic_write(options.json, json.dumps({"fits": without}))
    return {"fits": without, "guided": guided_fits(load_scene(ROOT / "data/demo", SCENE), 1, **size)}


def feed(options: argparse.Namespace) -> Record:
    """How fast the workers render, and whether steps of the expected pace find their samples there."""
    from agsrec.training.nview_data import render_view_sets
    from agsrec.training.render_stream import RenderStream

    per_step, seconds = options.per_step, 1.0 if options.tiny else 8.0
    render = partial(render_view_sets, 10**6, size=64)
    with RenderStream(render, workers=options.workers, first=0) as stream:
        next(stream)
        rate = _rate(stream, seconds)
        pace = options.pace or 0.8 * rate / per_step
        return {
            "objects_per_second": rate,
            "steps_per_second": pace,
            **_paced(stream, pace, per_step, seconds),
        }


def _rate(stream: Any, seconds: float) -> float:
    """Samples per second, taken as fast as they come."""
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        next(stream)
        count += 1
    return count / (time.perf_counter() - start)


def _paced(stream: Any, pace: float, per_step: float, seconds: float) -> Record:
    """Share of steps of a pace that found their samples there, and how many samples waited on average."""
    time.sleep(1.0)  # the queue fills, as during the first steps
    start, taken, fed, queued = time.perf_counter(), 0, 0, 0
    steps = max(1, round(pace * seconds))
    for step in range(steps):
        missed = stream.missed
        while taken < int((step + 1) * per_step):
            next(stream)
            taken += 1
        fed, queued = fed + (stream.missed == missed), queued + stream.queued
        time.sleep(max(0.0, start + (step + 1) / pace - time.perf_counter()))
    return {"fed_share": fed / steps, "queued": queued / steps}


MEASURES: dict[str, Callable[[argparse.Namespace], Record]] = {
    f.__name__: f for f in (gsplat, tests, kernels, poses, stereo, published, feed)
}


def main() -> None:
    """Measure one thing and write it down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=MEASURES)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--per_step", type=float, default=2.5, help="objects per step")
    parser.add_argument("--pace", type=float, help="steps per second")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    atomic_write(options.json, json.dumps(MEASURES[options.what](options), indent=2) + "\n")


if __name__ == "__main__":
    main()
