"""The benchmarks run and record what a figure needs to be believed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent


def run(script: str, *options: str) -> subprocess.CompletedProcess[str]:
    """A benchmark as a user starts it."""
    command = [sys.executable, str(ROOT / "benchmarks" / script), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_rasterize(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    options = ["--seconds", "0", "--gaussians", "5000", "--skip-compilation", "--json", str(file)]
    done = run("rasterize.py", *options)
    assert done.returncode == 0, done.stderr
    content = json.loads(file.read_text(encoding="utf-8"))
    assert {"date", "processor", "threads", "versions", "commit"} <= content.keys()
    rendering, scoring, loss = content["benchmarks"][:3]
    at_256 = rendering["rows"][0]
    # The scene is the one that published figures are about.
    assert at_256["size (px)"] == 256 and at_256["Gaussians"] == 5000
    assert at_256["median radius (px)"] == pytest.approx(6.5, abs=0.2)
    assert 0.4 < at_256["cover"] < 0.6
    for timing in (at_256["forward + backward (ms)"], loss["rows"][0]["fused (ms)"]):
        assert 0 < timing["low"] <= timing["median"] <= timing["high"]
    assert scoring["rows"][0]["poses / s"] > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_gpu_without_cuda(tmp_path: Path) -> None:
    done = run("gpu/run.py", "--output", str(tmp_path / "out"))
    assert done.returncode == 2
    assert done.stderr == "error: this needs a CUDA device, and PyTorch sees none here\n"
    assert not (tmp_path / "out").exists()
