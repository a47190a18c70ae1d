"""How the page looks: a theme without anything from the network, and a few rules of our own."""

from __future__ import annotations

from importlib.resources import files

from gradio import themes

__all__ = ["css", "theme"]

_SANS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif"]
_MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]


def theme() -> themes.Base:
    """Blue on light grey, system fonts."""
    return themes.Soft(
        primary_hue="blue", secondary_hue="blue", neutral_hue="slate", font=_SANS, font_mono=_MONO
    ).set(
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        block_radius="12px",
        block_shadow="none",
        block_border_width="1px",
        block_label_background_fill="*background_fill_primary",
        block_label_text_color="*body_text_color_subdued",
        block_title_text_color="*body_text_color",
        button_large_radius="10px",
    )


def css() -> str:
    """Rules for the pieces in `agsrec.app.html` and `agsrec.app.course`, and for narrow screens."""
    return (files("agsrec.app") / "page.css").read_text(encoding="utf-8")
