"""How a step of the fit grows with views, Gaussians and pixels: rasterizer and loss, with gradients.

python benchmarks/growth.py [--seconds 1.5] [--views N ...] [--gaussians N ...] [--pixels N ...] [--json FILE]

One of the three grows at a time, from 8 views of 256 px and 10,000 Gaussians. Beside each median is the power
of the number with which it grows from the row before: 1 is linear.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from machine import Timing, description, heading, timed
from shell_scene import random_cameras, shell_scene

from agsrec import Cameras
from agsrec.export.tables import text_table
from agsrec.files import atomic_write
from agsrec.fit.photometric import photometric_loss

USUAL = {"views": 8, "gaussians": 10_000, "pixels": 256}
GROWING = {
    "views": (4, 8, 16, 32),
    "gaussians": (5_000, 10_000, 25_000, 50_000, 100_000),
    "pixels": (128, 256, 512, 1024),
}


@dataclass(frozen=True)
class Step:
    """One measured step."""

    what: str
    number: int
    timing: Timing
    power: float | None


def step(views: int, count: int, size: int, seconds: float) -> Timing:
    """Time of a render of all views, its loss, and the gradients of Gaussians and cameras."""
    generator = torch.Generator().manual_seed(count)
    scene = shell_scene(count, generator).to("cpu", requires_grad=True)
    cameras = random_cameras(views, size, generator)
    target = torch.rand(views, size, size, 3, generator=generator)

    def once() -> None:
        viewmats = cameras.viewmats.detach().clone().requires_grad_(True)
        rendered = scene.render(Cameras(viewmats, cameras.Ks, size, size), render_mode="RGB")
        torch.autograd.grad(photometric_loss(rendered.rgb, target), [*scene.tensors(), viewmats])

    return timed(once, seconds=seconds)


def measured(growing: dict[str, list[int]], seconds: float) -> list[Step]:
    """All of them, in their order."""
    steps = []
    for what, numbers in growing.items():
        before: Step | None = None
        for number in numbers:
            size = USUAL | {what: number}
            timing = step(size["views"], size["gaussians"], size["pixels"], seconds)
            power = None
            if before is not None:
                grown = (number / before.number) ** (2 if what == "pixels" else 1)
                power = math.log(timing.median / before.timing.median) / math.log(grown)
            before = Step(what, number, timing, power)
            steps.append(before)
            print(f"{what} {number}: {timing} ms", flush=True)
    return steps


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for what, numbers in GROWING.items():
        parser.add_argument(f"--{what}", type=int, nargs="+", default=numbers, help="numbers to measure")
    parser.add_argument("--seconds", type=float, default=1.5, help="time for each figure")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args()
    about = description()
    print(heading(about))
    steps = measured({what: getattr(args, what) for what in GROWING}, args.seconds)
    rows = [
        {
            "": s.what,
            "number": f"{s.number:,}",
            "ms": str(s.timing),
            "power": "" if s.power is None else f"{s.power:.2f}",
        }
        for s in steps
    ]
    print(text_table(rows))
    if args.json is not None:
        content = {"machine": about, "steps": [asdict(s) for s in steps]}
        atomic_write(args.json, json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
