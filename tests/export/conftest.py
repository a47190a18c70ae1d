"""A small made-up result."""

from __future__ import annotations

import pytest
import torch

from agsrec.export.overview import Outcome
from tests.export.made_up import discs, ring


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
