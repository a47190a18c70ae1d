from __future__ import annotations

from dataclasses import replace

import pytest

from agsrec.config import PRESETS, RESOLUTIONS, WORKING_SIZE, FitConfig, PresetName
from agsrec.errors import OptionError
from agsrec.options import schedule_options
from agsrec.pipeline import Settings


def schedule(settings: Settings, size: int) -> FitConfig:
    return settings.schedule(views=8, focal_known=True, size=size)


def ends(settings: Settings, size: int) -> int:
    return schedule(settings, size).fitted_size(size, size)


def test_a_preset_ends_with_the_photos_up_to_its_resolution() -> None:
    for preset, most in RESOLUTIONS.items():
        settings = Settings(preset=preset)
        assert ends(settings, 24) == 24 and ends(settings, 256) == 256
        assert ends(settings, 400) == min(400, most) and ends(settings, 3000) == most
        assert schedule(settings, 256).rounds == PRESETS[preset].rounds, "demo scenes are fitted as before"
    assert schedule(Settings(preset="paper"), 3000).rounds == PRESETS["paper"].rounds


@pytest.mark.parametrize("preset", ["fast", "quality", "paper"])
def test_resolution(preset: PresetName) -> None:
    for wanted in (32, 100, 256, 300, 1024, 2048):
        settings = Settings(preset=preset, resolution=wanted)
        assert ends(settings, 4000) == wanted
        assert ends(settings, 200) == min(200, wanted), "nothing is enlarged"
        assert settings.working_size == max(WORKING_SIZE, wanted)


def test_a_schedule_of_ones_own_stays_as_it_is() -> None:
    mine = replace(PRESETS["fast"], log_interval=7)
    settings = Settings(fit=mine)
    assert schedule(settings, 3000).rounds == mine.rounds and settings.working_size == WORKING_SIZE
    assert ends(Settings(fit=mine, resolution=300), 3000) == 300


def test_number_of_gaussians_is_what_was_asked_for() -> None:
    for count in (50, 70_000):
        last = schedule(Settings(num_points=count), 3000).rounds[-1]
        assert last.max_points == count and last.num_points == min(
            count, PRESETS["fast"].rounds[-1].num_points
        )
        assert last.stages[-1].size == RESOLUTIONS["fast"]


@pytest.mark.parametrize("wrong", [31, 2049, 0, -512])
def test_resolution_out_of_range(wrong: int) -> None:
    with pytest.raises(OptionError, match=f"--resolution must be between 32 and 2048 pixels, not {wrong}"):
        Settings(resolution=wrong)


def test_details_on_the_command_line_leave_the_resolution_of_the_preset() -> None:
    fast = PRESETS["fast"]
    assert schedule_options("fast", fast, None) == {"preset": "fast", "resolution": None}
    detail = replace(fast, poses=replace(fast.poses, refine_focal=True))
    assert schedule_options("fast", detail, None)["resolution"] == RESOLUTIONS["fast"]
    assert schedule_options("fast", detail, 300)["resolution"] == 300
    rounds = replace(fast, rounds=fast.rounds[:1])
    assert schedule_options("fast", rounds, None) == {"preset": "fast", "fit": rounds, "resolution": None}
