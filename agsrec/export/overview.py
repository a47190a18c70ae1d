"""The report of one reconstruction: what happened, in words first, then pictures, then numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from agsrec.cameras import Cameras
from agsrec.export.decisions import decision_section, decision_sentences
from agsrec.export.report import Picture, Report, Section, Table, Text, Video
from agsrec.figures.cameras import cameras_figure
from agsrec.figures.panels import comparison_figure, curves_figure, glimpses_figure
from agsrec.metrics.coverage import one_side_sentence
from agsrec.metrics.images import ImageQuality, image_quality
from agsrec.metrics.poses import PoseAccuracy, pose_accuracy, rotation_errors_after_alignment

if TYPE_CHECKING:
    from agsrec.outliers import Correction
    from agsrec.prior.sds import Glimpse

__all__ = ["Figures", "Outcome", "reconstruction_report"]


@dataclass(frozen=True)
class Figures:
    """The pictures of a report, uint8 [h, w, 3] each.

    Attributes:
        comparison: Photos and renders.
        cameras: Where the photos were taken from.
        curves: Course of the fit, where it has a history.
        glimpses: What the prior saw, where there was one.
    """

    comparison: np.ndarray
    cameras: np.ndarray
    curves: np.ndarray | None
    glimpses: np.ndarray | None

    @staticmethod
    def of(
        names: Sequence[str],
        inputs: Tensor,  # [V, H, W, 3]
        renders: Tensor,  # [V, H, W, 3]
        initial: Cameras,
        final: Cameras,
        truth: Cameras | None,
        history: Sequence[Mapping[str, Any]],
        glimpses: Sequence[Glimpse],
    ) -> Figures:
        """Drawn from what `Outcome` has by the same names."""
        return Figures(
            comparison_figure(names, inputs, renders),
            cameras_figure(initial, final, truth, names=names, thumbnails=inputs),
            curves_figure(history) if history else None,
            glimpses_figure(glimpses) if glimpses else None,
        )


@dataclass(frozen=True)
class Outcome:
    """What the report of a reconstruction is made from.

    Attributes:
        name: The object's name.
        preset: Name of the preset used.
        seconds: Whole duration.
        num_gaussians: Size of the model.
        view_names: One name per input view.
        inputs: Photos [V, H, W, 3] in [0, 1] on white.
        renders: Renders [V, H, W, 3] at the final cameras, on white.
        initial: Cameras the fit started from.
        final: Cameras after the fit.
        truth: True cameras, where known.
        history: As for `agsrec.figures.panels.curves_figure`; may be empty.
        timings: Seconds by stage.
        config: The resolved configuration, possibly nested.
        novel: Similarity of renders to photos that the fit never saw, where there are any.
        video: Turntable video.
        glimpses: What the prior saw, where there was one.
        correction: What was decided about badly posed views, where they were looked for.
        all_truth: True cameras of all photos, those that were left out too, where known.
        figures: Pictures of all this, if they have been drawn already.
    """

    name: str
    preset: str
    seconds: float
    num_gaussians: int
    view_names: Sequence[str]
    inputs: Tensor  # [V, H, W, 3]
    renders: Tensor  # [V, H, W, 3]
    initial: Cameras
    final: Cameras
    truth: Cameras | None = None
    history: Sequence[Mapping[str, Any]] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    novel: ImageQuality | None = None
    video: Path | None = None
    glimpses: Sequence[Glimpse] = ()
    correction: Correction | None = None
    all_truth: Cameras | None = None
    figures: Figures | None = None

    def drawn(self) -> Figures:
        """The figures, drawn now unless they were before."""
        if self.figures is not None:
            return self.figures
        seen = self.view_names, self.inputs, self.renders
        return Figures.of(*seen, self.initial, self.final, self.truth, self.history, self.glimpses)


@dataclass(frozen=True)
class _Measured:
    """Everything the report measures, once."""

    quality: ImageQuality
    turned_deg: Tensor  # [V] rotation of each view by the fit
    before: PoseAccuracy | None
    after: PoseAccuracy | None


def reconstruction_report(outcome: Outcome, extra: Sequence[Section] = ()) -> Report:
    """The report of one reconstruction; `extra` sections of later stages stand before the numbers."""
    truth = outcome.truth if len(outcome.view_names) > 1 else None  # a single view has no relative pose
    measured = _Measured(
        quality=image_quality(outcome.renders, outcome.inputs),
        turned_deg=rotation_errors_after_alignment(outcome.initial, outcome.final),
        before=None if truth is None else pose_accuracy(outcome.initial, truth),
        after=None if truth is None else pose_accuracy(outcome.final, truth),
    )
    return Report(
        title=outcome.name,
        summary=list(_summary(outcome, measured)),
        sections=[*_pictures(outcome), *_decisions(outcome), *extra, *_numbers(outcome, measured)],
        facts=_facts(outcome, measured),
    )


def _decisions(outcome: Outcome) -> Iterator[Section]:
    if outcome.correction is not None:
        yield decision_section(outcome.correction, outcome.all_truth)


def _summary(outcome: Outcome, measured: _Measured) -> Iterator[str]:
    count = len(outcome.view_names)
    yield (
        f"{count} photo{'s' * (count != 1)} of {outcome.name} became a 3D model of "
        f"{outcome.num_gaussians:,} Gaussians in {_duration(outcome.seconds)} (preset {outcome.preset})."
    )
    yield _agreement_sentence(outcome.view_names, measured.quality.psnr)
    if outcome.novel is not None:
        novel = outcome.novel.means()
        yield (
            f"From {len(outcome.novel.psnr)} viewpoints that the fit never saw it reaches "
            f"{novel['psnr']:.1f} dB PSNR and {novel['ssim']:.3f} SSIM."
        )
    yield _pose_sentence(outcome, measured)
    unseen = one_side_sentence(outcome.final)
    if unseen is not None:
        yield f"{unseen}."
    if outcome.correction is not None:
        yield " ".join(decision_sentences(outcome.correction))


def _agreement_sentence(names: Sequence[str], psnr: Tensor) -> str:
    if len(names) == 1:
        return (
            f"Seen from the photo's own camera, the model agrees with it at {float(psnr[0]):.1f} dB PSNR "
            "(higher is better)."
        )
    worst = int(psnr.argmin())
    return (
        f"Seen from the photos' own cameras, the model agrees with them at {float(psnr.mean()):.1f} dB PSNR "
        f"on average (higher is better; {names[worst]} fits worst, at {float(psnr[worst]):.1f} dB)."
    )


def _pose_sentence(outcome: Outcome, measured: _Measured) -> str:
    if len(outcome.view_names) == 1:
        return "Its camera was held as given. What the photo does not show is what the prior makes of it."
    if measured.before is None or measured.after is None:
        most = int(measured.turned_deg.argmax())
        return (
            f"The fit turned the cameras by {float(measured.turned_deg.median()):.1f} degrees in the median, "
            f"{outcome.view_names[most]} the most, by {float(measured.turned_deg[most]):.1f}. The true "
            "cameras are not known, so that their errors cannot be given."
        )
    good = [int((m.view_errors_deg <= 5).sum()) for m in (measured.before, measured.after)]
    return (
        f"Against the true cameras, the median rotation error over all view pairs went from "
        f"{measured.before.pairs.median_deg:.1f} to {measured.after.pairs.median_deg:.1f} degrees; "
        f"{good[1]} of {len(outcome.view_names)} views are now within 5 degrees, {good[0]} were before."
    )


def _facts(outcome: Outcome, measured: _Measured) -> dict[str, str]:
    facts = {
        "Photos": str(len(outcome.view_names)),
        "Time": _duration(outcome.seconds),
        "PSNR, input views": f"{float(measured.quality.psnr.mean()):.1f} dB",
    }
    if outcome.novel is not None:
        facts["PSNR, new views"] = f"{outcome.novel.means()['psnr']:.1f} dB"
    if measured.after is not None:
        facts["Rotation error, median"] = f"{measured.after.pairs.median_deg:.1f}°"
    return facts | {"Gaussians": f"{outcome.num_gaussians:,}"}


def _pictures(outcome: Outcome) -> Iterator[Section]:
    figures = outcome.drawn()
    caption = "Each photo, the model rendered from the same camera, and where the two differ."
    yield Section("Photos and model", [Picture(figures.comparison, caption)])
    if outcome.video is not None:
        yield Section("Turntable", [Video(outcome.video, "The model from all around.")])
    caption = (
        "Where each photo was taken from: before the fit (orange) and after it (blue)"
        + (", with the true cameras dashed in green" if outcome.truth is not None else "")
        + ". Dotted lines show how far a camera moved; the wedge on a frame marks the photo's upper edge."
    )
    yield Section("Cameras", [Picture(figures.cameras, caption)])
    if figures.curves is not None:
        caption = "Loss and agreement with the photos while the model was fitted."
        yield Section("Course of the fit", [Picture(figures.curves, caption)])
    if figures.glimpses is not None:
        caption = (
            "Views nobody photographed, as the fit went on: the model's render, the render as the prior was "
            "shown it, noise added, and what the prior takes it to be. The fit pulls the first towards the "
            "last; the percentage is the share of noise steps."
        )
        yield Section("What the prior sees", [Picture(figures.glimpses, caption)])


def _numbers(outcome: Outcome, measured: _Measured) -> Iterator[Section]:
    rows = []
    for k, name in enumerate(outcome.view_names):
        row = {
            "View": name,
            "PSNR (dB)": float(measured.quality.psnr[k]),
            "SSIM": float(measured.quality.ssim[k]),
            "Turned by the fit (°)": float(measured.turned_deg[k]),
        }
        for label, accuracy in (("before", measured.before), ("after", measured.after)):
            if accuracy is not None:
                row[f"Rotation error {label} (°)"] = float(accuracy.view_errors_deg[k])
        rows.append(row)
    yield Section("Views", [Table(rows, "Angles compare whole sets of cameras after aligning them.")])
    if outcome.timings:
        total = {"Stage": "Total", "Seconds": float(outcome.seconds)}
        stages = [{"Stage": stage, "Seconds": float(s)} for stage, s in outcome.timings.items()]
        yield Section("Timings", [Table([*stages, total])])
    if outcome.config:
        settings = [{"Setting": name, "Value": value} for name, value in _flattened(outcome.config)]
        yield Section("Settings", [Text("Everything needed to repeat this run."), Table(settings)])


def _flattened(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names and values, as text, of a nested mapping."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", f"{value:g}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
