from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from agsrec.cameras import Cameras
from agsrec.config import ExposureConfig, FitConfig, GuidanceConfig, LossConfig, PoseConfig
from agsrec.errors import OutputError
from agsrec.fit import FitProgress, FitResult, fit
from agsrec.fit.guided import NovelViews
from agsrec.fit.poses import PoseParameters, moved
from agsrec.metrics import pose_accuracy
from agsrec.render import render_scene
from agsrec.store import Checkpointing
from agsrec.views import Views
from tests.tiny import rough, tiny_config, tiny_scene

# Two rounds, three stages in the second, random backgrounds, growing colours and counts, regularized.
_FIRST, _SECOND = tiny_config(12, size=32), tiny_config(8, 7, 7, size=32, sh_degree=2)
INVOLVED = replace(
    _SECOND,
    rounds=_FIRST.rounds + tuple(replace(r, regularized=True) for r in _SECOND.rounds),
    loss=LossConfig(background="random", drop=0.3, roughness=0.05, novel_size=32, bounded_colors=True),
    poses=PoseConfig(refine_focal=True, warmup=5),
    exposure=ExposureConfig(optimize=True),
    log_interval=1,
)


def assert_equal(one: FitResult, two: FitResult) -> None:
    for name, tensor in vars(one.gaussians).items():
        assert torch.equal(tensor, getattr(two.gaussians, name)), name
    assert torch.equal(one.cameras.viewmats, two.cameras.viewmats)
    assert torch.equal(one.cameras.Ks, two.cameras.Ks)
    assert one.history == two.history


def red(novel: NovelViews) -> torch.Tensor:
    object_area = novel.images.detach().amin(-1, keepdim=True) < 0.99
    return 3 * ((novel.images - torch.tensor([1.0, 0.0, 0.0])) * object_area).square().mean()


def background_psnr(result: FitResult, views: Views) -> float:
    with torch.no_grad():
        rgb = render_scene(result.gaussians, result.cameras, torch.ones(3)).rgb
    return float(-10 * (rgb - views.composited(torch.ones(3))).square().mean().log10())


# -------------------------------------------------------------------- quality


def test_poses_and_picture_get_better() -> None:
    views, truth = tiny_scene()
    start = rough(truth)
    result = fit(views, start, tiny_config(75, 75))
    before, after = pose_accuracy(start, truth), pose_accuracy(result.cameras, truth)
    assert after.pairs.median_deg < 0.7 * before.pairs.median_deg
    assert after.views.median_deg < 0.7 * before.views.median_deg
    assert background_psnr(result, views) > 26
    first, last = result.history[0], result.history[-1]
    assert last["psnr"] > first["psnr"] + 5 and last["loss"] < first["loss"]


def test_a_focal_length_that_is_too_short_grows() -> None:
    views, truth = tiny_scene(8, 64, 5)
    zoom = PoseParameters(torch.zeros(8, 6), torch.tensor([math.log(0.8)]))
    start = moved(truth, torch.zeros(3), zoom)
    config = tiny_config(100, size=64, poses=PoseConfig(refine_focal=True, warmup=5, rate_focal=6e-3))
    result = fit(views, start, config)
    found = result.cameras.focal_lengths / truth.focal_lengths
    assert 0.85 < float(found.min()) and float(found.max()) < 1.0
    assert float(found.std()) < 1e-5  # one factor for all
    assert torch.equal(result.cameras.principal_points, truth.principal_points)


def test_fixed_poses_stay_fixed() -> None:
    views, truth = tiny_scene()
    start = rough(truth)
    result = fit(views, start, tiny_config(10, poses=PoseConfig(optimize=False)))
    torch.testing.assert_close(result.cameras.viewmats, start.viewmats, rtol=0, atol=1e-6)
    assert torch.equal(result.cameras.Ks, start.Ks)
    free = fit(views, start, tiny_config(10))
    assert not torch.allclose(free.cameras.viewmats, start.viewmats, rtol=0, atol=1e-4)


# -------------------------------------------------------------------- corner cases


def test_zero_iterations_give_the_hull_and_the_cameras() -> None:
    views, truth = tiny_scene()
    result = fit(views, truth, tiny_config(0))
    torch.testing.assert_close(result.cameras.viewmats, truth.viewmats)
    assert len(result.gaussians) == 400 and result.history == []


def test_two_views() -> None:
    views, truth = tiny_scene()
    result = fit(views[[0, 2]], truth[[0, 2]], tiny_config(30))
    assert len(result.cameras) == 2 and background_psnr(result, views[[0, 2]]) > 17


@pytest.mark.parametrize("shape", [(32, 48), (48, 32)])
def test_images_that_are_not_square(shape: tuple[int, int]) -> None:
    views, truth = tiny_scene()
    height, width = shape
    y, x = (48 - height) // 2, (48 - width) // 2
    Ks = truth.Ks.clone()
    Ks[:, :2, 2] -= torch.tensor([float(x), float(y)])
    cropped = Views(views.images[:, y : y + height, x : x + width].contiguous(), views.names)
    result = fit(cropped, Cameras(truth.viewmats, Ks, width, height), tiny_config(20, 20, size=40))
    assert (result.cameras.width, result.cameras.height) == (width, height)
    assert result.history[-1]["size"] == 40
    assert background_psnr(result, cropped) > 18


def test_photos_are_never_enlarged() -> None:
    views, truth = tiny_scene()
    assert fit(views, truth, tiny_config(2, size=512)).history[-1]["size"] == 48


def test_number_of_gaussians_and_colours_grow_as_planned() -> None:
    views, truth = tiny_scene()
    counts: list[int] = []
    result = fit(
        views, rough(truth), tiny_config(30, 30, sh_degree=1), progress=lambda p: counts.append(p.gaussians)
    )
    assert counts[0] == 400 and max(counts) <= 700 and counts[-1] == len(result.gaussians) > 450
    assert result.gaussians.sh_degree == 1
    assert float(result.gaussians.sh[:, 1:].abs().max()) > 0


def test_progress_and_history() -> None:
    views, truth = tiny_scene()
    reports: list[FitProgress] = []
    result = fit(views, rough(truth), INVOLVED, progress=reports.append)
    assert [p.iteration for p in reports] == list(range(1, 35)) == [h["iteration"] for h in result.history]
    assert [p.round for p in reports] == [0] * 12 + [1] * 22
    assert {p.total for p in reports} == {34} and {p.size for p in reports} == {32}
    assert (
        len(result.history[-1]["pose_change_deg"]) == 6 and max(result.history[-1]["pose_change_deg"]) > 0.05
    )
    assert result.seconds > 0


def test_the_ramp_weights_the_loss_from_zero() -> None:
    views, truth = tiny_scene()
    loss = LossConfig(ramp=True)
    history = fit(views, truth, tiny_config(4, loss=loss, log_interval=1)).history
    plain = fit(views, truth, tiny_config(4, log_interval=1)).history
    assert history[0]["loss"] == 0 and plain[0]["loss"] > 0
    assert 0 < history[1]["loss"] < 0.5 * plain[1]["loss"]


@pytest.mark.parametrize("background", ["black", "white", "random"])
def test_backgrounds(background: str) -> None:
    views, truth = tiny_scene()
    loss = LossConfig(background=background)  # pyright: ignore[reportArgumentType]
    assert background_psnr(fit(views, truth, tiny_config(25, loss=loss)), views) > 18


def test_inputs_are_left_alone() -> None:
    views, truth = tiny_scene()
    start = rough(truth)
    copies = views.images.clone(), start.viewmats.clone(), start.Ks.clone()
    fit(views, start, tiny_config(5, poses=PoseConfig(refine_focal=True)))
    for tensor, copy in zip((views.images, start.viewmats, start.Ks), copies, strict=True):
        assert torch.equal(tensor, copy)


# -------------------------------------------------------------------- both ways into a round


def both_ways(*rates: float) -> FitConfig:
    """Two rounds that move the cameras at so many times the usual rates."""
    usual = tiny_config(75, size=32)
    rounds = tuple(
        replace(
            usual.rounds[0],
            rate_rotation=rate * usual.rounds[0].rate_rotation,
            rate_translation=rate * usual.rounds[0].rate_translation,
            both_ways=True,
        )
        for rate in rates
    )
    return replace(usual, rounds=rounds, log_interval=1)


def one_way(config: FitConfig) -> FitConfig:
    return replace(config, rounds=tuple(replace(r, both_ways=False) for r in config.rounds))


def test_cameras_that_a_round_has_spoilt_are_taken_as_given() -> None:
    views, truth = tiny_scene()
    config = both_ways(30.0, 0.2)
    bent = fit(views, truth, one_way(config))
    result = fit(views, truth, config)
    spoilt, kept = (pose_accuracy(r.cameras, truth).pairs.median_deg for r in (bent, result))
    assert spoilt > 5 and kept < 0.5 * spoilt
    assert [r["iteration"] for r in result.history] == list(range(151, 226))  # the other way is not told


def test_cameras_that_a_round_has_mended_are_kept() -> None:
    views, truth = tiny_scene()
    config = both_ways(0.5, 0.1)
    result = fit(views, rough(truth), config)
    assert config.iterations == 225
    assert [r["iteration"] for r in result.history] == list(range(1, 151))
    assert torch.equal(result.cameras.viewmats, fit(views, rough(truth), one_way(config)).cameras.viewmats)


# -------------------------------------------------------------------- repeated and interrupted


def test_equal_seeds_equal_results() -> None:
    views, truth = tiny_scene()
    start = rough(truth)
    one, two, other = (fit(views, start, INVOLVED, seed=seed) for seed in (1, 1, 2))
    assert_equal(one, two)
    assert not torch.equal(one.gaussians.means[:100], other.gaussians.means[:100])


class Stopped(Exception):
    """Stands for the process being killed."""


def interrupted(config: FitConfig, file: Path, stops: tuple[int, ...]) -> tuple[FitResult, int]:
    """A fit stopped after each of the given iterations and started again; and the steps of the last start."""
    views, truth = tiny_scene()
    start, checkpointing = rough(truth), Checkpointing(file, "key")
    for stop in stops:

        def progress(report: FitProgress, stop: int = stop) -> None:
            if report.iteration == stop:
                raise Stopped

        with pytest.raises(Stopped):
            fit(views, start, config, progress=progress, checkpointing=checkpointing)
    steps: list[FitProgress] = []
    result = fit(views, start, config, progress=steps.append, checkpointing=checkpointing)
    return result, len(steps)


@pytest.fixture(scope="module")
def unbroken() -> FitResult:
    views, truth = tiny_scene()
    return fit(views, rough(truth), INVOLVED)


# Checkpoints fall after steps 7 and 12 (end of a round), then 19, 26 (start of the last stage is 27) and 33.
@pytest.mark.parametrize(
    ("stops", "remaining"),
    [((1,), 34), ((8,), 27), ((12,), 27), ((13,), 22), ((20,), 15), ((28,), 8), ((34,), 1), ((9, 20, 30), 8)],
)
def test_resuming_changes_nothing(
    tmp_path: Path, unbroken: FitResult, stops: tuple[int, ...], remaining: int
) -> None:
    result, steps = interrupted(INVOLVED, tmp_path / "c.pt", stops)
    assert_equal(result, unbroken)
    assert steps == remaining, "did not continue from the latest checkpoint"


# The second round is from step 13 to 34, and again from 35 to 56.
def test_resuming_on_the_second_way_changes_nothing(tmp_path: Path) -> None:
    views, truth = tiny_scene()
    first, second = INVOLVED.rounds
    config = replace(INVOLVED, rounds=(first, replace(second, both_ways=True)))
    result, steps = interrupted(config, tmp_path / "c.pt", (20, 36, 50))
    assert_equal(result, fit(views, rough(truth), config))
    assert steps < 20


def test_a_finished_fit_is_not_repeated(tmp_path: Path, unbroken: FitResult) -> None:
    interrupted(INVOLVED, tmp_path / "c.pt", ())
    result, steps = interrupted(INVOLVED, tmp_path / "c.pt", ())
    assert_equal(result, unbroken)
    assert steps == 0


def test_another_key_starts_over(tmp_path: Path, unbroken: FitResult) -> None:
    interrupted(INVOLVED, tmp_path / "c.pt", ())
    views, truth = tiny_scene()
    steps: list[FitProgress] = []
    again = Checkpointing(tmp_path / "c.pt", "other")
    assert_equal(fit(views, rough(truth), INVOLVED, progress=steps.append, checkpointing=again), unbroken)
    assert len(steps) == 34


def test_checkpoint_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    views, truth = tiny_scene()
    with pytest.raises(OutputError, match="cannot write"):
        fit(views, truth, tiny_config(8), checkpointing=Checkpointing(tmp_path / "file" / "c.pt", "k"))


def test_photos_have_the_last_word() -> None:
    views, truth = tiny_scene()
    seen: list[float] = []

    def judge(novel: NovelViews) -> torch.Tensor:
        seen.append(novel.progress)
        return novel.images.mean()

    fit(
        views,
        truth,
        tiny_config(8, guidance=GuidanceConfig(interval=1, stop=0.5, size=24, full_angle=0.0)),
        guidance=judge,
    )
    assert seen == [0, 0.25, 0.5, 0.75]


def test_what_is_known_of_the_cameras_pulls_them() -> None:
    """A loss of the cameras alone, told how far the fit has come."""
    views, truth = tiny_scene(4)
    start, config = rough(truth, 8), tiny_config(20)
    shares: list[float] = []

    def known(cameras: Cameras, progress: float) -> torch.Tensor:
        shares.append(progress)
        return 100 * (cameras.viewmats - truth.viewmats).square().mean()

    alone, held = fit(views, start, config), fit(views, start, config, camera_loss=known)
    errors = [float((r.cameras.viewmats - truth.viewmats).square().mean()) for r in (alone, held)]
    assert errors[1] < 0.8 * errors[0]
    assert shares[0] == 0 and shares == sorted(shares) and len(shares) == config.iterations and shares[-1] < 1
