"""Which cut-outs a user should look at, and why, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from agsrec.preprocess.looks import ENOUGH, Look, color_tables, look_up
from agsrec.preprocess.parts import border_contact

if TYPE_CHECKING:
    from agsrec.preprocess.together import Mask

__all__ = ["doubtful_cuts", "unusable_cut"]

_FRAMED = 0.95  # share of a photo's border that an object's own alpha covers only where it is inverted
_HOLLOW = 0.02  # share of a photo that is transparent then

_SOLID = 128  # alpha from which on a pixel belongs to the object
_EVERYTHING = 0.98  # share of a photo from which on a cut is no cut
_LEFT_OUT = 0.05  # share of what the network saw
_AGREEMENT = 0.75  # of the first look's mask with the last one's, intersection over union
_UNLIKE = 0.7  # log-odds by which the colours of a cut are less the object's than is usual
_TOUCHING = 0.02  # contact with the border


def unusable_cut(alpha: np.ndarray, *, by_hand: bool = False) -> str | None:
    """Why alpha [H, W] uint8 shows no object; None where it does. By hand, an object may fill its photo."""
    share = float((alpha >= _SOLID).mean())
    if share == 0:
        return "no object found in it"
    if share >= _EVERYTHING and not by_hand:
        return "the whole photo was taken for the object"
    if by_hand and share <= 1 - _HOLLOW and _is_inverted(alpha < _SOLID):
        return "its transparency is where the object should be, not around it, invert it"
    return None


def _is_inverted(clear: np.ndarray) -> bool:
    """Whether what is transparent [H, W] lies inside, and all around it the photo is opaque."""
    border = np.concatenate([clear[0], clear[-1], clear[1:-1, 0], clear[1:-1, -1]])
    return bool(border.mean() <= 1 - _FRAMED)


def doubtful_cuts(looks: Mapping[str, Look], masks: Mapping[str, Mask]) -> dict[str, str]:
    """Why the cuts of photos of one object are doubtful, by name; only of those that are.

    Args:
        looks: The photos with their cuts.
        masks: What the embedded network said, of those that it has cut.
    """
    tables = color_tables(list(looks.values()))
    solid = {name: look.chance > 0.5 for name, look in looks.items()}
    likely = {
        name: float(look_up(table, look.rgb)[solid[name]].mean())
        for (name, look), table in zip(looks.items(), tables, strict=True)
        if solid[name].any()
    }
    usual = float(np.median(list(likely.values()))) if likely else 0.0
    touching = [name for name, mask in solid.items() if border_contact(mask) > _TOUCHING]
    out: dict[str, str] = {}
    for name in solid:
        mask = masks.get(name)
        reasons = []
        if mask is not None and mask.left_out > _LEFT_OUT:
            reasons.append("something that the other photos do not show was left out")
        elif mask is not None and mask.agreement < _AGREEMENT:
            reasons.append("a second look changed the cut much")
        elif mask is None and solid[name].mean() >= _EVERYTHING:
            reasons.append("hardly anything of the photo is transparent")
        if len(looks) >= ENOUGH:
            if name in touching and 2 * len(touching) < len(solid):
                reasons.append("it reaches the photo's border, which it does not in the others")
            if likely.get(name, usual) < usual - _UNLIKE:
                reasons.append("its colours differ from those in the other photos")
        if reasons:
            out[name] = " and ".join(reasons)
    return out
