"""More photos than are fitted together: which are, what is done with the others, and what is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from agsrec.camera_files import read_cameras_json
from agsrec.cameras import Cameras
from agsrec.cli import main
from agsrec.config import PRESETS, PoseConfig
from agsrec.errors import ImageError, SceneError
from agsrec.fit import fit
from agsrec.images import save_png
from agsrec.lie import so3_exp
from agsrec.metrics.poses import rotation_angles
from agsrec.pipeline import Listener, PhotoFolder, Posing, Settings, checking
from agsrec.pipeline.checking import OthersInScene
from agsrec.pipeline.desk import Desk
from agsrec.pipeline.many_photos import MOST_TOGETHER, Others, fitted_of
from agsrec.pipeline.photos import pose_in_memory
from agsrec.pipeline.run import pose, reconstruct
from agsrec.pose_init import PoseEstimate
from agsrec.view_files import SizedViews, load_files
from tests.tiny import rough, tiny_config, tiny_scene

COUNT, LOST = 15, "007"
NAMES = tuple(f"{i:03d}" for i in range(COUNT))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many") / "blob"
    pixels = (tiny_scene(COUNT)[0].images * 255).round().byte().numpy()
    for name, picture in zip(NAMES, pixels, strict=True):
        save_png(folder / "processed" / f"{name}_rgba.png", picture)
    return folder


class Told(Listener):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Registration that knows the true cameras and loses one; what it was asked."""
    calls: list[dict[str, Any]] = []

    def known(photos: Any, names: tuple[str, ...], **options: Any) -> PoseEstimate:
        calls.append({"names": names, "shapes": {tuple(photos[k].shape) for k in range(len(photos))}})
        cameras = tiny_scene(COUNT)[1]
        placed = torch.tensor([name != LOST for name in names])
        index = [NAMES.index(name) for name in names if name != LOST]
        return PoseEstimate(cameras[index], placed, placed.float() * 0.9)

    monkeypatch.setattr("agsrec.pose_init.ace0.initializer.pose_many", known)
    return calls


def test_twelve_are_fitted_and_the_others_are_kept(original: Path, registered: list[dict[str, Any]]) -> None:
    told = Told()
    posed = pose(Desk.at(None, Settings(), told), PhotoFolder(original))
    assert registered == [{"names": NAMES, "shapes": {(48, 48, 4)}}]
    assert len(posed.views) == MOST_TOGETHER == len(posed.estimate.cameras)
    assert posed.others is not None
    fitted, kept = set(posed.views.names), set(posed.others.names)
    assert fitted | kept == set(NAMES) - {LOST} and not fitted & kept
    true = tiny_scene(COUNT)[1]
    index = [NAMES.index(name) for name in posed.views.names]
    torch.testing.assert_close(posed.estimate.cameras.viewmats, true.viewmats[index])
    said = " ".join(told.said)
    assert "15 photos: 8 that overlap were posed first" in said
    assert f"Left out, because they could not be registered: {LOST}" in said
    assert "The fit is given the 12 that are farthest apart" in said


def test_it_is_kept_with_the_result(original: Path, registered: list[dict[str, Any]], tmp_path: Path) -> None:
    views = [
        pose(Desk.at(tmp_path, Settings(), Told()), PhotoFolder(original)).views.images for _ in range(2)
    ]
    assert len(registered) == 1
    assert torch.equal(*views)


def test_a_few_photos_are_posed_together_unless_it_is_asked_for(
    original: Path, registered: list[dict[str, Any]]
) -> None:
    settings = Settings(posing=Posing("ace0"))
    posed = pose(Desk.at(None, settings, Told()), PhotoFolder(original, num_views=5))
    assert len(registered) == 1 and posed.others is None and len(posed.views) == 5


def test_the_surest_and_farthest_are_fitted() -> None:
    count = 20
    Ks = Cameras.intrinsics(torch.full((count,), 60.0), 48, 48)
    azimuths = torch.cat([torch.arange(12) * 30.0, torch.full((8,), 4.0)])  # eight more from one side
    cameras = Cameras.orbit(torch.full((count,), -10.0), azimuths, 1.85, Ks=Ks, width=48, height=48)
    confidence = torch.ones(count)
    confidence[3] = 0.1
    estimate = PoseEstimate(cameras, torch.ones(count, dtype=torch.bool), confidence)
    fitted = fitted_of(estimate)
    assert len(fitted) == MOST_TOGETHER and 3 not in fitted
    assert set(range(12)) - {3} <= set(fitted)


def test_others_follow_the_fit_and_its_focal_length() -> None:
    cameras = tiny_scene(8)[1]
    final = replace(
        cameras.transformed(1.3, so3_exp(torch.tensor([[0.0, 0.4, 0.1]]))[0], torch.tensor([0.2, 0.0, 0.1])),
        Ks=cameras.Ks * torch.tensor([1.1, 1.1, 1.0]),
    )
    result = SimpleNamespace(initial_cameras=cameras[[0, 2, 4, 6]], cameras=final[[0, 2, 4, 6]])
    moved = checking._carried(cast(Any, result), cameras[[1, 3, 5, 7]])
    torch.testing.assert_close(moved.viewmats, final.viewmats[[1, 3, 5, 7]], atol=1e-4, rtol=0)
    torch.testing.assert_close(moved.Ks, final.Ks[[1, 3, 5, 7]])


def test_others_are_adjusted_to_the_scene(original: Path) -> None:
    views, cameras = tiny_scene(COUNT)
    scene = fit(views, cameras, tiny_config(60, poses=PoseConfig(optimize=False)))
    result = SimpleNamespace(**vars(scene), initial_cameras=cameras)
    photos = SizedViews.of({name: original / "processed" / f"{name}_rgba.png" for name in NAMES})
    others, off = [11, 3, 6], rough(cameras, 4.0)
    given = Others(photos, tuple(NAMES[v] for v in others), off[others])
    placed = OthersInScene(cast(Any, result), given, torch.device("cpu")).cameras
    turns = [(c.rotations.double() @ cameras[others].rotations.mT.double()) for c in (off[others], placed)]
    before, after = (rotation_angles(turn) for turn in turns)
    assert (after < before).all() and float(after.mean()) < 0.6 * float(before.mean())


def test_the_result_is_checked_by_the_photos_that_were_not_fitted(
    original: Path,
    registered: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(PRESETS, "fast", tiny_config(30, size=24))
    monkeypatch.setattr("agsrec.export.results.save_turntable", lambda path, *_: path.write_bytes(b"video"))
    further: list[Any] = []

    def no_mesh(*_: Any, others: Any = None, **__: Any) -> None:
        further.append(others)
        raise SceneError("none is wanted")

    monkeypatch.setattr("agsrec.mesh.make_mesh", no_mesh)
    main(["run", str(original), "--output", str(tmp_path), "--prior", "none"])
    out = tmp_path / "blob"
    metrics = json.loads((out / "metrics.json").read_text())
    others = metrics["others"]["by_view"]
    assert len(metrics["views"]) == MOST_TOGETHER and len(others) == COUNT - 1 - MOST_TOGETHER
    assert 10 < metrics["others"]["psnr"] == pytest.approx(sum(others.values()) / len(others))
    assert "photos that the fit was not given" in capsys.readouterr().out
    written = read_cameras_json(out / "cameras_others.json", 48, 48)
    assert set(written.names) == set(others)
    ((pictures, cameras),) = further  # the texture is given them too
    assert set(pictures.names) == set(others) and len(cameras) == len(pictures)
    for name, camera in zip(pictures.names, cameras.viewmats, strict=True):
        same = written.cameras.viewmats[written.names.index(name)].float()
        torch.testing.assert_close(camera, same, atol=1e-4, rtol=0)
    capsys.readouterr()
    with pytest.raises(SystemExit):  # and so is one that is made later
        main(["mesh", str(out), "--output", str(tmp_path / "later")])
    later, again = further[1]
    assert later.names == tuple(n for n in written.names if n in pictures.names)
    torch.testing.assert_close(later[0], pictures[pictures.names.index(later.names[0])])
    same = written.cameras.viewmats[[written.names.index(name) for name in later.names]]
    torch.testing.assert_close(again.viewmats, same)


def test_poses_writes_the_cameras_of_all(
    original: Path, registered: list[dict[str, Any]], tmp_path: Path
) -> None:
    main(["poses", str(original), "--output", str(tmp_path / "cameras.json")])
    written = read_cameras_json(tmp_path / "cameras.json", 48, 48)
    assert set(written.names) == set(NAMES) - {LOST}
    true = tiny_scene(COUNT)[1]
    index = [NAMES.index(name) for name in written.names]
    torch.testing.assert_close(written.cameras.viewmats.float(), true.viewmats[index], atol=1e-4, rtol=0)


def test_views_in_memory_go_the_same_way(registered: list[dict[str, Any]], tmp_path: Path) -> None:
    views, told = tiny_scene(COUNT)[0], Told()
    settings = Settings(fit=tiny_config(20, size=24))
    result = reconstruct(views, settings=settings, listener=told, keep=tmp_path)
    assert registered == [{"names": NAMES, "shapes": {(48, 48, 4)}}]
    assert len(result.views) == MOST_TOGETHER and LOST not in result.views.names
    assert "The fit is given the 12 that are farthest apart" in " ".join(told.said)
    again = reconstruct(views, settings=settings, keep=tmp_path)
    assert len(registered) == 1 and torch.equal(again.gaussians.means, result.gaussians.means)


def test_few_views_in_memory_are_posed_together(
    registered: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def together(views: Any, *_: Any, **__: Any) -> PoseEstimate:
        count = len(views)
        return PoseEstimate(tiny_scene(COUNT)[1][:count], torch.ones(count).bool(), torch.ones(count))

    monkeypatch.setattr("agsrec.pipeline.photos.initialize", together)
    few = tiny_scene(COUNT)[0][range(MOST_TOGETHER)]
    assert len(pose_in_memory(Desk.at(None, Settings(), Told()), few).views) == MOST_TOGETHER
    assert not registered


def test_photos_are_read_one_at_a_time_and_as_usual(original: Path, tmp_path: Path) -> None:
    files = {name: original / "processed" / f"{name}_rgba.png" for name in NAMES[:3]}
    sized = SizedViews.of(files, size=32)
    usual = load_files([*files.values()], [*files], size=32)
    assert torch.equal(sized.views([0, 1, 2]).images, usual.images)
    save_png(tmp_path / "wide_rgba.png", torch.zeros(10, 20, 4, dtype=torch.uint8).numpy())
    with pytest.raises(ImageError, match=r"20 x 10 but 000_rgba\.png is 48 x 48; only square"):
        SizedViews.of({**files, "wide": tmp_path / "wide_rgba.png"})
