"""What the app shows of a result: cards, a plot of the cameras, a splat for viewers, one archive."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from agsrec.cameras import Cameras
from agsrec.export.archive import write_archive
from agsrec.export.view_cards import view_cards
from agsrec.export.viewer_splat import turned_for_viewers
from agsrec.figures.camera_plot import camera_plot
from agsrec.gaussians import Gaussians
from agsrec.reconstruction import Reconstruction
from agsrec.render import render_scene
from tests.tiny import rough, tiny_scene


@pytest.fixture(scope="module")
def scene() -> Gaussians:
    """A lopsided cloud in three colours, with sizes that differ by axis."""
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(60, 3, generator=generator) * torch.tensor([0.3, 0.15, 0.1])
    colors = torch.rand(60, 3, generator=generator)
    made = Gaussians.from_points(points, colors, torch.full((60,), 0.05), 0.9)
    return replace(made, quats=torch.randn(60, 4, generator=generator), log_scales=made.log_scales - points)


def test_viewers_see_it_upright(scene: Gaussians) -> None:
    """Seen by a camera turned along, the turned scene looks the same."""
    Ks = Cameras.intrinsics(torch.full((1, 2), 60.0), 48, 48)
    camera = Cameras.orbit(-20.0, torch.tensor([30.0]), 2.0, Ks=Ks, width=48, height=48)
    half_turn = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    turned = replace(camera, viewmats=camera.viewmats @ half_turn)
    black = torch.zeros(3)
    as_it_is = render_scene(scene, camera, black, render_mode="RGB").rgb
    for_viewers = render_scene(turned_for_viewers(scene), turned, black, render_mode="RGB").rgb
    assert as_it_is.max() > 0.3
    assert torch.allclose(as_it_is, for_viewers, atol=1e-4)


def test_camera_plot(scene: Gaussians) -> None:
    views, cameras = tiny_scene()
    plot = camera_plot(rough(cameras), cameras, views.names, scene, marked=["002"])
    by_name = {trace["name"]: trace for trace in plot["data"]}
    assert list(by_name) == ["object", "as given", "after the fit", "posed anew", "names"]
    assert len(by_name["object"]["x"]) == 60 and by_name["names"]["text"] == list(views.names)
    red = by_name["posed anew"]
    assert [red[axis][0] for axis in "xyz"] == pytest.approx(cameras.centers[2].tolist(), abs=1e-4)
    # The image plane's centre lies on the optical axis, before the camera.
    corners = torch.tensor([[red[a][i] for a in "xyz"] for i in (1, 2, 6, 7)]).double()
    toward = corners.mean(0) - cameras.centers[2]
    axis = cameras.rotations[2][2].double()
    assert float(torch.cosine_similarity(toward, axis, dim=0)) == pytest.approx(1.0, abs=1e-3)
    assert red["x"].count(None) == by_name["after the fit"]["x"].count(None) / 5


def result(scene: Gaussians) -> Reconstruction:
    views, cameras = tiny_scene()
    given = rough(cameras, degrees=20.0)
    return Reconstruction(views, given, cameras, scene, 48, [], {}, {})


def test_view_cards(scene: Gaussians, tmp_path: Path) -> None:
    made = result(scene)
    cards = view_cards(made, tmp_path)
    assert [card.name for card in cards] == list(made.views.names)
    turned = [card.turned_deg for card in cards]
    assert all(angle is not None for angle in turned) and max(a or 0 for a in turned) > 5
    for card, image in zip(cards, made.views.composited(torch.ones(3)), strict=True):
        assert card.verdict == "trusted" and card.psnr is not None and 0 < card.psnr < 30
        with Image.open(card.photo) as photo:
            assert np.asarray(photo).mean() == pytest.approx(float(image.mean()) * 255, abs=3)
        assert card.render is not None and card.render.read_bytes() != card.photo.read_bytes()


def test_archive(tmp_path: Path) -> None:
    folder = tmp_path / "result"
    for name in (
        "mesh.glb",
        "checkpoint.pt",
        "checkpoint_outliers.pt",
        ".writable",
        "rounds/given/splat.ply",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * 100)
    (folder / "views").mkdir()
    (folder / "views/000_rgba.png").write_bytes(b"y")
    write_archive(tmp_path / "all.zip", folder, "cup")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert archive.namelist() == ["cup/mesh.glb", "cup/views/000_rgba.png"]
        assert archive.read("cup/mesh.glb") == b"x" * 100
