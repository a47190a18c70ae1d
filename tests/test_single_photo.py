from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agsrec.config import PRESETS, PoseConfig
from agsrec.dataset import Scene
from agsrec.errors import AgsrecError, ImageError, OptionError
from agsrec.export.results import save_results
from agsrec.fit.guided import NovelViews
from agsrec.images import save_png
from agsrec.pipeline import Settings
from agsrec.pipeline.run import reconstruct
from agsrec.single_photo import (
    find_single_photo,
    load_photo,
    photo_cameras,
    photo_scene,
    single_photo_schedule,
)
from agsrec.views import Views
from tests.tiny import tiny_config, tiny_scene
from tests.tiny_prior import tiny_zero123


def write_photo(path: Path, *, opaque: bool = False) -> None:
    """A red box of 60 x 30 pixels, off centre in a photo of 200 x 120, on white or on nothing."""
    picture = np.full((120, 200, 4), 255, np.uint8)
    picture[..., 3] = 255 if opaque else 0
    picture[20:50, 30:90] = (220, 30, 20, 255)
    save_png(path, picture[..., :3] if opaque else picture)


# -------------------------------------------------------------------- loading


@pytest.mark.parametrize("opaque", [False, True])
def test_photo_is_cut_out_and_centred(tmp_path: Path, opaque: bool) -> None:
    write_photo(tmp_path / "mug_rgba.png", opaque=opaque)
    views = load_photo(tmp_path / "mug_rgba.png", background_model="grabcut", size=72)
    assert views.names == ("mug",) and views.images.shape == (1, 72, 72, 4)
    mask = views.masks[0] > 0.5
    rows, columns = (mask.any(dim).nonzero()[:, 0] for dim in (1, 0))
    # The longer side takes 1 / 1.2 of the square.
    assert len(columns) == pytest.approx(60, abs=2) and len(rows) == pytest.approx(30, abs=2)
    assert float(columns.float().mean()) == pytest.approx(35.5, abs=1)
    assert float(rows.float().mean()) == pytest.approx(35.5, abs=1)
    assert torch.allclose(views.images[0, 36, 36, :3], torch.tensor([220.0, 30.0, 20.0]) / 255, atol=0.02)


def test_photo_without_an_object(tmp_path: Path) -> None:
    save_png(tmp_path / "empty.png", np.zeros((20, 20, 4), np.uint8))
    with pytest.raises(ImageError, match=r"empty\.png: no object found"):
        load_photo(tmp_path / "empty.png")
    with pytest.raises(ImageError, match=r"gone\.png: no such file"):
        load_photo(tmp_path / "gone.png")


def test_assumed_camera(tmp_path: Path) -> None:
    write_photo(tmp_path / "mug.png")
    scene = photo_scene(tmp_path / "mug.png", fov_deg=60.0, elevation_deg=25.0)
    assert scene.name == "mug" and scene.truth is None and scene.cameras.width == 72
    elevation, azimuth, radius = scene.cameras.spherical()
    assert float(elevation) == pytest.approx(-25.0, abs=1e-3)  # above, in the sign of `Cameras`
    assert float(azimuth) == pytest.approx(0.0, abs=1e-3) and float(radius) == pytest.approx(1.85, abs=1e-5)
    assert scene.cameras.focal_lengths[0].tolist() == pytest.approx([36 / math.tan(math.pi / 6)] * 2)
    usual = photo_scene(tmp_path / "mug.png").cameras
    assert float(usual.spherical()[0]) == pytest.approx(-10.0, abs=1e-3)
    assert float(usual.focal_lengths[0, 0]) == pytest.approx(36 / math.tan(math.radians(20.0)))


def test_the_photo_is_kept_at_its_own_size(tmp_path: Path) -> None:
    write_photo(tmp_path / "mug.png")
    assert photo_scene(tmp_path / "mug.png").full_size is None, "the view is all there is"
    scene = photo_scene(tmp_path / "mug.png", size=24)
    assert scene.views.width == scene.cameras.width == 24 and scene.full_size is not None
    torch.testing.assert_close(scene.full_size[0], load_photo(tmp_path / "mug.png").images[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fov_deg": 0.0}, "--fov must be between"),
        ({"fov_deg": math.nan}, "--fov must be between"),
        ({"elevation_deg": 90.0}, "--elevation must be between"),
        ({"elevation_deg": math.nan}, "--elevation must be between"),
        ({"background_model": "best"}, "unknown background model 'best'"),
    ],
)
def test_bad_camera(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    write_photo(tmp_path / "mug.png", opaque=True)
    with pytest.raises(OptionError, match=message):
        photo_scene(tmp_path / "mug.png", **options)


# -------------------------------------------------------------------- which photo is meant


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Scenes without cameras: `one` has one cut-out, `raw` one photo, `two` two cut-outs."""
    for file in ("one/processed/a_rgba.png", "raw/shoe.jpg", "two/processed/a_rgba.png"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    (tmp_path / "two/processed/b_rgba.png").touch()
    (tmp_path / "raw/notes.txt").touch()
    (tmp_path / "raw/.hidden.jpg").touch()
    return tmp_path


def test_single_photos_are_found(root: Path) -> None:
    assert find_single_photo(root, "one") == root / "one/processed/a_rgba.png"
    assert find_single_photo(root, "raw", num_views=1) == root / "raw/shoe.jpg"
    assert find_single_photo(root, "two") is None
    assert find_single_photo(root, "two", num_views=1) == root / "two/processed/a_rgba.png"
    assert find_single_photo(root, "two", views=["b"]) == root / "two/processed/b_rgba.png"
    assert find_single_photo(root, "two", views=["a", "b"]) is None
    assert find_single_photo(root, "one", num_views=2) is None
    assert find_single_photo("nowhere", str(root / "raw/shoe.jpg")) == root / "raw/shoe.jpg"
    assert find_single_photo("nowhere", "gone.PNG") == Path("gone.PNG")
    with pytest.raises(OptionError, match=r"3 views asked for, but .*shoe\.jpg is one photo"):
        find_single_photo(root, str(root / "raw/shoe.jpg"), num_views=3)


def test_cameras_make_a_scene_of_it(root: Path) -> None:
    (root / "one/cameras.json").write_text("{}")
    assert find_single_photo(root, "one") is None and find_single_photo(root, "one", num_views=1) is None


@pytest.mark.parametrize("category", ["", ".", "..", "../raw", "nowhere", "x" * 500, "a\0b"])
def test_odd_names_are_left_to_others(root: Path, category: str) -> None:
    (root / "stray.png").touch()
    assert find_single_photo(root / "one", category, num_views=1) is None


# -------------------------------------------------------------------- the fit


def test_schedule_is_the_guided_rounds_with_the_camera_held() -> None:
    fast = PRESETS["fast"]
    schedule = single_photo_schedule(fast)
    assert schedule.rounds == fast.rounds[2:] and schedule.guidance.interval == 1
    assert not schedule.poses.optimize
    assert replace(schedule, rounds=fast.rounds, guidance=fast.guidance, poses=fast.poses) == fast
    unguided = tiny_config(5, poses=PoseConfig(refine_focal=True))
    (only,) = single_photo_schedule(unguided).rounds
    assert only == replace(unguided.rounds[-1], guided=True)
    assert not single_photo_schedule(unguided).poses.refine_focal


def test_one_photo_needs_a_judge() -> None:
    views, truth = tiny_scene()
    with pytest.raises(OptionError, match=r"without a prior needs at least 2 views, not 1; .* --prior"):
        reconstruct(views[[0]], truth[[0]], Settings(fit=tiny_config(2)))


def test_one_photo_is_explained_and_judged_at_every_step() -> None:
    views, truth = tiny_scene()
    judged: list[NovelViews] = []

    def guidance(novel: NovelViews) -> torch.Tensor:
        judged.append(novel)
        return novel.images.mean() * 0

    result = reconstruct(views[[0]], truth[[0]], Settings(fit=tiny_config(40), prior=guidance))
    assert len(judged) == 40 and len(result.history) == 8
    assert torch.equal(result.cameras.viewmats, truth.viewmats[[0]])
    assert torch.equal(result.cameras.Ks, truth.Ks[[0]])
    assert result.history[-1]["psnr"] > 22
    assert result.options["fit"]["poses"]["optimize"] is False
    # The object stands at the origin, where its camera looks.
    assert float(result.gaussians.means.median(0).values.norm()) < 0.15


def test_with_a_prior_to_the_result_folder(tmp_path: Path) -> None:
    views, _ = tiny_scene()
    scene = Scene("mug", views[[0]], photo_cameras(48, 40.0, 20.0))
    model = tiny_zero123()
    result = reconstruct(scene.views, scene.cameras, Settings(fit=tiny_config(6, size=24), prior=model))
    assert all(math.isfinite(record["guidance"]) for record in result.history)
    metrics = save_results(result, tmp_path, scene)
    assert set(metrics) >= {"input", "gaussians"} and "poses_after" not in metrics
    report = (tmp_path / "report.html").read_text()
    assert "1 photo of mug" in report and "Its camera was held as given" in report
    assert {"cameras.json", "splat.ply", "turntable.mp4", "cameras.png"} <= {
        f.name for f in tmp_path.iterdir()
    }


def test_truth_of_one_view_measures_pictures_not_poses(tmp_path: Path) -> None:
    views, truth = tiny_scene()
    scene = Scene(
        "mug", views[[0]], truth[[0]], truth=truth[[0]], test_views=views[[1]], test_cameras=truth[[1]]
    )
    settings = Settings(fit=tiny_config(30), prior=lambda novel: novel.images.sum() * 0)
    result = reconstruct(scene.views, scene.cameras, settings)
    metrics = save_results(result, tmp_path, scene)
    assert "poses_before" not in metrics and "poses_after" not in metrics
    # A neighbouring view comes out roughly, from nothing but the inflated silhouette.
    assert metrics["novel"]["psnr"] > 10
    assert "NaN" not in (tmp_path / "metrics.json").read_text()


def test_no_view_at_all_is_refused() -> None:
    views, truth = tiny_scene()
    with pytest.raises(AgsrecError, match="not 0"):
        reconstruct(
            views[[]], truth[[]], Settings(fit=tiny_config(2), prior=lambda novel: novel.images.sum())
        )


def test_a_camera_that_looks_away() -> None:
    views, truth = tiny_scene()
    away = truth[[0]]
    turned = away.viewmats.clone()
    turned[:, 2, 3] *= -1
    with pytest.raises(AgsrecError, match="looks away"):
        reconstruct(
            Views(views.images[:1], ("a",)),
            replace(away, viewmats=turned),
            Settings(fit=tiny_config(2), prior=lambda novel: novel.images.sum()),
        )
