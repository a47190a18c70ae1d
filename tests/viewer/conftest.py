"""Fixtures of the viewer's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.viewer.made_up import write_result


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a made-up result; not to be changed."""
    return write_result(tmp_path_factory.mktemp("results") / "ball")
