from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor

from agsrec.cameras import Cameras
from agsrec.export.decisions import decision_section, decision_sentences
from agsrec.export.report import Picture, Table
from agsrec.fit import FitResult
from agsrec.gaussians import Gaussians
from agsrec.metrics.poses import rotation_angles, rotation_errors_after_alignment
from agsrec.outliers import (
    Contest,
    Correction,
    Detection,
    OutlierConfig,
    Searched,
    correct,
    correct_outliers,
    repose,
)
from agsrec.outliers.repose import rank
from agsrec.render import render_scene
from agsrec.store import Checkpointing
from agsrec.synthetic import make_scene
from agsrec.views import Views
from tests.outliers.quick import WRONG, photos, quick_loop, spoiled, turned
from tests.tiny import rough


def test_a_planted_outlier_is_repaired(repaired: Correction) -> None:
    _, cameras, truth = spoiled()
    assert float(rotation_errors_after_alignment(cameras, truth)[WRONG]) > 100
    errors = rotation_errors_after_alignment(repaired.start, truth)
    assert float(errors[WRONG]) < 12 and float(errors.max()) < 12
    assert repaired.branch == "corrected" and repaired.used == tuple(range(8))
    assert repaired.having("corrected") == [WRONG] and len(repaired.having("trusted")) == 7
    (search,) = repaired.searches
    assert search.finding == "elsewhere" and 100 < search.turned_deg[0] < 140 and not search.ambiguous
    assert search.errors[0] < search.given_error and search.score < 0.5 < search.given_score
    (contest,) = repaired.contests
    assert contest.accepted and contest.moved == (WRONG,)


def test_the_decision_is_told(repaired: Correction) -> None:
    _, _, truth = spoiled()
    text = " ".join(decision_sentences(repaired))
    assert "005 was badly posed" in text and "ambiguous" not in text
    record = repaired.as_dict()
    assert record["verdicts"]["005"] == "corrected" and record["branch"] == "corrected"
    assert record["trials"][0]["left_out"] == "005" and record["contests"][0]["accepted"] is True
    json.dumps(record, allow_nan=False)
    section = decision_section(repaired, truth)
    pictures = [part for part in section.parts if isinstance(part, Picture)]
    tables = [part for part in section.parts if isinstance(part, Table)]
    assert len(pictures) == 1 and len(tables) == 2
    # Photo, given pose, at least one that was found, true pose.
    assert pictures[0].image.shape[1] > 4 * 48
    assert tables[0].rows[WRONG]["Outcome"] == "posed anew"


def test_a_scene_without_one_is_left_alone() -> None:
    views, truth = photos()
    cameras = rough(truth, 4.0)
    outcome = correct_outliers(views, cameras, quick_loop())
    assert set(outcome.verdicts) == {"trusted"} and outcome.branch == "given" and not outcome.fits
    assert torch.equal(outcome.start.viewmats, cameras.viewmats)
    assert decision_sentences(outcome) == ["No photo's pose contradicts the others'."]


def test_a_view_found_where_it_was_keeps_its_pose() -> None:
    views, truth = photos()
    cameras = rough(truth, 4.0)
    # So suspicious that somebody is always suspected.
    outcome = correct_outliers(views, cameras, quick_loop(suspicion=0.45))
    assert outcome.detection.suspects and set(outcome.verdicts) == {"trusted", "confirmed"}
    assert torch.equal(outcome.start.viewmats, cameras.viewmats) and not outcome.contests


def test_a_photo_of_something_else_is_left_out_not_posed() -> None:
    views, truth = photos()
    images = views.images.clone()
    images[WRONG] = make_scene(7, 8, 48)[0][0]
    cameras = rough(truth, 4.0)
    outcome = correct_outliers(Views(images, views.names), cameras, quick_loop())
    assert outcome.having("unusable") == [WRONG] and WRONG not in outcome.used
    assert outcome.searches[0].finding == "unexplained" and not outcome.contests
    assert torch.equal(outcome.start.viewmats, cameras[outcome.used].viewmats)
    assert "005 is left out: no pose explains it" in " ".join(decision_sentences(outcome))
    assert outcome.as_dict()["left_out"] == ["005"]


def symmetric() -> tuple[FitResult, Views, Cameras]:
    """A lump that looks the same after half a turn about the vertical, its photos, and their cameras."""
    generator = torch.Generator().manual_seed(4)
    points = torch.randn(40, 3, generator=generator).clamp(-1.5, 1.5) * torch.tensor([0.45, 0.28, 0.15])
    points[:, 1] += 0.4 * points[:, 0].abs()
    colors = torch.rand(40, 3, generator=generator)
    everything = torch.cat([points, points * torch.tensor([-1.0, 1.0, -1.0])])
    gaussians = Gaussians.from_points(everything, colors.repeat(2, 1), torch.full((80,), 0.09), opacity=0.9)
    _, cameras = photos()
    with torch.no_grad():
        seen = render_scene(gaussians, cameras, render_mode="RGB")
    rgb = seen.rgb / seen.alpha[..., None].clamp_min(1e-6)
    images = torch.cat([rgb, seen.alpha[..., None]], -1).clamp(0, 1)
    return (
        FitResult(gaussians, cameras, 48, [], 0.0),
        Views(images, tuple(f"{i:03d}" for i in range(8))),
        cameras,
    )


def test_a_symmetric_object_is_ambiguous(repaired: Correction) -> None:
    scene, views, truth = symmetric()
    search = repose(scene, views, views[[2]], turned(truth, 2, 90)[[2]], quick_loop())
    assert search.finding == "elsewhere" and search.ambiguous and search.margin < 0.1
    between = search.candidates.rotations[0] @ search.candidates.rotations[1].mT
    assert float((between.trace() - 1) / 2) < -0.9, "the two poses are half a turn apart"
    told = decision_sentences(replace(repaired, searches=(replace(search, view=WRONG),)))
    assert "ambiguous" in " ".join(told)


def test_in_doubt_the_given_pose_says_which() -> None:
    scene, views, truth = symmetric()
    # Each of the two poses in turn: whichever the search puts first, the given one is confirmed.
    for degrees in (5, 175):
        search = repose(scene, views, views[[2]], turned(truth, 2, degrees)[[2]], quick_loop())
        assert search.finding == "confirmed", degrees


def test_decisions_are_reproducible_and_resumed(
    repaired: Correction, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    views, cameras, _ = spoiled()
    calls: list[int] = []
    plain = correct.fit

    def interrupted(*arguments: object, **options: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return plain(*arguments, **options)  # pyright: ignore[reportArgumentType]

    where = Checkpointing(tmp_path / "outliers.pt", "key")
    monkeypatch.setattr(correct, "fit", interrupted)
    # The fit of the trusted views is done, the search too; then the first contestant is interrupted.
    with pytest.raises(KeyboardInterrupt):
        correct_outliers(views, cameras, quick_loop(), checkpointing=where)
    for module, name in (("detect", "fit"), ("repose", "search_pose")):
        place = import_module(f"agsrec.outliers.{module}")
        monkeypatch.setattr(place, name, lambda *_, **__: pytest.fail("done again"))
    resumed = correct_outliers(views, cameras, quick_loop(), checkpointing=where)
    assert len(calls) == 4, "the fit of the trusted views was not read back"
    assert resumed.verdicts == repaired.verdicts and resumed.contests == repaired.contests
    assert torch.equal(resumed.start.viewmats, repaired.start.viewmats)
    monkeypatch.setattr(correct, "fit", lambda *_, **__: pytest.fail("fitted again"))
    finished = correct_outliers(views, cameras, quick_loop(), checkpointing=Checkpointing(state, "key"))
    assert torch.equal(finished.start.viewmats, repaired.start.viewmats)
    assert finished.seconds == pytest.approx(repaired.seconds)


def test_a_view_that_was_found_shows_the_others_what_no_trusted_one_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    views, truth = photos()
    cameras = turned(turned(truth, 1, 150), WRONG, 120)
    searched: list[tuple[str, int]] = []

    def found(
        scene: FitResult, trusted: Views, photo: Views, given: Cameras, *_: object, **__: object
    ) -> Searched:
        """View 1 is found where it is only beside the other one."""
        view = int(photo.names[0])
        searched.append((photo.names[0], len(trusted)))
        right = view == WRONG or views.names[WRONG] in trusted.names
        pose = truth[[view]] if right else turned(truth, view, 30)[[view]]
        error = 0.1 if right else 0.2
        return Searched(0, "elsewhere", pose, (100.0,), (error,), 1.0, 0.0, 2.0, 0.9, 1.0, False, 1.0)

    def errors(photos: Views, scene: Gaussians, cameras: Cameras, *_: object, **__: object) -> Tensor:
        true = truth[[int(name) for name in photos.names]]
        return rotation_angles(cameras.rotations @ true.rotations.mT)

    monkeypatch.setattr(correct, "detect", lambda *_, **__: Detection((1, WRONG)))
    monkeypatch.setattr(
        correct, "fit", lambda views, cameras, *_, **__: replace(symmetric()[0], cameras=cameras)
    )
    monkeypatch.setattr(correct, "repose", found)
    monkeypatch.setattr(correct, "view_errors", errors)
    outcome = correct_outliers(views, cameras, quick_loop())
    assert searched == [("001", 6), ("005", 6), ("001", 7)]
    assert outcome.having("corrected") == [1, WRONG] and [s.view for s in outcome.searches] == [1, WRONG]
    torch.testing.assert_close(outcome.start.viewmats, truth.viewmats, atol=1e-4, rtol=0)


def test_poses_that_contradict_the_other_views_come_last() -> None:
    config = OutlierConfig(suspicion=0.5, contradicted=0.4)
    ranking = rank([0.10, 0.11, 0.12, 0.40], [2.0, 0.3, 0.1], config)
    assert ranking.order == (1, 2, 3, 0) and ranking.contradicted == 1
    assert ranking.margin == pytest.approx(1 - 0.11 / 0.12)
    alone = rank([0.10, 0.11], [0.0, 2.0], config)
    assert alone.order == (0, 1) and alone.margin == 1
    for scores in ([0.3, 0.0], [0.45, -0.5], [1.1, 0.8]):  # little apart, not suspected, both alike
        unclear = rank([0.10, 0.11], scores, config)
        assert unclear.order == (0, 1) and unclear.margin == pytest.approx(1 / 11)


def test_who_wins_a_contest() -> None:
    views, moved = (0, 1, 2, 3), (1, 3)
    better = Contest(views, moved, (0.2, 0.1, 0.2, 0.1), (0.2, 0.3, 0.2, 0.3))
    assert better.improved == (1, 3) and better.accepted
    one_worse = Contest(views, moved, (0.2, 0.1, 0.2, 0.4), (0.2, 0.3, 0.2, 0.3))
    assert one_worse.improved == (1,) and not one_worse.accepted
    others_worse = Contest(views, moved, (0.5, 0.1, 0.5, 0.1), (0.2, 0.3, 0.2, 0.3))
    assert others_worse.improved == (1, 3) and not others_worse.accepted


@pytest.mark.usefixtures("repaired")
def test_a_correction_that_loses_is_not_made(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    views, cameras, _ = spoiled()
    monkeypatch.setattr(Contest, "accepted", False)
    known = Checkpointing(state, "key")
    outcome = correct_outliers(views, cameras, quick_loop(unbelievable=100.0), checkpointing=known)
    assert outcome.verdicts[WRONG] == "kept" and outcome.branch == "given"
    assert torch.equal(outcome.start.viewmats, cameras.viewmats)
    # Where the given pose explains the photo no better, there is none to keep.
    outcome = correct_outliers(views, cameras, quick_loop(unbelievable=0.9), checkpointing=known)
    assert outcome.verdicts[WRONG] == "unusable" and WRONG not in outcome.used
