"""Bounds that stand at the fields of a dataclass, as types, and are checked wherever a value of it is made.

@dataclass(frozen=True)
class Blur(Bounded):
    width: Positive
    share: Share = 0.5
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real
from typing import Annotated, Any, ClassVar, get_origin, get_type_hints

from agsrec.errors import AgsrecError, OptionError

__all__ = ["Bounded", "Count", "Filled", "NonNegative", "Positive", "Range", "Share", "ShareBelow", "Whole"]


@dataclass(frozen=True)
class Range:
    """Finite numbers from `low` to `high`, whole ones where the field is an int; None too where it may be."""

    low: float
    high: float = math.inf
    above: bool = False
    """Leave `low` out."""
    below: bool = False
    """Leave `high` out."""

    def demand(self, kind: Any, value: Any) -> str | None:
        """What a field of this type must be and the value is not."""
        if value is None and kind not in (int, float):
            return None
        whole = kind in (int, int | None)
        if isinstance(value, bool) or not isinstance(value, Integral if whole else Real):
            return "be a whole number" if whole else "be a number"
        return None if self._holds(value) else f"be {self}"

    def _holds(self, value: Any) -> bool:
        enough = self.low < value if self.above else self.low <= value
        return enough and (value < self.high if self.below or math.isinf(self.high) else value <= self.high)

    def __str__(self) -> str:
        if math.isinf(self.high):
            return "positive" if self.above else f"at least {self.low}"
        if not (self.above or self.below):
            return f"between {self.low} and {self.high}"
        low, high = "above" if self.above else "at least", "below" if self.below else "at most"
        return f"{low} {self.low} and {high} {self.high}"


@dataclass(frozen=True)
class Filled:
    """Collections that are not empty."""

    what: str
    """A word for one item."""

    def demand(self, _kind: Any, value: Collection[Any]) -> str | None:
        """What a field must do and the value does not."""
        return None if value else f"hold at least one {self.what}"


NonNegative = Annotated[float, Range(0)]
Positive = Annotated[float, Range(0, above=True)]
Share = Annotated[float, Range(0, 1)]
ShareBelow = Annotated[float, Range(0, 1, below=True)]
Whole = Annotated[int, Range(0)]
Count = Annotated[int, Range(1)]


class Bounded:
    """Base of dataclasses whose fields have bounds in their types.

    Args:
        called: How a message names a field; `{}` stands for the field's name.
        error: What is raised for a value out of bounds.
    """

    _called: ClassVar[str] = "{}"
    _error: ClassVar[type[AgsrecError]] = OptionError

    def __init_subclass__(cls, called: str = "{}", error: type[AgsrecError] = OptionError) -> None:
        cls._called, cls._error = called, error

    def __post_init__(self) -> None:
        for name, kind, bound in _bounds(type(self)):
            value = getattr(self, name)
            if demand := bound.demand(kind, value):
                raise self._error(f"{self._called.format(name)} must {demand}, not {value!r}")


@cache
def _bounds(kind: type[Bounded]) -> tuple[tuple[str, Any, Range | Filled], ...]:
    """Name, type and bound of every bounded field, looked up once per class."""
    return tuple(
        (name, hint.__origin__, bound)
        for name, hint in get_type_hints(kind, include_extras=True).items()
        if get_origin(hint) is Annotated
        for bound in hint.__metadata__
    )
