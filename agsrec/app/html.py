"""The pieces of the page that are not Gradio's: summary, figures, and the cards of the views."""

from __future__ import annotations

import os
from html import escape
from typing import Any
from urllib.parse import quote

__all__ = ["HEADER", "cards", "file_url", "links", "summary"]

HEADER = """<header class="ags-header">
<h1>From a few photos to a 3D model</h1>
<p>Camera poses and a textured model from 1 to 12 photos of one object, or a video of it, without markers
and without known cameras. Photos with wrong poses are found and corrected.</p>
</header>"""

_VERDICTS = {
    "trusted": ("", ""),
    "confirmed": ("plain", "suspected, no better pose found"),
    "corrected": ("warn", "was wrong, posed anew"),
    "kept": ("plain", "suspected, kept"),
    "unusable": ("bad", "left out"),
}
_GOOD_DB, _FAIR_DB = 24.0, 20.0


def file_url(path: str) -> str:
    """Address of a served file, relative to the page."""
    return f"gradio_api/file={quote(path)}"


def summary(outcome: dict[str, Any], seconds: float) -> str:
    """Figures, and what happened in words, after so many seconds."""
    shown = outcome["facts"] | {"Time": f"{seconds:.0f} s"}
    facts = "".join(
        f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>" for label, value in shown.items()
    )
    sentences = "".join(f"<li>{escape(text)}</li>" for text in outcome["summary"])
    return f'<section class="ags-summary"><ul>{sentences}</ul><dl>{facts}</dl></section>'


def cards(views: list[dict[str, Any]], labels: dict[str, str]) -> str:
    """Photo and model side by side for every view, with agreement and flags in colour."""
    legend = (
        f'<p class="ags-legend"><span class="ags-chip ags-good">agrees ({_GOOD_DB:.0f} dB or more)</span>'
        '<span class="ags-chip ags-warn">fair, or pose changed</span>'
        '<span class="ags-chip ags-bad">poor, or left out</span><br>Photo left, model right; dB say how well '
        "they agree, degrees how far the camera was turned.</p>"
    )
    return f'{legend}<div class="ags-cards">{"".join(_card(view, labels) for view in views)}</div>'


def links(files: dict[str, str]) -> str:
    """Every result file, to be downloaded by itself."""
    entries = "".join(
        f'<a href="{file_url(path)}" download="{escape(name)}">{escape(name)} '
        f"<small>{_size(os.path.getsize(path))}</small></a>"
        for name, path in files.items()
    )
    return f'<nav class="ags-links" aria-label="Single files">{entries}</nav>'


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MB" if count >= 2**20 else f"{count / 2**10:.0f} kB"


def _card(view: dict[str, Any], labels: dict[str, str]) -> str:
    kind, flag = _VERDICTS[view["verdict"]]
    score = view["psnr"]
    if not kind or kind == "plain":
        kind = _kind(score)
    name = escape(_title(view["name"], labels))
    photo = f'<img src="{file_url(view["photo"])}" alt="Photo {name}" loading="lazy">'
    if view["render"] is None:
        render = '<div class="ags-none">no pose explains it</div>'
    else:
        render = (
            f'<img src="{file_url(view["render"])}" alt="Model from the camera of {name}" loading="lazy">'
        )
    chips = [f"{score:.1f} dB"] if score is not None else []
    chips += [f"{view['turned_deg']:.0f}°"] if view["turned_deg"] is not None else []
    figures = " · ".join(chips)
    badge = f'<span class="ags-chip ags-{kind}">{flag or figures}</span>'
    rest = f"<small>{figures}</small>" if flag and figures else ""
    return (
        f'<figure class="ags-card ags-edge-{kind}"><div class="ags-pair">{photo}{render}</div>'
        f"<figcaption><b>{name}</b>{badge}{rest}</figcaption></figure>"
    )


def _kind(score: float | None) -> str:
    if score is None or score >= _GOOD_DB:
        return "good"
    return "warn" if score >= _FAIR_DB else "bad"


def _title(name: str, labels: dict[str, str]) -> str:
    label = labels.get(name, "")
    return f"{name} · {label}" if label else name
