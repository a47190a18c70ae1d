from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from agsrec.dataset import load_gt_scene, load_scene
from agsrec.errors import ImageError, ShapeError
from agsrec.images import resized, save_png
from agsrec.pipeline import Settings
from agsrec.pipeline.desk import Desk
from agsrec.pipeline.finishing import make_textured_mesh, save_results
from agsrec.pipeline.run import reconstruct
from agsrec.result_files import load_fitted, load_full_size
from agsrec.store import Store
from agsrec.view_files import FullSizeViews, find_view_files, load_files
from tests.tiny import NAMES, tiny_config, write_scene


def picture(side: int, seed: int = 0) -> np.ndarray:
    """RGBA [side, side, 4] of noise with a solid box in the middle."""
    rgba = np.random.default_rng(seed).integers(0, 255, (side, side, 4), dtype=np.uint8)
    rgba[..., 3] = 0
    rgba[side // 4 : -side // 4, side // 4 : -side // 4, 3] = 255
    return rgba


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Pictures of 40, 24 and 12 pixels."""
    out = [tmp_path / f"{name}_rgba.png" for name in "abc"]
    for file, side in zip(out, (40, 24, 12), strict=True):
        save_png(file, picture(side, side))
    return out


def test_pictures_one_at_a_time(files: list[Path]) -> None:
    views = FullSizeViews((*files[:2], picture(12, 12)), ("a", "b", "c"))
    assert len(views) == 3 and views.sizes == ((40, 40), (24, 24), (12, 12))
    for shown, side in zip(views, (40, 24, 12), strict=True):
        assert shown.dtype == torch.float32
        torch.testing.assert_close(shown * 255, torch.from_numpy(picture(side, side)).float())
    chosen = views.select(["c", "a"])
    assert chosen.names == ("c", "a") and chosen[1].shape == (40, 40, 4)
    assert views[1:].names == ("b", "c") and views[-1].shape == (12, 12, 4)
    assert views.exceed(39, 39) and not views.exceed(40, 40)
    with pytest.raises(ShapeError, match="2 pictures but 1 names"):
        FullSizeViews(tuple(files[:2]), ("a",))
    files[1].unlink()
    with pytest.raises(ImageError, match="b_rgba"):
        views[1]


def test_contents_tell_of_changed_files(files: list[Path]) -> None:
    views = FullSizeViews(tuple(files), ("a", "b", "c"))
    before = views.contents()
    assert before == views.contents() and set(before) == {"a", "b", "c"}
    save_png(files[1], picture(24, 99))
    assert [name for name, value in views.contents().items() if value != before[name]] == ["b"]


# ---------------------------------------------------------------- working size


def test_files_of_one_size_stay_as_they_are(tmp_path: Path) -> None:
    for side in (256, 512):
        files = [tmp_path / f"{side}_{k}.png" for k in range(2)]
        for k, file in enumerate(files):
            save_png(file, picture(side, k))
        expected = np.stack([picture(side, k) for k in range(2)])
        assert torch.equal(load_files(files, ["0", "1"]).images, torch.from_numpy(expected).float() / 255)


def test_square_files_of_several_sizes_get_one(files: list[Path]) -> None:
    views = load_files(files, ["a", "b", "c"], size=32)
    assert views.images.shape == (3, 32, 32, 4)
    for image, side in zip(views.images, (40, 24, 12), strict=True):
        expected = resized(picture(side, side), 32, 32)
        assert torch.equal(image, torch.from_numpy(expected).float() / 255)
    assert load_files(files[1:], ["b", "c"], size=32).images.shape == (2, 24, 24, 4), (
        "nothing more is enlarged"
    )
    with_default = load_files(files, ["a", "b", "c"])
    assert with_default.images.shape == (3, 40, 40, 4)


def test_hidden_colours_do_not_bleed_into_smaller_views(tmp_path: Path) -> None:
    rgba = np.zeros((60, 60, 4), np.uint8)
    rgba[..., 0] = 255
    rgba[15:46, 15:46] = (0, 200, 0, 255)
    save_png(tmp_path / "a.png", rgba)
    image = load_files([tmp_path / "a.png"], ["a"], size=13).images[0]
    seen = image[..., 3] > 0.04
    assert float(image[seen][:, 0].max()) < 0.01
    assert float(image[..., 3].mean()) == pytest.approx(31**2 / 60**2, abs=2e-3), "areas are kept"


def test_a_result_keeps_the_photos_for_later_meshes(tmp_path: Path) -> None:
    write_scene(tmp_path / "s")
    scene = load_scene(tmp_path, "s", size=24)
    settings = Settings(fit=tiny_config(2, size=24))
    result = reconstruct(scene.views, scene.cameras, settings)
    save_results(result, tmp_path / "out", scene)
    gaussians, views, cameras = load_fitted(tmp_path / "out")
    kept = load_full_size(tmp_path / "out", views)
    assert len(gaussians) and views.width == cameras.width == 24 and kept is not None
    assert scene.full_size is not None and kept.names == NAMES
    for stored, given in zip(kept, scene.full_size, strict=True):
        assert torch.equal(stored, given)
    save_results(result, tmp_path / "out", replace(scene, full_size=None))
    assert load_full_size(tmp_path / "out", views) is None, "those of an earlier result are gone"


def test_other_shapes_must_be_equal(tmp_path: Path) -> None:
    shapes = {"a": (20, 40), "b": (40, 40), "c": (10, 20), "d": (20, 40)}
    for name, shape in shapes.items():
        rgba = np.full((*shape, 4), 255, np.uint8)
        rgba[0, 0, 3] = 0
        save_png(tmp_path / f"{name}.png", rgba)
    for pair in ("ab", "ba", "ac"):
        with pytest.raises(ImageError, match="only square images may differ in size"):
            load_files([tmp_path / f"{n}.png" for n in pair], [*pair])
    views = load_files([tmp_path / "a.png", tmp_path / "d.png"], ["a", "d"], size=24)
    assert views.images.shape == (2, 12, 24, 4)


# ---------------------------------------------------------------- scenes


def enlarge(folder: Path, times: int) -> None:
    """Make every cut-out of a scene so many times larger, pixel by pixel."""
    for file in find_view_files(folder).values():
        rgba = np.array(load_rgba(file))
        save_png(file, rgba.repeat(times, 0).repeat(times, 1))


def load_rgba(file: Path) -> np.ndarray:
    from agsrec.images import load_image

    return load_image(file)[0]


def test_scenes_know_what_is_larger_than_their_views(tmp_path: Path) -> None:
    write_scene(tmp_path / "s")
    scene = load_scene(tmp_path, "s")
    assert scene.full_size is None and scene.views.width == 48, "the views are all there is"
    assert load_gt_scene(tmp_path / "s").full_size is None
    small = load_scene(tmp_path, "s", size=24)
    assert small.views.width == small.cameras.width == 24 and small.full_size is not None
    assert small.full_size.names == NAMES and small.full_size.sizes == ((48, 48),) * 6
    torch.testing.assert_close(small.full_size[2], scene.views.images[2])
    torch.testing.assert_close(small.cameras.resized(48, 48).Ks, scene.cameras.Ks)
    assert small.test_views is not None and small.test_views.width == 48, "scores can be compared"


def test_cameras_of_views_are_those_of_their_pictures(tmp_path: Path) -> None:
    """A spot of a picture is where its view shows it, by the ratio of their sides."""
    write_scene(tmp_path / "s")
    enlarge(tmp_path / "s", 16)
    scene = load_scene(tmp_path, "s")
    assert scene.views.width == 512 and scene.full_size is not None
    for i, shown in enumerate(scene.full_size):
        whole, view = (mask_centre(m) for m in (shown[..., 3], scene.views.masks[i]))
        ratio = scene.cameras.resized(768, 768).Ks[i] @ scene.cameras.Ks[i].inverse()
        torch.testing.assert_close(whole, (ratio @ view)[:2], atol=0.02, rtol=0)


def mask_centre(mask: torch.Tensor) -> torch.Tensor:
    """Mean (x, y, 1) of a mask [H, W], pixel centres at +0.5; the first two are compared."""
    height, width = mask.shape
    x = (mask.sum(0) * (torch.arange(width) + 0.5)).sum() / mask.sum()
    y = (mask.sum(1) * (torch.arange(height) + 0.5)).sum() / mask.sum()
    return torch.stack([x, y]) if height == 768 else torch.stack([x, y, torch.ones(())])


# ---------------------------------------------------------------- the mesh


def test_the_mesh_is_given_the_files_and_made_again_when_they_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_scene(tmp_path / "s")
    scene = load_scene(tmp_path, "s", size=24)
    settings = Settings(fit=tiny_config(4, size=24))
    result = reconstruct(scene.views, scene.cameras, settings)
    result = replace(result, views=result.views[[3, 1]], cameras=result.cameras[[3, 1]])
    given = []

    def made(*_: object, photos: FullSizeViews | None, **_more: object) -> str:
        given.append(photos)
        return "a mesh"

    monkeypatch.setattr("agsrec.mesh.make_mesh", made)
    for _ in range(2):
        make_textured_mesh(Desk(settings, store=Store(tmp_path / "store")), result, scene.full_size)
    assert len(given) == 1 and given[0].names == ("003", "001"), "of the views that are left"
    assert given[0][0].shape == (48, 48, 4)
    file = tmp_path / "s" / "processed" / "001_rgba.png"
    save_png(file, picture(48))
    make_textured_mesh(Desk(settings, store=Store(tmp_path / "store")), result, scene.full_size)
    assert len(given) == 2, "a file has changed"
    save_png(tmp_path / "s" / "processed" / "000_rgba.png", picture(48))
    make_textured_mesh(Desk(settings, store=Store(tmp_path / "store")), result, scene.full_size)
    assert len(given) == 2, "another view's file does not matter"
    make_textured_mesh(Desk(settings, store=Store(tmp_path / "store")), result)
    assert given[2] is None
