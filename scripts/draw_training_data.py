"""Draw a contact sheet of what the embedded models are trained on: python scripts/draw_training_data.py FILE.

Each row is one thing in the pictures that the pose network sees: its views, cut out carelessly, exposed
differently, some of them rolled, cut by the frame, or all from one side.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from agsrec.training.nview_data import VIEWS_PER_SET, as_cut_out, render_view_sets

THINGS, SIZE, SEED = 20, 64, 0  # sheet of two columns


def row(index: int) -> np.ndarray:
    """The first set of views of a thing over white [SIZE, views * SIZE, 3] uint8."""
    images = torch.from_numpy(render_view_sets(SEED, index, size=SIZE).images[None, :VIEWS_PER_SET])
    straight = images.float().permute(0, 1, 4, 2, 3) / 255
    seen = as_cut_out(straight, torch.Generator().manual_seed(index))[0]
    white = seen[:, :3] + 1 - seen[:, 3:]
    return (255 * white.permute(2, 0, 3, 1).flatten(1, 2)).round().byte().numpy()


def sheet() -> np.ndarray:
    """The whole sheet, uint8."""
    rows = [row(index) for index in range(THINGS)]
    half = THINGS // 2
    return np.concatenate([np.concatenate(rows[:half]), np.concatenate(rows[half:])], axis=1)


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    Image.fromarray(sheet()).save(options.file, quality=88)


if __name__ == "__main__":
    main()
