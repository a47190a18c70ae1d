"""The gsplat wrapper without a GPU: what it asks of gsplat and how it unpacks the answer."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from agsrec.render.gsplat_backend import rasterize_gsplat

V, N, H, W = 2, 5, 3, 4


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replaces gsplat's function by one that records its keywords and returns numbered channels."""
    gsplat = pytest.importorskip("gsplat")
    recorded: list[dict[str, Any]] = []

    def fake(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        recorded.append(kwargs | {"args": args})
        channels = 4 if kwargs["render_mode"] == "RGB+ED" else 3
        image = torch.arange(float(channels)).expand(V, H, W, channels)
        radii = torch.tensor([3, 7], dtype=torch.int32).expand(V, N, 2)
        return image, torch.full((V, H, W, 1), 0.5), {"radii": radii}

    monkeypatch.setattr(gsplat, "rasterization", fake)
    return recorded


def call(*, with_depth: bool, antialiased: bool = False) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """The wrapper on arbitrary float64 inputs."""
    shapes = {
        "means": (N, 3),
        "quats": (N, 4),
        "scales": (N, 3),
        "opacities": (N,),
        "colors": (N, 4, 3),
        "viewmats": (V, 4, 4),
        "Ks": (V, 3, 3),
    }
    tensors: dict[str, Any] = {name: torch.ones(shape, dtype=torch.float64) for name, shape in shapes.items()}
    return rasterize_gsplat(
        **tensors,
        width=W,
        height=H,
        sh_degree=1,
        backgrounds=torch.zeros(V, 3),
        near=0.1,
        far=50.0,
        eps2d=0.2,
        antialiased=antialiased,
        with_depth=with_depth,
    )


def test_with_depth(calls: list[dict[str, Any]]) -> None:
    rgb, alpha, depth, radii = call(with_depth=True)
    assert rgb.shape == (V, H, W, 3) and alpha.shape == (V, H, W)
    assert depth is not None and depth.shape == (V, H, W) and (depth == 3).all()
    assert radii.shape == (V, N) and (radii == 7).all()
    (options,) = calls
    assert options["render_mode"] == "RGB+ED" and options["packed"] is False
    assert (options["near_plane"], options["far_plane"], options["eps2d"], options["sh_degree"]) == (
        0.1,
        50.0,
        0.2,
        1,
    )


def test_without_depth(calls: list[dict[str, Any]]) -> None:
    rgb, _, depth, _ = call(with_depth=False)
    assert rgb.shape == (V, H, W, 3) and depth is None
    assert calls[0]["render_mode"] == "RGB"


@pytest.mark.parametrize(("antialiased", "mode"), [(False, "classic"), (True, "antialiased")])
def test_rasterize_mode(calls: list[dict[str, Any]], antialiased: bool, mode: str) -> None:
    call(with_depth=False, antialiased=antialiased)
    assert calls[0]["rasterize_mode"] == mode


def test_inputs_reach_gsplat_in_float32(calls: list[dict[str, Any]]) -> None:
    call(with_depth=True)
    tensors = [argument for argument in calls[0]["args"] if isinstance(argument, Tensor)]
    assert len(tensors) == 7 and all(tensor.dtype == torch.float32 for tensor in tensors)


def test_import_does_not_load_gsplat() -> None:
    code = "import sys, agsrec.render.gsplat_backend; sys.exit('gsplat' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
