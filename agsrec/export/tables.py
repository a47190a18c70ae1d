"""Results as tables: plain text, Markdown, rich, or cells for the report. One place decides how numbers look.

A table is a list of rows, each a mapping from column title to value. Columns appear in the order in which
rows introduce them. Within a column all fractional numbers have the same number of decimals; missing values
and NaN are a dash.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Column", "Row", "columns", "markdown_table", "rich_table", "text_table"]

Row = Mapping[str, Any]

_MISSING = "-"


@dataclass(frozen=True)
class Column:
    """A formatted column.

    Attributes:
        title: Heading.
        cells: One text per row, on one line.
        numeric: Whether it holds numbers only, which are set flush right.
    """

    title: str
    cells: tuple[str, ...]
    numeric: bool


def columns(rows: Sequence[Row]) -> list[Column]:
    """The columns of a table, formatted."""
    titles = dict.fromkeys(title for row in rows for title in row)
    return [_column(title, [row.get(title) for row in rows]) for title in titles]


def text_table(rows: Sequence[Row]) -> str:
    """Aligned plain text, with a rule under the headings; no trailing newline."""
    parts = []
    for column in columns(rows):
        title = _one_line(column.title)
        width = max(len(title), *map(len, column.cells))
        align = str.rjust if column.numeric else str.ljust
        parts.append([align(title, width), "-" * width, *(align(cell, width) for cell in column.cells)])
    return "\n".join("  ".join(line).rstrip() for line in zip(*parts, strict=True))


def markdown_table(rows: Sequence[Row]) -> str:
    """A GitHub-flavoured Markdown table; no trailing newline."""
    parts = [
        [_markdown(c.title), "---:" if c.numeric else "---", *map(_markdown, c.cells)] for c in columns(rows)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in zip(*parts, strict=True))


def rich_table(rows: Sequence[Row], title: str | None = None) -> Table:
    """A table for `rich.console.Console.print`; brackets in names are not read as markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=None if title is None else Text(title), box=box.SIMPLE_HEAD, title_justify="left")
    formatted = columns(rows)
    for column in formatted:
        table.add_column(Text(_one_line(column.title)), justify="right" if column.numeric else "left")
    for k in range(len(rows)):
        table.add_row(*(Text(column.cells[k]) for column in formatted))
    return table


def _column(title: str, values: Sequence[Any]) -> Column:
    numbers = [v for v in values if _is_number(v)]
    fractions = [float(v) for v in numbers if not isinstance(v, Integral) and math.isfinite(v)]
    decimals = _decimals(fractions)
    cells = tuple(_cell(v, decimals) for v in values)
    numeric = bool(numbers) and all(_is_number(v) or v is None for v in values)
    return Column(title, cells, numeric)


def _decimals(fractions: Sequence[float]) -> int:
    """Decimals that show the largest number of a column to about three digits."""
    largest = max((abs(f) for f in fractions), default=0.0)
    return 3 if largest < 1 else 2 if largest < 100 else 1 if largest < 1000 else 0


def _cell(value: Any, decimals: int) -> str:
    if value is None or (isinstance(value, Real) and math.isnan(value)):
        return _MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Real):
        return f"{float(value):.{decimals}f}"
    return _one_line(str(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _markdown(text: str) -> str:
    text = _one_line(text).replace("\\", "\\\\").replace("|", "\\|")
    return text.replace("&", "&amp;").replace("<", "&lt;")
