"""A plain ball on a patterned table, posed by the table; and what is said where that cannot be."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from agsrec.cameras import CAMERA_DISTANCE
from agsrec.errors import OptionError
from agsrec.images import load_image, resized, save_png
from agsrec.metrics.poses import pairwise_rotation_errors
from agsrec.pose_init import PoseEstimate, auto, initialize, look
from agsrec.pose_init.originals import originals_digests, whole_photos
from agsrec.preprocess import carry_intrinsics, process, read_crops
from agsrec.view_files import load_views
from tests.matching.tabletop import FOCAL, cameras_around, photographed

NAMES = ("a", "b", "c")
AZIMUTHS = [0.0, 80.0, 200.0]
SIDE = 512  # of the views, as it usually is


def cut_out(folder: Path, *, turntable: bool) -> Path:
    """Photos in a folder, and what processing makes of them by their masks."""
    for name, photo in zip(NAMES, photographed(cameras_around(AZIMUTHS), turntable=turntable), strict=True):
        save_png(folder / f"{name}.png", photo[..., :3])
        save_png(folder / "masks" / f"{name}.png", photo[..., 3])
    for file in process(folder).files:  # these photos are tiny
        save_png(file, resized(load_image(file)[0], SIDE, SIDE))
    return folder


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cut_out(tmp_path_factory.mktemp("walked"), turntable=False)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is matched on the ball itself."""
    monkeypatch.setattr(auto, "load_matcher", lambda *_: None)
    monkeypatch.setattr(look, "match_features", lambda *_: [])
    monkeypatch.setattr(auto, "_SETTLED", 1)


def posed(folder: Path) -> PoseEstimate:
    """The estimate with known focal lengths."""
    crops = read_crops(folder / "processed" / "crops.json")
    views = load_views(folder)
    focals = [FOCAL * views.width / crops[name].side for name in NAMES]
    return initialize(views, "auto", device="cpu", focal=focals, folder=folder, refine=False)


@pytest.mark.usefixtures("plain")
def test_the_table_poses_what_the_ball_cannot(walked: Path) -> None:
    found = posed(walked)
    true = cameras_around(AZIMUTHS).to(dtype=torch.float32)
    assert float(pairwise_rotation_errors(found.cameras, true).max()) < 5.0
    crops = read_crops(walked / "processed" / "crops.json")
    seen = [replace(crops[name], size=found.cameras.width) for name in NAMES]
    Ks = torch.stack([carry_intrinsics(K, crop) for K, crop in zip(true.Ks, seen, strict=True)])
    torch.testing.assert_close(found.cameras.Ks, Ks, rtol=0.01, atol=0.5)
    assert float(found.confidence.min()) > 0.9
    assert float(found.cameras.centers.norm(dim=1).mean()) == pytest.approx(CAMERA_DISTANCE, rel=0.05)
    assert "it stood still with the object" in found.remarks[0]
    assert found.matches is not None and len(found.matches.pairs.unique()) == 3


@pytest.mark.usefixtures("plain")
def test_a_turntable_is_noticed(tmp_path: Path) -> None:
    folder = cut_out(tmp_path, turntable=True)
    found = posed(folder)
    assert found.remarks == () and found.matches is None


@pytest.mark.usefixtures("plain")
def test_without_photos_that_is_said(walked: Path) -> None:
    views = load_views(walked)
    with pytest.raises(OptionError, match="--background static: the photos with their background"):
        initialize(views, "auto", device="cpu", background="static", refine=False)
    with pytest.raises(OptionError, match="--background: the initialiser nview does not ask"):
        initialize(views, "nview", device="cpu", background="static", folder=walked)
    with pytest.raises(OptionError, match="must be auto, static or moving, not 'green'"):
        initialize(views, "auto", background="green")  # type: ignore[arg-type]


def test_what_is_left_of_the_photos_is_used(walked: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(walked, folder)
    views = load_views(folder)
    found = whole_photos(views, folder)
    assert found is not None and all(w.rgb.shape == (400, 480, 3) and w.reach == 480 for w in found)
    before = originals_digests(folder)
    shutil.copy(folder / "b.png", folder / "a.png")  # another photo under its name
    (folder / "c.png").unlink()
    assert originals_digests(folder) != before
    left = whole_photos(views, folder)
    assert left is not None
    sides = [crop.size for crop in read_crops(folder / "processed" / "crops.json").values()]
    assert len({*sides, views.width}) > 1, "cut-outs and views differ in size"
    assert [len(w.rgb) for w in left] == [sides[0], 400, sides[2]]
    for now, then in zip(left, found, strict=True):
        middle = torch.tensor([views.width / 2, views.width / 2]).numpy()
        assert now.away(middle) == pytest.approx(then.away(middle), abs=1e-6)
    (folder / "source" / "a.png").unlink()
    assert whole_photos(views, folder) is None and whole_photos(views, None) is None
