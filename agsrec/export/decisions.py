"""What was decided about badly posed views, in words, pictures and numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from agsrec.cameras import Cameras
from agsrec.export.report import Part, Picture, Section, Table, Text
from agsrec.figures.panels import tiles_figure
from agsrec.metrics.evaluation import rendered_on_white
from agsrec.metrics.poses import align_cameras, rotation_angles

if TYPE_CHECKING:
    from agsrec.outliers import Correction, Searched

__all__ = ["decision_record", "decision_section", "decision_sentences", "verdict_sentence"]

_MEANING = {
    "trusted": "agrees with the others",
    "confirmed": "suspected, and no better pose was found",
    "corrected": "posed anew",
    "kept": "suspected; the best other pose did not win",
    "unusable": "left out: no pose explains it",
}


def decision_sentences(correction: Correction) -> list[str]:
    """The outcome for every view that was suspected, or that none was."""
    names = correction.views.names
    if not correction.detection.suspects:
        return ["No photo's pose contradicts the others'."]
    sentences = []
    searches = {search.view: search for search in correction.searches}
    for view in correction.detection.suspects:
        search = searches.get(view)
        if search is None:
            sentences.append(f"Photo {names[view]} may be badly posed, but the others make no scene.")
            continue
        sentences.append(verdict_sentence(names[view], correction.verdicts[view], search.turned_deg[0]))
        if search.ambiguous:
            sentences.append(
                f"Another pose explains {names[view]} nearly as well (margin {search.margin:.2f}): the "
                "object looks alike from several sides, so that its pose is ambiguous."
            )
    return sentences


def verdict_sentence(name: str, verdict: str, turned: float) -> str:
    """The outcome of a suspected view whose best pose is turned by so many degrees against the given one."""
    match verdict:
        case "corrected":
            return (
                f"Photo {name} was badly posed: it was turned by {turned:.0f} degrees, after a search around "
                "the whole object, and everything fits better since."
            )
        case "confirmed":
            return f"Photo {name} was suspected, but the search found no better pose."
        case "kept":
            return (
                f"Photo {name} was suspected; the best other pose, {turned:.0f} degrees away, did not make "
                "everything fit better, so that it keeps its own."
            )
        case _:
            return f"Photo {name} is left out: no pose explains it. Is it a photo of this object?"


def decision_record(correction: Correction, truth: Cameras | None) -> dict[str, Any]:
    """Every decision with its numbers; with true cameras of all photos, errors of the found poses too."""
    record = correction.as_dict()
    if truth is not None:
        for search, entry in zip(correction.searches, record["searches"], strict=True):
            entry["true_error_deg"] = _true_errors(correction, search, truth).tolist()
    return record


def decision_section(correction: Correction, truth: Cameras | None) -> Section:
    """Why views were suspected, where they were searched, and how the decision fell."""
    return Section("Badly posed photos", list(_parts(correction, truth)))


def _parts(correction: Correction, truth: Cameras | None) -> Iterator[Part]:
    names = correction.views.names
    yield Text(" ".join(decision_sentences(correction)))
    if correction.detection.trials:
        yield Table(
            list(_score_rows(correction)),
            "How suspicious each photo is: a quick fit without it is compared with one of all. A score of 0 "
            "is a photo like the others; after each round the most suspicious leaves.",
        )
    yield from map(Text, _pair_sentences(correction))
    for search in correction.searches:
        yield _candidates(correction, search, truth)
    for contest in correction.contests:
        rows = [
            {"Photo": names[view], "Error, given poses": old, "Error, new poses": new}
            for view, old, new in zip(contest.views, contest.given, contest.corrected, strict=True)
        ]
        count = len(contest.views)
        means = (sum(contest.given) / count, sum(contest.corrected) / count)
        rows.append({"Photo": "Mean", "Error, given poses": means[0], "Error, new poses": means[1]})
        moved = ", ".join(names[view] for view in contest.moved)
        yield Table(
            rows,
            f"Two fits in competition, with the given and with the new pose of {moved}. The new one was "
            + ("accepted: " if contest.accepted else "not accepted: ")
            + "that takes a smaller error of every photo posed anew, and a smaller mean.",
        )


def _score_rows(correction: Correction) -> Iterator[dict[str, Any]]:
    for view, name in enumerate(correction.views.names):
        row: dict[str, Any] = {"Photo": name}
        for number, trial in enumerate(correction.detection.trials):
            score = trial.scores[trial.kept.index(view)] if view in trial.kept else None
            row[f"Score, round {number + 1}"] = score
        yield row | {"Outcome": _MEANING[correction.verdicts[view]]}


def _pair_sentences(correction: Correction) -> Iterator[str]:
    names = correction.views.names
    for number, trial in enumerate(correction.detection.trials):
        if trial.pair is not None and trial.left_out is not None:
            worse, other = (names[view] for view in trial.pair.views)
            yield (
                f"In round {number + 1} no photo was suspicious enough alone. Two wrong ones can hide each "
                f"other, so {worse} and {other} were left out together: score {trial.pair.score:.2f} each."
            )


def _candidates(correction: Correction, search: Searched, truth: Cameras | None) -> Picture:
    """The photo, and the trusted photos' scene from every pose in question."""
    scene = correction.fits["trusted"]
    photo = correction.views[[search.view]]
    drift = align_cameras(correction.given[correction.trusted], scene.cameras)
    seen = [drift.cameras(correction.given[[search.view]]).to(dtype=torch.float32), search.candidates]
    titles = ["Photo", "Given pose", *(f"Found {k + 1}" for k in range(len(search.candidates)))]
    notes = ["", f"error {search.given_error:.3f}"]
    notes += [f"error {e:.3f} ({t:.0f}°)" for e, t in zip(search.errors, search.turned_deg, strict=True)]
    if truth is not None:
        back = align_cameras(truth[correction.trusted], scene.cameras)
        seen.append(back.cameras(truth[[search.view]]).to(dtype=torch.float32))
        titles.append("True pose")
        off = float(_true_errors(correction, search, truth)[0])
        notes.append(f"found 1 is {off:.1f}° off")
    renders = rendered_on_white(scene.gaussians, Cameras.cat(seen))
    images = torch.cat([photo.composited(torch.ones(3)), renders])
    caption = (
        f"Photo {photo.names[0]}, and the scene made from the trusted photos, seen from its given pose and "
        "from those the search found, with how far they are turned against it (margin of the first over the "
        f"second: {search.margin:.2f})."
    )
    return Picture(tiles_figure(titles, images, notes), caption)


def _true_errors(correction: Correction, search: Searched, truth: Cameras) -> torch.Tensor:
    """Rotation errors [M] of the candidates, degrees."""
    scene = correction.fits["trusted"]
    world = align_cameras(truth[correction.trusted], scene.cameras)
    true = world.cameras(truth[[search.view]]).rotations.double()
    return rotation_angles(search.candidates.rotations.double() @ true.mT)
