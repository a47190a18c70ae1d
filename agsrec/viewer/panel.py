"""The words beside the picture, as HTML that needs nothing from anywhere."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from agsrec.figures.canvas import INITIAL, TRUTH
from agsrec.viewer.assemble import VERDICT_COLORS

if TYPE_CHECKING:
    from agsrec.viewer.assemble import Display, Moment, ViewStory

__all__ = ["legend_html", "moment_html", "stories_html"]

_MEANING = {
    "trusted": "final camera",
    "confirmed": "suspected, no better pose found",
    "corrected": "posed anew",
    "kept": "suspected, keeps its pose",
    "unusable": "left out",
}
_BOX = "padding:0 0.75em 0.5em;font-size:0.85em;line-height:1.45"


def _dot(color: str) -> str:
    return (
        '<span style="display:inline-block;width:0.8em;height:0.8em;border-radius:50%;'
        f'background:{color};margin-right:0.5em"></span>'
    )


def legend_html(display: Display) -> str:
    """What the colours in the picture mean."""
    verdicts = [v for v in VERDICT_COLORS if any(s.verdict == v for s in display.stories)]
    lines = [(VERDICT_COLORS[v], _MEANING[v]) for v in verdicts]
    lines += [(INITIAL, "camera as given")] if display.given is not None else []
    lines += [(TRUTH, "true camera")] if display.truth is not None else []
    return f'<div style="{_BOX}">' + "<br>".join(_dot(c) + escape(text) for c, text in lines) + "</div>"


def stories_html(display: Display) -> str:
    """A table of the photos, and what happened to those that were suspected."""
    moved = any(s.moved_deg is not None for s in display.stories)
    known = any(s.error_deg is not None for s in display.stories)
    head = ["photo", *(["turned by"] if moved else []), *(["off by"] if known else [])]
    rows = "".join(_row(story, moved, known) for story in display.stories)
    cells = "".join(f'<th style="text-align:left;font-weight:600">{text}</th>' for text in head)
    told = "".join(f"<p style='margin:0.5em 0 0'>{escape(s.story)}</p>" for s in display.stories if s.story)
    return f'<div style="{_BOX}"><table style="width:100%"><tr>{cells}</tr>{rows}</table>{told}</div>'


def _row(story: ViewStory, moved: bool, known: bool) -> str:
    cells = [_dot(story.color) + escape(story.name)]
    cells += [_degrees(story.moved_deg)] if moved else []
    cells += [_degrees(story.error_deg)] if known else []
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _degrees(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}°"


def moment_html(display: Display, moment: Moment) -> str:
    """What moment of the course is shown, and how far the cameras still are from where they end."""
    text = escape(moment.title[:1].upper() + moment.title[1:])
    farthest = int(moment.turned_deg.argmax())
    if moment is not display.moments[-1]:
        name = escape(display.stories[farthest].name)
        text += f". Median {float(moment.turned_deg.median()):.1f}° from where they end; "
        text += f"farthest {name}, {float(moment.turned_deg[farthest]):.1f}°."
    return f'<div style="{_BOX}">{text}</div>'
