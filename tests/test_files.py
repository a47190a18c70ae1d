from __future__ import annotations

import os
from pathlib import Path

import pytest

from agsrec.errors import ImageError, OutputError
from agsrec.files import atomic_path, atomic_write, read_bytes


def test_write_makes_folders_and_leaves_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "c.txt"
    atomic_write(file, "grün")
    atomic_write(file, b"second")
    assert file.read_bytes() == b"second"
    assert os.listdir(file.parent) == ["c.txt"]


def test_interrupted_write_keeps_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "x.bin"
    atomic_write(file, b"old")
    with pytest.raises(KeyboardInterrupt), atomic_path(file) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert file.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x.bin"]


def test_temporary_name_keeps_the_extension(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "movie.mp4") as temporary:
        assert temporary.suffix == ".mp4" and temporary.parent == tmp_path
        temporary.write_bytes(b"")


def test_new_files_have_ordinary_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    atomic_write(tmp_path / "atomic", "")
    assert (tmp_path / "plain").stat().st_mode == (tmp_path / "atomic").stat().st_mode


@pytest.mark.parametrize("name", ["file/under.txt", "", "folder", "x" * 300, "a\0b"])
def test_unwritable(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        atomic_write(tmp_path / name, "data")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


@pytest.mark.parametrize("name", ["missing", "folder", "a\0b", "file"])
def test_unreadable(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"12345")
    with pytest.raises(ImageError):
        read_bytes(tmp_path / name, error=ImageError, what="an image", limit=4)
    with pytest.raises(ImageError, match="device or pipe"):
        read_bytes("/dev/zero", error=ImageError, what="an image", limit=4)
    assert read_bytes(tmp_path / "file", error=ImageError, what="an image", limit=5) == b"12345"


def test_what_a_killed_process_left_behind_is_removed(tmp_path: Path) -> None:
    import multiprocessing
    import os

    from agsrec.files import remove_leftovers

    def write() -> None:
        with atomic_path(tmp_path / "deep" / "video.mp4") as temporary:
            temporary.write_bytes(b"half")
            os._exit(9)

    killed = multiprocessing.get_context("fork").Process(target=write)
    killed.start()
    killed.join()
    (left,) = (tmp_path / "deep").iterdir()
    own = [tmp_path / name for name in (".hidden", ".12.png", "4-0123456789abcdef.png")]
    for file in own:
        file.touch()
    with atomic_path(tmp_path / "mine.png") as temporary:
        temporary.touch()
        remove_leftovers(tmp_path)
        assert temporary.exists() and not left.exists()
    assert all(file.exists() for file in own)
