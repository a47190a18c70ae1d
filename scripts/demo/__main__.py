"""Regenerate the demo scenes in data/demo, bit for bit but for the poses that are estimated.

python -m scripts.demo [NAME ...] [--output data/demo]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from agsrec.camera_files import write_cameras_json
from agsrec.dataset import load_unposed_views
from agsrec.pose_init import initialize
from scripts.demo.scenes import DEMO_SCENES, write_demo_scene

# Those whose photos the embedded network poses well enough to begin with.
ESTIMATED = ("jordan", "robot")
DATA = Path(__file__).resolve().parents[2] / "data" / "demo"


def estimate_cameras(folder: Path) -> None:
    """Replace a scene's initial cameras by what the embedded network makes of its photos."""
    views = load_unposed_views(folder)
    cameras = initialize(views, "nview", device="cpu").cameras
    extras = {
        name: {"filepath": f"data/demo/{folder.name}/processed/{name}_rgba.png", "focal_estimated": True}
        for name in views.names
    }
    write_cameras_json(folder / "cameras.json", cameras, views.names, extras=extras)


def main() -> None:
    """Parse the command line and write the scenes asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.demo", description="Regenerate the demo scenes in data/demo."
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"scenes, all by default: {', '.join(DEMO_SCENES)}"
    )
    parser.add_argument("--output", type=Path, default=DATA, help="folder that holds one folder per scene")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(DEMO_SCENES))
    if unknown:
        parser.error(f"unknown scene {', '.join(unknown)}; choose from {', '.join(DEMO_SCENES)}")
    for name in options.names or DEMO_SCENES:
        write_demo_scene(DEMO_SCENES[name], options.output / name)
        if name in ESTIMATED:
            estimate_cameras(options.output / name)
        size = sum(f.stat().st_size for f in (options.output / name).rglob("*") if f.is_file())
        print(f"{name}: {options.output / name} ({size / 1e6:.2f} MB)")


if __name__ == "__main__":
    main()
