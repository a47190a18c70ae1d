"""A report as one HTML file: nothing to download, nothing to install, readable on a phone.

The report is a value made of text, pictures, tables and videos; any stage can add sections of its own. All
text is escaped: names come from the user's files.
"""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np

from agsrec.errors import OutputError, ShapeError
from agsrec.export.tables import Row, columns
from agsrec.files import atomic_write

__all__ = [
    "Part",
    "Picture",
    "Report",
    "Section",
    "Table",
    "Text",
    "Video",
    "put_section",
    "report_html",
    "write_report",
]

_MAX_EMBEDDED_VIDEO = 3 * 2**20  # bytes; larger files are linked
_MAX_PNG = 512 * 2**10  # bytes; beyond, a photo-like picture is stored as JPEG
_JPEG_QUALITY = 90
_WIDE = 1.4  # width over height from which a picture scrolls sideways on a narrow screen


@dataclass(frozen=True)
class Text:
    """A paragraph of plain text."""

    text: str


@dataclass(frozen=True)
class Picture:
    """An image uint8 [H, W, 3] with a caption, which also describes it to those who cannot see it."""

    image: np.ndarray  # [H, W, 3]
    caption: str


@dataclass(frozen=True)
class Table:
    """Rows as in `agsrec.export.tables`, with an optional caption."""

    rows: Sequence[Row]
    caption: str = ""


@dataclass(frozen=True)
class Video:
    """An MP4 file: embedded while small, else linked relative to the report; wide for two pictures."""

    path: str | Path
    caption: str = ""
    wide: bool = False


Part = Text | Picture | Table | Video


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Report:
    """A whole report.

    Attributes:
        title: Heading of the page.
        summary: What happened, in plain sentences, one paragraph each.
        sections: The rest, in order.
        facts: Headline figures, label to value, shown large above the summary.
    """

    title: str
    summary: Sequence[str]
    sections: Sequence[Section]
    facts: Mapping[str, str] = field(default_factory=dict)


def write_report(path: str | Path, report: Report) -> None:
    """Write a report as one self-contained HTML file.

    Raises:
        OutputError: The file cannot be written, or a video in it cannot be read.
    """
    atomic_write(path, report_html(report, Path(path).parent))


def put_section(path: str | Path, section: Section, *, after: str) -> None:
    """Replace the section of that title in a written report, or add it, where a later stage has news.

    Args:
        path: The report; where there is none, nothing happens.
        section: What to put in.
        after: Title of the section behind which a new one goes; at the end where there is none.

    Raises:
        OutputError: The file cannot be written.
    """
    try:
        page = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return
    new = _section(section, Path(path).parent)
    old, before = _written(page, section.title), _written(page, after)
    if old is not None:
        page = page[: old.start()] + new + page[old.end() :]
    elif before is not None:
        page = f"{page[: before.end()]}\n{new}{page[before.end() :]}"
    else:
        page = page.replace("<footer>", f"{new}\n<footer>", 1)
    atomic_write(path, page)


def _written(page: str, title: str) -> re.Match[str] | None:
    """Where a section is in a page; its text is escaped, so that the first closing tag is its own."""
    return re.search(rf'<section id="{_anchor(title)}">.*?</section>', page, re.DOTALL)


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower())


def report_html(report: Report, folder: str | Path = ".") -> str:
    """The report as an HTML page; `folder` is where it will lie, for links to large videos."""
    facts = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in report.facts.items())
    sections = "\n".join(_section(section, Path(folder)) for section in report.sections)
    return _PAGE.format(
        title=escape(report.title),
        style=_STYLE,
        facts=f"<dl>{facts}</dl>" if facts else "",
        summary="\n".join(f"<p>{escape(line)}</p>" for line in report.summary),
        sections=sections,
    )


def _section(section: Section, folder: Path) -> str:
    body = "\n".join(_part(part, folder) for part in section.parts)
    return f'<section id="{_anchor(section.title)}">\n<h2>{escape(section.title)}</h2>\n{body}\n</section>'


def _part(part: Part, folder: Path) -> str:
    match part:
        case Text(text):
            return f"<p>{escape(text)}</p>"
        case Picture():
            return _picture(part)
        case Table():
            return _table(part)
        case Video():
            return _video(part, folder)


def _picture(picture: Picture) -> str:
    image = picture.image
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ShapeError(f"a picture must be uint8 [H, W, 3], not {image.dtype} {[*image.shape]}")
    height, width = image.shape[:2]
    kind = "scroll wide" if width > _WIDE * height else "scroll"
    caption = escape(picture.caption)
    tag = f'<img src="{_image_url(image)}" width="{width}" height="{height}" alt="{caption}">'
    return _figure(f'<div class="{kind}" tabindex="0">{tag}</div>', picture.caption)


def _image_url(image: np.ndarray) -> str:
    """Data URL: PNG, which keeps lines and letters sharp, unless it is large; then JPEG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    if buffer.tell() <= _MAX_PNG:
        return _data_url("image/png", buffer.getvalue())
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return _data_url("image/jpeg", buffer.getvalue())


def _table(table: Table) -> str:
    formatted = columns(table.rows)
    kinds = [' class="number"' if column.numeric else "" for column in formatted]
    head = "".join(
        f'<th scope="col"{kind}>{escape(column.title)}</th>'
        for column, kind in zip(formatted, kinds, strict=True)
    )
    lines = [
        "".join(f"<td{kind}>{escape(cell)}</td>" for cell, kind in zip(cells, kinds, strict=True))
        for cells in zip(*(column.cells for column in formatted), strict=True)
    ]
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    grid = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    return _figure(f'<div class="scroll" tabindex="0">{grid}</div>', table.caption)


def _video(video: Video, folder: Path) -> str:
    path = Path(video.path)
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= _MAX_EMBEDDED_VIDEO else None
    except OSError as error:
        raise OutputError(f"cannot read the video {path} for the report: {error.strerror}") from error
    if data is None:
        source = escape(quote(Path(os.path.relpath(path, folder)).as_posix()))
    else:
        source = _data_url("video/mp4", data)
    kind = ' class="pair"' if video.wide else ""
    tag = f'<video{kind} src="{source}" controls loop muted autoplay playsinline></video>'
    return _figure(tag, video.caption)


def _figure(body: str, caption: str) -> str:
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{body}{below}</figure>"


def _data_url(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


# The policy is a second line of defence: nothing in a report runs scripts.
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="script-src 'none'; object-src 'none'; base-uri 'none'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<header>
<h1>{title}</h1>
{facts}
{summary}
</header>
{sections}
<footer>Made by agsrec. Everything on this page is contained in this file.</footer>
</main>
</body>
</html>
"""

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2933; --muted: #66727f; --line: #e1e6eb; --page: #f5f7f9;
  --card: #fff; --accent: #1f6feb; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6eaee; --muted: #98a4b0; --line: #2f3943; --page: #12171c; --card: #1b2229;
    --accent: #6aa5ff; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 20px 40px; }
header, section { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 22px 26px; margin-bottom: 18px; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 14px; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 0 0 12px; overflow-wrap: anywhere; }
p { margin: 0 0 10px; max-width: 72ch; overflow-wrap: anywhere; }
header p:first-of-type { font-size: 1.08rem; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 10px;
  margin: 0 0 18px; }
dl div { border-left: 3px solid var(--accent); padding: 2px 0 2px 12px; }
dt { color: var(--muted); font-size: .82rem; }
dd { margin: 0; font-size: 1.35rem; font-weight: 650; line-height: 1.3; font-variant-numeric: tabular-nums; }
figure { margin: 0 0 14px; }
figure:last-child, p:last-child { margin-bottom: 0; }
figcaption { color: var(--muted); font-size: .88rem; margin-top: 8px; max-width: 80ch; }
.scroll { overflow-x: auto; -webkit-overflow-scrolling: touch; }
img { display: block; width: auto; max-width: 100%; height: auto; background: #fff; border-radius: 8px; }
video { display: block; width: 100%; max-width: 420px; background: #fff; border-radius: 8px; }
video.pair { max-width: 840px; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 6px 18px 6px 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { color: var(--muted); font-weight: 600; white-space: nowrap; }
td { overflow-wrap: anywhere; min-width: 4ch; }
.number { text-align: right; white-space: nowrap; }
footer { color: var(--muted); font-size: .82rem; padding: 4px 4px 0; }
@media screen and (max-width: 720px) {
  main { padding: 12px 10px 28px; }
  header, section { padding: 16px 14px; border-radius: 10px; }
  .wide img { max-width: none; width: 860px; }
  td:first-child:not(.number) { min-width: 14ch; }
}
@media print {
  body { background: #fff; }
  figure, tr { break-inside: avoid; }
  h2 { break-after: avoid; }
  th, th.number { white-space: normal; }
  .scroll { overflow: visible; }
}
"""
