from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agsrec.camera_files import read_transforms_json, write_cameras_json, write_transforms_json
from agsrec.cameras import Z_UP_TO_Y_UP, Cameras
from agsrec.dataset import load_gt_scene, load_scene, load_views
from agsrec.errors import AgsrecError, CameraError, ImageError, OptionError, SceneError
from agsrec.images import save_png

NAMES = ("000", "001", "002", "010", "9")


def cut_out(seed: int, width: int = 20, height: int = 10) -> np.ndarray:
    image = np.random.default_rng(seed).integers(0, 255, (height, width, 4), dtype=np.uint8)
    image[..., 3] = 0
    image[3:7, 4:12, 3] = 255
    return image


@pytest.fixture
def root(tmp_path: Path, cameras: Cameras) -> Path:
    """A data folder with one complete scene `mug` of five views, two of them test views, and a second one."""
    folder = tmp_path / "data" / "mug"
    for i, name in enumerate(NAMES):
        save_png(folder / "processed" / f"{name}_rgba.png", cut_out(i))
    extras = {"001": {"note": 7}}
    write_cameras_json(folder / "cameras.json", cameras, NAMES, extras=extras, flags=[1, 1, 0, 1, 1])
    truth = cameras.perturbed(5.0, torch.Generator().manual_seed(0))
    write_cameras_json(folder / "cameras_gt.json", truth[[4, 3, 2, 1, 0]], NAMES[::-1])
    write_cameras_json(folder / "cameras_test.json", cameras[[1, 2]], ("100", "101"))
    for name in ("100", "101"):
        save_png(folder / "test" / f"{name}_rgba.png", cut_out(int(name)))
    save_png(tmp_path / "data" / "other" / "processed" / "0_rgba.png", cut_out(0))
    return tmp_path / "data"


# ---------------------------------------------------------------- views


def test_views_from_folder_in_natural_order(root: Path) -> None:
    for folder in (root / "mug", root / "mug" / "processed"):
        views = load_views(folder)
        assert views.names == ("000", "001", "002", "9", "010")
    assert views.images.dtype == torch.float32 and views.images.shape == (5, 10, 20, 4)
    torch.testing.assert_close(views.images[1] * 255, torch.from_numpy(cut_out(1)).float())


def test_views_by_name_and_from_files(root: Path) -> None:
    assert load_views(root / "mug", ["010", "000"]).names == ("010", "000")
    files = [root / "mug" / "processed" / f"{n}_rgba.png" for n in ("002", "001")]
    assert load_views(files).names == ("002", "001")


def test_views_errors(root: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no view 'x'; there are: 000, 001"):
        load_views(root / "mug", ["x"])
    with pytest.raises(OptionError, match="given twice"):
        load_views(root / "mug", ["000", "000"])
    with pytest.raises(ImageError, match="no image files"):
        load_views([])
    with pytest.raises(ImageError, match="not a folder"):
        load_views(tmp_path / "missing")
    with pytest.raises(ImageError, match="agsrec process"):
        load_views(tmp_path)
    a = root / "mug" / "processed" / "000_rgba.png"
    shutil.copy(a, tmp_path / "000.png")
    with pytest.raises(ImageError, match="same view name"):
        load_views([a, tmp_path / "000.png"])


# ---------------------------------------------------------------- demo layout


def test_scene_is_complete(root: Path, cameras: Cameras) -> None:
    scene = load_scene(root, "mug")
    assert scene.name == "mug" and scene.views.names == ("000", "001", "010", "9")
    usable = cameras[[0, 1, 3, 4]].resized(20, 10)
    torch.testing.assert_close(scene.cameras.viewmats, usable.viewmats)
    torch.testing.assert_close(scene.cameras.Ks, usable.Ks)
    truth = cameras.perturbed(5.0, torch.Generator().manual_seed(0))[[0, 1, 3, 4]]
    assert scene.truth is not None and scene.test_views is not None and scene.test_cameras is not None
    torch.testing.assert_close(scene.truth.viewmats, truth.viewmats)
    assert scene.test_views.names == ("100", "101")
    torch.testing.assert_close(scene.test_cameras.viewmats, cameras.viewmats[[1, 2]])
    assert (scene.test_cameras.width, scene.test_cameras.height) == (20, 10)
    assert scene.extras["001"]["note"] == 7 and scene.points is None


def test_choice_of_views(root: Path) -> None:
    assert load_scene(root, "mug", num_views=2).views.names == ("000", "001")
    chosen = load_scene(root, "mug", views=["010", "002"])  # 002 is flagged as left out
    assert chosen.views.names == ("010", "002") and list(chosen.extras) == ["010", "002"]
    assert load_scene(root, "mug", num_views=2, views=["9", "000"]).views.names == ("9", "000")


def test_optional_files(root: Path) -> None:
    for name in ("cameras_gt.json", "cameras_test.json"):
        (root / "mug" / name).unlink()
    scene = load_scene(root, "mug")
    assert scene.truth is None and scene.test_views is None and scene.test_cameras is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_views": 5}, "5 views asked for, but .* has 4 usable ones; ask for at most 4"),
        ({"num_views": 0}, "at least 1"),
        ({"num_views": -3}, "at least 1"),
        ({"views": []}, "at least 1"),
        ({"views": ["000", "nope"]}, "no view 'nope'; there are: 000, 001, 002, 010, 9"),
        ({"views": ["000", "000"]}, "given twice"),
        ({"views": ["000", "001"], "num_views": 3}, "num_views is 3 but views names 2"),
    ],
)
def test_bad_choice_of_views(root: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        load_scene(root, "mug", **options)


@pytest.mark.parametrize("category", ["cup", "", ".", "..", "../data/mug", "mug/", "x" * 500, "a\0b"])
def test_unknown_category_lists_those_present(root: Path, category: str) -> None:
    with pytest.raises(OptionError, match=r"unknown category .*; there are: mug, other"):
        load_scene(root, category)


def test_missing_roots(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="--data"):
        load_scene(tmp_path / "nowhere", "mug")
    with pytest.raises(OptionError, match="has no scenes"):
        load_scene(tmp_path, "mug")


def test_camera_file_problems(root: Path) -> None:
    with pytest.raises(CameraError, match=r"other/cameras\.json is missing: rough camera poses"):
        load_scene(root, "other")
    (root / "other" / "cameras.json").write_text("{")
    with pytest.raises(CameraError, match="not valid JSON"):
        load_scene(root, "other")
    path = root / "mug" / "cameras_gt.json"
    content = json.loads(path.read_text())
    del content["010"]
    path.write_text(json.dumps(content))
    with pytest.raises(CameraError, match=r"cameras_gt\.json lacks view 010"):
        load_scene(root, "mug")
    assert load_scene(root, "mug", num_views=2).truth is not None


def test_too_few_usable_views(root: Path, cameras: Cameras) -> None:
    path = root / "mug" / "cameras.json"
    write_cameras_json(path, cameras, NAMES, flags=[0] * 5)
    with pytest.raises(CameraError, match="no usable views; at least 1"):
        load_scene(root, "mug")


def test_one_view(root: Path, cameras: Cameras) -> None:
    path = root / "mug" / "cameras.json"
    write_cameras_json(path, cameras, NAMES, flags=[0, 0, 0, 0, 1])
    assert load_scene(root, "mug").views.names == ("9",)
    assert load_scene(root, "mug", num_views=1).cameras.viewmats.shape == (1, 4, 4)
    assert load_scene(root, "mug", views=["001"]).views.names == ("001",)
    with pytest.raises(OptionError, match="mug: one view has no relative pose to measure; use at least 2"):
        load_gt_scene(root / "mug", 1)


def test_stored_file_name_is_used_without_its_folder(root: Path, cameras: Cameras) -> None:
    folder = root / "mug" / "processed"
    os.rename(folder / "000_rgba.png", folder / "photo.png")
    extras = {"000": {"filepath": "C:\\elsewhere\\photo.png"}, "001": {"filepath": "/etc/001_rgba.png"}}
    write_cameras_json(root / "mug" / "cameras.json", cameras, NAMES, extras=extras)
    assert load_scene(root, "mug").views.names == NAMES


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (None, "no such file"),
        (b"hello", "not an image"),
        (cut_out(0, 21, 10), r"001_rgba\.png is 21 x 10 but 000_rgba\.png is 20 x 10"),
        (cut_out(0)[..., :3], "no transparent background"),
        (cut_out(0) * np.array([1, 1, 1, 0], dtype=np.uint8), "its mask is empty"),
        (np.minimum(cut_out(0), 100), "its mask is empty"),
    ],
)
def test_image_problems(root: Path, damage: np.ndarray | bytes | None, message: str) -> None:
    path = root / "mug" / "processed" / "001_rgba.png"
    path.unlink()
    if isinstance(damage, bytes):
        path.write_bytes(damage)
    elif damage is not None:
        save_png(path, damage)
    with pytest.raises(ImageError, match=message) as error:
        load_scene(root, "mug")
    assert "001_rgba.png" in str(error.value)


@pytest.mark.parametrize(("name", "count"), [("jordan", 8), ("butter", 6), ("toy", 4)])
def test_public_folders_drop_in(shared_dir: Path, name: str, count: int) -> None:
    scene = load_scene(shared_dir / "data" / "photos", name)
    assert len(scene.views) == count and scene.truth is None
    uv, depth = scene.cameras.project(torch.zeros(1, 3))
    # Normalised: all look at the origin, as nearly as estimated cameras do.
    assert (depth > 1).all() and ((uv - 128).abs() < 30).all()


# ---------------------------------------------------------------- ground-truth layout


def test_gt_demo_layout_starts_from_the_truth(root: Path) -> None:
    scene = load_gt_scene(root / "mug", 3)
    assert scene.truth is not None and scene.views.names == ("000", "001", "010")
    assert torch.equal(scene.cameras.viewmats, scene.truth.viewmats)
    (root / "mug" / "cameras_gt.json").unlink()
    with pytest.raises(CameraError, match=r"cameras_gt\.json is missing"):
        load_gt_scene(root / "mug")
    with pytest.raises(OptionError, match="neither"):
        load_gt_scene(root)


def gt_folder(tmp_path: Path, cameras: Cameras, points: np.ndarray | None = None) -> Path:
    """Ten views, five of them twice, in the ground-truth layout."""
    files = [f"images/{i:03d}.png" for i in range(10)]
    write_transforms_json(tmp_path / "transforms.json", cameras[[*range(5), *range(5)]], files)
    for i, file in enumerate(files):
        save_png(tmp_path / file, cut_out(i, 200, 100))
    if points is not None:
        np.save(tmp_path / "points.npy", points)
    return tmp_path


def test_gt_layout_turns_the_world(tmp_path: Path, cameras: Cameras) -> None:
    points = np.random.default_rng(0).normal(size=(7, 3))
    scene = load_gt_scene(gt_folder(tmp_path, cameras, points), 3)
    assert scene.views.names == ("000", "001", "002") and scene.truth is scene.cameras
    assert scene.test_views is not None and scene.test_views.names == ("008", "009")
    assert scene.points is not None and scene.points_visible is not None and scene.points_visible.all()
    x, y, z = torch.from_numpy(points).float().unbind(-1)
    torch.testing.assert_close(scene.points, torch.stack([x, z, -y], -1))
    # Points and cameras turn together: what is seen stays.
    original = read_transforms_json(tmp_path / "transforms.json").cameras[[0, 1, 2]]
    before, after = original.project(torch.stack([x, y, z], -1))[0], scene.cameras.project(scene.points)[0]
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-2)
    assert torch.linalg.det(torch.tensor(Z_UP_TO_Y_UP)) == 1


@pytest.mark.parametrize(
    "points",
    [np.zeros((3, 2)), np.zeros((3, 3), dtype=int), np.full((3, 3), np.nan), np.array([{}]), np.zeros(())],
)
def test_gt_bad_points(tmp_path: Path, cameras: Cameras, points: np.ndarray) -> None:
    with pytest.raises(SceneError, match=r"points\.npy"):
        load_gt_scene(gt_folder(tmp_path, cameras, points))


def test_gt_bad_visibility_and_damaged_arrays(tmp_path: Path, cameras: Cameras) -> None:
    folder = gt_folder(tmp_path, cameras, np.zeros((3, 3), dtype=np.float32))
    np.save(folder / "points_visible.npy", np.ones(4, dtype=bool))
    with pytest.raises(SceneError, match="3 booleans"):
        load_gt_scene(folder)
    (folder / "points.npy").write_bytes((folder / "points.npy").read_bytes()[:-5])
    with pytest.raises(SceneError, match="not a readable NumPy array"):
        load_gt_scene(folder)


@pytest.mark.parametrize("num_views", [0, 1, 9])
def test_gt_wrong_number_of_views(tmp_path: Path, cameras: Cameras, num_views: int) -> None:
    with pytest.raises(OptionError, match="2 to 8 input views"):
        load_gt_scene(gt_folder(tmp_path, cameras), num_views)


@pytest.mark.parametrize("name", ["bob", "cannon"])
def test_gt_reference_objects(shared_dir: Path, name: str) -> None:
    scene = load_gt_scene(shared_dir / "data" / "gt" / name)
    assert len(scene.views) == 8 and scene.test_views is not None and len(scene.test_views) == 16
    assert scene.test_cameras is not None and scene.points is not None and scene.points_visible is not None
    # Inputs are seen from between 5 degrees below and 40 above; above is negative here.
    assert -45 < scene.cameras.spherical()[0].min() and scene.cameras.spherical()[0].max() < 10
    for views, cameras in ((scene.views, scene.cameras), (scene.test_views, scene.test_cameras)):
        uv, _ = cameras.project(scene.points[scene.points_visible])
        for mask, pixels in zip(views.masks, uv.long(), strict=True):
            assert (mask[pixels[:, 1], pixels[:, 0]] > 0).all()


# ---------------------------------------------------------------- fuzzing


@settings(max_examples=40, deadline=None)
@given(data=st.binary(max_size=120))
def test_fuzz_arrays(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzz_gt"
    if not folder.exists():
        viewmats = torch.eye(4).repeat(2, 1, 1)
        cameras = Cameras(viewmats, Cameras.intrinsics(torch.full((2,), 20.0), 20, 10), 20, 10)
        write_transforms_json(folder / "transforms.json", cameras, ["0.png", "1.png"])
        for name in ("0", "1"):
            save_png(folder / "images" / f"{name}.png", cut_out(0))
    for content in (data, b"\x93NUMPY\x01\x00" + data):
        (folder / "points.npy").write_bytes(content)
        try:
            load_gt_scene(folder)
        except AgsrecError as error:
            assert isinstance(error, SceneError) and "points.npy" in str(error)
