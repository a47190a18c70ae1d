"""Teaches rendering: load a splat file, send cameras around it, write one PNG per view.

python examples/02_render_a_splat.py --splat output/demo/jordan/splat.ply --output output/examples/turn
"""

from __future__ import annotations

from pathlib import Path

import torch
import tyro

from agsrec import Cameras, rasterize, read_ply
from agsrec.images import save_png


def main(
    splat: Path = Path("output/demo/jordan/splat.ply"),
    output: Path = Path("output/examples/turn"),
    frames: int = 12,
    size: int = 512,
    elevation_deg: float = -20.0,
) -> None:
    """Render a turn around a scene.

    Args:
        splat: Scene in the 3D Gaussian Splatting layout.
        output: Folder for the pictures.
        frames: Views on the circle.
        size: Side of the pictures in pixels.
        elevation_deg: Elevation of the cameras, degrees; negative looks down on the object.
    """
    g = read_ply(splat)
    # The box of what can be seen; quantiles, so that strays do not count.
    seen = g.means[g.opacities > 0.1]
    low, high = seen.quantile(torch.tensor([0.01, 0.99]), dim=0)
    center, radius = (low + high) / 2, float((high - low).norm()) / 2

    azimuth_deg = torch.arange(frames) * (360.0 / frames)
    Ks = Cameras.intrinsics(torch.full((frames,), 1.5 * size), size, size)
    around = Cameras.orbit(elevation_deg, azimuth_deg, 3.4 * radius, Ks=Ks, width=size, height=size)
    cameras = around.transformed(1.0, torch.eye(3), center)

    with torch.no_grad():
        rendered = rasterize(
            g.means,
            g.quats,
            g.scales,
            g.opacities,
            g.sh,
            cameras.viewmats,
            cameras.Ks,
            size,
            size,
            sh_degree=g.sh_degree,
            backgrounds=torch.ones(3),
        )
    pixels = (rendered.rgb.clamp(0, 1) * 255).round().byte().numpy()  # [V, H, W, 3]
    for index, picture in enumerate(pixels):
        save_png(output / f"{index:03d}.png", picture)
    print(f"{frames} pictures of {len(g):,} Gaussians in {output}")


if __name__ == "__main__":
    tyro.cli(main)
