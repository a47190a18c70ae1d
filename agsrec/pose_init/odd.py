"""Views that do not belong with the others as they are: set right or left out, and said so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from agsrec.cameras import Cameras
from agsrec.matching import Correspondences, Lenses, Oddity, turned_back
from agsrec.pose_init.estimate import PoseEstimate
from agsrec.pose_init.nview.placement import place
from agsrec.pose_init.nview.reading import Reading
from agsrec.pose_init.spread import for_all
from agsrec.views import Views

__all__ = ["left_in", "lens_guesses", "set_right", "with_oddities"]


_ZOOMS = (0.8, 1.0, 1.7)  # of the network's focal length: enough to see whether views are tied at all


def lens_guesses(reading: Reading, known: Tensor | None) -> Lenses:
    """Focal lengths and distances by which to look for oddities; `known` are focal lengths [V] in pixels."""
    seen = reading.sightings
    guess = reading.focal() if known is None else known
    focals = torch.stack([zoom * guess for zoom in (_ZOOMS if known is None else (1.0,))])
    return Lenses(focals, torch.stack([place(seen, f)[0].norm(dim=1) for f in focals]))


def left_in(count: int, oddities: Sequence[Oddity]) -> list[int]:
    """The views, of `count`, that can be posed: all but copies, mirrored ones and those of something else."""
    out = {odd.view for odd in oddities if odd.kind != "turned"}
    return [view for view in range(count) if view not in out]


def set_right(views: Views, oddities: Sequence[Oddity]) -> Views:
    """The views with those turned back that lie on their side."""
    images = views.images.clone()
    for odd in oddities:
        if odd.kind == "turned":
            images[[odd.view]] = turned_back(images[[odd.view]], odd.turned_deg)
    return Views(images, views.names)


def with_oddities(estimate: PoseEstimate, count: int, oddities: Sequence[Oddity]) -> PoseEstimate:
    """The estimate for the views `left_in`, set right, as one for all `count` as they came.

    Copies have the camera of the view they are copies of, but for how they were cut.
    """
    kept = left_in(count, oddities)
    rows = {view: k for k, view in enumerate(kept)}
    rows |= {odd.view: rows.get(odd.of, -1) for odd in oddities if odd.of is not None}
    whole = for_all(estimate, [rows.get(view, -1) for view in range(count)])
    camera = {view: k for k, view in enumerate(whole.indices)}
    for odd in oddities:
        if odd.view in camera:
            whole = _as_it_came(whole, odd, camera[odd.view])
    return replace(whole, oddities=tuple(oddities))


def _as_it_came(estimate: PoseEstimate, odd: Oddity, camera: int) -> PoseEstimate:
    """The estimate with one camera's picture turned, or cut, as the view was."""

    def changed(cameras: Cameras) -> Cameras:
        viewmats, Ks = cameras.viewmats.clone(), cameras.Ks.clone()
        viewmats[camera] = _turn(odd.turned_deg).to(viewmats).mT @ viewmats[camera]
        cut = torch.diag(torch.tensor([odd.scale, odd.scale, 1.0]))
        cut[:2, 2] = torch.tensor(odd.shift)
        Ks[camera] = cut.to(Ks) @ Ks[camera]
        return replace(cameras, viewmats=viewmats, Ks=Ks)

    matches = estimate.matches
    return replace(
        estimate,
        cameras=changed(estimate.cameras),
        alternatives=tuple(replace(a, cameras=changed(a.cameras)) for a in estimate.alternatives),
        matches=None if matches is None else _turned_points(matches, camera, odd.turned_deg),
    )


def _turned_points(matches: Correspondences, camera: int, turned_deg: int) -> Correspondences:
    """Matches with the points of one view as in its picture before it was turned back."""
    turn = _turn(turned_deg)[:2, :2].to(matches.points)
    middle = matches.middle.to(matches.points)
    mine = (matches.pairs == camera)[..., None]
    return replace(
        matches, points=torch.where(mine, (matches.points - middle) @ turn + middle, matches.points)
    )


def _turn(degrees: int) -> Tensor:
    """Rotation about the optical axis [4, 4] that takes what a turned picture shows back."""
    quarter = torch.eye(4)
    # Clockwise as seen, with y down: what is at the right comes to the bottom.
    quarter[:2, :2] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    return torch.linalg.matrix_power(quarter, degrees // 90)
