"""One contract for all initialisers, tried with ones that know the answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from agsrec.camera_files import write_cameras_json, write_colmap, write_transforms_json
from agsrec.cameras import CAMERA_DISTANCE, Cameras
from agsrec.errors import AgsrecError, CameraError, DeviceError, OptionError, SceneError
from agsrec.metrics.poses import pairwise_rotation_errors
from agsrec.pose_init import METHODS, PlacementError, PoseEstimate, initialize
from agsrec.pose_init.focal import DEFAULT_FOV_DEG, crop_zooms, default_focal, exif_focals
from agsrec.pose_init.initialize import Task
from agsrec.views import Views
from tests.pose_init.fakes import install, knowing
from tests.tiny import tiny_scene


@pytest.fixture
def scene() -> tuple[Views, Cameras]:
    return tiny_scene(6)


def with_image(views: Views, index: int, image: torch.Tensor) -> Views:
    images = views.images.clone()
    images[index] = image
    return Views(images, views.names)


def test_the_answer_goes_through(scene: tuple[Views, Cameras], monkeypatch: pytest.MonkeyPatch) -> None:
    views, cameras = scene
    seen: list[Task] = []
    install(monkeypatch, knowing(cameras, views.names, seen=seen))
    estimate = initialize(views, seed=3)
    assert estimate.indices == [0, 1, 2, 3, 4, 5] and estimate.confidence.tolist() == pytest.approx([0.8] * 6)
    torch.testing.assert_close(estimate.cameras.viewmats, cameras.viewmats)
    (task,) = seen
    assert (task.model, task.seed, task.focals) == ("nview-mini", 3, None) and task.device in ("cpu", "cuda")


def test_a_world_without_up_is_normalised(
    scene: tuple[Views, Cameras], monkeypatch: pytest.MonkeyPatch
) -> None:
    views, cameras = scene
    moved = cameras.transformed(4.0, torch.eye(3)[[1, 2, 0]], torch.tensor([1.0, 2.0, 3.0]))
    run = knowing(moved, views.names)
    monkeypatch.setitem(METHODS, "dust3r", type(METHODS["dust3r"])(run, "some-model", learned=True))
    estimate = initialize(views, "dust3r")
    assert float(estimate.cameras.centers.norm(dim=-1).mean()) == pytest.approx(CAMERA_DISTANCE, rel=1e-4)
    assert pairwise_rotation_errors(estimate.cameras, cameras).max() < 0.1


def test_a_blank_view_is_marked(scene: tuple[Views, Cameras], monkeypatch: pytest.MonkeyPatch) -> None:
    views, cameras = scene
    seen: list[Task] = []
    install(monkeypatch, knowing(cameras, views.names, lost=["004"], seen=seen))
    estimate = initialize(with_image(views, 2, torch.zeros_like(views.images[2])))
    assert seen[0].views.names == ("000", "001", "003", "004", "005")
    assert estimate.placed.tolist() == [True, True, False, True, False, True]
    assert estimate.confidence.tolist() == pytest.approx([0.8, 0.8, 0, 0.8, 0, 0.8])
    torch.testing.assert_close(estimate.cameras.viewmats, cameras[[0, 1, 3, 5]].viewmats)


def test_the_same_picture_gets_the_same_camera(
    scene: tuple[Views, Cameras], monkeypatch: pytest.MonkeyPatch
) -> None:
    views, cameras = scene
    seen: list[Task] = []
    install(monkeypatch, knowing(cameras, views.names, lost=["005"], seen=seen))
    estimate = initialize(with_image(with_image(views, 3, views.images[1]), 0, views.images[5]))
    # View 5 is the twin of view 0; view 0 keeps its name and its camera.
    assert seen[0].views.names == ("000", "001", "002", "004")
    assert estimate.indices == [0, 1, 2, 3, 4, 5]
    torch.testing.assert_close(estimate.cameras.viewmats, cameras[[0, 1, 2, 1, 4, 0]].viewmats)


def test_forty_views(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(40, 16, 16, 4, generator=generator).round(decimals=3)
    images[..., 3] = 1
    views = Views(images, tuple(str(i) for i in range(40)))
    Ks = Cameras.intrinsics(torch.full((40,), 30.0), 16, 16)
    cameras = Cameras.orbit(-10.0, torch.arange(40) * 9.0, CAMERA_DISTANCE, Ks=Ks, width=16, height=16)
    install(monkeypatch, knowing(cameras, views.names))
    torch.testing.assert_close(initialize(views).cameras.viewmats, cameras.viewmats)


def test_known_focal_lengths(scene: tuple[Views, Cameras], monkeypatch: pytest.MonkeyPatch) -> None:
    views, cameras = scene
    seen: list[Task] = []
    install(monkeypatch, knowing(cameras, views.names, lost=["001"], seen=seen))
    wanted = [60.0, 61.0, 62.0, 63.0, 64.0, 65.0]
    estimate = initialize(views, focal=wanted)
    assert seen[0].focals == wanted
    assert estimate.cameras.focal_lengths[:, 0].tolist() == [60.0, 62.0, 63.0, 64.0, 65.0]
    assert float(estimate.cameras.focal_lengths.std(dim=1).max()) == 0
    assert initialize(views, focal=70.0).cameras.focal_lengths.unique().tolist() == [70.0]


def test_default_field_of_view() -> None:
    half = torch.tensor(DEFAULT_FOV_DEG / 2).deg2rad().tan()
    assert default_focal(200, 100) == pytest.approx(100 / float(half))


def _one(views: Views) -> Views:
    return views[[0]]


def _one_left(views: Views) -> Views:
    images = torch.zeros_like(views.images)
    images[1] = views.images[1]
    return Views(images, views.names)


def _same(views: Views) -> Views:
    return Views(views.images[:1].expand(3, -1, -1, -1), views.names[:3])


REFUSED: dict[str, tuple[Any, dict[str, Any], type[AgsrecError], str]] = {
    "one view": (_one, {}, OptionError, r"one view \(000\).*relate"),
    "one view with an object": (_one_left, {}, PlacementError, "000, 002, 003.*show none"),
    "one picture": (_same, {}, PlacementError, "all 3 views are the same picture"),
    "unknown method": (
        None,
        {"method": "magic"},
        OptionError,
        "'magic'.*leap, noposplat, ace0, colmap, file",
    ),
    "unknown device": (None, {"device": "tpu"}, OptionError, "--device"),
    "no CUDA": (None, {"device": "cuda"}, DeviceError, "--device cpu"),
    "seed": (None, {"seed": -1}, OptionError, "--seed"),
    "model of colmap": (None, {"method": "colmap", "model": "x"}, OptionError, "colmap has no model"),
    "leap without a model": (None, {"method": "leap"}, OptionError, "name a checkpoint"),
    "file for nview": (None, {"file": "cameras.json"}, OptionError, "auto reads no camera file"),
    "file without a file": (None, {"method": "file"}, OptionError, "needs the camera file"),
    "file that is not there": (None, {"method": "file", "file": "no.json"}, OptionError, "no.json does not"),
    "too few focals": (None, {"focal": [50.0, 60.0]}, OptionError, "2 focal lengths given for 6 views"),
    "absurd focal": (None, {"focal": 1.0}, OptionError, "1 pixels makes no sense for images of 48 x 48"),
    "NaN focal": (None, {"focal": float("nan")}, OptionError, "nan pixels"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(scene: tuple[Views, Cameras], monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    install(monkeypatch, lambda _: pytest.fail("work was done"))
    change, options, error, words = REFUSED[case]
    views = scene[0] if change is None else change(scene[0])
    with pytest.raises(error, match=words):
        initialize(views, **options)


def test_fewer_than_two_placed(scene: tuple[Views, Cameras], monkeypatch: pytest.MonkeyPatch) -> None:
    views, cameras = scene
    install(monkeypatch, knowing(cameras, views.names, lost=views.names[1:]))
    with pytest.raises(PlacementError, match=r"auto could place only 1 of 6 views; .*another initialiser"):
        initialize(views)


def test_cameras_that_are_not_finite(scene: tuple[Views, Cameras], monkeypatch: pytest.MonkeyPatch) -> None:
    views, cameras = scene
    broken = Cameras(cameras.viewmats * float("nan"), cameras.Ks, cameras.width, cameras.height)
    install(monkeypatch, knowing(broken, views.names))
    with pytest.raises(PlacementError, match="no finite cameras"):
        initialize(views)


def test_what_a_method_cannot_place_is_a_placement_error(
    scene: tuple[Views, Cameras], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(_: Task) -> PoseEstimate:
        raise SceneError("no object seen")

    install(monkeypatch, lost)
    with pytest.raises(PlacementError, match="no object seen"):
        initialize(scene[0])


# -------------------------------------------------------------------- method file


def test_cameras_json_stays_as_it_is(scene: tuple[Views, Cameras], tmp_path: Path) -> None:
    views, cameras = scene
    flags = [1, 1, 0, 1, 1]
    write_cameras_json(tmp_path / "c.json", cameras[:5].resized(100, 100), views.names[:5], flags=flags)
    estimate = initialize(views, "file", file=tmp_path / "c.json")
    assert estimate.placed.tolist() == [True, True, False, True, True, False]
    torch.testing.assert_close(estimate.cameras.viewmats, cameras[[0, 1, 3, 4]].viewmats, atol=1e-6, rtol=0)
    torch.testing.assert_close(estimate.cameras.Ks, cameras[[0, 1, 3, 4]].Ks)


@pytest.mark.parametrize("kind", ["transforms.json", "colmap"])
def test_files_of_other_tools_are_normalised(scene: tuple[Views, Cameras], tmp_path: Path, kind: str) -> None:
    views, cameras = scene
    z_up = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    moved = cameras.transformed(3.0, z_up, torch.tensor([5.0, 0.0, 1.0]))[[5, 4, 3, 2, 1, 0]]
    files = [f"{name}.jpg" for name in reversed(views.names)]
    if kind == "colmap":
        write_colmap(tmp_path / "m", moved, files, points=torch.tensor([[5.0, 0.0, 1.0]]))
        estimate = initialize(views, "file", file=tmp_path / "m")
        assert estimate.points is not None and estimate.points.points.norm() < 0.2, "the object's centre"
    else:
        write_transforms_json(tmp_path / kind, moved, files)
        estimate = initialize(views, "file", file=tmp_path / kind)
    assert estimate.indices == list(range(6))
    assert pairwise_rotation_errors(estimate.cameras, cameras).max() < 0.1
    assert float(estimate.cameras.centers.norm(dim=-1).mean()) == pytest.approx(CAMERA_DISTANCE, rel=1e-4)
    elevations = [c.spherical()[0] for c in (estimate.cameras, cameras)]
    assert (elevations[0] - elevations[1]).abs().max() < 8, "up is up"


def crops_json(folder: Path, views: Views, focal: float | None) -> None:
    entry: dict[str, Any] = {"width": 400, "height": 300, "x0": 100, "y0": 50, "side": 96, "size": 48}
    if focal is not None:
        entry["focal_length"] = focal
    (folder / "processed").mkdir(parents=True)
    (folder / "processed" / "crops.json").write_text(json.dumps({n: entry for n in views.names}))


def test_cameras_of_uncropped_photos(scene: tuple[Views, Cameras], tmp_path: Path) -> None:
    views, cameras = scene
    crops_json(tmp_path, views, None)
    Ks = cameras.Ks.clone()
    Ks[:, :2] *= 96 / 48
    Ks[:, :2, 2] += torch.tensor([100.0, 50.0])
    whole = Cameras(cameras.viewmats, Ks, 400, 300)
    write_transforms_json(tmp_path / "t.json", whole, list(views.names))
    estimate = initialize(views, "file", file=tmp_path / "t.json", folder=tmp_path)
    torch.testing.assert_close(estimate.cameras.Ks, cameras.Ks, atol=1e-3, rtol=1e-5)
    with pytest.raises(CameraError, match=r"400 x 300.*48 x 48.*agsrec process"):
        initialize(views, "file", file=tmp_path / "t.json")


def test_file_of_other_views(scene: tuple[Views, Cameras], tmp_path: Path) -> None:
    views, cameras = scene
    write_cameras_json(tmp_path / "c.json", cameras, [f"x{n}" for n in views.names])
    with pytest.raises(CameraError, match="no camera for any of the views 000"):
        initialize(views, "file", file=tmp_path / "c.json")


# -------------------------------------------------------------------- focal lengths from the photos


def test_focal_lengths_of_the_photos_are_used(
    scene: tuple[Views, Cameras], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    views, cameras = scene
    crops_json(tmp_path, views, 140.0)
    assert exif_focals(tmp_path, views.names, 48) == [70.0] * 6
    assert exif_focals(tmp_path, views.names, 96) == [140.0] * 6
    assert exif_focals(tmp_path, [*views.names, "other"], 48) is None
    install(monkeypatch, knowing(cameras, views.names))
    assert initialize(views, folder=tmp_path).cameras.focal_lengths.unique().tolist() == [70.0]
    assert initialize(views, folder=tmp_path, focal=65.0).cameras.focal_lengths.unique().tolist() == [65.0]


def test_proportions_of_focal_lengths_come_from_the_crops(
    scene: tuple[Views, Cameras], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    views, cameras = scene
    crops_json(tmp_path, views, None)
    file = tmp_path / "processed" / "crops.json"
    crops = json.loads(file.read_text())
    crops[views.names[1]]["side"] = 192
    file.write_text(json.dumps(crops))
    halved = [0.5, 0.25, 0.5, 0.5, 0.5, 0.5]
    assert crop_zooms(tmp_path, views.names, 48) == halved
    assert crop_zooms(tmp_path, [*views.names, "other"], 48) is None
    asked: list[Task] = []
    install(monkeypatch, knowing(cameras, views.names, seen=asked))
    initialize(views, folder=tmp_path)
    initialize(views, folder=tmp_path, zooms=[1.0, 2.0, 1.0, 1.0, 1.0, 1.0])
    assert [task.zooms for task in asked] == [halved, [1.0, 2.0, 1.0, 1.0, 1.0, 1.0]]
    with pytest.raises(OptionError, match="2 zooms given for 6 views"):
        initialize(views, zooms=[1.0, 2.0])
    crops[views.names[2]] |= {"width": 300, "height": 400}  # the camera on its side
    file.write_text(json.dumps(crops))
    assert crop_zooms(tmp_path, views.names, 48) == halved
    crops[views.names[2]] |= {"width": 300, "height": 300}  # cropped by someone else
    file.write_text(json.dumps(crops))
    assert crop_zooms(tmp_path, views.names, 48) is None


@pytest.mark.parametrize("focal", [None, 0.0, "long", 1e-6, 1e6])
def test_focal_lengths_that_cannot_be_are_ignored(
    scene: tuple[Views, Cameras], tmp_path: Path, focal: Any
) -> None:
    crops_json(tmp_path, scene[0], focal)
    assert exif_focals(tmp_path, scene[0].names, 48) is None


def test_the_table_loads_late() -> None:
    assert set(METHODS) == {
        "auto",
        "nview",
        "dust3r",
        "mast3r",
        "leap",
        "noposplat",
        "ace0",
        "colmap",
        "file",
    }
    assert isinstance(METHODS["file"].run, type(lambda: None)) and issubclass(PlacementError, CameraError)
    assert PoseEstimate.__module__ == "agsrec.pose_init.estimate"
