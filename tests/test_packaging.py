"""What is built of the project; `.ci/run` builds it, checks it with the same functions, and installs it."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from agsrec.embedded import EMBEDDED, embedded_folder

ROOT = Path(__file__).resolve().parents[1]


def script(name: str) -> ModuleType:
    """A module of `scripts/`."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def check_dist() -> ModuleType:
    return script("check_dist")


def drawn_wheel() -> dict[str, bytes]:
    """The files of a wheel with models of a few bytes."""
    files = {name: b"" for name in script("check_dist").NEEDED} | {"a.dist-info/licenses/LICENSE": b"free"}
    for model in EMBEDDED:
        digest = hashlib.sha256(model.encode()).hexdigest()
        files[f"agsrec/embedded_models/{model}/weights"] = model.encode()
        card = f"# {model}\n\n| weights | {len(model)} | `{digest}` |\n"
        files[f"agsrec/embedded_models/{model}/MODEL_CARD.md"] = card.encode()
    return files


def test_a_whole_wheel(check_dist: ModuleType) -> None:
    assert check_dist.wheel_faults(drawn_wheel(), 1000) == []


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("agsrec/__init__.pyi", None, "agsrec/__init__.pyi is missing"),
        ("a.dist-info/licenses/LICENSE", None, "licence"),
        ("tests/test_lie.py", b"", "tests does not belong"),
        ("agsrec/embedded_models/nview-mini/weights", None, "nview-mini/weights is not what the card says"),
        ("agsrec/embedded_models/nview-mini/weights", b"nview-midi", "nview-mini/weights is not what"),
        ("agsrec/embedded_models/nview-mini/MODEL_CARD.md", b"", "MODEL_CARD.md lists no files"),
    ],
)
def test_faults_of_a_wheel(check_dist: ModuleType, name: str, content: bytes | None, words: str) -> None:
    files = drawn_wheel()
    files.pop(name, None)
    if content is not None:
        files[name] = content
    (fault,) = check_dist.wheel_faults(files, 1000)
    assert words in fault


def test_a_wheel_without_models_or_too_large(check_dist: ModuleType) -> None:
    files = {name: content for name, content in drawn_wheel().items() if "embedded" not in name}
    faults = check_dist.wheel_faults(files, 96_000_000)
    assert faults == [
        "96 MB are more than 95",
        *(f"the model {name} is missing" for name in sorted(EMBEDDED)),
    ]


def test_faults_of_a_source_distribution(check_dist: ModuleType) -> None:
    whole = {f"{path}/x" for path in check_dist.SOURCES}
    whole |= {f"checkpoints/{model}/MODEL_CARD.md" for model in EMBEDDED}
    assert check_dist.source_faults(whole) == []
    assert check_dist.source_faults(whole - {"setup.py/x"}) == ["setup.py is missing"]
    assert check_dist.source_faults(whole - {"checkpoints/nview-mini/MODEL_CARD.md"}) == [
        "checkpoints/nview-mini/MODEL_CARD.md is missing"
    ]


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_models_are_named_where_they_are_packed(name: str) -> None:
    """By name, lest somebody's own models in `checkpoints/` be packed too."""
    assert embedded_folder(name) == ROOT / "checkpoints" / name
    assert f'"{name}/**"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f"graft checkpoints/{name}\n" in (ROOT / "MANIFEST.in").read_text(encoding="utf-8")


def test_drawn_photos(tmp_path: Path) -> None:
    """Each shows something else, before a plain backdrop."""
    draw_photos = script("draw_photos")
    photos = [draw_photos.photo(azimuth) for azimuth in (0.0, 90.0, 180.0)]
    assert len({photo.tobytes() for photo in photos}) == 3
    for photo in photos:
        covered = (photo != photo[0, 0]).any(-1)
        assert 0.05 < covered.mean() < 0.3 and not covered[0].any() and not covered[:, -1].any()
