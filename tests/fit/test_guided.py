"""What judges novel views: when it is asked, when it is heeded, and what becomes of it after a stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from agsrec.config import GuidanceConfig, PoseConfig
from agsrec.fit import FitProgress, FitResult, fit
from agsrec.fit.guided import NovelViews
from agsrec.render import render_scene
from agsrec.store import Checkpointing
from tests.fit.test_joint import INVOLVED, Stopped, assert_equal, background_psnr, red
from tests.tiny import rough, tiny_config, tiny_scene


def test_guidance_sees_novel_views() -> None:
    views, truth = tiny_scene()
    calls: list[tuple[tuple[int, ...], int, int, float]] = []

    def judge(novel: NovelViews) -> torch.Tensor:
        images = novel.images.detach()
        assert float(images.amax()) > 0.999 and float(images.amin()) < 0.9, "an object over white"
        shape = tuple(novel.images.shape)
        calls.append((shape, len(novel.cameras), novel.cameras.width, novel.progress))
        assert len(novel.inputs) == len(views) and not novel.inputs.viewmats.requires_grad
        return novel.images.sum() * 0

    guidance = GuidanceConfig(interval=2, stop=1.0, views=2, size=24, full_angle=0.0)
    fit(views, truth, tiny_config(6, guidance=guidance), guidance=judge)
    assert calls == [((2, 24, 24, 3), 2, 24, i / 6) for i in (0, 2, 4)]


def test_guidance_is_asked_in_guided_rounds_alone() -> None:
    views, truth = tiny_scene()
    config = tiny_config(3)
    config = replace(config, rounds=(replace(config.rounds[0], guided=False), *config.rounds), log_interval=1)
    seen: list[float] = []

    def judge(novel: NovelViews) -> torch.Tensor:
        seen.append(novel.progress)
        return novel.images.mean()

    result = fit(views, truth, config, guidance=judge)
    assert seen == [0, 1 / 3, 2 / 3]
    assert ["guidance" in record for record in result.history] == [False] * 3 + [True] * 3


def test_an_answer_is_heeded_when_it_is_due_however_long_it_took() -> None:
    views, truth = tiny_scene()
    guidance = GuidanceConfig(interval=2, lag=3, stop=1.0, size=24, full_angle=0.0)
    config = replace(tiny_config(8, guidance=guidance), log_interval=1)

    def fitted(pause: float) -> FitResult:
        def judge(novel: NovelViews) -> torch.Tensor:
            time.sleep(pause)
            return (novel.progress + 1) * novel.images.mean()

        return fit(views, rough(truth), config, guidance=judge)

    quick, slow = fitted(0.0), fitted(0.05)
    assert_equal(quick, slow)
    # Asked in steps 0, 2 and 4, and heeded in steps 3, 5 and 7.
    heeded = [record.get("guidance", 0.0) for record in quick.history]
    assert heeded[:3] == [0.0] * 3 and heeded[3] == heeded[4] and heeded[5] == heeded[6]
    assert 0 < heeded[3] < heeded[5] < heeded[7]


def test_answers_change_the_fit_alike_beside_it_and_within(monkeypatch: pytest.MonkeyPatch) -> None:
    views, truth = tiny_scene()
    config = tiny_config(12, guidance=GuidanceConfig(interval=1, lag=4, stop=1.0, size=16, full_angle=0.0))
    results = []
    for processors in (1, 2):
        monkeypatch.setattr("agsrec.fit.joint.usual_threads", lambda n=processors: n)
        results.append(fit(views, rough(truth), config, guidance=red))
    assert_equal(*results)
    assert not torch.equal(results[0].gaussians.sh, fit(views, rough(truth), config).gaussians.sh)


def test_a_judge_that_fails_ends_the_fit() -> None:
    views, truth = tiny_scene()

    def judge(novel: NovelViews) -> torch.Tensor:
        raise ValueError("no model")

    config = tiny_config(6, guidance=GuidanceConfig(interval=1, lag=2, stop=1.0, size=16, full_angle=0.0))
    with pytest.raises(ValueError, match="no model"):
        fit(views, truth, config, guidance=judge)


def test_resuming_with_answers_to_come_changes_nothing(tmp_path: Path) -> None:
    views, truth = tiny_scene()
    guidance = GuidanceConfig(interval=1, lag=3, stop=0.9, size=16, full_angle=0.0)
    config = replace(INVOLVED, guidance=guidance)
    kept = Checkpointing(tmp_path / "c.pt", "key")

    def stop(report: FitProgress) -> None:
        if report.iteration == 21:
            raise Stopped

    with pytest.raises(Stopped):
        fit(views, rough(truth), config, guidance=red, progress=stop, checkpointing=kept)
    stored = kept.load()
    assert stored is not None and len(stored["judging"]["asked"]) == 3
    resumed = fit(views, rough(truth), config, guidance=red, checkpointing=kept)
    assert_equal(resumed, fit(views, rough(truth), config, guidance=red))


def test_where_photos_are_all_around_hardly_anything_is_judged() -> None:
    views, truth = tiny_scene(8)
    asked = []
    for kept in ([0, 1], range(8)):
        seen: list[int] = []

        def judge(novel: NovelViews, seen: list[int] = seen) -> torch.Tensor:
            seen.append(len(novel.cameras))
            return novel.images.mean()

        config = tiny_config(40, guidance=GuidanceConfig(interval=1, stop=1.0, size=16))
        fit(views[kept], truth[kept], config, guidance=judge)
        asked.append(len(seen))
    assert asked[1] < 0.5 * asked[0] < 0.5 * 40


def test_guidance_paints_the_unseen_side() -> None:
    views, cameras = tiny_scene(8)
    front, back = [0, 1, 7], [4]

    def redness(guidance: Callable[..., torch.Tensor] | None) -> tuple[float, FitResult]:
        config = tiny_config(45, size=32, poses=PoseConfig(optimize=False))
        result = fit(views[front], cameras[front], config, guidance=guidance)
        with torch.no_grad():
            seen = render_scene(result.gaussians, cameras[back])
        r, g, b = (seen.rgb[seen.alpha > 0.5]).mean(0).tolist()
        return r - (g + b) / 2, result

    (with_judge, result), (without, _) = redness(red), redness(None)
    assert with_judge > without + 0.25
    assert background_psnr(result, views[front]) > 15, "the photos still count"
