"""The model that comes with the project: what its card says, and that it is good for something."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
import torch

from agsrec.metrics.images import psnr
from agsrec.prior import EMBEDDED_PRIOR, load_prior
from agsrec.prior.zero123 import Zero123
from agsrec.training.validation import over_white, unseen_objects
from agsrec.views import Views

FOLDER = Path(__file__).resolve().parent.parent / "checkpoints" / EMBEDDED_PRIOR


@pytest.fixture(scope="module")
def model() -> Zero123:
    return load_prior(EMBEDDED_PRIOR)


def test_card_lists_every_file() -> None:
    card = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| (\S+) \| [\d,]+ \| `([0-9a-f]{64})` \|$", card, re.MULTILINE))
    files = [f for f in FOLDER.rglob("*") if f.is_file() and f.name != "MODEL_CARD.md"]
    assert listed == {
        f.relative_to(FOLDER).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files
    }
    assert sum(f.stat().st_size for f in files) <= 45_000_000


def test_autoencoder_keeps_shapes_and_colours(model: Zero123) -> None:
    images = over_white(unseen_objects(4, model.image_size)[0][:, 0])
    with torch.no_grad():
        decoded = model.decode_latents(model.encode_image(images))
    assert float(psnr(decoded, images).mean()) > 25
    chroma, kept = (x - x.mean(-1, keepdim=True) for x in (images, decoded))
    assert float((chroma * kept).sum() / (chroma.norm() * kept.norm())) > 0.7


def test_photo_and_camera_help_to_denoise(model: Zero123) -> None:
    cut_outs, cameras = unseen_objects(6, model.image_size)
    images = over_white(cut_outs)
    condition = model.encode(Views(cut_outs[:, 0], tuple("abcdef")))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        latents = model.encode_image(images[:, 1])
        noise, t = torch.randn(latents.shape, generator=generator), torch.full((6,), 800)
        noisy = model.add_noise(latents, noise, t)
        zero = torch.zeros_like(condition.embeddings)
        blind = model.predict_from_context(noisy, t, torch.zeros_like(condition.latents), zero, 1.0)
        informed = model.predict_noise(noisy, t, condition, cameras[[0] * 6], cameras[[1] * 6])
    errors = [float((x - noise).square().mean()) for x in (blind, informed)]
    assert errors[1] < 0.9 * errors[0], errors
