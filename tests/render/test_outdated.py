"""Compiled kernels are not used once a source that went into them has changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agsrec.render.cpu.outdated import forget_outdated_kernels

KERNELS = (
    "render/cpu/__pycache__/blend.py.nbi",
    "mesh/__pycache__/fusion.nbc",
    "synthetic/__pycache__/noise.nbi",
)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    for name in (*KERNELS, "render/cpu/simd.py", "synthetic/noise.py", "mesh/__pycache__/fusion.pyc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    forget_outdated_kernels(tmp_path)
    return tmp_path


def compiled(package: Path) -> set[str]:
    return {name for name in KERNELS if (package / name).exists()}


def compile_all(package: Path) -> None:
    for name in KERNELS:
        (package / name).touch()


def test_kernels_of_unknown_sources_are_removed(package: Path) -> None:
    assert not compiled(package) and (package / "mesh/__pycache__/fusion.pyc").exists()


def test_they_stay_while_the_sources_do(package: Path) -> None:
    compile_all(package)
    forget_outdated_kernels(package)
    assert compiled(package) == set(KERNELS)


@pytest.mark.parametrize(
    ("source", "left"), [("render/cpu/simd.py", set()), ("synthetic/noise.py", set(KERNELS[:2]))]
)
def test_a_source_that_changed_takes_along_what_it_went_into(
    package: Path, source: str, left: set[str]
) -> None:
    compile_all(package)
    os.utime(package / source, ns=(1, 1))
    forget_outdated_kernels(package)
    assert compiled(package) == left
    compile_all(package)
    forget_outdated_kernels(package)
    assert compiled(package) == set(KERNELS)


def test_where_nothing_can_be_written_nothing_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("agsrec.render.cpu.outdated.atomic_write", refused)
    (tmp_path / "render/cpu").mkdir(parents=True)
    forget_outdated_kernels(tmp_path)
    assert not (tmp_path / "render/cpu/__pycache__").exists()
