"""Whether the photos go around the object."""

from __future__ import annotations

import pytest
import torch

from agsrec.cameras import Cameras
from agsrec.metrics.coverage import one_side_sentence, widest_angle_deg


def orbit(*azimuths: float, distance: float = 2.0) -> Cameras:
    count = len(azimuths)
    Ks = Cameras.intrinsics(torch.full((count,), 60.0), 48, 48)
    return Cameras.orbit(0.0, torch.tensor(azimuths), distance, Ks=Ks, width=48, height=48)


@pytest.mark.parametrize(
    ("azimuths", "widest"), [((0.0, 30.0, 10.0), 30.0), ((170.0, -170.0), 20.0), ((0.0, 120.0, 240.0), 120.0)]
)
def test_widest_angle(azimuths: tuple[float, ...], widest: float) -> None:
    assert widest_angle_deg(orbit(*azimuths)) == pytest.approx(widest, abs=1e-3)
    assert widest_angle_deg(orbit(*azimuths, distance=7.0)) == pytest.approx(widest, abs=1e-3)


def test_the_back_is_made_up_where_nobody_stood_behind() -> None:
    assert "within 30 degrees: its back is made up" in (one_side_sentence(orbit(0.0, 30.0, 10.0)) or "")
    assert one_side_sentence(orbit(0.0, 100.0)) is None
    assert one_side_sentence(orbit(0.0)) is None, "of one photo the run says so in other words"
