"""Folders as feed-forward networks leave them, and splats as other programs read them."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from agsrec.camera_files import find_photo_cameras
from agsrec.cameras import Cameras
from agsrec.cli import main
from agsrec.errors import OptionError
from agsrec.gaussians import Gaussians
from agsrec.images import save_png
from agsrec.ply import read_ply, write_ply
from tests.compatibility.test_foreign_cameras import (
    SIZE,
    colmap_images,
    cut_out,
    posed,
    quaternion,
    require_true_turns,
    turned_a_little,
)

FILES = ("a.png", "b.png", "c.png")


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    for file in FILES:
        save_png(tmp_path / "images" / file, cut_out(*SIZE))
    return tmp_path


def write_binary(folder: Path, cameras: Cameras, files: Sequence[str] = FILES) -> None:
    """A COLMAP model with a PINHOLE camera for each image, and no points."""
    folder.mkdir(parents=True, exist_ok=True)
    lenses, images = [struct.pack("<Q", len(files))], [struct.pack("<Q", len(files))]
    for k, file in enumerate(files):
        fx, fy, cx, cy = cameras.Ks[k].double()[[0, 1, 0, 1], [0, 1, 2, 2]].tolist()
        lenses.append(struct.pack("<iiQQ4d", k + 1, 1, *SIZE, fx, fy, cx, cy))
        pose = [*quaternion(cameras.rotations[k].double().numpy()), *cameras.viewmats[k, :3, 3].tolist()]
        images.append(
            struct.pack("<i7di", k + 1, *pose, k + 1) + file.encode() + b"\0" + struct.pack("<Q", 0)
        )
    (folder / "cameras.bin").write_bytes(b"".join(lenses))
    (folder / "images.bin").write_bytes(b"".join(images))


def test_what_vggt_writes(scene: Path) -> None:
    """Its demo_colmap.py: the binary model directly in `sparse/`, a cloud of points beside it."""
    write_binary(scene / "sparse", turned_a_little())
    (scene / "sparse" / "points3D.bin").write_bytes(struct.pack("<Q", 0))
    (scene / "sparse" / "points.ply").write_bytes(b"ply\n")
    require_true_turns(posed(scene), turned_a_little())


def test_what_instantsplat_writes(scene: Path) -> None:
    """Its init_geo.py: `sparse_<views>/0`, text and binary, and in `1` the poses of views held back."""
    true = turned_a_little()
    write_binary(scene / "sparse_3" / "0", true)
    lenses = [f"{k + 1} PINHOLE {SIZE[0]} {SIZE[1]} 90 90 40 30\n" for k in range(3)]
    (scene / "sparse_3" / "0" / "cameras.txt").write_text("".join(lenses))
    (scene / "sparse_3" / "0" / "images.txt").write_text(colmap_images(true, FILES, [1, 2, 3], "\n"))
    (scene / "sparse_3" / "0" / "points3D.ply").write_bytes(b"ply\n")
    write_binary(scene / "sparse_3" / "1", true[[0]], ["held_back.png"])
    assert find_photo_cameras(scene) == scene / "sparse_3" / "0"
    require_true_turns(posed(scene), true)


def test_instantsplat_of_several_numbers_of_views(scene: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for views in (2, 3):
        write_binary(scene / f"sparse_{views}" / "0", turned_a_little(), FILES[:views])
    with pytest.raises(OptionError, match=r"several COLMAP models \(sparse_2/0, sparse_3/0\); keep one"):
        find_photo_cameras(scene)
    require_true_turns(posed(scene, scene / "sparse_3" / "0"), turned_a_little())
    with pytest.raises(SystemExit) as stop:
        main(["poses", str(scene)])
    assert stop.value.code == 2 and "sparse_2/0, sparse_3/0" in capsys.readouterr().err


# -------------------------------------------------------------------- splats


def as_inria_reads(vertex: Mapping[str, np.ndarray], names: Sequence[str], degree: int) -> Gaussians:
    """A splat by the names of its columns, sorted by number, as the reference implementation does."""

    def columns(pattern: str) -> torch.Tensor:
        found = sorted((n for n in names if re.fullmatch(pattern, n)), key=lambda n: int(n.split("_")[-1]))
        return torch.tensor(np.stack([vertex[n] for n in found], axis=1))

    count = (degree + 1) ** 2 - 1
    first = columns(r"f_dc_\d+")[:, None]  # [N, 1, 3]
    rest = columns(r"f_rest_\d+").reshape(-1, 3, count).mT if count else first[:, :0]
    return Gaussians(
        means=torch.tensor(np.stack([vertex[axis] for axis in "xyz"], axis=1)),
        quats=columns(r"rot_\d+"),
        log_scales=columns(r"scale_\d+"),
        opacity_logits=torch.tensor(np.array(vertex["opacity"])),
        sh=torch.cat([first, rest], dim=1),
    )


@pytest.mark.parametrize("degree", range(4))
def test_inrias_reader_and_gsplats_columns(tmp_path: Path, degree: int) -> None:
    """gsplat writes no normals and no comment, in the same order otherwise; that is read too."""
    plyfile = pytest.importorskip("plyfile")
    random = torch.Generator().manual_seed(degree)
    shapes = {
        "means": (3,),
        "quats": (4,),
        "log_scales": (3,),
        "opacity_logits": (),
        "sh": ((degree + 1) ** 2, 3),
    }
    ours = Gaussians(**{name: torch.randn(5, *shape, generator=random) for name, shape in shapes.items()})
    write_ply(tmp_path / "a.ply", ours)
    vertex = plyfile.PlyData.read(str(tmp_path / "a.ply"))["vertex"].data
    theirs = as_inria_reads({n: vertex[n] for n in vertex.dtype.names}, vertex.dtype.names, degree)
    bare = [n for n in vertex.dtype.names if n not in ("nx", "ny", "nz")]
    table = np.array([tuple(row[n] for n in bare) for row in vertex], dtype=[(n, "<f4") for n in bare])
    plyfile.PlyData([plyfile.PlyElement.describe(table, "vertex")]).write(str(tmp_path / "b.ply"))
    for other in (theirs, read_ply(tmp_path / "b.ply")):
        for name in shapes:
            assert torch.equal(getattr(other, name), getattr(ours, name)), name
