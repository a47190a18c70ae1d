"""How far a job has come, as the page shows it."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass, field
from html import escape

from agsrec.app.events import Began, Done, Event, Failed, Said, Step

__all__ = ["STAGES", "STOPPED", "Course", "idle_panel", "notice_panel"]

STOPPED = "Stopped. Ready for the next run."
"""What is said of a job that somebody stopped."""

STAGES = {
    "frames": "Frames",
    "cutout": "Cut out",
    "poses": "Poses",
    "outliers": "Check poses",
    "fit": "Fit",
    "mesh": "Mesh",
    "export": "Results",
}
"""Every stage there is, and what the page calls it."""


@dataclass
class Course:
    """Course of a job.

    Attributes:
        stages: The stages to come, in order.
        text: What is being done.
        share: Share of the current stage that is done; None where nobody knows.
        preview: Latest picture of the scene, JPEG.
        notes: Sentences that the user should read.
        failure: Why it ended without a result.
        done: Whether it ended with one.
    """

    stages: tuple[str, ...]
    text: str = "Starting"
    share: float | None = None
    preview: bytes | None = None
    notes: list[str] = field(default_factory=list)
    failure: str | None = None
    done: bool = False
    _current: int = -1
    _begun: float = field(default_factory=time.monotonic)

    def apply(self, event: Event) -> None:
        """Take in what happened."""
        match event:
            case Began(stage, text):
                self._enter(stage)
                self.text, self.share = text, None
            case Step():
                self._enter(event.stage)
                self.preview = event.preview or self.preview
                if event.stage == "fit":
                    self.share = event.iteration / max(1, event.total)
                    self.text = (
                        f"Fitting the 3D model: step {event.iteration} of {event.total} at {event.size} px, "
                        f"loss {event.loss:.3f}, {event.psnr:.1f} dB, {event.gaussians:,} Gaussians"
                    )
            case Said(text):
                if text not in self.notes:
                    self.notes.append(text)
            case Done():
                self.done, self._current = True, len(self.stages)
            case Failed(text):
                self.failure = text

    def _enter(self, stage: str) -> None:
        if stage in self.stages:
            self._current = self.stages.index(stage)

    @property
    def seconds(self) -> float:
        """Time since it began."""
        return time.monotonic() - self._begun

    def html(self) -> str:
        """The panel: stages, a bar, what is being done, the latest picture, and notes."""
        if self.failure is not None:
            return notice_panel(self.failure, "plain" if self.failure == STOPPED else "bad", self.notes)
        if self.done:
            return notice_panel(f"Done in {self.seconds:.0f} s.", "good", self.notes)
        stages = "".join(
            f'<li class="{self._state(k)}">{STAGES[name]}</li>' for k, name in enumerate(self.stages)
        )
        moving = self.share is None
        width = 100 if moving else round(100 * (self.share or 0.0))
        now = "" if moving else f' aria-valuenow="{width}"'
        bar = (
            f'<div class="ags-bar{" ags-moving" if moving else ""}" role="progressbar" aria-valuemin="0" '
            f'aria-valuemax="100"{now}><i style="width:{width}%"></i></div>'
        )
        text = f'<p class="ags-now">{escape(self.text)} <span>{self.seconds:.0f} s</span></p>'
        stages = f'<ol class="ags-stages">{stages}</ol>'
        return f'<div class="ags-panel">{stages}{bar}{text}{self._picture()}{_notes(self.notes)}</div>'

    def _state(self, index: int) -> str:
        if index < self._current:
            return "ags-done"
        return "ags-current" if index == self._current else "ags-later"

    def _picture(self) -> str:
        if self.preview is None:
            return ""
        data = base64.b64encode(self.preview).decode()
        return (
            f'<figure class="ags-preview"><img src="data:image/jpeg;base64,{data}" alt="The model as it '
            'stands"><figcaption>The model as it stands</figcaption></figure>'
        )


def notice_panel(text: str, kind: str, notes: list[str] | None = None) -> str:
    """A panel with one sentence; `kind` is good, bad or plain."""
    role = "alert" if kind == "bad" else "status"
    sentence = f'<p class="ags-notice ags-{kind}" role="{role}">{escape(text)}</p>'
    return f'<div class="ags-panel">{sentence}{_notes(notes or [])}</div>'


def idle_panel(text: str) -> str:
    """The panel while nothing runs."""
    return notice_panel(text, "plain")


def _notes(notes: list[str]) -> str:
    return "".join(f'<p class="ags-note">{escape(note)}</p>' for note in notes)
