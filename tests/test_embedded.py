"""The models that come with the project: found in their order, and refused unless they are whole."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from agsrec import embedded
from agsrec.embedded import EMBEDDED, EMBEDDED_PRIOR, embedded_folder, faults, find_checkpoint
from agsrec.errors import CheckpointError

NAME = "nview-mini"


def card(*files: tuple[str, bytes]) -> str:
    rows = (f"| {name} | {len(data):,} | `{hashlib.sha256(data).hexdigest()}` |" for name, data in files)
    return "\n".join(["# model", "", "| file | bytes | sha256 |", "|---|---|---|", *rows, ""])


def model(folder: Path) -> Path:
    """A model of two small files with its card."""
    (folder / "part").mkdir(parents=True)
    files = [("config.json", b"{}"), ("part/weights", bytes(2000))]
    for name, data in files:
        (folder / name).write_bytes(data)
    (folder / "MODEL_CARD.md").write_text(card(*files), encoding="utf-8")
    return folder


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, Path]:
    """Working folder, models in the package, models in the repository: all of them empty."""
    here, inside, repository = (tmp_path / name for name in ("here", "site/embedded_models", "repository"))
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(embedded, "_inside", lambda: inside)
    monkeypatch.setattr(embedded, "_REPOSITORY", repository)
    return here, inside, repository


def test_order(places: tuple[Path, Path, Path]) -> None:
    here, inside, repository = places
    shipped = model(repository / NAME)
    assert find_checkpoint(NAME) == shipped
    installed = model(inside / NAME)
    assert find_checkpoint(NAME) == installed == embedded_folder(NAME)
    own = here / "checkpoints" / NAME
    own.mkdir(parents=True)  # what is in it is the user's affair
    assert Path(find_checkpoint(NAME)).samefile(own)
    other = here / "other"
    other.mkdir()
    assert find_checkpoint(other) == other


def test_other_names(places: tuple[Path, Path, Path]) -> None:
    assert find_checkpoint("kxic/zero123-xl") == "kxic/zero123-xl"
    (places[2] / "brought").mkdir(parents=True)
    assert find_checkpoint("brought") == places[2] / "brought"


@pytest.mark.parametrize("name", EMBEDDED)
def test_missing(places: tuple[Path, Path, Path], name: str) -> None:
    with pytest.raises(CheckpointError, match=f"{name} is missing.*install agsrec again.*{EMBEDDED[name]}"):
        find_checkpoint(name)


@pytest.mark.parametrize(
    ("file", "data", "words"),
    [
        ("part/weights", bytes(1999), "part/weights has 1,999 bytes instead of 2,000"),
        ("part/weights", bytes(1999) + b"x", "part/weights is not as it was shipped"),
        ("part/weights", None, "part/weights is missing"),
        ("MODEL_CARD.md", None, "MODEL_CARD.md, which lists the files, is missing or damaged"),
        ("MODEL_CARD.md", b"\xff", "MODEL_CARD.md, which lists the files, is missing or damaged"),
    ],
)
def test_damage_names_the_file(
    places: tuple[Path, Path, Path], file: str, data: bytes | None, words: str
) -> None:
    folder = model(places[1] / NAME)
    assert faults(folder) == []
    (folder / file).unlink()
    if data is not None:
        (folder / file).write_bytes(data)
    (fault,) = faults(folder)
    assert fault.startswith(str(folder)) and words in fault
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(NAME)
    assert words in str(caught.value) and "install agsrec again" in str(caught.value)
    assert "--init" in str(caught.value)


def test_damage_in_the_repository_one_works_in(
    places: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`checkpoints/` here is then not the user's own, but where the models come from."""
    here, _, _ = places
    monkeypatch.setattr(embedded, "_REPOSITORY", here / "checkpoints")
    folder = model(here / "checkpoints" / EMBEDDED_PRIOR)
    assert Path(find_checkpoint(EMBEDDED_PRIOR)).samefile(folder)
    shutil.rmtree(folder / "part")
    with pytest.raises(CheckpointError, match=r"part/weights is missing.*--prior none"):
        find_checkpoint(EMBEDDED_PRIOR)


def test_several_faults_are_counted(places: tuple[Path, Path, Path]) -> None:
    folder = model(places[1] / NAME)
    (folder / "config.json").unlink()
    shutil.rmtree(folder / "part")
    assert len(faults(folder)) == 2
    with pytest.raises(CheckpointError, match=r"config.json is missing \(and 1 more\)"):
        find_checkpoint(NAME)
