"""Everything there is to check and to measure on a CUDA machine, in one command.

python benchmarks/gpu/run.py [--output output/gpu]

Runs the tests marked `gpu`, compares gsplat with the CPU kernels in values and gradients, times the
rasterizer, whole fits and fits guided by a prior of published size, and writes `gpu.json` and `gpu.md`. Exits
with 2 where there is no CUDA.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from figures import ROOT, Row, fits, gpu_tests, rasterizer
from prior import guided_fits

from agsrec import load_scene
from agsrec.files import atomic_write

# -------------------------------------------------------------------- report


def markdown(about: Mapping[str, Any], tests: Mapping[str, Any], tables: Mapping[str, Sequence[Row]]) -> str:
    """The figures as a page."""
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items() if number)
    lines = [
        "# CUDA figures",
        "",
        f"{about['date']}; {about['gpu']}; host {about['processor']}, {about['threads']} threads; "
        f"Python {about['python']}, {versions}; commit {about['commit']}.",
        "Command: `python benchmarks/gpu/run.py`.",
        "",
        f"Tests marked `gpu`: {tests['summary'] or 'none'}",
    ]
    for title, rows in tables.items():
        columns = list(rows[0])
        lines += ["", f"## {title}", "", f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
        lines += [f"| {' | '.join(_cell(value) for value in row.values())} |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    """A table cell; timings are objects of median, low and high."""
    if isinstance(value, Mapping):
        return f"{value['median']:.2f} ({value['low']:.2f}-{value['high']:.2f})"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)


def main() -> None:
    """Run everything; the exit status is 1 if a test failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "output/gpu", help="folder for the results")
    parser.add_argument("--scene", default="jordan", help="demo scene of the fits")
    parser.add_argument("--seconds", type=float, default=1.0, help="time spent on each rasterizer figure")
    parser.add_argument("--repeats", type=int, default=3, help="fits per figure")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("error: this needs a CUDA device, and PyTorch sees none here", file=sys.stderr)
        raise SystemExit(2)
    options.output.mkdir(parents=True, exist_ok=True)
    tests = gpu_tests()
    measured = rasterizer(options.output, options.seconds)
    tables = {table["title"]: table["rows"] for table in measured["benchmarks"]}
    tables[f"Whole fits of {options.scene}, 8 views of 256 px"] = fits(options.scene, options.repeats)
    title = "The published schedule with a prior of published size (random weights, half precision)"
    tables[title] = guided_fits(load_scene(ROOT / "data/demo", options.scene), options.repeats)
    content = {**{k: v for k, v in measured.items() if k != "benchmarks"}, "tests": tests, "tables": tables}
    atomic_write(options.output / "gpu.json", json.dumps(content, indent=2) + "\n")
    page = markdown(measured, tests, tables)
    atomic_write(options.output / "gpu.md", page)
    print(page)
    if tests["status"] not in (0, 5):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
