"""What is shown of a result: numbers and words, without a window."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from agsrec.cameras import Cameras
from agsrec.errors import CameraError, ImageError, OptionError, SceneError
from agsrec.figures.canvas import FINAL
from agsrec.gaussians import Gaussians
from agsrec.metrics.poses import Similarity
from agsrec.viewer.assemble import (
    VERDICT_COLORS,
    Display,
    display,
    frustum_lines,
    image_planes,
    rgb,
    splats,
)
from agsrec.viewer.panel import legend_html, moment_html, stories_html
from agsrec.viewer.result import load_result
from tests.viewer.made_up import LEFT_OUT, NAMES, TURN, ball, cameras


@pytest.fixture(scope="module")
def shown(folder: Path) -> Display:
    return display(load_result(folder))


# -------------------------------------------------------------------- scene


def test_covariances_are_those_of_the_gaussians() -> None:
    one = Gaussians(
        means=torch.tensor([[1.0, 2.0, 3.0]]),
        quats=torch.tensor([[2 * 0.5**0.5, 0.0, 0.0, 2 * 0.5**0.5]]),  # 90 degrees about z, not normalised
        log_scales=torch.tensor([[0.3, 0.2, 0.1]]).log(),
        opacity_logits=torch.zeros(1),
        sh=torch.tensor([[[1.0, 0.0, -9.0]]]),
    )
    drawn = splats(one)
    np.testing.assert_allclose(drawn.covariances[0], np.diag([0.04, 0.09, 0.01]), atol=1e-6)
    np.testing.assert_allclose(drawn.rgbs[0], [0.5 + 0.28209479, 0.5, 0.0], atol=1e-6)
    np.testing.assert_allclose(drawn.opacities, [[0.5]])
    turn = torch.from_numpy(Rotation.from_euler("x", 90, degrees=True).as_matrix())
    placed = splats(one, Similarity(2.0, turn, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)))
    np.testing.assert_allclose(placed.centers, [[2.0, -6.0, 5.0]], atol=1e-6)
    np.testing.assert_allclose(placed.covariances[0], np.diag([0.16, 0.04, 0.36]), atol=1e-6)


def test_earlier_fits_are_brought_into_the_world_of_the_result(shown: Display) -> None:
    assert list(shown.scenes) == ["the result", "trusted photos only"]
    ours, theirs = shown.scenes.values()
    np.testing.assert_allclose(theirs.centers, ours.centers, atol=1e-4)
    np.testing.assert_allclose(theirs.covariances, ours.covariances, atol=1e-6)


# -------------------------------------------------------------------- cameras


def test_photos_hang_where_their_cameras_see_them() -> None:
    every = cameras()
    for view, plane in enumerate(image_planes(every)):
        turn = Rotation.from_quat(plane.wxyz, scalar_first=True).as_matrix()
        half = turn @ np.diag([plane.width / 2, plane.height / 2, 1])
        corners = [plane.center + half @ [x, y, 0] for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        pixels, depths = every[[view]].project(torch.tensor(np.array(corners), dtype=torch.float32))
        wanted = torch.tensor([[0.0, 0.0], [48.0, 0.0], [48.0, 48.0], [0.0, 48.0]])
        torch.testing.assert_close(pixels[0], wanted, atol=1e-3, rtol=0)
        assert 0.1 < float(depths.min()) < 0.3 * 1.81


def test_frusta_start_at_the_camera_and_end_at_its_photo() -> None:
    every = cameras()
    lines = frustum_lines(every)
    assert lines.shape == (7, 10, 2, 3)
    for view, plane in enumerate(image_planes(every)):
        np.testing.assert_allclose(lines[view, :4, 0], every.centers[[view] * 4], atol=1e-6)
        np.testing.assert_allclose(lines[view, :4, 1].mean(0), plane.center, atol=1e-6)
        pixels, _ = every[[view]].project(torch.from_numpy(lines[view, 8:, 1]))
        # The wedge's tip is above the middle of the upper edge.
        torch.testing.assert_close(pixels[0], torch.tensor([[24.0, -0.16 * 48]] * 2), atol=1e-3, rtol=0)


def test_the_course_starts_as_given_and_ends_at_the_result(shown: Display) -> None:
    titles = [moment.title for moment in shown.moments]
    started = "after looking for badly posed photos"
    assert titles == ["as given", started, "round 1, step 20", "round 2, step 40", "the result"]
    as_given, start, drifted, last, result = shown.moments
    assert as_given.turned_deg[2] == pytest.approx(TURN, abs=10) and as_given.turned_deg[0] < 12
    assert start.turned_deg.max() < 12
    # A world that drifted as a whole is none that turned.
    torch.testing.assert_close(drifted.cameras.viewmats, start.cameras.viewmats, atol=1e-4, rtol=0)
    assert last.turned_deg.max() < 0.01 and result.turned_deg.max() == 0
    final = cameras()[:6].viewmats.double()
    torch.testing.assert_close(last.cameras.viewmats, final, atol=1e-4, rtol=0)


def test_true_cameras_are_aligned_to_the_final_ones(shown: Display) -> None:
    assert shown.truth is not None and shown.given is not None and shown.left_out is not None
    torch.testing.assert_close(shown.truth.viewmats, cameras()[:6].viewmats.double(), atol=1e-4, rtol=0)
    left_out, names = shown.left_out
    assert names == (LEFT_OUT,)
    # Given with the others, so that it stands where it would among the final ones, up to their noise.
    assert float((left_out.centers[0] - cameras().centers[6]).norm()) < 0.5


def test_the_object_is_in_the_middle(shown: Display) -> None:
    assert np.linalg.norm(shown.center) < 0.1 and shown.radius == pytest.approx(0.4, abs=0.05)


# -------------------------------------------------------------------- words and colours


def test_outliers_have_their_colour_and_story(shown: Display) -> None:
    by_name = {story.name: story for story in shown.stories}
    assert list(by_name) == [*NAMES, LEFT_OUT]
    assert by_name["000"].color == FINAL and by_name["000"].story == ""
    assert by_name["002"].color == VERDICT_COLORS["corrected"]
    assert "turned by 90 degrees" in by_name["002"].story and "nearly as well" in by_name["002"].story
    assert "found no better pose" in by_name["004"].story and "nearly" not in by_name["004"].story
    assert by_name[LEFT_OUT].verdict == "unusable" and "left out" in by_name[LEFT_OUT].story
    assert by_name["002"].moved_deg == pytest.approx(TURN, abs=10)
    assert max(story.error_deg or 0 for story in shown.stories) < 0.01
    wanted = [rgb(by_name[name].color) for name in NAMES]
    assert shown.colors.tolist() == [list(color) for color in wanted]
    assert len({s.color for s in shown.stories}) == 4


def test_words_beside_the_picture(shown: Display) -> None:
    legend = legend_html(shown)
    assert all(text in legend for text in ("posed anew", "left out", "true camera", "camera as given"))
    assert "keeps its pose" not in legend
    table = stories_html(shown)
    assert table.count("<tr>") == 8 and "turned by 90 degrees" in table and "0.0°" in table
    first = moment_html(shown, shown.moments[0])
    assert "As given" in first and "farthest 002" in first
    assert moment_html(shown, shown.moments[-1]).count("°") == 0


def test_names_are_no_markup(shown: Display) -> None:
    evil = replace(shown, stories=[replace(shown.stories[0], name="<b>x", story="<script>")])
    assert "<b>" not in stories_html(evil) and "<script>" not in stories_html(evil)


# -------------------------------------------------------------------- folders


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / "copy"))


def test_a_bare_result_can_be_shown(folder: Path, tmp_path: Path) -> None:
    """Without a course, metrics, rounds and a mesh, as other programs may leave one."""
    bare = copied(folder, tmp_path)
    for name in ("cameras_rounds.json", "metrics.json"):
        (bare / name).unlink()
    shutil.rmtree(bare / "rounds")
    shown = display(load_result(bare))
    assert [moment.title for moment in shown.moments] == ["the result"]
    assert shown.given is None and shown.truth is None and shown.left_out is None
    assert {story.color for story in shown.stories} == {FINAL}
    assert "<th" in stories_html(shown) and "turned by" not in stories_html(shown)


def test_one_photo_can_be_shown(folder: Path) -> None:
    result = load_result(folder)
    one = replace(result, views=result.views[[0]], cameras=result.cameras[[0]], course=None, fits={})
    assert len(display(one).moments) == 1 and frustum_lines(one.cameras).shape == (1, 10, 2, 3)


@pytest.mark.parametrize("damage", [b"{", b"[1, 2]", b'{"outliers": [3]}', b'{"outliers": {"searches": 3}}'])
def test_odd_metrics(folder: Path, tmp_path: Path, damage: bytes) -> None:
    odd = copied(folder, tmp_path)
    (odd / "metrics.json").write_bytes(damage)
    if damage == b"{":
        with pytest.raises(SceneError, match=r"metrics\.json is not valid JSON"):
            load_result(odd)
    else:
        assert {story.color for story in display(load_result(odd)).stories[:6]} == {FINAL}


def test_mesh_as_glb_and_obj(folder: Path, tmp_path: Path) -> None:
    import trimesh

    with_mesh = copied(folder, tmp_path)
    trimesh.creation.box().export(with_mesh / "mesh.obj")
    made = load_result(with_mesh).mesh
    assert made is not None and made[:4] == b"glTF"
    (with_mesh / "mesh.glb").write_bytes(made)
    assert load_result(with_mesh).mesh == made
    (with_mesh / "mesh.glb").write_bytes(made[: len(made) // 2])
    with pytest.raises(SceneError, match=r"mesh\.glb cannot be read"):
        load_result(with_mesh)


def test_errors(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="not a folder"):
        load_result(tmp_path / "nowhere")
    broken = copied(folder, tmp_path)
    content = json.loads((broken / "cameras.json").read_text())
    content["other"] = content["000"]
    (broken / "cameras.json").write_text(json.dumps(content))
    with pytest.raises(ImageError, match="lacks the photo of view other"):
        load_result(broken)
    del content["other"], content["000"]
    (broken / "cameras.json").write_text(json.dumps(content))
    with pytest.raises(CameraError, match="about other views"):
        load_result(broken)
    (broken / "splat.ply").write_bytes(b"ply\n")
    with pytest.raises(SceneError, match="not a PLY"):
        load_result(broken)


def test_what_is_shown_is_the_splat_for_viewers(folder: Path, tmp_path: Path) -> None:
    from agsrec.ply import write_ply
    from agsrec.result_files import load_fitted

    both = copied(folder, tmp_path)
    write_ply(both / "splat_fitted.ply", ball(300))
    assert len(load_result(both).gaussians) == 400
    assert len(load_fitted(both)[0]) == 300


def test_empty_splats_are_refused(folder: Path, tmp_path: Path) -> None:
    from agsrec.ply import write_ply

    empty = copied(folder, tmp_path)
    write_ply(empty / "splat.ply", ball()[torch.zeros(400, dtype=torch.bool)])
    with pytest.raises(SceneError, match="empty"):
        load_result(empty)


def test_cameras_far_from_the_origin_keep_the_planes_small() -> None:
    far = cameras().transformed(100.0, torch.eye(3), torch.zeros(3))
    widths = [plane.width for plane in image_planes(far)]
    near = [plane.width for plane in image_planes(cameras())]
    np.testing.assert_allclose(widths, 100 * np.array(near), rtol=1e-4)
    assert isinstance(far, Cameras)
