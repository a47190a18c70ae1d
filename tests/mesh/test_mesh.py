"""From Gaussians to a textured mesh: shape, unwrapping, baking, refinement, files."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.measure import marching_cubes

from agsrec.cameras import Cameras
from agsrec.errors import OptionError, SceneError
from agsrec.gaussians import Gaussians
from agsrec.mesh import MeshConfig, make_mesh
from agsrec.mesh.files import write_mesh
from agsrec.mesh.repair import is_closed, taken_apart
from agsrec.mesh.stage import MeshResult
from agsrec.mesh.surface import _simplified, around, extract_surface
from agsrec.mesh.textured import mesh_fragments, render_mesh
from agsrec.render import render_scene
from agsrec.views import Views
from tests.mesh.painting import BALL_RADIUS, ball, painted

SPHERE_RADIUS = 0.4
TORUS_RADII = 0.35, 0.13


def solid(points: torch.Tensor, size: float) -> Gaussians:
    colors = 0.5 + points / points.abs().max() * 0.4
    return Gaussians.from_points(points, colors, torch.full((len(points),), size), opacity=0.95)


def sphere() -> Gaussians:
    index = torch.arange(6000) + 0.5
    z, turn = 1 - 2 * index / 6000, index * 2.399963
    flat = (1 - z**2).sqrt()
    return solid(SPHERE_RADIUS * torch.stack([flat * turn.cos(), flat * turn.sin(), z], -1), 0.007)


def torus() -> Gaussians:
    large, small = TORUS_RADII
    u, v = (torch.rand(16000, generator=torch.Generator().manual_seed(k)) * 2 * np.pi for k in (0, 1))
    ring = large + small * v.cos()
    return solid(torch.stack([ring * u.cos(), ring * u.sin(), small * v.sin()], -1), 0.006)


def exact(shape: str) -> trimesh.Trimesh:
    if shape == "sphere":
        return trimesh.creation.icosphere(subdivisions=4, radius=SPHERE_RADIUS)
    return trimesh.creation.torus(*TORUS_RADII, major_sections=96, minor_sections=48)


def photographed(gaussians: Gaussians, count: int = 6, size: int = 96) -> tuple[Views, Cameras]:
    cameras = around(gaussians.means, count, size)
    rendered = render_scene(gaussians, cameras, render_mode="RGB")
    rgb = rendered.rgb / rendered.alpha.clamp(min=1e-3)[..., None]
    images = torch.cat([rgb.clamp(0, 1), (rendered.alpha[..., None] > 0.5).float()], -1)
    return Views(images, tuple(f"{k:03d}" for k in range(count))), cameras


def as_trimesh(vertices: np.ndarray, faces: np.ndarray) -> trimesh.Trimesh:
    return trimesh.Trimesh(vertices, faces, process=False)


# ---------------------------------------------------------------- surface


@pytest.mark.parametrize("shape, genus", [("sphere", 0), ("torus", 1)])
def test_closed_surface_of_the_right_genus_and_volume(shape: str, genus: int) -> None:
    gaussians = sphere() if shape == "sphere" else torus()
    truth = exact(shape)
    views, cameras = photographed(gaussians, size=192)
    masks = mesh_fragments(np.asarray(truth.vertices), np.asarray(truth.faces), cameras).mask
    views.images[..., 3] = torch.from_numpy(masks)
    surface = extract_surface(gaussians, views, cameras, grid=64, faces=3000)
    mesh = as_trimesh(surface.vertices, surface.faces)
    assert mesh.is_watertight and mesh.euler_number == 2 - 2 * genus
    assert len(mesh.faces) <= 3000
    assert mesh.volume == pytest.approx(truth.volume, rel=0.08), "positive: triangles face outwards"
    assert surface.iou > 0.95


def test_closed_means_two_triangles_at_every_edge() -> None:
    tetrahedron = np.array([[0, 1, 2], [0, 3, 1], [1, 3, 2], [0, 2, 3]], dtype=np.int32)
    assert is_closed(tetrahedron)
    assert not is_closed(tetrahedron[:3])
    # A second one on the same edge: four triangles meet there.
    other = np.array([[0, 1, 4], [0, 5, 1], [1, 5, 4], [0, 4, 5]], dtype=np.int32)
    assert not is_closed(np.concatenate([tetrahedron, other]))


def tetrahedra(*corners: list[int]) -> np.ndarray:
    """Faces of tetrahedra with the given corners, outwards if the fourth is on the side of the normal."""
    faces = [[[a, c, b], [a, b, d], [b, c, d], [c, a, d]] for a, b, c, d in corners]
    return np.array(faces, dtype=np.int32).reshape(-1, 3)


def test_surfaces_that_meet_in_an_edge_are_taken_apart() -> None:
    # Around the edge from 0 to 1, which is the axis z: two wedges, with air between them.
    around = [[1, -0.2, 0.5], [1, 0.2, 0.5], [-1, 0.2, 0.5], [-1, -0.2, 0.5]]
    vertices = np.array([[0, 0, 0], [0, 0, 1], *around], dtype=np.float64)
    faces = tetrahedra([0, 1, 2, 3], [0, 1, 4, 5])
    whole = as_trimesh(vertices, faces)
    assert whole.volume > 0 and not is_closed(faces)
    apart = as_trimesh(*taken_apart(vertices, faces))
    assert is_closed(apart.faces.astype(np.int32)) and apart.is_winding_consistent
    assert apart.volume == pytest.approx(whole.volume) and apart.area == pytest.approx(whole.area)
    bodies = apart.split(only_watertight=True)
    assert [body.volume for body in bodies] == pytest.approx([whole.volume / 2] * 2), "each wedge for itself"


def test_folds_vanish() -> None:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [5, 5, 5]], dtype=np.float64)
    ball = tetrahedra([0, 1, 2, 3])
    flap = np.array([[0, 1, 4], [4, 1, 0]], dtype=np.int32)
    corners, faces = taken_apart(vertices, np.concatenate([ball, flap]))
    assert is_closed(faces) and len(faces) == 4
    np.testing.assert_array_equal(corners, vertices[:4])
    np.testing.assert_array_equal(faces, ball)


@pytest.mark.parametrize("most", [3000, 1500, 600])
def test_simplified_meshes_stay_closed(most: int) -> None:
    """A sponge: collapsing its edges folds triangles and pinches its walls."""
    sponge = gaussian_filter(np.random.default_rng(1).standard_normal((40, 40, 40)), 1.5)
    sponge[[0, -1]] = sponge[:, [0, -1]] = sponge[:, :, [0, -1]] = 1
    corners, faces, *_ = marching_cubes(sponge.astype(np.float32), -0.02, gradient_direction="descent")
    assert is_closed(faces) and len(faces) > 50_000
    vertices, fewer = _simplified(corners.astype(np.float64), faces.astype(np.int32), most)
    assert 0.9 * most < len(fewer) <= most
    assert is_closed(fewer) and as_trimesh(vertices, fewer).is_winding_consistent
    merged = trimesh.Trimesh(vertices, fewer, process=True)
    assert merged.is_watertight, "for programs that merge equal corners too"


def test_floaters_are_removed() -> None:
    stray = solid(torch.tensor([[0.55, 0.5, 0.5]]).repeat(40, 1), 0.02)
    ball = sphere()
    both = Gaussians(*(torch.cat([getattr(ball, n), getattr(stray, n)]) for n in ball.__dataclass_fields__))
    surface = extract_surface(both, *photographed(ball), grid=48, faces=3000)
    assert float(np.linalg.norm(surface.vertices, axis=1).max()) < 1.15 * SPHERE_RADIUS


@pytest.mark.parametrize("case", ["faint", "empty", "not finite", "one place"])
def test_scenes_without_a_surface(case: str) -> None:
    ball = sphere()
    views, cameras = photographed(ball, 2, 32)
    scenes = {
        "faint": replace(ball, opacity_logits=torch.full_like(ball.opacity_logits, -6.0)),
        "empty": ball[torch.zeros(len(ball), dtype=torch.bool)],
        "not finite": replace(ball, means=ball.means * torch.nan),
        "one place": replace(ball, means=torch.zeros_like(ball.means)),
    }
    with pytest.raises(SceneError, match="mesh of"):
        extract_surface(scenes[case], views, cameras, grid=32)


# ---------------------------------------------------------------- the whole, and files


def test_further_photos_are_for_the_texture_alone() -> None:
    scene = sphere()
    views, cameras = photographed(scene)
    config = MeshConfig(faces=1000, grid=32, texture_size=64)
    few = [0, 1]
    rest = [k for k in range(len(views)) if k not in few]
    alone = make_mesh(scene, views[few], cameras[few], config)
    made = make_mesh(scene, views[few], cameras[few], config, others=(views.images[rest], cameras[rest]))
    np.testing.assert_array_equal(made.mesh.vertices, alone.mesh.vertices)
    assert len(made.metrics["exposures"]) == len(few)

    def error(result: MeshResult) -> float:
        rgba = render_mesh(result.mesh, cameras[rest])
        return float(
            (rgba[..., :3] + 1 - rgba[..., 3:] - views[rest].composited(torch.ones(3))).square().mean()
        )

    assert error(made) < error(alone)


def test_the_whole_way() -> None:
    scene = sphere()
    views, cameras = photographed(scene)
    config = MeshConfig(faces=2000, grid=48, texture_size=128)
    made = make_mesh(scene, views, cameras, config)
    assert made.metrics["watertight"] and made.metrics["silhouette_iou"] > 0.93
    assert made.metrics["psnr"] == made.metrics["psnr_baked"] > 20, "no steps without a prior"
    again = make_mesh(scene, views, cameras, config)
    np.testing.assert_array_equal(made.mesh.texture, again.mesh.texture)
    refined = make_mesh(scene, views, cameras, replace(config, refine_steps=10))
    assert refined.metrics["psnr"] > refined.metrics["psnr_baked"] == made.metrics["psnr"]
    assert made.mesh.texture.shape == (128, 128, 3) and len(made.mesh.faces) == made.metrics["faces"] <= 2000


def test_files_load_again_and_agree(tmp_path: Path) -> None:
    mesh = painted(ball(64)[0])
    glb, obj = (write_mesh(tmp_path, mesh, kind=kind) for kind in ("glb", "obj"))
    loaded: list[Any] = [trimesh.load(file, force="mesh", process=False) for file in (glb, obj)]
    for found in loaded:
        corners = found.vertices[found.faces]
        np.testing.assert_allclose(corners, mesh.vertices[mesh.faces], atol=1e-5)
        np.testing.assert_allclose(found.visual.uv[found.faces], mesh.uvs[mesh.faces], atol=1e-5)
    picture = np.asarray(loaded[0].visual.material.baseColorTexture.convert("RGB"), dtype=np.float32) / 255
    np.testing.assert_allclose(picture, mesh.texture, atol=1 / 255)
    beside = np.asarray(Image.open(io.BytesIO((tmp_path / "mesh.png").read_bytes())).convert("RGB"))
    np.testing.assert_allclose(beside / 255.0, mesh.texture, atol=1 / 255)


def glb_parts(folder: Path) -> tuple[dict[str, Any], bytes]:
    """Header and binary part of the ball's `mesh.glb`."""
    content = write_mesh(folder, painted(ball(64)[0]), kind="glb").read_bytes()
    length = int.from_bytes(content[12:16], "little")
    return json.loads(content[20 : 20 + length]), content[28 + length :]


def test_seams_of_the_texture_do_not_show_in_the_normals(tmp_path: Path) -> None:
    header, binary = glb_parts(tmp_path)

    def read(name: str) -> np.ndarray:
        entry = header["accessors"][header["meshes"][0]["primitives"][0]["attributes"][name]]
        start = header["bufferViews"][entry["bufferView"]]["byteOffset"] + entry.get("byteOffset", 0)
        return np.frombuffer(binary, "<f4", 3 * entry["count"], start).reshape(-1, 3)

    # Of a ball, they are the directions from its centre.
    np.testing.assert_allclose(read("NORMAL"), read("POSITION") / BALL_RADIUS, atol=0.015)
    assert header["images"][0]["mimeType"] == "image/png"
    assert header["materials"][0]["pbrMetallicRoughness"]["metallicFactor"] == 0


def test_nothing_is_left_to_the_reader_of_a_glb(tmp_path: Path) -> None:
    """What the Khronos validator hints at, where there is no node to run it; `.ci/installed` runs it."""
    header, _ = glb_parts(tmp_path)
    primitive = header["meshes"][0]["primitives"][0]
    views = {name: header["accessors"][k]["bufferView"] for name, k in primitive["attributes"].items()}
    assert views.keys() == {"POSITION", "NORMAL", "TEXCOORD_0"}
    assert {header["bufferViews"][view]["target"] for view in views.values()} == {34962}
    indices = header["accessors"][primitive["indices"]]["bufferView"]
    assert header["bufferViews"][indices]["target"] == 34963
    assert "target" not in header["bufferViews"][header["images"][0]["bufferView"]]
    sampler = header["samplers"][header["textures"][0]["sampler"]]
    assert sampler["wrapS"] == sampler["wrapT"] == 33071, "the texture does not repeat"


def test_refused_options(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="--faces must be between 100"):
        MeshConfig(faces=3)
    with pytest.raises(OptionError, match="--texture_size must be a whole number"):
        MeshConfig(texture_size=1024.5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(OptionError, match="glb or obj"):
        write_mesh(tmp_path, painted(ball(64)[0]), kind="stl")  # pyright: ignore[reportArgumentType]
