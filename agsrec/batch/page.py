"""The index page of a batch: who should be looked at, worst first, and a small picture of everybody."""

from __future__ import annotations

import math
from html import escape
from itertools import islice
from pathlib import Path
from urllib.parse import quote

from agsrec.batch.manifest import MANIFEST, Manifest
from agsrec.batch.places import Place
from agsrec.batch.record import Record
from agsrec.batch.work import THUMBNAIL

__all__ = ["PAGE", "write_pages"]

PAGE = "index.html"
"""The first page; further ones are index-2.html and so on."""

_PER_PAGE = 500  # objects
_LISTED = 100  # of those to look at
_HERE = Path(__file__).parent


def write_pages(output: Place, manifest: Manifest, per_page: int = _PER_PAGE) -> None:
    """Write the pages anew.

    Args:
        output: Where they belong, beside the objects' folders.
        manifest: What there is.
        per_page: Objects on a page.

    Raises:
        OutputError: They cannot be written.
    """
    records = manifest.by_name()
    count = manifest.count("done") + manifest.count("failed")
    pages = max(1, math.ceil(count / per_page))
    head = _facts(manifest)
    style, script = ((_HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    for number in range(1, pages + 1):
        listed = _listed(manifest) if number == 1 else ""
        cards = "\n".join(_card(record) for record in islice(records, per_page))
        body = _PAGE.format(
            style=style,
            script=script,
            facts=head,
            listed=listed,
            cards=cards,
            links=_links(number, pages),
            manifest=MANIFEST,
        )
        output.write(_page_name(number), body.encode())
    _remove_further(output, pages + 1)


def _remove_further(output: Place, number: int) -> None:
    """Pages of a time when there were more objects."""
    while output.read(_page_name(number)) is not None:
        output.remove(_page_name(number))
        number += 1


def _page_name(number: int) -> str:
    return PAGE if number == 1 else f"index-{number}.html"


def _facts(manifest: Manifest) -> str:
    facts = {
        "done": manifest.count("done"),
        "failed": manifest.count("failed"),
        "not started": manifest.count("missing"),
        "to look at": manifest.doubtful(),
    }
    return "".join(f"<div><dt>{name}</dt><dd>{count:,}</dd></div>" for name, count in facts.items())


def _listed(manifest: Manifest) -> str:
    """Those to look at, worst first."""
    count = manifest.doubtful()
    if count == 0:
        return ""
    rows = "\n".join(_row(record) for record in islice(manifest.worst_first(), min(count, _LISTED)))
    more = f"<p>And {count - _LISTED:,} more, in {MANIFEST}.</p>" if count > _LISTED else ""
    return f"<section>\n<h2>Look at these, worst first</h2>\n<ol>\n{rows}\n</ol>\n{more}</section>"


def _row(record: Record) -> str:
    why = " ".join(f"{escape(_sentence(doubt))}" for doubt in record.doubts())
    return f'<li class="{record.state}">{_picture(record)}<p>{_link(record)} {why}</p></li>'


def _card(record: Record) -> str:
    said = escape(_figures(record) if record.state == "done" else "failed")
    mark = "doubtful" if record.state == "done" and record.doubts() else record.state
    return f'<li class="{mark}">{_picture(record)}<p>{_link(record)} {said}</p></li>'


def _picture(record: Record) -> str:
    """The small picture, which turns while it is pointed at; a blank one of what failed."""
    if record.state == "failed":
        return '<span class="picture"></span>'
    folder = quote(record.name)
    picture = f'<img src="{folder}/{THUMBNAIL}" alt="" loading="lazy">'
    return f'<a class="picture" href="{folder}/report.html" data-video="{folder}/turntable.mp4">{picture}</a>'


def _link(record: Record) -> str:
    page = "report.html" if record.state == "done" else ""
    return f'<a href="{quote(record.name)}/{page}">{escape(record.name)}</a>'


def _figures(record: Record) -> str:
    figures = [] if record.psnr is None else [f"{record.psnr:.1f}\xa0dB"]
    figures += [] if record.views is None else [f"{record.views}\xa0photo{'s' * (record.views != 1)}"]
    return ", ".join([*figures, f"{record.seconds:.0f}\xa0s"])


def _sentence(text: str) -> str:
    first = text.split(" ", 1)[0]
    start = first.capitalize() if first.isalpha() and first.islower() else first  # not of a path
    return f"{start}{text[len(first) :].rstrip('.')}."


def _links(number: int, pages: int) -> str:
    """Links to all pages, where there are several."""
    if pages == 1:
        return ""
    return f"<nav>{' '.join(_page_link(page, number) for page in range(1, pages + 1))}</nav>"


def _page_link(page: int, current: int) -> str:
    return f"<b>{page}</b>" if page == current else f'<a href="{_page_name(page)}">{page}</a>'


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Many objects</title>
<style>{style}</style>
</head>
<body>
<main>
<header>
<h1>Many objects</h1>
<dl>{facts}</dl>
</header>
{listed}
<section>
<h2>All of them</h2>
<ul>
{cards}
</ul>
{links}
</section>
<footer>Made by agsrec. All figures are in {manifest}.</footer>
</main>
<script>{script}</script>
</body>
</html>
"""
