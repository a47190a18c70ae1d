"""Teaches the main job in Python: load a scene, reconstruct it, save the result.

python examples/01_reconstruct.py --name jordan --output output/examples/jordan
"""

from __future__ import annotations

from pathlib import Path

import tyro

import agsrec
from agsrec.config import PresetName
from agsrec.fit import FitProgress


class Steps(agsrec.Listener):
    """Prints the steps of the fit."""

    def step(self, name: str, progress: FitProgress) -> None:
        """One of them."""
        p = progress
        print(f"step {p.iteration} of {p.total}, {p.size} px: {p.psnr:.1f} dB")


def main(
    name: str = "jordan",
    data: Path = Path("data/demo"),
    output: Path = Path("output/examples/jordan"),
    num_views: int | None = None,
    preset: PresetName = "fast",
) -> None:
    """Reconstruct a demo scene.

    Args:
        name: Name of the scene.
        data: Folder of the scenes.
        output: Folder for the result.
        num_views: Use the first so many views; all by default.
        preset: Schedule of the fit.
    """
    scene = agsrec.load_scene(data, name, num_views=num_views)
    result = agsrec.reconstruct(
        scene.views,
        scene.cameras,  # rough; the refined ones are in result.cameras
        agsrec.Settings(preset=preset),
        focal_known=scene.focal_known,
        listener=Steps(),
    )
    metrics = agsrec.save_results(result, output, scene)
    print(f"{metrics['input']['psnr']:.1f} dB at the photos; see {output / 'report.html'}")


if __name__ == "__main__":
    tyro.cli(main)
