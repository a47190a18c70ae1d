"""Where points are seen from a camera that looks through the middle of its view.

A view is a piece of a photo, and the photo's camera looked elsewhere: through the photo's middle. Turned in
place until it looks through the middle of the view it sees the same rays, by a homography that depends on the
focal length alone. Poses are those of such cameras throughout: the object is in front of them.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["centred_rays"]

_GRAZING = 0.05  # of the depth of rays nearly at right angles to the view, where slopes end


def centred_rays(offsets: Tensor, away: Tensor, focals: Tensor) -> Tensor:
    """Slopes [..., 2] of rays, in the axes of cameras that look through the middles of their views.

    Args:
        offsets: Points from the middles of the views [..., 2], pixels.
        away: The photos' principal points from there [..., 2], pixels.
        focals: Focal lengths [...], pixels.
    """
    if not bool(away.any()):
        return offsets / focals[..., None]
    seen = _lifted((offsets - away) / focals[..., None])
    middle = torch.nn.functional.normalize(_lifted(-away / focals[..., None]), dim=-1)
    forward = torch.tensor([0.0, 0.0, 1.0]).to(seen)
    # The turn without roll that brings one unit vector to another, by two reflections.
    between = middle + forward
    along = (between * seen).sum(-1, keepdim=True) / between[..., 2:]
    turned = seen - along * between + 2 * (middle * seen).sum(-1, keepdim=True) * forward
    return turned[..., :2] / turned[..., 2:].clamp_min(_GRAZING)


def _lifted(slopes: Tensor) -> Tensor:
    return torch.cat([slopes, torch.ones_like(slopes[..., :1])], -1)
