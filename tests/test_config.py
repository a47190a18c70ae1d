from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, replace
from typing import Any, get_args

import pytest

from agsrec.config import (
    PRESETS,
    DensifyConfig,
    FitConfig,
    LossConfig,
    PoseConfig,
    PresetName,
    Rates,
    Round,
    Stage,
)
from agsrec.errors import OptionError

PLAN = Round(10, 20, 0.1, (Stage(8, 3), Stage(16, 4)), 1e-3, 1e-3)
FIT = FitConfig(rounds=(PLAN, PLAN))


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        (Stage(8, 0), "size", 7),
        (Stage(8, 0), "iterations", -1),
        (PLAN, "num_points", 0),
        (PLAN, "max_points", 0),
        (PLAN, "hull_blur", -0.1),
        (PLAN, "hull_blur", math.nan),
        (PLAN, "rate_rotation", -1.0),
        (PLAN, "rate_translation", math.inf),
        (PLAN, "rate_decay", 0.0),
        (PLAN, "sh_degree", 4),
        (PLAN, "sh_degree", -1),
        (Rates(), "means", -1e-3),
        (Rates(), "sh_rest", math.nan),
        (Rates(), "means_decay", 0.0),
        (LossConfig(), "ssim", 1.5),
        (LossConfig(), "mask", -1.0),
        (FIT.guidance, "weight", math.nan),
        (DensifyConfig(), "interval", 0),
        (DensifyConfig(), "growth", 0.9),
        (DensifyConfig(), "start", -0.1),
        (DensifyConfig(), "min_opacity", 1.1),
        (DensifyConfig(), "max_scale", 0.0),
        (PoseConfig(), "beta1", 1.0),
        (PoseConfig(), "beta2", -0.1),
        (PoseConfig(), "warmup", -1),
        (PoseConfig(), "rate_focal", math.nan),
        (FIT, "log_interval", 0),
        (FIT, "checkpoint_interval", 0),
        (FIT.guidance, "views", 0),
        (FIT.guidance, "size", 4),
        (FIT.guidance, "interval", 0),
        (FIT.guidance, "noise_start", 1.5),
        (FIT.guidance, "angle_scale", 0),
        (FIT.guidance, "nearest", -1),
        (FIT, "hull_resolution", 0),
    ],
)
def test_unusable_values_name_the_field(config: Any, field: str, value: float) -> None:
    with pytest.raises(OptionError, match=rf"{field.split('_')[0]}.* not {value}"):
        replace(config, **{field: value})


def test_empty_schedules() -> None:
    with pytest.raises(OptionError, match="at least one stage"):
        replace(PLAN, stages=())
    with pytest.raises(OptionError, match="at least one round"):
        FitConfig(rounds=())


def test_iterations_add_up() -> None:
    assert PLAN.iterations == 7 and FIT.iterations == 14


def test_sh_degree_is_reached_in_the_last_stage() -> None:
    plan = replace(PLAN, stages=(Stage(8, 1),) * 3, sh_degree=2)
    assert [plan.sh_degree_at(i) for i in range(3)] == [0, 1, 2]
    assert replace(plan, stages=(Stage(8, 1),), sh_degree=3).sh_degree_at(0) == 3
    assert [replace(plan, sh_degree=0).sh_degree_at(i) for i in range(3)] == [0, 0, 0]


def test_presets() -> None:
    assert set(PRESETS) == set(get_args(PresetName))
    for config in PRESETS.values():
        assert config.iterations > 0
        for plan in config.rounds:
            sizes = [stage.size for stage in plan.stages]
            assert sizes == sorted(sizes), "coarse to fine"
            assert plan.num_points <= plan.max_points
        blurs = [plan.hull_blur for plan in config.rounds]
        assert blurs == sorted(blurs, reverse=True), "later rounds know the cameras better"
        with pytest.raises(FrozenInstanceError):
            config.log_interval = 1  # pyright: ignore[reportAttributeAccessIssue]


def test_paper_is_the_published_schedule() -> None:
    """Zhao & Tulsiani 2024: the numbers of the public configuration."""
    config = PRESETS["paper"]
    (plan,) = config.rounds
    assert config.iterations == 500
    assert plan.num_points == 25_000 and plan.sh_degree_at(0) == 3
    assert plan.rate_rotation == plan.rate_translation == 2.5e-4
    rates = config.rates
    assert (rates.means, rates.sh, rates.opacity_logits) == (1e-3, 0.01, 0.05)
    assert (rates.log_scales, rates.quats) == (0.005, 0.005)
    assert rates.means * rates.means_decay == pytest.approx(2e-5)
    loss = config.loss
    assert (loss.mse, loss.mask, loss.l1_ssim, loss.ramp) == (10_000, 1000, 0, True)


# -------------------------------------------------------------------- resolution


def test_a_fit_that_ends_larger_has_one_more_stage_and_more_gaussians() -> None:
    for name in ("fast", "quality"):
        config = PRESETS[name]
        for size in (257, 512, 1024, 2048):
            larger = config.at_resolution(size)
            assert larger.rounds[:-1] == config.rounds[:-1]
            before, after = config.rounds[-1], larger.rounds[-1]
            assert after.stages[:-1] == before.stages and after.stages[-1].size == size
            assert 0 < after.stages[-1].iterations <= before.stages[-1].iterations
            assert before.max_points < after.max_points <= 4 * before.max_points
            assert larger.fitted_size(4000, 4000) == size
            assert replace(larger, rounds=config.rounds) == config, "nothing else changes"
        assert config.at_resolution(256) == config


def test_the_time_of_an_added_stage_is_bounded() -> None:
    """Pixels rendered, which is what time goes with."""

    def pixels(config: FitConfig) -> int:
        return sum(s.iterations * s.size**2 for plan in config.rounds for s in plan.stages)

    for name in ("fast", "quality"):
        at_256, at_512 = (pixels(PRESETS[name].at_resolution(size)) for size in (256, 512))
        assert at_512 <= 2.2 * at_256


def test_a_fit_that_ends_smaller_draws_nothing_larger() -> None:
    config = PRESETS["fast"].at_resolution(48)
    sizes = [[stage.size for stage in plan.stages] for plan in config.rounds]
    assert sizes == [[32, 48], [48], [48, 48, 48]]
    assert config.iterations == PRESETS["fast"].iterations
    assert config.rounds[-1].max_points == PRESETS["fast"].rounds[-1].max_points
