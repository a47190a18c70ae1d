"""What NoPoSplat costs on this machine, and how well it places views of which it knows the surface.

python benchmarks/noposplat_cost.py [--groups 2] [--views 2 3] [--dtype float32] [--json FILE]
python benchmarks/noposplat_cost.py --exact 20

The network has the size of the published one and random weights: they cost the same. Images are encoded once
each, groups of them (pairs and triples) decoded one at a time. With --exact there is no
network: resection places views by the true surface of procedural objects, at the network's size, and by the
same with noise; how well a trained network knows the surface is not in these figures.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import description, heading

from agsrec.checkpoints import read_settings
from agsrec.device import resolve_device
from agsrec.errors import AgsrecError
from agsrec.export.tables import text_table
from agsrec.files import atomic_write
from agsrec.metrics.poses import rotation_angles
from agsrec.pose_init.noposplat.config import NoPoSplatConfig
from agsrec.pose_init.noposplat.model import NoPoSplat
from agsrec.pose_init.noposplat.poses import Sightings, resected
from agsrec.synthetic import make_scene, random_object, render_views

_DTYPES = ("float32", "bfloat16", "float16")
_NOISE = (0.0, 0.002, 0.005, 0.01)  # of the distance to the camera, in every direction


@dataclass(frozen=True)
class Cost:
    """Figures of the network.

    Attributes:
        parameters: Number of weights.
        image_seconds: Per image encoded.
        group_seconds: Per group decoded.
        image_cpu_seconds: Time of all cores together per image, which other programs do not lengthen.
        group_cpu_seconds: The same per group.
        peak_bytes: Most memory in use: of the process, or allocated on the GPU.
    """

    parameters: int
    image_seconds: float
    group_seconds: float
    image_cpu_seconds: float
    group_cpu_seconds: float
    peak_bytes: int


def random_network(config: NoPoSplatConfig, device: torch.device, dtype: torch.dtype) -> NoPoSplat:
    """An untrained network with its heads in float32, as a loaded one; never larger than it ends up."""
    with torch.device("meta"):
        network = NoPoSplat(config)
        network.backbone.to(dtype)
    network = network.to_empty(device=device).eval().requires_grad_(False)
    generator = torch.Generator(device).manual_seed(0)
    for weight in network.state_dict().values():
        weight.normal_(0.0, 0.02, generator=generator)
    return network


def measured(network: NoPoSplat, groups: int, views: int) -> Cost:
    """Time and memory of `groups` groups of `views` images, one group at a time."""
    side, device = network.config.image_size, network.device
    generator = torch.Generator().manual_seed(0)
    images = (2 * torch.rand(views, side, side, 3, generator=generator) - 1).to(device)
    lens = torch.tensor([[0.9, 0.0, 0.5], [0.0, 0.9, 0.5], [0.0, 0.0, 1.0]]).expand(views, 3, 3)
    index = torch.stack([torch.arange(views).roll(k) for k in range(groups)])
    with torch.inference_mode():
        if device.type == "cuda":  # the first call is slower there
            network.decode(network.encode(images, lens, batch=1), index[:1])
        encoded, *encoding = _clocked(lambda: network.encode(images, lens, batch=1), device)
        _, *decoding = _clocked(lambda: network.decode(encoded, index, batch=1), device)
    count = sum(p.numel() for p in network.parameters())
    (image, group), (image_cpu, group_cpu) = ((encoding[k] / views, decoding[k] / groups) for k in range(2))
    return Cost(count, image, group, image_cpu, group_cpu, _peak_bytes(device))


def _clocked(function: Callable[[], Any], device: torch.device) -> tuple[Any, float, float]:
    """What a call returns, its seconds, and those of all cores together."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start, cpu_start = time.perf_counter(), time.process_time()
    result = function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return result, time.perf_counter() - start, time.process_time() - cpu_start


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # Linux counts in KiB


def resection_errors(objects: int, size: int, noise: float) -> list[float]:
    """Rotation errors in degrees of two views each, placed by true surface points with noise."""
    errors = []
    for seed in range(objects):
        cameras = make_scene(seed, 2, size)[1]
        rendered = render_views(random_object(seed), cameras)
        rng = np.random.default_rng(seed)
        for points, mask, viewmat, K in zip(
            torch.from_numpy(rendered.points),
            torch.from_numpy(rendered.masks),
            cameras.viewmats.double(),
            cameras.Ks.double(),
            strict=True,
        ):
            rows, columns = mask.nonzero().T
            surface = points[mask].double()
            far = (surface @ viewmat[:3, :3].T + viewmat[:3, 3]).norm(dim=-1, keepdim=True)
            surface = surface + noise * far * torch.from_numpy(rng.standard_normal(surface.shape))
            pixels = torch.stack([columns, rows], -1).double()
            found = resected(Sightings(surface, pixels, float(K[0, 0]), K[:2, 2] - 0.5, size))
            if found is None:
                raise AgsrecError(f"object {seed} could not be placed; nothing was measured")
            errors.append(float(rotation_angles((found[0][:3, :3] @ viewmat[:3, :3].T)[None])[0]))
    return errors


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--groups", type=int, default=2, help="pairs or triples to decode")
    parser.add_argument(
        "--views", type=int, nargs="+", choices=(2, 3), default=[2, 3], help="photos seen together"
    )
    parser.add_argument(
        "--dtype", choices=_DTYPES, default="float32", help="type of the weights but the heads'"
    )
    parser.add_argument("--network", type=Path, help="config.json of another model")
    parser.add_argument("--exact", type=int, metavar="OBJECTS", help="resection of true surfaces instead")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--json", type=Path, help="write every figure here")
    options = parser.parse_args(argv)
    if options.groups < 1 or (options.exact is not None and options.exact < 1):
        parser.error("at least 1 of the --groups, and 1 object of --exact, are needed")
    about = description()
    print(heading(about), flush=True)
    try:
        config = NoPoSplatConfig()
        if options.network is not None:
            config = NoPoSplatConfig.from_settings(read_settings(options.network))
        if options.exact is not None:
            rows, figures = _exact(options.exact, config.image_size)
        else:
            device, dtype = resolve_device(options.device), getattr(torch, options.dtype)
            network = random_network(config, device, dtype)
            costs = {str(views): measured(network, options.groups, views) for views in sorted(options.views)}
            rows = [_row(views, cost) for views, cost in costs.items()]
            figures = {views: vars(cost) for views, cost in costs.items()}
            figures |= {"groups": options.groups, "dtype": options.dtype, "device": device.type}
    except AgsrecError as error:
        parser.error(str(error))
    print(text_table(rows))
    if options.json is not None:
        atomic_write(options.json, json.dumps({**about, **figures}, indent=2) + "\n")


def _row(views: str, cost: Cost) -> dict[str, str]:
    return {
        "Photos together": views,
        "Weights (M)": f"{cost.parameters / 1e6:.0f}",
        "Image (s)": f"{cost.image_seconds:.2f}",
        "Group (s)": f"{cost.group_seconds:.2f}",
        "Image, all cores (s)": f"{cost.image_cpu_seconds:.2f}",
        "Group, all cores (s)": f"{cost.group_cpu_seconds:.2f}",
        "Peak memory so far (GiB)": f"{cost.peak_bytes / 2**30:.2f}",
    }


def _exact(objects: int, size: int) -> tuple[list[dict[str, str]], dict[str, object]]:
    """Errors of resection by the noise of the points, as rows and as figures."""
    rows, figures = [], {}
    for noise in _NOISE:
        errors = np.array(resection_errors(objects, size, noise))
        figures[f"noise_{noise:g}"] = {"median_deg": float(np.median(errors)), "max_deg": float(errors.max())}
        rows.append(
            {
                "Noise (of the distance)": f"{noise:.1%}",
                "Views": str(len(errors)),
                "Median (deg)": f"{np.median(errors):.5f}",
                "Largest (deg)": f"{errors.max():.5f}",
            }
        )
    return rows, figures


if __name__ == "__main__":
    main()
