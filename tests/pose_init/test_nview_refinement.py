"""Finer tokens of the all-views network: they change nothing at first, go where detail is, and are heard."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from agsrec.errors import OptionError
from agsrec.pose_init.nview import NView, NViewConfig, initialize_nview
from agsrec.pose_init.nview.reading import read_views
from agsrec.pose_init.nview.refinement import detail
from agsrec.pose_init.nview.weights import load_nview, save_nview
from agsrec.synthetic import make_scene
from agsrec.views import Views

SHIPPED = Path(__file__).parents[2] / "checkpoints" / "nview-mini"
TINY = NViewConfig(image_size=32, tokens=10, width=32, heads=2, blocks="FGF", match_after=1, match_channels=8)
FINE = replace(TINY, fine_tokens=12)


def pair() -> tuple[NView, NView]:
    """A network, and one with finer tokens that has its weights."""
    torch.manual_seed(0)
    plain, fine = NView(TINY).eval(), NView(FINE).eval()
    missing, unexpected = fine.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected and all(name.startswith("refinement.") for name in missing)
    return plain, fine


def listen(fine: NView) -> None:
    """Have it heed its finer tokens, as after some training."""
    for name, weight in fine.named_parameters():
        if name.startswith("refinement.questions.") and name.endswith(".out.weight"):
            torch.nn.init.normal_(weight, std=0.1)


def crops(side: int = 64) -> torch.Tensor:
    pictures = torch.rand(2, 3, 4, side, side, generator=torch.Generator().manual_seed(1))
    pictures[..., : side // 4] = 0  # no object there
    return pictures


def halved(pictures: torch.Tensor) -> torch.Tensor:
    return F.avg_pool2d(pictures.flatten(0, 1), 2).unflatten(0, pictures.shape[:2])


@torch.no_grad()
def test_the_shipped_network_computes_what_it_did(tmp_path: Path) -> None:
    """Also where its settings are from before there were finer tokens."""
    settings = json.loads((SHIPPED / "config.json").read_text())
    assert settings.pop("fine_tokens") == 0
    (tmp_path / "config.json").write_text(json.dumps(settings))
    shutil.copyfile(SHIPPED / "model.safetensors", tmp_path / "model.safetensors")
    network = load_nview(tmp_path)
    assert network.refinement is None and network.config.crop_size == network.config.image_size == 64
    t = torch.linspace(0, 1, 64)
    base = torch.stack([t[:, None] * t, t[:, None] + 0 * t, 0 * t[:, None] + t, torch.ones(64, 64)])
    output = network(torch.stack([base, base.flip(-1), 0.5 * base.roll(9, 1)])[None])
    assert output.field_logits is not None
    for found, before in (
        (output.pair_logits[0, 0, 1, :4], (-13.9151, -14.0985, -14.5444, -14.7910)),
        (output.elevation_logits[0, 0, :3], (-6.7980, -3.3636, -1.7761)),
        (output.roll[0, 2], (0.9852, 0.0246)),
        (output.points[0, 1, 3, 2, 1], (0.0316, 0.0719, -0.2074)),
        (output.field_logits[0, 0, :3], (-3.2039, -2.5885, -2.0183)),
    ):
        assert found.tolist() == pytest.approx(before, abs=2e-3)


@torch.no_grad()
def test_finer_tokens_say_nothing_at_first() -> None:
    plain, fine = pair()
    pictures = crops()
    before, after = vars(plain(halved(pictures))), vars(fine(pictures))
    told = [name for name, value in before.items() if value is not None]
    assert len(told) == 8 and all(torch.equal(before[name], after[name]) for name in told)
    assert after["points"].shape == (2, 3, 10, 4, 4, 3) and after["pair_logits"].shape[:3] == (2, 3, 3)


@torch.no_grad()
def test_what_only_large_pictures_show_is_heard() -> None:
    _, fine = pair()
    listen(fine)
    pictures = crops()
    turned = pictures.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)  # the same where two pixels are one
    assert torch.allclose(halved(pictures), halved(turned))
    assert float((fine(pictures).pair_logits - fine(turned).pair_logits).abs().max()) > 1e-3


def test_gradients_reach_the_finer_tokens() -> None:
    _, fine = pair()
    listen(fine)
    output = fine.train()(crops())
    (output.pair_logits.square().mean() + output.points.square().mean()).backward()
    finer = {name: p.grad for name, p in fine.named_parameters() if name.startswith("refinement.")}
    assert finer and all(grad is not None and bool(grad.any()) for grad in finer.values())


def test_detail_is_where_large_pictures_show_more() -> None:
    picture = torch.zeros(1, 4, 32, 32)
    picture[:, 3, :, 8:] = 1  # the outline is no detail
    picture[:, :3, :, 8:] = 0.5
    picture[:, :3, 8:16, 16:24] = (torch.arange(8) % 2).float()  # stripes of a pixel
    picture[:, 0, 24:, 8:16] = (torch.arange(8) // 4).float()  # stripes that small pictures show too
    scores = detail(picture).view(4, 4)
    assert int(scores.argmax()) == 6
    assert scores[1, 2].item() == pytest.approx(0.75, abs=1e-4)  # three colours, each 0.5 off its mean
    rest = scores.clone()
    rest[1, 2] = 0
    assert float(rest.max()) < 1e-5 and not bool(scores[:, 0].any()) and bool((scores[:, 1:] > 0).all())


@torch.no_grad()
def test_readings_are_in_pixels_of_the_views() -> None:
    images, _, _ = make_scene(3, 3, 96)
    views = Views(images, ("a", "b", "c"))
    plain, fine = pair()
    cpu = torch.device("cpu")
    before, after = read_views(views, plain, cpu), read_views(views, fine, cpu)
    assert after.points.shape == before.points.shape
    assert torch.allclose(after.spans, before.spans)
    for reading in (before, after):
        shown = reading.sightings.pixels[reading.weights > 0] + 48  # from the views' corners
        assert bool((shown > 0).all()) and bool((shown < 96).all())
    found = initialize_nview(views, model=fine, device="cpu", refine=False)
    assert bool(found.cameras.viewmats.isfinite().all())


def test_saved_and_loaded_with_finer_tokens(tmp_path: Path) -> None:
    _, fine = pair()
    save_nview(fine, tmp_path)
    assert load_nview(tmp_path).config == FINE


@pytest.mark.parametrize("change", [{"fine_tokens": 41}, {"fine_tokens": -1}, {"image_size": 36}])
def test_sizes_that_cannot_be(change: dict[str, int]) -> None:
    with pytest.raises(OptionError):
        replace(FINE, **change)
