"""What a prior imagines of unseen objects, against showing the photo again and against the average picture.

python benchmarks/novel_views.py [--model checkpoints/zero123-6dof-mini] [--objects 32] [--steps N]
    [--guidance G] [--json FILE] [--picture FILE]

Objects are random ones that no training sees; one photo is shown, views at other azimuths are asked for.
Two predictors know nothing of cameras: a copy of the photo, and the mean of many training pictures.
Then three photos from random sides are shown and the view is asked for that is farthest from all of them; of
copies, the best one counts. The photos on the visual hull of their masks are what such a model is shown.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from machine import Timing, description, heading, timed
from rich.console import Console
from rich.table import Table
from torch import Tensor

from agsrec.device import resolve_device
from agsrec.errors import AgsrecError
from agsrec.files import atomic_write
from agsrec.metrics.images import psnr, ssim
from agsrec.prior.warping import PhotoHull
from agsrec.prior.zero123 import Zero123
from agsrec.training.object_stream import object_stream
from agsrec.training.validation import (
    ANGLES_DEG,
    farthest_views,
    novel_views,
    over_white,
    quality_by_angle,
    unseen_objects,
    unseen_photo_sets,
    write_grid,
)
from agsrec.views import Views

VIEWS_PER_OBJECT = 10
PICTURE_ROWS = 6


def mean_picture(objects: int, size: int) -> Tensor:  # [size, size, 3]
    """Mean over white of the views of the first training objects."""
    total = torch.zeros(size, size, 3, dtype=torch.float64)
    with object_stream(0, VIEWS_PER_OBJECT, size, workers=0) as stream:
        for _ in range(objects):
            rgba = torch.from_numpy(next(stream).images).double() / 255
            total += (rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]).mean(0)
    return (total / objects).float()


def predictions(model: Zero123, options: argparse.Namespace) -> tuple[Tensor, dict[str, Tensor]]:
    """Truth [K, A, S, S, 3], and what every predictor makes of its first column."""
    cut_outs, cameras = unseen_objects(options.objects, model.image_size)
    sampled = novel_views(model, cut_outs, cameras, steps=options.steps, guidance_scale=options.guidance)
    mean, truth = mean_picture(options.mean_objects, model.image_size), over_white(cut_outs)
    return truth, {
        "model": sampled.cpu(),
        "copy of the photo": truth[:, :1].expand_as(truth),
        "mean picture": mean.expand_as(truth),
    }


def farthest(model: Zero123, options: argparse.Namespace) -> tuple[Tensor, dict[str, Tensor]]:
    """Truth [K, S, S, 3] of the views farthest from three photos, and what every predictor makes of them."""
    cut_outs, cameras = unseen_photo_sets(options.objects, model.image_size)
    sampled = farthest_views(model, cut_outs, cameras, steps=options.steps, guidance_scale=options.guidance)
    white = over_white(cut_outs)
    photos, truth = white[:, :-1], white[:, -1]
    copies = torch.stack(
        [psnr(shown, wanted.expand_as(shown)) for shown, wanted in zip(photos, truth, strict=True)]
    )
    hulls = [
        PhotoHull.of(Views(cut_out[:-1], tuple("abc")), chosen[:-1]).seen_from(chosen[[-1]])
        for cut_out, chosen in zip(cut_outs, cameras, strict=True)
    ]
    return truth, {
        "model": sampled.cpu(),
        "best copy of a photo": photos[torch.arange(len(photos)), copies.argmax(1)],
        "photos on their hull": torch.cat(hulls),
    }


def of_farthest(predicted: Tensor, truth: Tensor) -> dict[str, float]:
    """Mean PSNR (dB) and SSIM of predictions [K, S, S, 3]."""
    return {
        "psnr": round(float(psnr(predicted, truth).mean()), 3),
        "ssim": round(float(ssim(predicted, truth).mean()), 4),
    }


def speed(model: Zero123, seconds: float) -> dict[str, Timing]:
    """Milliseconds of what a guidance does in every step, for a batch of four (the hull for one, of 4)."""
    side, device = model.latent_size, model.device
    generator = torch.Generator().manual_seed(0)
    channels = model.unet.config["in_channels"] - 4
    noisy, latents = (
        torch.randn(4, count, side, side, generator=generator).to(device) for count in (4, channels)
    )
    token = torch.randn(4, 1, model.camera_projection.embedding_dim, generator=generator).to(device)
    t = torch.full((4,), 500, device=device)
    images = torch.rand(4, model.image_size, model.image_size, 3, generator=generator).to(device)
    images.requires_grad_(True)

    def denoise() -> None:
        with torch.no_grad():
            model.predict_from_context(noisy, t, latents, token, model.guidance_scale)

    def encode() -> None:
        torch.autograd.grad(model.encode_image(images).sum(), images)

    timings = {
        "guided denoising (ms)": timed(denoise, seconds=seconds),
        "encoding with gradient (ms)": timed(encode, seconds=seconds),
    }
    if model.warps:
        cut_outs, (cameras,) = unseen_photo_sets(1, model.image_size)
        condition = model.encode(Views(cut_outs[0].to(device), tuple("abcd")))
        there = cameras.to(device)
        timings["photos on their hull (ms)"] = timed(
            lambda: model.drawn(model.hull(condition, there), there), seconds=seconds
        )
    return timings


def show(console: Console, quality: dict[str, dict[str, float]]) -> None:
    """Print PSNR and SSIM by predictor and angle."""
    table = Table()
    table.add_column("PSNR (dB) / SSIM at")
    for angle in ANGLES_DEG[1:]:
        table.add_column(f"{angle:.0f} deg", justify="right")
    for name, values in quality.items():
        cells = [f"{values[f'psnr_{a:.0f}']:.2f} / {values[f'ssim_{a:.0f}']:.3f}" for a in ANGLES_DEG[1:]]
        table.add_row(name, *cells)
    console.print(table)


def show_farthest(console: Console, quality: dict[str, dict[str, float]]) -> None:
    """Print PSNR and SSIM by predictor."""
    cells = [f"{name} {values['psnr']:.2f} / {values['ssim']:.3f}" for name, values in quality.items()]
    console.print("the view farthest from three photos: " + ", ".join(cells))


def write_picture(
    path: Path, truth: Tensor, predicted: dict[str, Tensor], far: Tensor, far_predicted: dict[str, Tensor]
) -> None:
    """One row per object: the photo; truth, sample and copy for every angle; and so for the farthest view."""
    columns = [truth[:, 0]]
    for a in range(1, len(ANGLES_DEG)):
        columns += [truth[:, a], predicted["model"][:, a], predicted["copy of the photo"][:, a]]
    columns += [far, *far_predicted.values()]
    write_grid(path, torch.stack(columns, dim=1)[:PICTURE_ROWS])


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="checkpoints/zero123-6dof-mini", help="model folder or hub id")
    parser.add_argument("--objects", type=int, default=32, help="unseen objects")
    parser.add_argument("--mean-objects", type=int, default=200, help="training objects in the mean picture")
    parser.add_argument("--steps", type=int, help="denoising steps; the model's own number by default")
    parser.add_argument("--guidance", type=float, help="classifier-free guidance; the model's own by default")
    parser.add_argument("--seconds", type=float, default=1.5, help="time spent on each timing")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--json", type=Path, help="write every figure here")
    parser.add_argument("--picture", type=Path, help="write the first objects here")
    options = parser.parse_args()
    if options.objects < 1 or options.mean_objects < 1:
        parser.error("--objects and --mean-objects must be at least 1")
    return options


def main() -> None:
    """Measure, print, and write files where asked."""
    options = parsed()
    console = Console(highlight=False, width=max(120, Console().width))
    about: dict[str, Any] = description()
    console.print(heading(about), soft_wrap=True)
    try:
        model = Zero123.from_pretrained(options.model, device=resolve_device(options.device))
        start = time.perf_counter()
        truth, predicted = predictions(model, options)
        quality = {name: quality_by_angle(images, truth) for name, images in predicted.items()}
        far, far_predicted = farthest(model, options)
        far_quality = {name: of_farthest(images, far) for name, images in far_predicted.items()}
        drawing = time.perf_counter() - start
        if options.picture is not None:
            write_picture(options.picture, truth, predicted, far, far_predicted)
        show(console, quality)
        show_farthest(console, far_quality)
        timings = speed(model, options.seconds)
        line = ", ".join(f"{name[:-5]} {timing} ms" for name, timing in timings.items())
        console.print(f"batch of 4 on {model.device.type}, {torch.get_num_threads()} threads: {line}")
        if options.json is not None:
            content = {
                **about,
                "model": options.model,
                "image_size": model.image_size,
                "objects": options.objects,
                "mean_objects": options.mean_objects,
                "steps": model.sampling_steps if options.steps is None else options.steps,
                "guidance": model.guidance_scale if options.guidance is None else options.guidance,
                "seconds": drawing,
                "quality": quality,
                "farthest": far_quality,
                "timings": {name: asdict(timing) for name, timing in timings.items()},
            }
            atomic_write(options.json, json.dumps(content, indent=2) + "\n")
    except AgsrecError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
