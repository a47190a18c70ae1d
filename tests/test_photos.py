"""From folders of nerfstudio and COLMAP, with distortion, to cut-outs whose pinhole cameras are exact."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from agsrec.camera_files import find_photo_cameras, is_of_photos, read_photo_cameras
from agsrec.cameras import Cameras
from agsrec.dataset import load_gt_scene, load_views
from agsrec.errors import AgsrecError, CameraError, ImageError, OptionError
from agsrec.images import load_image, save_png
from agsrec.lenses import Lens
from agsrec.photos import Known, known_photos, read_photo
from agsrec.pose_init import initialize
from agsrec.preprocess import process, read_crops, read_focals, read_lenses
from tests.distorted_scene import (
    VIEWS,
    ball,
    photos,
    true_cameras,
    write_colmap,
    write_nerfstudio,
    write_photos,
)
from tests.lens_models import HEIGHT, WIDTH, shifts

KINDS = [("nerfstudio", "OPENCV"), ("nerfstudio", "OPENCV_FISHEYE"), ("colmap", "SIMPLE_RADIAL")]


def scene_folder(folder: Path, kind: str, model: str, *, background: bool = False) -> Path:
    """A folder as the program leaves it: `images/`, and the camera file; returns the file."""
    write_photos(folder / "images", model, background=background)
    if kind == "colmap":
        write_colmap(folder / "sparse" / "0", model)
        return folder / "sparse" / "0"
    write_nerfstudio(folder / "transforms.json", model, scale=2.5)
    return folder / "transforms.json"


def require_exact(cameras: Cameras, images: torch.Tensor, model: str) -> None:
    """Raise unless the cameras are the true ones up to a similarity, and the pictures what they see.

    Args:
        cameras: V cameras.
        images: Their pictures [V, H, W, 4] in [0, 1].
        model: Whose scene it is.
    """
    true = true_cameras(model)
    turns = [c.rotations.double() @ c.rotations[0].double().mT for c in (cameras, true)]
    torch.testing.assert_close(*turns, atol=1e-6, rtol=0)
    # In the first camera's axes the centres are the same but for the scale.
    places = [
        (c.centers - c.centers[0]).double() @ c.rotations[0].double().mT / c.centers[1].dist(c.centers[0])
        for c in (cameras, true)
    ]
    torch.testing.assert_close(*places, atol=2e-6, rtol=0)
    for K, viewmat, image in zip(cameras.Ks.double().numpy(), true.viewmats.numpy(), images, strict=True):

        def rays(u: np.ndarray, v: np.ndarray, K: np.ndarray = K) -> tuple[np.ndarray, np.ndarray]:
            return (u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1]

        ideal = ball(rays, viewmat, cameras.width, cameras.height).astype(float)
        seen = 255 * image.double().numpy()
        # Towards the ball's edge its texture is too fine for a comparison of pictures.
        solid = np.minimum(ideal[..., 3], seen[..., 3]) > 254
        inner = cv2.erode(solid.astype(np.uint8), np.ones((11, 11))) > 0
        off = np.hypot(*shifts(seen[..., :3], ideal[..., :3], inner, side=16).T)
        print(off.max(), np.median(off), len(off))
        assert len(off) >= 9 and off.max() < 0.06 and np.median(off) < 0.02


@pytest.mark.parametrize(("kind", "model"), KINDS)
@pytest.mark.parametrize("background", [False, True])
def test_round_trip(tmp_path: Path, kind: str, model: str, background: bool) -> None:
    file = scene_folder(tmp_path, kind, model, background=background)
    done = process(tmp_path, size=64, model="grabcut")
    assert set(done.lenses) == set(done.focals) == set(VIEWS)
    crops = tmp_path / "processed" / "crops.json"
    assert read_lenses(crops) == done.lenses and read_crops(crops) == done.crops
    assert read_focals(crops)[VIEWS[0]] == pytest.approx(np.diag(done.lenses[VIEWS[0]].pinhole)[:2].mean())
    views = load_views(tmp_path)
    estimate = initialize(views, "file", file=file, folder=tmp_path)
    assert estimate.indices == list(range(len(VIEWS))) and estimate.focal_known
    require_exact(estimate.cameras, views.images, model)
    # Cut out of an undistorted photo, the ball's alpha is as large as it should be.
    K, viewmat = estimate.cameras.Ks[0].double().numpy(), true_cameras(model).viewmats[0].numpy()
    ideal = ball(lambda u, v: ((u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1]), viewmat, 64, 64)
    assert np.abs(ideal[..., 3] / 255 - views.images[0, ..., 3].numpy()).mean() < (
        0.02 if background else 0.01
    )
    source, has_alpha = load_image(tmp_path / "source" / f"{VIEWS[0]}.png")
    assert source.shape == (64, 64, 4) and has_alpha != background


def test_ground_truth_layout(tmp_path: Path) -> None:
    scene_folder(tmp_path, "nerfstudio", "OPENCV")
    scene = load_gt_scene(tmp_path)
    assert (scene.views.width, scene.views.height) == (WIDTH, HEIGHT)
    require_exact(scene.cameras, scene.views.images, "OPENCV")


def test_process_and_file_must_agree(tmp_path: Path) -> None:
    """The remedy that the message names is one."""
    file = scene_folder(tmp_path / "elsewhere", "nerfstudio", "OPENCV")
    folder = tmp_path / "mine"
    shutil.copytree(tmp_path / "elsewhere" / "images", folder)
    process(folder, size=64)
    views = load_views(folder)
    remedy = f"agsrec process {folder} --cameras {file}"
    with pytest.raises(
        CameraError, match=r"photo of view view 0 was cut out as its lens distorts it"
    ) as caught:
        initialize(views, "file", file=file, folder=folder)
    assert str(caught.value).endswith(remedy)
    process(folder, size=64, cameras=file)
    views = load_views(folder)
    require_exact(initialize(views, "file", file=file, folder=folder).cameras, views.images, "OPENCV")
    straight = json.loads(file.read_text()) | {"k1": 0, "k2": 0, "p1": 0, "p2": 0}
    (folder / "pinhole.json").write_text(json.dumps(straight))
    with pytest.raises(CameraError, match="undistorted for another camera"):
        initialize(views, "file", file=folder / "pinhole.json", folder=folder)
    with pytest.raises(CameraError, match=r"lens of view view 0 distorts; .*agsrec process FOLDER --cameras"):
        initialize(views, "file", file=file)


def test_photos_of_another_size(tmp_path: Path) -> None:
    """Scaled photos have scaled cameras; others are refused."""
    file = scene_folder(tmp_path, "nerfstudio", "OPENCV")
    for path in (tmp_path / "images").iterdir():
        with Image.open(path) as image:
            image.resize((2 * WIDTH, 2 * HEIGHT), Image.Resampling.BILINEAR).save(path)
    lens = process(tmp_path, size=64).lenses[VIEWS[0]]
    assert (lens.width, lens.height, lens.focal[0]) == (2 * WIDTH, 2 * HEIGHT, 280.0)
    views = load_views(tmp_path)
    require_exact(initialize(views, "file", file=file, folder=tmp_path).cameras, views.images, "OPENCV")
    Image.new("RGB", (WIDTH, WIDTH)).save(tmp_path / "images" / f"{VIEWS[3]}.png")
    message = (
        rf"view 3\.png is {WIDTH} x {WIDTH}, but its camera in .*transforms\.json is for {WIDTH} x {HEIGHT}"
    )
    with pytest.raises(ImageError, match=message):
        process(tmp_path, size=64)


def stored_with_orientation(folder: Path, orientation: int) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(photos("OPENCV")[0]).save(folder / "a.png", exif=exif)
    return folder / "a.png"


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_photo_with_a_camera_is_taken_as_stored(tmp_path: Path, orientation: int) -> None:
    path = stored_with_orientation(tmp_path, orientation)
    stored = photos("OPENCV")[0]
    known = Known(Path("c"), (WIDTH, HEIGHT))
    assert np.array_equal(read_photo(path, known).rgba, stored)
    assert np.array_equal(read_photo(path).rgba, load_image(path)[0])
    if orientation == 6:
        upright = Known(Path("c"), (HEIGHT, WIDTH))
        assert np.array_equal(read_photo(path, upright).rgba, np.rot90(stored, -1))


# ---------------------------------------------------------------- masks


def test_masks_cut_out(tmp_path: Path) -> None:
    """Of both programs, and they are undistorted with the photo."""
    file = scene_folder(tmp_path, "nerfstudio", "OPENCV", background=True)
    content = json.loads(file.read_text())
    for i, (frame, name) in enumerate(zip(content["frames"], VIEWS, strict=True)):
        mask = tmp_path / "masks" / (f"{name}.png.png" if i % 2 else f"{name}.png")
        if i == 0:
            mask = tmp_path / "hidden" / "first.png"
            frame["mask_path"] = "hidden/first.png"
        save_png(mask, photos("OPENCV")[i][..., 3])
    file.write_text(json.dumps(content))
    assert [known_photos(tmp_path)[name].mask for name in VIEWS[:3]] == [
        tmp_path / "hidden" / "first.png",
        tmp_path / "masks" / "view 1.png.png",
        tmp_path / "masks" / "view 2.png",
    ]

    done = process(tmp_path, size=64, model="u2net")  # which is not asked
    views = load_views(tmp_path)
    require_exact(initialize(views, "file", file=file, folder=tmp_path).cameras, views.images, "OPENCV")
    assert len(done.lenses) == len(VIEWS)
    source, has_alpha = load_image(tmp_path / "source" / f"{VIEWS[2]}.png")
    assert not has_alpha and 20 < source[0, 0, :3].mean() < 50, "the background is still there"


def test_masks_that_hide_something_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_png(tmp_path / "a.png", photos("OPENCV")[0][..., :3])
    path = tmp_path / "m.png"
    everything, nothing = np.full((HEIGHT, WIDTH), 255, np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
    hole = everything.copy()
    hole[40:60, 50:70] = 0
    for mask in (everything, nothing, hole, everything.T[:, :50]):
        save_png(path, mask)
        with caplog.at_level(logging.WARNING):
            photo = read_photo(tmp_path / "a.png", Known(mask=path))
        assert not photo.cut_out and "m.png" in caplog.text and "not used" in caplog.text
        caplog.clear()
    path.write_bytes(b"no mask")
    with pytest.raises(ImageError, match=r"m\.png is not an image"):
        read_photo(tmp_path / "a.png", Known(mask=path))


def test_a_photo_keeps_its_own_alpha(tmp_path: Path) -> None:
    rgba = photos("OPENCV")[0]
    save_png(tmp_path / "a.png", rgba)
    save_png(tmp_path / "masks" / "a.png", np.eye(HEIGHT, WIDTH, dtype=np.uint8) * 255)
    photo = read_photo(tmp_path / "a.png", known_photos(tmp_path)["a"])
    assert photo.cut_out and np.array_equal(photo.rgba, rgba)


# ---------------------------------------------------------------- which file


def test_where_cameras_are_found(tmp_path: Path) -> None:
    assert find_photo_cameras(tmp_path) is None
    for place in ("colmap/sparse/0", "sparse", "sparse/0"):
        write_colmap(tmp_path / place, "OPENCV")
        assert find_photo_cameras(tmp_path) == tmp_path / place
        assert read_photo_cameras(tmp_path).names == VIEWS
    write_nerfstudio(tmp_path / "transforms.json", "OPENCV")
    assert find_photo_cameras(tmp_path) == tmp_path / "transforms.json"
    assert find_photo_cameras(tmp_path / "sparse" / "0") == tmp_path / "sparse" / "0"
    for given in (tmp_path, tmp_path / "sparse" / "0" / "images.bin", tmp_path / "transforms.json"):
        assert read_photo_cameras(given).names == VIEWS and is_of_photos(given)
    (tmp_path / "cameras.json").write_text("{}")
    assert not is_of_photos(tmp_path / "cameras.json")


def test_files_that_are_none(tmp_path: Path) -> None:
    for call in (read_photo_cameras, is_of_photos, lambda path: known_photos(tmp_path, path)):
        with pytest.raises(OptionError, match=r"nowhere does not exist; name .*transforms\.json"):
            call(tmp_path / "nowhere")
    with pytest.raises(OptionError, match=r"has no cameras; name a transforms\.json or"):
        known_photos(tmp_path, tmp_path)
    assert known_photos(tmp_path) == {}


def test_nothing_is_written_where_the_camera_file_is_damaged(tmp_path: Path) -> None:
    scene_folder(tmp_path, "colmap", "OPENCV")
    (tmp_path / "sparse" / "0" / "images.bin").write_bytes(b"\xff" * 8)
    with pytest.raises(CameraError, match=r"images\.bin is damaged"):
        process(tmp_path, size=64)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["images", "sparse"]


def test_damaged_lenses_in_crops(tmp_path: Path) -> None:
    scene_folder(tmp_path, "nerfstudio", "OPENCV")
    process(tmp_path, size=64)
    path = tmp_path / "processed" / "crops.json"
    content = json.loads(path.read_text())
    content[VIEWS[1]]["lens"]["focal"] = "long"
    path.write_text(json.dumps(content))
    with pytest.raises(ImageError, match="'view 1' has an unusable lens"):
        read_lenses(path)


def test_the_crops_of_others_keep_their_lens(tmp_path: Path) -> None:
    file = scene_folder(tmp_path, "nerfstudio", "OPENCV")
    process(tmp_path, size=64)
    path = tmp_path / "processed" / "crops.json"
    shutil.copy(tmp_path / "images" / f"{VIEWS[0]}.png", tmp_path / "view 0.png")
    file.unlink()
    process(tmp_path / "view 0.png", size=64)
    assert set(read_crops(path)) == set(VIEWS) and set(read_lenses(path)) == set(VIEWS[1:])


def test_a_source_folder_is_not_undistorted_twice(tmp_path: Path) -> None:
    scene_folder(tmp_path, "nerfstudio", "OPENCV")
    process(tmp_path, size=64)
    shutil.rmtree(tmp_path / "images")
    assert process(tmp_path, size=64).lenses == {}
    with pytest.raises(AgsrecError, match="64 x 64, but its camera"):
        process(tmp_path, size=64, cameras=tmp_path)


def test_too_long_to_resample(tmp_path: Path) -> None:
    Image.new("L", (32_800, 41)).save(tmp_path / "a.png")
    lens = Lens("perspective", (0.1, *[0.0] * 7), (800.0, 800.0), (400.0, 0.5), 800, 1)
    known = Known(tmp_path, (800, 1), lens)
    with pytest.raises(ImageError, match="32800 x 41 is too long to undistort"):
        read_photo(tmp_path / "a.png", known)
    assert read_photo(tmp_path / "a.png", replace(known, lens=None)).rgba.shape == (41, 32_800, 4)
