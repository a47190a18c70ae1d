"""Tables: one look in every format, nothing in a name taken as markup."""

from __future__ import annotations

import io

from rich.console import Console

from agsrec.export.tables import markdown_table, rich_table, text_table

ROWS = [
    {"object": "cow", "views": 8, "PSNR": 27.456, "SSIM": 0.91234},
    {"object": "bob [bold]|", "views": 10, "PSNR": float("nan"), "ok": True},
]


def test_text() -> None:
    assert text_table(ROWS).splitlines() == [
        "object       views   PSNR   SSIM  ok",
        "-----------  -----  -----  -----  ---",
        "cow              8  27.46  0.912  -",
        "bob [bold]|     10      -      -  yes",
    ]


def test_markdown_escapes_names() -> None:
    lines = markdown_table([*ROWS, {"object": "<b>\nx"}]).splitlines()
    assert lines[1] == "| --- | ---: | ---: | ---: | --- |"
    assert lines[3] == "| bob [bold]\\| | 10 | - | - | yes |"
    assert lines[4].startswith("| &lt;b> x |")


def test_rich_does_not_read_names_as_markup() -> None:
    out = io.StringIO()
    Console(file=out, width=100).print(rich_table(ROWS, "[red]results"))
    assert "bob [bold]|" in out.getvalue() and "[red]results" in out.getvalue()
    assert "27.46" in out.getvalue()


def test_decimals_follow_the_largest_number() -> None:
    assert text_table([{"s": 1234.56}, {"s": 0.5}]).splitlines()[2:] == ["1235", "   0"]
    assert text_table([{"s": 12.0}]).splitlines()[2:] == ["12.00"]
    assert "inf" in text_table([{"s": float("inf")}, {"s": 1.0}])


def test_empty() -> None:
    assert text_table([]) == "" and markdown_table([]) == ""
    assert rich_table([]).row_count == 0
