"""docs/architecture.md is true: its arrows are those of the imports, and its examples work."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from agsrec.export.camera_export import EXPORTERS, ExportInput, save_camera_exports
from agsrec.gaussians import Gaussians
from agsrec.pipeline import STAGES
from agsrec.pipeline.desk import VERSIONS
from agsrec.pose_init import METHODS, initialize
from agsrec.render.rasterize import BACKENDS, rasterize
from tests.tiny import tiny_scene

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def drawing() -> ModuleType:
    file = ROOT / "scripts/draw_architecture.py"
    specification = importlib.util.spec_from_file_location(file.stem, file)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[file.stem] = module  # its dataclass looks itself up
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def additions() -> Iterator[dict[str, Any]]:
    """What the page's examples define; the tables are as before afterwards."""
    tables: list[dict[str, Any]] = [METHODS, BACKENDS, EXPORTERS]
    before = [dict(table) for table in tables]
    names: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(code, "architecture.md", "exec"), names)
    yield names
    for table, old in zip(tables, before, strict=True):
        table.clear()
        table.update(old)


def test_the_list_of_arrows_is_that_of_the_imports(drawing: ModuleType) -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\w, ]*) \|$", PAGE, re.MULTILINE)
    listed = {room: set(re.findall(r"\w+", imports)) for room, imports in rows}
    arrows = drawing.folded(drawing.rooms(drawing.modules()))
    low = drawing.FOUNDATIONS
    assert listed == {room: others - {low} for room, others in arrows.items() if room != low}
    assert drawing.circles(arrows) == []


def test_no_module_imports_itself_in_a_circle(drawing: ModuleType) -> None:
    assert drawing.circles(drawing.modules()) == []
    assert drawing.circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [{"a", "b", "c"}]


def test_the_drawing_is_current(drawing: ModuleType) -> None:
    now = drawing.svg(drawing.folded(drawing.rooms(drawing.modules())))
    assert drawing.PICTURE.read_text(encoding="utf-8") == now, "run python scripts/draw_architecture.py"


def test_all_stages_are_described() -> None:
    described = re.findall(r"^\| `(\w+)` \| .* \| .* \| `", PAGE, re.MULTILINE)
    assert tuple(described) == STAGES and VERSIONS.keys() == set(STAGES)


def test_an_initialiser(additions: dict[str, Any]) -> None:
    views, _ = tiny_scene(4)
    estimate = initialize(views, "turntable")  # pyright: ignore[reportArgumentType]
    _, azimuth, _ = estimate.cameras.spherical()
    turns = azimuth.diff() % 360
    assert torch.allclose(turns, torch.full((3,), 90.0, dtype=turns.dtype), atol=0.1)


def test_a_rasterizer(additions: dict[str, Any]) -> None:
    _, cameras = tiny_scene(2)
    g = torch.Generator().manual_seed(0)
    means, scales = 0.1 * torch.randn(5, 3, generator=g), torch.full((5, 3), 0.05)
    quats = torch.tensor([[1.0, 0, 0, 0]]).expand(5, 4)
    scene = means, quats, scales, torch.full((5,), 0.9), torch.rand(5, 3, generator=g)
    size = cameras.width, cameras.height
    mine, own = (
        rasterize(*scene, cameras.viewmats.float(), cameras.Ks.float(), *size, backend=name).rgb
        for name in ("mine", "cpu")
    )
    assert torch.equal(mine, own) and float(own.max()) > 0.1


def test_an_exporter(additions: dict[str, Any], tmp_path: Path) -> None:
    _, cameras = tiny_scene(3)
    files = [f"{k}_rgba.png" for k in range(3)]
    points = torch.rand(9, 3, generator=torch.Generator().manual_seed(0))
    scene = Gaussians.from_points(points, points, torch.full((9,), 0.01), opacity=0.9)
    save_camera_exports(tmp_path, ExportInput(cameras, files, scene))
    lines = (tmp_path / "centers.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == files
    assert float(lines[0].split()[1]) == pytest.approx(float(cameras.centers[0, 0]), abs=1e-4)
    assert (tmp_path / "transforms.json").is_file()
