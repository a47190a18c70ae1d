"""Draw the README's picture from a finished result: photos, cameras, and renders of a turn.

python run.py --category jordan --num_views 8
python scripts/make_readme_picture.py [--result output/demo/jordan] [--data data/demo] [--output FILE]
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from agsrec import Cameras, Gaussians, Scene, load_scene, read_ply
from agsrec.camera_files import read_cameras_json
from agsrec.figures.cameras import cameras_figure
from agsrec.figures.canvas import FINAL, INITIAL, draw_text, new_figure, rasterized
from agsrec.files import atomic_write
from agsrec.metrics.evaluation import rendered_on_white

ROOT = Path(__file__).resolve().parent.parent

_HEIGHT = 440  # of every part, pixels
_NOVEL_ROWS, _NOVEL_COLUMNS = 2, 3
_GAP = 36
_HEADER = 52
_MARGIN = 12
_ROOM = 1.08  # side of a tile relative to the largest object in it


def _tiles(images: torch.Tensor, rows: int, columns: int) -> np.ndarray:
    """Images [V, H, W, 3] on white, as a uint8 grid `_HEIGHT` high: objects centred, at one scale."""
    pixels = (images.clamp(0, 1) * 255).round().byte().numpy()[: rows * columns]
    boxes = [Image.fromarray(255 - image).getbbox() or (0, 0, 1, 1) for image in pixels]
    side = round(_ROOM * max(max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes))
    tile = _HEIGHT // rows
    grid = Image.new("RGB", (columns * tile, _HEIGHT), "white")
    for index, (image, (x0, y0, x1, y1)) in enumerate(zip(pixels, boxes, strict=True)):
        square = Image.new("RGB", (side, side), "white")
        square.paste(Image.fromarray(image), ((side - x0 - x1) // 2, (side - y0 - y1) // 2))
        y, x = divmod(index, columns)
        grid.paste(square.resize((tile, tile), Image.Resampling.LANCZOS), (x * tile, y * tile))
    return np.asarray(grid)


def _turn(cameras: Cameras, gaussians: Gaussians) -> torch.Tensor:
    """Renders [6, H, W, 3] of a turn about the origin, each half-way between two photos in azimuth."""
    _, azimuth, radius = cameras.spherical()
    order = (azimuth % 360).sort().values
    between = (order + torch.cat([order[1:], order[:1] + 360])) / 2
    count = _NOVEL_ROWS * _NOVEL_COLUMNS
    index = torch.linspace(0, len(between) - 1, count).round().long()
    elevation = torch.tensor([-28.0, -14.0]).repeat(count // 2)
    focal = (cameras.focal_lengths.mean(1) / radius).median() * radius.mean()
    width, height = cameras.width, cameras.height
    Ks = Cameras.intrinsics(focal.expand(count), width, height)
    novel = Cameras.orbit(elevation, between[index], radius.mean(), Ks=Ks, width=width, height=height)
    return rendered_on_white(gaussians, novel.resized(2 * width, 2 * height))


def _cameras_from_above(scene: Scene, final: Cameras, size: int) -> np.ndarray:
    """The plan of the cameras, before and after, as a square of `size` pixels."""
    photos = scene.views.composited(torch.ones(3))
    figure = cameras_figure(scene.cameras, final, names=[""] * len(final), thumbnails=photos)
    panel = figure.shape[1] // 2
    square = figure[56 : figure.shape[0] - 60, panel + 20 : -20]
    edge = (square.shape[1] - square.shape[0]) // 2
    square = square[:, edge : edge + square.shape[0]]
    return np.asarray(Image.fromarray(square).resize((size, size), Image.Resampling.LANCZOS))


def readme_picture(scene: Scene, final: Cameras, gaussians: Gaussians) -> np.ndarray:
    """The strip, uint8 [H, W, 3]."""
    photos = scene.views.composited(torch.ones(3))
    parts = [
        _tiles(photos, 4, -(-len(photos) // 4)),
        _cameras_from_above(scene, final, _HEIGHT),
        _tiles(_turn(final, gaussians), _NOVEL_ROWS, _NOVEL_COLUMNS),
    ]
    width = sum(part.shape[1] for part in parts) + 2 * _GAP + 2 * _MARGIN
    figure = new_figure(width, _HEADER)
    x, lefts = _MARGIN, []
    for part in parts:
        lefts.append(x)
        x += part.shape[1] + _GAP
    titles = (f"{len(final)} photos", "their cameras", "views nobody photographed")
    for left, title in zip(lefts, titles, strict=True):
        draw_text(figure, left + 6, _HEADER / 2, title, size=24, weight="bold")
    right = lefts[1] + _HEIGHT
    draw_text(figure, right - 92, _HEADER / 2, "given", size=20, color=INITIAL, align="right")
    draw_text(figure, right - 6, _HEADER / 2, "refined", size=20, color=FINAL, align="right")
    strip = np.full((_HEADER + _HEIGHT + _MARGIN, width, 3), 255, np.uint8)
    strip[:_HEADER] = rasterized(figure)[:_HEADER, :width]
    for left, part in zip(lefts, parts, strict=True):
        strip[_HEADER : _HEADER + part.shape[0], left : left + part.shape[1]] = part
    return strip


def main() -> None:
    """Read a finished result and write the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--result", type=Path, default=ROOT / "output/demo/jordan", help="finished result")
    parser.add_argument("--data", type=Path, default=ROOT / "data/demo", help="folder of the scenes")
    parser.add_argument("--output", type=Path, default=ROOT / "docs/images/jordan.jpg", help="file to write")
    options = parser.parse_args()
    scene = load_scene(options.data, options.result.name)
    final = read_cameras_json(options.result / "cameras.json", scene.views.width, scene.views.height)
    picture = readme_picture(scene, final.cameras, read_ply(options.result / "splat.ply"))
    encoded = io.BytesIO()
    Image.fromarray(picture).save(encoded, "JPEG", quality=88, optimize=True, progressive=True)
    atomic_write(options.output, encoded.getvalue())
    print(f"{options.output}: {picture.shape[1]} x {picture.shape[0]}, {encoded.tell() / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
