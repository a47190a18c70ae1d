"""Fixtures of the tests of the commands."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

from agsrec.figures import turntable
from tests.tiny_prior import tiny_zero123


@pytest.fixture(autouse=True)
def fresh_accelerator() -> Iterator[None]:
    """Accelerate remembers its first choice of a device in a process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module", autouse=True)
def short_turntables() -> Iterator[None]:
    """Of six pictures: nobody looks at the videos of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turntable, "orbit_cameras", partial(turntable.orbit_cameras, frames=6))
        yield


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny prior."""
    folder = tmp_path_factory.mktemp("model")
    tiny_zero123().save_pretrained(folder)
    return folder
