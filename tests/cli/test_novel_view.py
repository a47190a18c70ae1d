from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agsrec.cli import main
from agsrec.images import load_image, save_png
from agsrec.novel_view import Viewpoint, as_strip, novel_views
from agsrec.prior.zero123 import Zero123
from agsrec.single_photo import load_photo
from tests.cli.helpers import refused


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    picture = np.zeros((40, 60, 4), np.uint8)
    picture[10:30, 20:45] = (200, 50, 20, 255)
    picture[14:20, 24:30, :3] = 0
    save_png(tmp_path / "shoe.png", picture)
    return tmp_path / "shoe.png"


def expected(model_folder: Path, photo: Path, *views: Viewpoint, **options: Any) -> np.ndarray:
    loaded = Zero123.from_pretrained(model_folder)
    return as_strip(novel_views(loaded, load_photo(photo), views, **{"steps": 2} | options))


def test_one_view_lands_beside_the_photo(
    model_folder: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = photo.read_bytes()
    main(["novel-view", str(photo), "--azimuth", "-30.5", "--model", str(model_folder), "--steps", "2"])
    made = photo.with_name("shoe_az-30.5_el0.png")
    assert capsys.readouterr().out == f"{made}\n"
    assert np.array_equal(load_image(made)[0][..., :3], expected(model_folder, photo, Viewpoint(-30.5)))
    assert photo.read_bytes() == before and len(list(photo.parent.iterdir())) == 2


def test_every_option_arrives(model_folder: Path, photo: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "out.png"
    options = {"azimuth": 20, "elevation": 15, "distance": 0.2, "photo_elevation": 30, "fov": 50}
    options |= {
        "steps": 3,
        "guidance": 1.5,
        "seed": 4,
        "device": "cpu",
        "output": output,
        "model": model_folder,
    }
    main(["novel-view", str(photo), *(a for k, v in options.items() for a in (f"--{k}", str(v)))])
    wanted = expected(
        model_folder,
        photo,
        Viewpoint(20.0, 15.0, 0.2),
        photo_elevation_deg=30.0,
        fov_deg=50.0,
        steps=3,
        guidance_scale=1.5,
        seed=4,
    )
    assert np.array_equal(load_image(output)[0][..., :3], wanted)


def test_strip_goes_around(model_folder: Path, photo: Path) -> None:
    options = ["--strip", "3", "--azimuth", "10", "--elevation", "5", "--steps", "2", "--seed", "1"]
    main(["novel-view", str(photo), *options, "--model", str(model_folder)])
    strip = load_image(photo.with_name("shoe_strip3.png"))[0][..., :3]
    views = [Viewpoint(azimuth, 5.0) for azimuth in (10.0, 130.0, 250.0)]
    assert strip.shape == (32, 96, 3)
    assert np.array_equal(strip, expected(model_folder, photo, *views, seed=1))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--output", "shoe.png"], ["--output", "overwrite", "shoe.png"]),
        (["--output", "../photos/shoe.png"], ["--output", "overwrite"]),
        (["--output", "shoe.jpg"], ["--output", "shoe.jpg", ".png"]),
        (["--model", "nowhere"], ["nowhere", "no such model folder"]),
        (["--strip", "0"], ["--strip", "between 1 and 64"]),
        (["--strip", "65"], ["--strip", "between 1 and 64"]),
        (["--steps", "0"], ["--steps", "at least 1"]),
        (["--azimuth", "nan"], ["--azimuth"]),
        (["--distance", "-2"], ["--distance"]),
        (["--fov", "180"], ["--fov"]),
        (["--photo-elevation", "95"], ["--photo_elevation"]),
        (["--device", "cuda"], ["--device cuda"]),
    ],
)
def test_refusals(
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    words: list[str],
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    folder = tmp_path / "photos"
    folder.mkdir()
    photo.rename(folder / "shoe.png")
    monkeypatch.chdir(folder)
    before = (folder / "shoe.png").read_bytes()
    message = refused(capsys, "novel-view", "shoe.png", *options)
    assert all(word in message for word in words), message
    assert (folder / "shoe.png").read_bytes() == before and len(list(folder.iterdir())) == 1


@pytest.mark.parametrize(
    ("content", "words"), [(None, ["no such file"]), (b"hello", ["not an image"]), (b"", ["is empty"])]
)
def test_photos_that_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, words: list[str]
) -> None:
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    message = refused(capsys, "novel-view", str(tmp_path / "a.png"))
    assert "a.png" in message and all(word in message for word in words), message
