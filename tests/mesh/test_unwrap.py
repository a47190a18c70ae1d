"""Texture coordinates that are made in a process of their own."""

import sys

import numpy as np
import pytest
import trimesh

from agsrec.mesh.unwrap import Unwrapping, unwrapped

SOLID = trimesh.creation.icosphere(subdivisions=2)
MESH = np.asarray(SOLID.vertices, dtype=np.float64), np.asarray(SOLID.faces, dtype=np.int32)


def same(one: tuple[np.ndarray, ...], two: tuple[np.ndarray, ...]) -> bool:
    return all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(one, two, strict=True))


def test_a_process_finds_the_same() -> None:
    here = unwrapped(*MESH, 256)
    with Unwrapping(*MESH, 256) as beside, Unwrapping(*MESH, 256, beside=False) as alone:
        assert beside._process is not None and alone._process is None
        found = beside.layout()
        assert beside._process.returncode == 0
        assert same(found, here) and same(alone.layout(), here)
    source, corners, uvs = here
    assert np.array_equal(source[corners], MESH[1]), "faces keep their order"
    assert uvs.min() >= 0 and uvs.max() <= 1
    assert not same(here, unwrapped(*MESH, 64)), "small textures have charts farther apart"


@pytest.mark.parametrize("program", ["", "no-such-program", sys.executable + "-not"])
def test_without_a_process_it_is_done_here(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(sys, "executable", program)
    with Unwrapping(*MESH, 256) as unwrapping:
        assert same(unwrapping.layout(), unwrapped(*MESH, 256))


def test_none_outlives_its_context() -> None:
    with Unwrapping(*MESH) as unwrapping:
        process, place = unwrapping._process, unwrapping._file
    assert process is not None and process.returncode is not None and not place.parent.exists()


def test_one_that_fails_is_made_up_for() -> None:
    with Unwrapping(*MESH, 256) as unwrapping:
        assert unwrapping._process is not None
        unwrapping._process.kill()
        assert same(unwrapping.layout(), unwrapped(*MESH, 256))
