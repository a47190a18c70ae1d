from __future__ import annotations

import logging
import re
import sys
import threading
import time
from importlib.metadata import files
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

from agsrec.errors import OptionError
from agsrec.images import load_image
from agsrec.preprocess import background
from agsrec.preprocess.background import GRABCUT, MODELS, grabcut_alpha, make_remover


def overlap(alpha: np.ndarray, mask: np.ndarray) -> float:
    """Intersection over union of alpha [H, W] uint8 with a mask [H, W] bool."""
    cut = alpha > 127
    return (cut & mask).sum() / (cut | mask).sum()


def disc_photo(
    color: tuple[int, int, int], height: int = 120, width: int = 160
) -> tuple[np.ndarray, np.ndarray]:
    """A two-coloured disc before a noisy backdrop of one colour, and its mask."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    mask = np.hypot(x - 85, y - 60) < 38
    rgb = np.empty((height, width, 3))
    rgb[:] = color
    rgb[mask & (x < 90)] = (200, 60, 40)
    rgb[mask & (x >= 90)] = (40, 90, 190)
    return (rgb + rng.normal(0, 2, rgb.shape)).clip(0, 255).astype(np.uint8), mask


@pytest.mark.parametrize("color", [(0, 0, 0), (255, 255, 255), (128, 128, 128), (30, 160, 60)])
def test_plain_backdrops(color: tuple[int, int, int]) -> None:
    rgb, mask = disc_photo(color)
    assert overlap(grabcut_alpha(rgb), mask) > 0.97


def test_soft_shadow_belongs_to_the_backdrop() -> None:
    rgb, mask = disc_photo((225, 220, 210))
    y, x = np.mgrid[:120, :160]
    shade = 1 - 0.4 * np.exp(-(((x - 85) / 40) ** 2) - ((y - 98) / 8) ** 2)
    shaded = np.where(mask[..., None], rgb, rgb * shade[..., None]).astype(np.uint8)
    assert overlap(grabcut_alpha(shaded), mask) > 0.95


def test_textured_background() -> None:
    rgb, mask = disc_photo((0, 0, 0))
    planks = (
        120 + 40 * np.sin(np.mgrid[:120, :160][1] / 3.0) + np.random.default_rng(1).normal(0, 8, (120, 160))
    )
    photo = np.where(mask[..., None], rgb, planks[..., None] * np.array([1.0, 0.9, 0.75])).clip(0, 255)
    assert overlap(grabcut_alpha(photo.astype(np.uint8)), mask) > 0.93


def test_hole_stays_and_crack_goes() -> None:
    rgb, mask = disc_photo((0, 0, 0))
    y, x = np.mgrid[:120, :160]
    hole = np.hypot(x - 85, y - 60) < 15
    crack = (np.abs(y - 40) < 1.5) & (np.abs(x - 85) < 20)
    rgb[hole | crack] = 0
    alpha = grabcut_alpha(rgb)
    assert alpha[60, 85] == 0 and alpha[40, 85] == 255
    assert overlap(alpha, mask & ~hole) > 0.95


def test_alpha_is_soft_at_the_edge_only() -> None:
    rgb, _ = disc_photo((255, 255, 255))
    alpha = grabcut_alpha(cv2.GaussianBlur(rgb, (0, 0), 1.0))
    soft = (alpha > 0) & (alpha < 255)
    assert 0.005 < soft.mean() < 0.1
    assert alpha[60, 85] == 255 and alpha[0, 0] == 0


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 4), (1, 200), (40, 3)])
def test_tiny_photos(shape: tuple[int, int]) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)
    assert grabcut_alpha(rgb).shape == shape


def test_nothing_in_a_blank_photo() -> None:
    assert not grabcut_alpha(np.full((60, 80, 3), 128, dtype=np.uint8)).any()


def test_same_photo_same_cut() -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    np.testing.assert_array_equal(grabcut_alpha(rgb), grabcut_alpha(rgb))


@pytest.mark.parametrize(
    ("photo", "floor"), [("jordan/002", 0.96), ("jordan/003", 0.96), ("jordan/006", 0.9), ("toy/002", 0.96)]
)
def test_real_photos(shared_dir: Path, photo: str, floor: float) -> None:
    name, view = photo.split("/")
    folder = shared_dir / "data" / "photos" / name
    rgba, _ = load_image(folder / "source" / f"{view}.png")
    reference, _ = load_image(folder / "processed" / f"{view}_rgba.png")
    assert overlap(grabcut_alpha(rgba[..., :3]), reference[..., 3] > 127) > floor


# ---------------------------------------------------------------- choice of the remover


def test_unknown_model_lists_the_known() -> None:
    with pytest.raises(OptionError, match="unknown background model 'u3net'; choose one of u2net, "):
        make_remover("u3net")


def test_grabcut_by_name_warns_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert make_remover(GRABCUT) is grabcut_alpha
    assert not caplog.records


def test_offline_falls_back_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(background, "_network_available", lambda: False)
    for variable in ("HOME", "U2NET_HOME", "REMBG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    with caplog.at_level(logging.WARNING):
        assert make_remover("u2net") is grabcut_alpha
    assert "u2net" in caplog.text and "falling back to GrabCut" in caplog.text


@pytest.mark.parametrize("problem", [OSError("no route"), SystemExit(1), RuntimeError("bad model")])
def test_failing_model_falls_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, problem: BaseException
) -> None:
    def fail(model: str) -> None:
        raise problem

    monkeypatch.setattr(background, "_network_available", lambda: True)
    monkeypatch.setitem(sys.modules, "rembg", SimpleNamespace(new_session=fail))
    assert make_remover("u2net") is grabcut_alpha
    assert str(problem) in caplog.text


def test_model_is_used_when_its_file_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def remove(image: Image.Image, session: str, only_mask: bool) -> Image.Image:
        assert session == "session of u2netp" and only_mask
        return Image.new("L", image.size, 77)

    fake = SimpleNamespace(new_session=lambda model: f"session of {model}", remove=remove)
    monkeypatch.setitem(sys.modules, "rembg", fake)
    monkeypatch.setattr(background, "_network_available", lambda: False)
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))
    for path in (tmp_path / "u2netp.onnx", tmp_path / "models" / "u2netp" / "u2netp.onnx"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        alpha = make_remover("u2netp")(np.zeros((4, 5, 3), dtype=np.uint8))
        assert alpha.shape == (4, 5) and alpha.dtype == np.uint8 and (alpha == 77).all()
        path.unlink()


def test_hanging_network_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def hang(*args: object, **options: object) -> None:
        over.wait(5)
        raise OSError("at last")

    monkeypatch.setattr(background, "_NETWORK_TIMEOUT", 0.1)
    monkeypatch.setattr(background.urllib.request, "urlopen", hang)
    start = time.monotonic()
    assert not background._network_available()
    assert time.monotonic() - start < 2
    over.set()


def test_network_errors_mean_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError("unreachable")

    monkeypatch.setattr(background.urllib.request, "urlopen", refuse)
    assert not background._network_available()


def test_models_exist_in_rembg() -> None:
    # Read, not imported: its first import compiles for a minute.
    modules = [f for f in files("rembg") or [] if f.parts[:2] == ("rembg", "sessions") and f.suffix == ".py"]
    source = "".join(module.read_text(encoding="utf-8") for module in modules)
    assert set(MODELS) <= set(re.findall(r'return "([\w-]+)"', source))
