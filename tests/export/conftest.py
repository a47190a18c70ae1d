"""A small made-up result: coloured discs seen by cameras on a ring."""

from __future__ import annotations

import pytest
import torch

from agsrec.cameras import Cameras
from agsrec.export.overview import Outcome


def ring(count: int) -> Cameras:
    index = torch.arange(count, dtype=torch.float64)
    Ks = Cameras.intrinsics(torch.full((count,), 60.0, dtype=torch.float64), 48, 48)
    return Cameras.orbit(-15.0, index * 360 / count, 1.8, Ks=Ks, width=48, height=48)


def discs(count: int, size: int = 48) -> torch.Tensor:
    """White images [V, H, W, 3] with a disc each."""
    axis = torch.linspace(-1, 1, size)
    inside = axis[:, None] ** 2 + axis[None] ** 2 < 0.4
    color = torch.rand(count, 1, 1, 3, generator=torch.Generator().manual_seed(0))
    return torch.where(inside[None, ..., None], color, torch.ones(()))


@pytest.fixture
def outcome() -> Outcome:
    truth, photos = ring(4), discs(4)
    generator = torch.Generator().manual_seed(1)
    return Outcome(
        name="mug",
        preset="fast",
        seconds=41.3,
        num_gaussians=1234,
        view_names=["a", "b", "c", "d"],
        inputs=photos,
        renders=(photos + 0.1).clamp(max=1),
        initial=truth.perturbed(10, generator),
        final=truth.perturbed(1, generator),
        truth=truth,
        history=[{"iteration": i, "loss": 1 / (i + 1), "psnr": 20.0 + i} for i in range(5)],
        timings={"fit": 33.0, "export": 8.3},
        config={"seed": 0, "fit": {"lr_means": 1.6e-4}},
    )
