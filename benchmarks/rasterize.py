"""How fast this machine renders, differentiates and compares: the rasterizer and the photometric loss.

python benchmarks/rasterize.py [--json FILE] [--seconds 1.5] [--gaussians N ...] [--skip-compilation]

Every figure is the median over repeated calls after a warm-up, then the fastest and the 90 % quantile.
With a CUDA device, gsplat is timed on the same scenes and compared with the CPU in values and gradients.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from machine import Timing, description, heading, timed
from rich.console import Console
from rich.table import Table
from shell_scene import MEDIAN_RADIUS, ShellScene, median_radius, random_cameras, shell_scene
from torch import Tensor

from agsrec import Cameras
from agsrec.files import atomic_write
from agsrec.fit.photometric import photometric_loss, photometric_loss_torch

VIEWS = 8
COUNTS = (5_000, 10_000, 25_000)
SIZES = (256, 128)
POSE_COUNTS = (5_000, 2_000)
POSE_SIZE, POSE_BATCH = 64, 25

Row = dict[str, Any]


@dataclass(frozen=True)
class Benchmark:
    """One table: its title, and its rows as plain values, timings in milliseconds."""

    title: str
    rows: list[Row]

    def show(self, console: Console) -> None:
        """Print the table."""
        console.print(f"\n[bold]{self.title}")
        table = Table()
        for column in self.rows[0]:
            table.add_column(column, justify="right")
        for row in self.rows:
            table.add_row(*(_cell(value) for value in row.values()))
        console.print(table)


def _cell(value: Any) -> str:
    if isinstance(value, Timing | str):
        return str(value)
    return f"{value:,.3g}" if isinstance(value, float) and abs(value) < 100 else f"{value:,.0f}"


# -------------------------------------------------------------------- rasterizer


def rendering(device: torch.device, seconds: float, counts: Sequence[int]) -> Benchmark:
    """Forward, and forward with backward, of all views at once."""
    rows = []
    for size in SIZES:
        for count in counts:
            generator = torch.Generator().manual_seed(count)
            drawn = shell_scene(count, generator)
            cameras = random_cameras(VIEWS, size, generator)
            radius = median_radius(drawn, cameras)
            with torch.no_grad():
                cover = float((drawn.render(cameras, render_mode="RGB").alpha > 0.5).float().mean())
            scene, cameras = drawn.to(device, requires_grad=True), cameras.to(device)
            rows.append(
                {
                    "size (px)": size,
                    "Gaussians": count,
                    "median radius (px)": radius,
                    "cover": cover,
                    "forward (ms)": timed(lambda s=scene, c=cameras: _forward(s, c), seconds=seconds),
                    "forward + backward (ms)": timed(lambda s=scene, c=cameras: _both(s, c), seconds=seconds),
                }
            )
    title = f"Rasterizer on {device.type}, {VIEWS} views, colours and opacity"
    return Benchmark(f"{title}; gradients to Gaussians and viewmats", rows)


def _forward(scene: ShellScene, cameras: Cameras) -> Tensor:
    with torch.no_grad():
        return scene.render(cameras, render_mode="RGB").rgb


def _both(scene: ShellScene, cameras: Cameras) -> Tensor:
    viewmats = cameras.viewmats.detach().clone().requires_grad_(True)
    moved = Cameras(viewmats, cameras.Ks, cameras.width, cameras.height)
    rendered = scene.render(moved, render_mode="RGB")
    # The cheapest loss that reaches every pixel with a gradient of its own.
    gradients = (2 * rendered.rgb.detach(), 2 * rendered.alpha.detach())
    inputs = [*scene.tensors(), viewmats]
    return torch.autograd.grad([rendered.rgb, rendered.alpha], inputs, list(gradients))[0]


def pose_scoring(device: torch.device, seconds: float) -> Benchmark:
    """Forward only: candidate poses per second."""
    rows = []
    for count in POSE_COUNTS:
        generator = torch.Generator().manual_seed(count)
        scene = shell_scene(count, generator).to(device)
        cameras = random_cameras(POSE_BATCH, POSE_SIZE, generator).to(device)
        batch = timed(lambda s=scene, c=cameras: _forward(s, c), seconds=seconds)
        rows.append({"Gaussians": count, "batch (ms)": batch, "poses / s": 1e3 * POSE_BATCH / batch.median})
    return Benchmark(f"Scoring poses on {device.type}, {POSE_SIZE} px, {POSE_BATCH} cameras at once", rows)


# -------------------------------------------------------------------- loss


def photometric(seconds: float) -> Benchmark:
    """L1 + SSIM with gradient: the fused kernel against torch."""
    rows = []
    for size in SIZES:
        generator = torch.Generator().manual_seed(size)
        # Planar memory, as renders have it.
        planes = torch.rand(2, VIEWS, 3, size, size, generator=generator)
        images, target = planes.movedim(2, -1)
        images.requires_grad_(True)
        fused = timed(_loss_and_gradient(photometric_loss, images, target), seconds=seconds)
        plain = timed(_loss_and_gradient(photometric_loss_torch, images, target), seconds=seconds)
        ratio = plain.median / fused.median
        rows.append({"size (px)": size, "fused (ms)": fused, "torch (ms)": plain, "torch / fused": ratio})
    return Benchmark(f"Photometric loss with gradient, {VIEWS} views", rows)


def _loss_and_gradient(loss: Callable[..., Tensor], images: Tensor, target: Tensor) -> Callable[[], Tensor]:
    return lambda: torch.autograd.grad(loss(images, target, ssim_weight=0.2), images)[0]


# -------------------------------------------------------------------- compilation

_FIRST_CALL = """
import time, torch
from shell_scene import random_cameras, shell_scene
from agsrec.fit.photometric import photometric_loss
generator = torch.Generator().manual_seed(0)
scene = shell_scene(2000, generator).to("cpu", requires_grad=True)
cameras = random_cameras(2, 64, generator)
target = torch.rand(2, 64, 64, 3)
start = time.perf_counter()
photometric_loss(scene.render(cameras).rgb, target).backward()
print(time.perf_counter() - start)
"""


def compilation() -> Benchmark:
    """Seconds of the first step of a process, without and with the compiled kernels on disk."""
    with tempfile.TemporaryDirectory() as folder:
        cold, warm = (_first_step(Path(folder)) for _ in range(2))
    return Benchmark("First step of a process, compilation included", [{"cold (s)": cold, "warm (s)": warm}])


def _first_step(cache: Path) -> float:
    here = str(Path(__file__).resolve().parent)
    paths = [here, str(Path(here).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-c", _FIRST_CALL]
    out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(out.stdout)


# -------------------------------------------------------------------- gsplat against the CPU kernels


def agreement(device: torch.device, count: int = 10_000, size: int = 128) -> Benchmark:
    """Differences between the backends in pictures and in the gradient of every input."""
    generator = torch.Generator().manual_seed(7)
    drawn = shell_scene(count, generator)
    cameras = random_cameras(4, size, generator)
    weights = torch.randn(4, size, size, 3, generator=generator)
    ours = _pictures_and_gradients(drawn, cameras, weights, torch.device("cpu"))
    theirs = _pictures_and_gradients(drawn, cameras, weights, device)
    rows = []
    for name, value in ours.items():
        difference = theirs[name] - value
        cosine = torch.cosine_similarity(value.flatten(), theirs[name].flatten(), dim=0)
        rows.append(
            {
                "quantity": name,
                "relative L2": float(difference.norm() / value.norm()),
                "1 - cosine": 1 - float(cosine),
                "99.9 % below": float(difference.abs().flatten().kthvalue(_rank(difference, 0.999)).values),
                "largest": float(difference.abs().max()),
            }
        )
    return Benchmark(f"gsplat against the CPU kernels, {count} Gaussians, 4 views of {size} px", rows)


def _rank(values: Tensor, share: float) -> int:
    return max(1, round(share * values.numel()))


def _pictures_and_gradients(
    drawn: ShellScene, cameras: Cameras, weights: Tensor, device: torch.device
) -> dict[str, Tensor]:
    """Pictures, and the gradient of a random projection of them, in float64 on the CPU."""
    scene, cameras = drawn.to(device, requires_grad=True), cameras.to(device)
    viewmats = cameras.viewmats.clone().requires_grad_(True)
    rendered = scene.render(Cameras(viewmats, cameras.Ks, cameras.width, cameras.height))
    weight = weights.to(device)
    scalar = (rendered.rgb * weight).sum() + (rendered.alpha * weight[..., 0]).sum()
    names = ("means", "quats", "scales", "opacities", "colors", "viewmats")
    gradients = torch.autograd.grad(scalar, [*scene.tensors(), viewmats])
    out = {"rgb": rendered.rgb, "alpha": rendered.alpha}
    out |= {f"gradient of {name}": g for name, g in zip(names, gradients, strict=True)}
    # The bottom row of a viewmat is constant.
    out["gradient of viewmats"] = out["gradient of viewmats"][:, :3]
    return {name: value.detach().double().cpu() for name, value in out.items()}


# -------------------------------------------------------------------- command line


def benchmarks(seconds: float, counts: Sequence[int], skip_compilation: bool) -> Iterator[Benchmark]:
    """Every table, as it gets ready."""
    cpu = torch.device("cpu")
    yield rendering(cpu, seconds, counts)
    yield pose_scoring(cpu, seconds)
    yield photometric(seconds)
    if not skip_compilation:
        yield compilation()
    if torch.cuda.is_available():
        cuda = torch.device("cuda")
        yield rendering(cuda, seconds, counts)
        yield pose_scoring(cuda, seconds)
        yield agreement(cuda)


def main() -> None:
    """Measure, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write every figure here")
    parser.add_argument("--seconds", type=float, default=1.5, help="time spent on each figure")
    parser.add_argument(
        "--gaussians",
        type=int,
        nargs="+",
        choices=MEDIAN_RADIUS,
        default=COUNTS,
        help="scene sizes to render",
    )
    parser.add_argument("--skip-compilation", action="store_true", help="do not time the first step")
    options = parser.parse_args()
    console = Console(highlight=False, width=max(120, Console().width))
    about = description()
    console.print(heading(about), soft_wrap=True)
    start = time.perf_counter()
    done = []
    for benchmark in benchmarks(options.seconds, options.gaussians, options.skip_compilation):
        benchmark.show(console)
        done.append(asdict(benchmark))
    if options.json is not None:
        content = {**about, "seconds": time.perf_counter() - start, "benchmarks": done}
        atomic_write(options.json, json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
