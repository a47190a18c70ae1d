from __future__ import annotations

import math
import pickle
from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, Any

import numpy as np
import pytest

from agsrec.bounds import Bounded, Count, Filled, NonNegative, Positive, Range, Share, ShareBelow, Whole
from agsrec.errors import CheckpointError, OptionError


@dataclass(frozen=True)
class Made(Bounded):
    count: Count = 1
    whole: Whole = 0
    positive: Positive = 1.0
    nonnegative: NonNegative = 0.0
    share: Share = 1.0
    below: ShareBelow = 0.0
    angle: Annotated[float, Range(0, 180, above=True)] = 180.0
    maybe: Annotated[float | None, Range(0, above=True)] = None
    parts: Annotated[tuple[int, ...], Filled("part")] = (1,)
    free: float = 0.0


@pytest.mark.parametrize(
    ("field", "value", "demand"),
    [
        ("count", 0, "be at least 1"),
        ("count", 1.0, "be a whole number"),
        ("count", True, "be a whole number"),
        ("count", None, "be a whole number"),
        ("whole", -1, "be at least 0"),
        ("positive", 0, "be positive"),
        ("positive", "1", "be a number"),
        ("positive", None, "be a number"),
        ("nonnegative", -1e-9, "be at least 0"),
        ("nonnegative", math.inf, "be at least 0"),
        ("nonnegative", math.nan, "be at least 0"),
        ("share", 1.5, "be between 0 and 1"),
        ("share", math.nan, "be between 0 and 1"),
        ("below", 1, "be at least 0 and below 1"),
        ("angle", 0.0, "be above 0 and at most 180"),
        ("angle", 180.5, "be above 0 and at most 180"),
        ("angle", 10**400, "be above 0 and at most 180"),
        ("maybe", 0.0, "be positive"),
        ("parts", (), "hold at least one part"),
    ],
)
def test_out_of_bounds(field: str, value: Any, demand: str) -> None:
    with pytest.raises(OptionError) as caught:
        Made(**{field: value})
    assert str(caught.value) == f"{field} must {demand}, not {value!r}"


def test_within_bounds() -> None:
    made = Made(np.int64(3), 0, np.float32(0.5), 0, 0, 0.999, 1e-9, 2.0, (0,), math.inf)  # pyright: ignore[reportArgumentType]
    assert replace(made, maybe=None).maybe is None
    assert made == pickle.loads(pickle.dumps(made)) and made != Made()
    assert list(asdict(made)) == [f.name for f in fields(Made)]


def test_names_and_errors() -> None:
    @dataclass(frozen=True)
    class Sizes(Bounded, called="--{}", error=CheckpointError):
        grid: Count

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.grid % 2:
                raise CheckpointError("odd")

    with pytest.raises(CheckpointError, match=r"^--grid must be at least 1, not 0$"):
        Sizes(0)
    with pytest.raises(CheckpointError, match="odd"):
        Sizes(3)
