"""What the photos show around the object, where it is evidence: for initialiser `auto`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from agsrec.errors import OptionError
from agsrec.matching import (
    Hypothesis,
    PairMatches,
    Rig,
    Whole,
    background_only,
    belief_in,
    consistent_matches,
    is_plain,
    match_wholes,
    pair_hypotheses,
    standing_features,
    stands_still,
)
from agsrec.pose_init.nview.placement import place
from agsrec.pose_init.originals import whole_photos

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.names import BackgroundName
    from agsrec.pose_init.nview.reading import Reading
    from agsrec.views import Views

__all__ = ["Evidence", "all_tied", "gather_evidence", "standing_agreement"]

_USUAL, _ZOOMS = 0.9, (0.7, 1.0, 1.4)  # focal length, of a photo's longer side; and what it may be times that
_CONSISTENT, _SURELY = 0.008, 0.95  # distance of matches that agree, of a view's longer side; belief in a tie
_STANDS_STILL = (
    "The background is used too: it stood still with the object (--background moving would leave it out)"
)


@dataclass(frozen=True)
class Evidence:
    """Matches of V views, and what goes with them.

    Attributes:
        found: Matches on the objects, and of all that stood still.
        focals: Focal lengths [V] to start from, in pixels of the views.
        zooms: What to try these times, if they are a guess; as the initialiser knows best if empty.
        remarks: Sentences that the user should read.
    """

    found: list[PairMatches]
    focals: Tensor
    zooms: tuple[float, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def standing(self) -> bool:
        """Whether there are matches of what stood still."""
        return any(f.whole for f in self.found)


def gather_evidence(
    views: Views,
    reading: Reading,
    found: list[PairMatches],
    *,
    background: BackgroundName = "auto",
    folder: Path | None = None,
    known: Tensor | None = None,
) -> Evidence:
    """Matches on the objects with those of the background, where that stood still.

    Args:
        views: V cut-outs.
        reading: What the network says of them.
        found: Matches on the objects.
        background: Whether it did; `auto` finds out.
        folder: Folder that preprocessing wrote, for the photos.
        known: Focal lengths [V] in pixels, if known.

    Raises:
        OptionError: The background shall be used, and there are no photos that show it.
    """
    guess = reading.focal() if known is None else known
    alone = Evidence(found, guess)
    if background == "moving":
        return alone
    photos = whole_photos(views, folder)
    if photos is None:
        if background == "auto":
            return alone
        raise OptionError(
            "--background static: the photos with their background are not there; cut them out with "
            "agsrec process FOLDER and keep its source/, or leave the option out"
        )
    focals, zooms = (known, ()) if known is not None else _usual_focals(photos) or (guess, ())
    size = (views.width, views.height)
    features = standing_features(photos, size, focals.tolist(), (-reading.elevation).tolist())
    masks = (views.masks >= 0.5).cpu().numpy()
    if background == "auto" and is_plain(features, masks):
        return alone
    around = match_wholes(features)
    if background == "auto" and not _stood_still(views, reading, around, found, focals):
        return alone
    middle = 0.5 * np.asarray(size, float)
    away = np.stack([photo.away(middle) for photo in photos])
    held = [replace(f, away=away[[f.first, f.second]]) for f in found]
    return Evidence([*held, *around], focals, zooms, () if background == "static" else (_STANDS_STILL,))


def all_tied(found: Sequence[PairMatches], cameras: Cameras) -> bool:
    """Whether what stood still ties every view to every other, over others, where cameras have them."""
    group = list(range(len(cameras)))
    for f, agreeing in _agreeing(found, cameras):
        if belief_in(f, agreeing) > _SURELY:
            group = [group[f.first] if g == group[f.second] else g for g in group]
    return len(set(group)) == 1


def standing_agreement(found: Sequence[PairMatches], cameras: Cameras) -> int:
    """How many matches of what stood still agree with cameras, of pairs where they are more than chance."""
    return sum(agreeing for _, agreeing in _agreeing(found, cameras))


def _agreeing(found: Sequence[PairMatches], cameras: Cameras) -> Iterator[tuple[PairMatches, int]]:
    """The matches of each pair of what stood still, and how many of them agree with cameras."""
    rig = Rig(cameras.rotations, cameras.viewmats[:, :3, 3], cameras.focal_lengths.mean(1))
    size = (cameras.width, cameras.height)
    for f in (f for f in found if f.whole):
        yield f, sum(map(len, consistent_matches([f], rig, size, _CONSISTENT)))


def _usual_focals(photos: Sequence[Whole]) -> tuple[Tensor, tuple[float, ...]] | None:
    """Usual focal lengths of photos in pixels of the views, and factors to try; None if sizes are unknown."""
    reaches = [photo.reach * photo.scale for photo in photos if photo.reach is not None]
    return (_USUAL * torch.tensor(reaches), _ZOOMS) if len(reaches) == len(photos) else None


def _stood_still(
    views: Views,
    reading: Reading,
    around: Sequence[PairMatches],
    found: Sequence[PairMatches],
    focals: Tensor,
) -> bool:
    """Whether background and object agree on how the camera moved."""
    masks = (views.masks >= 0.5).cpu().numpy()
    lengths = focals.double().numpy()
    distances = place(reading.sightings, focals)[0].norm(dim=1).double().numpy()

    def solve(f: PairMatches) -> list[Hypothesis]:
        pair = [f.first, f.second]
        return pair_hypotheses(f, lengths[pair], (views.width, views.height), distances[pair])

    off = [background_only(f, masks) for f in around]
    return bool(stands_still(off, found, solve, lengths, (views.width, views.height)))
