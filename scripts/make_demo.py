"""Regenerate the demo scenes in data/demo, bit for bit.

python scripts/make_demo.py [NAME ...] [--output data/demo]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from agsrec.synthetic.demo import DEMO_SCENES, write_demo_scene

DATA = Path(__file__).resolve().parent.parent / "data" / "demo"


def main() -> None:
    """Parse the command line and write the scenes asked for."""
    parser = argparse.ArgumentParser(description="Regenerate the demo scenes in data/demo, bit for bit.")
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
        size = sum(f.stat().st_size for f in (options.output / name).rglob("*") if f.is_file())
        print(f"{name}: {options.output / name} ({size / 1e6:.2f} MB)")


if __name__ == "__main__":
    main()
