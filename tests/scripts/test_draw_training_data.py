"""The contact sheet shows things, the same ones every time."""

from __future__ import annotations

import numpy as np

from agsrec.training.nview_data import VIEWS_PER_SET
from scripts.draw_training_data import SIZE, row


def test_rows_are_the_same_every_time() -> None:
    first, again, other = row(3), row(3), row(4)
    assert first.shape == (SIZE, VIEWS_PER_SET * SIZE, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    views = first.reshape(SIZE, VIEWS_PER_SET, SIZE, 3)
    assert ((views < 250).any(3).mean((0, 2)) > 0.05).all()  # something is in each
