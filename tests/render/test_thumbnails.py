"""Small pictures without gradients, which are drawn in a way of their own, against the way of all others."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from agsrec.render.cpu import rasterize, threads
from agsrec.render.cpu.thumbnails import LARGEST
from tests.render.scenes import SCENES, Scene, make_scene, nearly_opaque, render, with_leaves


def assert_same(scene: Scene) -> None:
    """Pictures and radii do not depend on whether a gradient may be asked for."""
    leaves = render(with_leaves(scene), render_mode="RGB")
    alone = render(scene, render_mode="RGB")
    assert alone.depth is None
    torch.testing.assert_close(alone.rgb, leaves.rgb, atol=2e-6, rtol=0)
    torch.testing.assert_close(alone.alpha, leaves.alpha, atol=2e-6, rtol=0)
    assert torch.equal(alone.radii, leaves.radii)


@pytest.mark.parametrize("name", SCENES)
def test_the_same_pictures(name: str) -> None:
    assert_same(SCENES[name]())


@pytest.mark.parametrize(("width", "height"), [(LARGEST, LARGEST), (LARGEST, 3), (5, LARGEST), (97, 66)])
def test_the_same_pictures_up_to_the_largest(width: int, height: int) -> None:
    assert_same(make_scene(500, width=width, height=height, seed=21))


def test_opaque_blocks_are_closed_where_gaussians_are_many_blocks_wide() -> None:
    scene = nearly_opaque()
    Ks = 4 * scene.Ks
    Ks[:, 2, 2] = 1
    assert_same(replace(scene, Ks=Ks, width=120, height=100))


def test_who_is_drawn_like_this(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    kernel = rasterize.draw_thumbnails

    def watched(*arguments: object) -> None:
        drawn.append(arguments)
        kernel(*arguments)

    monkeypatch.setattr(rasterize, "draw_thumbnails", watched)
    scene = make_scene()
    render(scene)  # with depth
    render(with_leaves(scene), render_mode="RGB")
    render(replace(scene, width=LARGEST + 1), render_mode="RGB")
    assert not drawn
    render(scene, render_mode="RGB")
    with torch.no_grad():
        render(with_leaves(scene), render_mode="RGB")
    assert len(drawn) >= 2


def test_result_does_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make_scene(400, views=5, sh_degree=2, width=70, height=50, seed=13)
    pictures = []
    for count in (1, 2):
        monkeypatch.setattr(threads, "num_threads", lambda count=count: count)
        pictures.append(render(scene, render_mode="RGB"))
    assert torch.equal(pictures[0].rgb, pictures[1].rgb)
    assert torch.equal(pictures[0].alpha, pictures[1].alpha)


@pytest.mark.parametrize("name", ["means", "quats", "scales"])
def test_what_is_not_a_number_is_not_drawn(name: str) -> None:
    scene = make_scene()
    broken = getattr(scene, name).clone()
    broken[5] = torch.nan
    kept = torch.arange(len(scene.means)) != 5
    without = replace(scene, **{n: tensor[kept] for n, tensor in scene.gaussians().items()})
    for leaves in (lambda s: s, with_leaves):
        got = render(leaves(replace(scene, **{name: broken})), render_mode="RGB")
        want = render(without, render_mode="RGB")
        torch.testing.assert_close(got.rgb, want.rgb, atol=1e-6, rtol=0)
        assert (got.radii[:, 5] == 0).all()
