"""What DUSt3R or MASt3R costs on this machine: time per image and pair, memory, and what follows.

python benchmarks/dust3r_cost.py [--views 4] [--pairs 4] [--dtype float32] [--mast3r | --network FILE]

The network has the size of the published 224_linear model, or that of a config.json, and random weights:
they cost the same. Images are encoded once each, ordered pairs decoded one batch at a time. The alignment is
timed on the true point maps of a procedural object, all ordered pairs of its views, without the network.
With a matching head, reciprocal matching is timed too, from seeds in every eighth row and column and (--full)
by the full search, on smooth random descriptors of all pixels of an image and of the same moved, with noise.
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

import torch
from machine import description, heading
from torch import Tensor

from agsrec.checkpoints import read_settings
from agsrec.device import resolve_device
from agsrec.errors import AgsrecError
from agsrec.export.tables import text_table
from agsrec.files import atomic_write
from agsrec.pose_init.dust3r.alignment import AlignOptions
from agsrec.pose_init.dust3r.pairs import Pairs, complete_graph
from agsrec.pose_init.dust3r.placement import place_views
from agsrec.pose_init.mast3r.reciprocal import fast_mutual_neighbours, mutual_neighbours
from agsrec.pose_init.stereo.config import DUSt3RConfig
from agsrec.pose_init.stereo.model import DUSt3R, PairPrediction
from agsrec.synthetic import make_scene, random_object, render_views

_DTYPES = ("float32", "bfloat16", "float16")
_MOST_ALIGNED = 256  # pixels a side, as initialisers thin larger point maps
_EVERY = 8  # rows and columns per seed
_NOISE = 0.05  # of a descriptor's length


@dataclass(frozen=True)
class Cost:
    """Figures of the network.

    Attributes:
        parameters: Number of weights.
        image_seconds: Per image encoded.
        pair_seconds: Per ordered pair decoded.
        peak_bytes: Most memory in use: of the process, or allocated on the GPU.
    """

    parameters: int
    image_seconds: float
    pair_seconds: float
    peak_bytes: int


def random_network(config: DUSt3RConfig, device: torch.device, dtype: torch.dtype) -> DUSt3R:
    """An untrained network with its heads in float32, as a loaded one; never larger than it ends up."""
    with torch.device("meta"):
        network = DUSt3R(config).to(dtype)
        for head in (network.downstream_head1, network.downstream_head2):
            head.float()
    network = network.to_empty(device=device).eval().requires_grad_(False)
    generator = torch.Generator(device).manual_seed(0)
    for weight in network.state_dict().values():
        weight.normal_(0.0, 0.02, generator=generator)
    return network


def measured(network: DUSt3R, views: int, pairs: int, batch: int) -> Cost:
    """Time and memory of `views` images and `pairs` of their ordered pairs."""
    device = network.device
    generator = torch.Generator().manual_seed(0)
    height, width = image_shape(network.config)
    images = 2 * torch.rand(views, height, width, 3, generator=generator) - 1
    images = images.to(device)
    index = complete_graph(views)[:pairs]
    with torch.inference_mode():
        network.decode_pairs(network.encode(images[:2]), index[:1])  # the first call is slower
        features, encoding = _clocked(lambda: network.encode(images, batch=batch), device)
        _, decoding = _clocked(lambda: network.decode_pairs(features, index, batch=batch), device)
    count = sum(p.numel() for p in network.parameters())
    return Cost(count, encoding / views, decoding / len(index), _peak_bytes(device))


def image_shape(config: DUSt3RConfig) -> tuple[int, int]:
    """Height and width of the images that cut-outs, which are square, become for a network."""
    height, width = config.image_size
    return (height, width) if config.square_images else (config.patch_size * int(0.75 * width / 16), width)


@dataclass(frozen=True)
class Matching:
    """Figures of reciprocal matching.

    Attributes:
        seeds: Number of seeds.
        seed_seconds: From them.
        matches: What they led to.
        full_seconds: Of the full search, if it was made.
        full_matches: What that found.
    """

    seeds: int
    seed_seconds: float
    matches: int
    full_seconds: float | None = None
    full_matches: int | None = None


def matching(config: DUSt3RConfig, device: torch.device, *, full: bool) -> Matching:
    """Time of matching all pixels of an image with those of the same image moved by some pixels."""
    height, width = image_shape(config)
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, config.descriptor_width, height // 16 + 1, width // 16 + 1, generator=generator)
    field = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")[0].movedim(0, -1)
    field = torch.nn.functional.normalize(field, dim=-1)
    moved = field.roll((height // 20, width // 20), (0, 1))
    moved = moved + _NOISE * torch.randn(moved.shape, generator=generator) / config.descriptor_width**0.5
    first = field.flatten(0, 1).to(device)
    second = torch.nn.functional.normalize(moved, dim=-1).flatten(0, 1).to(device)
    seeds = torch.arange(height * width, device=device).view(height, width)[::_EVERY, ::_EVERY].flatten()
    found, seconds = _clocked(lambda: fast_mutual_neighbours(first, second, seeds), device)
    if not full:
        return Matching(len(seeds), seconds, len(found))
    everything, longer = _clocked(lambda: mutual_neighbours(first, second), device)
    return Matching(len(seeds), seconds, len(found), longer, len(everything))


def _clocked(function: Callable[[], Any], device: torch.device) -> tuple[Any, float]:
    """What a call returns, and its seconds."""

    def synchronize() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    synchronize()
    start = time.perf_counter()
    result = function()
    synchronize()
    return result, time.perf_counter() - start


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # Linux counts in KiB


def true_pairs(views: int, size: int, device: torch.device) -> Pairs:
    """What a perfect network would say about all ordered pairs of a procedural object's views."""
    cameras = make_scene(0, views, size)[1]
    rendered = render_views(random_object(0), cameras)
    points, viewmats = torch.from_numpy(rendered.points).float(), cameras.viewmats.float()
    index = complete_graph(views)
    first = viewmats[index[:, 0], None]  # [P, 1, 4, 4]
    scale = 0.5 + torch.rand(len(index), 1, 1, 1, generator=torch.Generator().manual_seed(0))

    def seen_from_first(which: Tensor) -> Tensor:  # [P, H, W, 3]
        return scale * (points[which] @ first[..., :3, :3].mT + first[:, :, None, :3, 3])

    sure = torch.full((len(index), size, size), 5.0)
    maps = PairPrediction(seen_from_first(index[:, 0]), sure, seen_from_first(index[:, 1]), sure)
    return Pairs.from_maps(index.to(device), maps.to(device), torch.from_numpy(rendered.masks).to(device))


def alignment_seconds(pairs: Pairs, iterations: int, device: torch.device) -> float:
    """Seconds of the placement of all views, with as many steps as an initialisation takes."""
    place_views(pairs, AlignOptions(iterations=1, optimize_pp=True))  # the first call is slower
    options = AlignOptions(iterations=iterations, optimize_pp=True)
    placed, seconds = _clocked(lambda: place_views(pairs, options), device)
    if placed is None or len(placed.views) < pairs.num_views:
        raise AgsrecError("the views of the synthetic object could not be placed; nothing was measured")
    return seconds


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--views", type=int, default=4, help="images, and views that are aligned")
    parser.add_argument("--pairs", type=int, default=4, help="ordered pairs to decode")
    parser.add_argument("--batch", type=int, default=4, help="images or pairs at a time")
    parser.add_argument(
        "--dtype", choices=_DTYPES, default="float32", help="type of the weights but the heads'"
    )
    parser.add_argument("--iterations", type=int, default=300, help="steps of the alignment")
    parser.add_argument("--network", type=Path, help="config.json of another model")
    parser.add_argument("--mast3r", action="store_true", help="the published size of MASt3R")
    parser.add_argument("--full", action="store_true", help="time the full search for matches too")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--json", type=Path, help="write every figure here")
    options = parser.parse_args(argv)
    if options.views < 2 or min(options.pairs, options.batch) < 1 or options.iterations < 0:
        parser.error("at least 2 --views, 1 of the --pairs, a --batch of 1 and 0 --iterations are needed")
    about = description()
    print(heading(about), flush=True)
    try:
        device, dtype = resolve_device(options.device), getattr(torch, options.dtype)
        config = DUSt3RConfig()
        if options.mast3r:
            config = DUSt3RConfig(image_size=(512, 512), square_images=False, head="catmlp+dpt")
        if options.network is not None:
            config = DUSt3RConfig.from_published(read_settings(options.network))
        cost = measured(random_network(config, device, dtype), options.views, options.pairs, options.batch)
        pairs = true_pairs(options.views, min(config.image_size[0], _MOST_ALIGNED), device)
        aligning = alignment_seconds(pairs, options.iterations, device)
        matched = matching(config, device, full=options.full) if config.head == "catmlp+dpt" else None
    except AgsrecError as error:
        parser.error(str(error))
    where = "of the GPU" if device.type == "cuda" else "of the process"
    print(
        f"{cost.parameters / 1e6:.0f} M weights, {image_shape(config)[1]} x {image_shape(config)[0]} px, "
        f"{options.dtype} on {device.type}; {options.views} views, batches of {options.batch}"
    )
    row = {
        "Image (s)": f"{cost.image_seconds:.3f}",
        "Pair (s)": f"{cost.pair_seconds:.3f}",
        f"Peak memory {where} (GiB)": f"{cost.peak_bytes / 2**30:.2f}",
        f"Alignment of {len(pairs)} pairs, {options.iterations} steps (s)": f"{aligning:.1f}",
    }
    if matched is not None:
        row[f"Matches of {matched.seeds} seeds"] = str(matched.matches)
        row["From seeds (s)"] = f"{matched.seed_seconds:.1f}"
    if matched is not None and matched.full_seconds is not None:
        row["All matches"] = str(matched.full_matches)
        row["Full search (s)"] = f"{matched.full_seconds:.1f}"
    print(text_table([row]))
    if options.json is not None:
        used = {"views": options.views, "batch": options.batch, "dtype": options.dtype, "device": device.type}
        figures = vars(cost) | {"aligned_pairs": len(pairs), "iterations": options.iterations}
        content = {**about, **used, **figures, "alignment_seconds": aligning}
        content["matching"] = None if matched is None else vars(matched)
        atomic_write(options.json, json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
