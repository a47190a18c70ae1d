"""Which sides of the object the photos show."""

from __future__ import annotations

from torch.nn import functional as F

from agsrec.cameras import Cameras

__all__ = ["one_side_sentence", "widest_angle_deg"]

_ONE_SIDE_DEG = 90.0  # within so many degrees, a quarter of all surface directions faces none of the cameras


def widest_angle_deg(cameras: Cameras) -> float:
    """Largest angle between two of V cameras as seen from the object, which is at the origin; degrees."""
    toward = F.normalize(cameras.centers.double(), dim=-1)  # [V, 3]
    return float((toward @ toward.T).clamp(-1, 1).min().acos().rad2deg())


def one_side_sentence(cameras: Cameras) -> str | None:
    """What to tell a user whose V photos leave the object's back out; None where they do not, or V = 1."""
    widest = widest_angle_deg(cameras)
    if len(cameras) < 2 or widest >= _ONE_SIDE_DEG:
        return None
    return (
        f"All photos show the object from one side, within {widest:.0f} degrees: its back is made up, shape "
        "and colours; take photos from all around it"
    )
