"""The loop's outcome on a scene with a planted outlier, worked out once."""

from __future__ import annotations

from pathlib import Path

import pytest

from agsrec.outliers import Correction, correct_outliers
from agsrec.store import Checkpointing
from tests.outliers.quick import quick_loop, spoiled


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the outcome's state is kept."""
    return tmp_path_factory.mktemp("loop") / "outliers.pt"


@pytest.fixture(scope="session")
def repaired(state: Path) -> Correction:
    """View `WRONG` was turned by 120 degrees."""
    views, cameras, _ = spoiled()
    return correct_outliers(views, cameras, quick_loop(), checkpointing=Checkpointing(state, "key"))
