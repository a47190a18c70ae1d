"""A whole training, small: it can be stopped anywhere, and it learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor

from agsrec.errors import CheckpointError, OptionError
from agsrec.prior.zero123 import Zero123
from agsrec.training import acceleration
from agsrec.training import zero123 as training
from agsrec.training.config import PhaseConfig, load_config
from agsrec.training.loop import Intervals, Record, read_log, step_generator
from agsrec.training.losses import DiffusionLoss
from agsrec.training.object_stream import object_stream
from agsrec.training.pool import Pool
from agsrec.training.zero123 import train_zero123
from tests.tiny_prior import tiny_config, tiny_zero123

CPU = torch.device("cpu")
INTERVALS = Intervals(log=1, save=2, validate=4)


def train(folder: Path, **options: Any) -> bool:
    settings: dict[str, Any] = {"workers": 0, "device": CPU, "intervals": INTERVALS} | options
    return train_zero123(settings.pop("config", tiny_config()), folder, **settings)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nothing disturbed."""
    folder = tmp_path_factory.mktemp("finished")
    assert train(folder)
    return folder


def assert_same(a: Any, b: Any, where: str = "") -> None:
    """Equal to the last bit, all the way down."""
    if isinstance(a, Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            if key != "seconds":
                assert_same(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for index, pair in enumerate(zip(a, b, strict=True)):
            assert_same(*pair, f"{where}/{index}")
    else:
        assert a == b, where


def interrupted(folder: Path, phase: str, step: int) -> None:
    """Start a training, and press Ctrl-C in it."""

    def progress(record: Record) -> None:
        if (record["phase"], record["step"]) == (phase, step):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(folder, progress=progress)


@pytest.fixture
def no_samples(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the time of drawing novel views."""
    monkeypatch.setattr(training, "validate_novel_views", lambda model, folder, step: {})


@pytest.mark.usefixtures("no_samples")
def test_interrupted_in_both_phases(finished: Path, tmp_path: Path) -> None:
    interrupted(tmp_path, "autoencoder", 3)
    assert torch.load(tmp_path / "autoencoder.pt", weights_only=True)["step"] == 2
    assert not (tmp_path / "model").exists()
    interrupted(tmp_path, "diffusion", 3)
    assert torch.load(tmp_path / "diffusion.pt", weights_only=True)["step"] == 2
    assert not train(tmp_path, intervals=Intervals(log=1, save=9, validate=4, stop_after_seconds=0.0))
    assert torch.load(tmp_path / "diffusion.pt", weights_only=True)["step"] == 3
    assert train(tmp_path)
    for name in ("autoencoder.pt", "diffusion.pt"):
        states = [torch.load(f / name, weights_only=True) for f in (finished, tmp_path)]
        assert states[0]["step"] == 4
        assert_same(*states, where=name)
    files = [f for f in (finished / "model").rglob("*") if f.is_file()]
    assert len(files) > 8
    for file in files:
        assert file.read_bytes() == (tmp_path / file.relative_to(finished)).read_bytes(), file
    timed = {"images_per_second", "data_share", "seconds", "fed_share", "queued"}
    losses = [
        [{k: v for k, v in r.items() if k not in timed} for r in read_log(f) if "loss" in r]
        for f in (finished, tmp_path)
    ]
    assert losses[0] == losses[1] and len(losses[0]) == 8
    assert not [f for f in tmp_path.iterdir() if f.name.startswith(".")]


def test_what_a_training_leaves(finished: Path) -> None:
    assert load_config(finished / "config.json") == tiny_config()
    losses = [(r["phase"], r["step"]) for r in read_log(finished) if "loss" in r]
    assert losses == [(phase, step) for phase in ("autoencoder", "diffusion") for step in (1, 2, 3, 4)]
    psnr = [r["psnr_90"] for r in read_log(finished) if "psnr_90" in r]
    assert len(psnr) == 1 and 3 < psnr[0] < 20
    sizes = {"autoencoder-000004": (8 * 32, 2 * 32), "novel-views-000004": (5 * 32, 12 * 32)}
    for name, size in sizes.items():
        picture = Image.open(finished / "validation" / f"{name}.png")
        assert picture.size == size
        assert np.asarray(picture).std() > 10
    # What is kept is the average, in half precision, and a scaling factor that makes latents unit size.
    model = Zero123.from_pretrained(finished / "model")
    state = torch.load(finished / "autoencoder.pt", weights_only=True)
    assert model.scaling_factor == state["notes"]["scaling_factor"] != 0.18215
    stored, average = next(model.vae.parameters()), state["average"]["shadow_params"][0]
    assert torch.allclose(stored, average, atol=1e-3)


def test_another_config_or_seed_is_refused(finished: Path) -> None:
    before = {f: f.read_bytes() for f in finished.rglob("*") if f.is_file()}
    for change in ({"seed": 1}, {"config": tiny_config(kl_weight=1e-3)}):
        with pytest.raises(CheckpointError, match=r"autoencoder\.pt is the state of a training with other"):
            train(finished, **change)
    assert before == {f: f.read_bytes() for f in finished.rglob("*") if f.is_file()}


@pytest.mark.usefixtures("no_samples")
def test_started_from_a_model(finished: Path, tmp_path: Path) -> None:
    assert train(tmp_path, start=finished / "model", intervals=Intervals(save=2))
    assert not (tmp_path / "autoencoder.pt").exists()
    first, second = (Zero123.from_pretrained(f / "model") for f in (finished, tmp_path))
    assert first.scaling_factor == second.scaling_factor
    assert_same(first.vae.state_dict(), second.vae.state_dict())
    assert not torch.equal(first.unet.conv_in.weight, second.unet.conv_in.weight)
    with pytest.raises(OptionError, match=r"--start: .* works on images of 32 pixels, the --config on 64"):
        train(tmp_path / "other", start=finished / "model", config=tiny_config(image_size=64))


def test_a_failed_write_leaves_the_old_model(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(self: Zero123, folder: Path, dtype: torch.dtype) -> None:
        folder.mkdir()
        (folder / "half").write_text("")
        raise KeyboardInterrupt

    folder = tmp_path / "model"
    training._save(tiny_zero123(), folder)
    before = {f: f.read_bytes() for f in folder.rglob("*") if f.is_file()}
    monkeypatch.setattr(Zero123, "save_pretrained", half)
    with pytest.raises(KeyboardInterrupt):
        training._save(tiny_zero123(1), folder)
    assert before == {f: f.read_bytes() for f in folder.rglob("*") if f.is_file()}
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("found", "expected"),
    [({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"avx512_f": True}, False), ({}, False)],
)
def test_half_precision_only_in_hardware(
    found: dict[str, bool], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    assert acceleration._has_bf16(on_cpu=True) is expected


def test_another_device_in_the_same_process(tmp_path: Path) -> None:
    Accelerator(cpu=True, mixed_precision="no" if acceleration._has_bf16(on_cpu=True) else "bf16")
    with pytest.raises(OptionError, match="--device: this process has used accelerate with another device"):
        train(tmp_path)


def test_half_precision_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert acceleration._has_bf16(on_cpu=True) is False


def test_one_object_is_learnt_by_heart() -> None:
    phase = PhaseConfig(
        steps=1, batch_size=8, learning_rate=1e-3, warmup_steps=0, objects_per_step=0, ema_decay=0.9
    )
    config = tiny_config(diffusion=phase)
    model = tiny_zero123().train().requires_grad_(True)
    model.vae.requires_grad_(False)
    loss = DiffusionLoss(model, config.snr_clip)

    def encode(images: Tensor) -> Tensor:
        with torch.no_grad():
            return 4 * model.encode_image(images) / model.scaling_factor

    with object_stream(0, config.data.views_per_object, config.image_size, workers=0) as stream:
        pool = Pool(stream, config.data, config.image_size, CPU, encode=encode)
        pool.advance(0)
    optimizer = torch.optim.Adam(loss.parameters(), lr=1e-2)
    losses = []
    for step in range(150):
        value = loss(*training._pair_inputs(model, pool, config, step_generator(0, "test", 0, step)))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(float(value.detach()))
    start, end = np.mean(losses[:5]), np.mean(losses[-20:])
    assert end < 0.5 * start, (start, end)


def test_noisy_steps_are_favoured() -> None:
    phase = replace(tiny_config().diffusion, batch_size=1500)
    for bias, mean in ((0.0, 1 / 2), (1.0, 2 / 3)):
        config, model = tiny_config(diffusion=phase, noise_bias=bias), tiny_zero123()
        with object_stream(0, config.data.views_per_object, config.image_size, workers=0) as stream:
            pool = Pool(stream, config.data, config.image_size, CPU, encode=model.encode_image)
            pool.advance(0)
        t = training._pair_inputs(model, pool, config, step_generator(0, "test", 0, 0))[4]
        assert abs(float(t.float().mean()) / 1000 - mean) < 0.025
        assert int(t.min()) >= 0 and int(t.max()) <= 999


def test_a_model_learns_to_use_drawn_photos(finished: Path, tmp_path: Path) -> None:
    """It begins as the model it was, of what drawn photos leave; and ends as one that is shown more."""
    before = Zero123.from_pretrained(finished / "model")
    config = tiny_config(warps=True)
    started = training._started(config, 0, finished / "model")
    assert started.warps and not before.warps
    draw = torch.Generator().manual_seed(0)
    noisy, photo, drawn = (torch.randn(2, 4, 8, 8, generator=draw) for _ in range(3))
    t, context = torch.tensor([500, 900]), torch.randn(2, 1, 16, generator=draw)
    with torch.no_grad():
        old = before.predict_from_context(noisy, t, photo, context, 3.0)
        nothing = torch.cat([photo, torch.zeros_like(drawn)], 1)
        new = started.predict_from_context(noisy, t, nothing, context, 3.0)
        torch.testing.assert_close(new, old, rtol=1e-3, atol=1e-4)
        # Moved by what is drawn, latents lose the same noise.
        signal, _ = started.signal_and_noise(t)
        moved = noisy + signal * started.scaling_factor * drawn
        new = started.predict_from_context(moved, t, torch.cat([photo, drawn], 1), context, 1.0)
        old = before.predict_from_context(noisy, t, photo, context, 1.0)
        torch.testing.assert_close(new, old, rtol=1e-3, atol=1e-4)

    assert train(tmp_path / "more", config=config, start=finished / "model")
    after = Zero123.from_pretrained(tmp_path / "more" / "model")
    assert after.warps and float(after.unet.conv_in.weight[:, 8:].abs().max()) > 0
    assert "psnr_far" in next(r for r in read_log(tmp_path / "more") if "psnr_60" in r)
