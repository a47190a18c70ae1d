"""Photos warped a little so that they agree with each other on the surface.

Poses that are half a degree off, or a surface a little off, show print twice. As in the colour maps of Zhou
and Koltun ("Color map optimization for 3D reconstruction with consumer depth cameras", 2014) each photo gets
a smooth field of offsets; here from optical flow (Kroeger et al., "Fast optical flow using dense inverse
search", 2016) between the photo and what the others show of the same surface.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from agsrec.mesh.album import sampled

if TYPE_CHECKING:
    from agsrec.mesh.album import Album, Sight

__all__ = ["registered"]

_ROUNDS, _STEP = 3, 0.6  # each photo goes part of the way, since the others move too
_FURTHEST = 0.01  # of the picture
_SMOOTH = 0.02  # of the picture: standard deviation of the blur of the flow
_GRID = 96  # samples of the offsets along each side
_OTHERS = 5  # photos that one is compared with, those that see most of the same
_FRONTAL = 4  # power of the cosine with which the others count
_CONTRAST = 600.0  # grey levels per unit of detail
_TIE = 0.05  # pull towards no offset, as a share of full evidence
_BETTER = 0.97  # of the disagreement: more must be gone, or the photo stays as it was


def registered(album: Album) -> Album:
    """An album with the offsets of its photos."""
    details = [_detail(sight, gain) for sight, gain in zip(album.sights, album.gains, strict=True)]
    links = [_links(album, view) for view in range(len(album))]
    warps = torch.zeros(len(album), 2, _GRID, _GRID)
    for _ in range(_ROUNDS):
        moved = replace(album, warps=warps)
        found = [_offsets(moved, view, details, links[view]) for view in range(len(album))]
        warps = warps + _STEP * (torch.stack(found) - warps)
    done = replace(album, warps=warps)
    return replace(done, warps=torch.stack([_kept(done, v, details, links[v]) for v in range(len(album))]))


def _detail(sight: Sight, gain: Tensor) -> Tensor:
    """Brightness without what is coarse [h, w, 1], 0 beside the object."""
    fine = ((sight.rgb - sight.coarse) * gain).mean(-1, keepdim=True)
    return torch.where(sight.trust[..., None] > 0, fine, 0.0)


_Link = tuple[int, Tensor, Tensor]
"""Another view, where it shows the pixels of this one [M, 2], and how much it counts there [M]."""


def _links(album: Album, view: int) -> list[_Link]:
    """The views that share most with one."""
    sight = album.sights[view]
    mask, points, normals = sight.surface()
    own = sight.trust[mask] * sight.facing(points, normals)
    found = []
    for other, there in enumerate(album.sights):
        if other == view:
            continue
        place, trusted = there.places(points)
        weight = there.facing(points, normals) ** _FRONTAL * trusted
        found.append((float((own * weight).sum()), other, place, weight))
    found.sort(key=lambda link: -link[0])
    return [(other, place, weight) for shared, other, place, weight in found[:_OTHERS] if shared > 0]


def _reference(
    album: Album, view: int, details: list[Tensor], links: list[_Link]
) -> tuple[Tensor, Tensor, Tensor]:
    """The pixels of a view that show the surface [h, w], what the others show there [M], and how surely [M]."""
    sight = album.sights[view]
    mask = sight.depths > 0
    total, sum_ = torch.zeros(int(mask.sum())), torch.zeros(int(mask.sum()))
    for other, place, weight in links:
        some = weight > 1e-3
        seen = sampled(details[other], album.warped(other, place[some]))[:, 0]
        total[some] += weight[some]
        sum_[some] += weight[some] * seen
    return mask, sum_ / total.clamp(min=1e-6), (total / 0.1).clamp(max=1) * sight.trust[mask]


def _offsets(album: Album, view: int, details: list[Tensor], links: list[_Link]) -> Tensor:
    """Offsets [2, g, g] at which a photo agrees with the others, in places."""
    import cv2

    mask, wanted, sure = _reference(album, view, details, links)
    own = details[view][..., 0]
    reference, certainty = own.clone(), torch.zeros_like(own)
    reference[mask] = torch.where(sure > 0, wanted, own[mask])
    certainty[mask] = sure
    grey = [(128 + _CONTRAST * d).clamp(0, 255).round().byte().numpy() for d in (reference, own)]
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(grey[0], grey[1], None)  # type: ignore[call-overload]
    longest = max(own.shape)
    blur = _SMOOTH * longest
    # Where there is no detail there is no evidence.
    slope = np.hypot(*(cv2.Sobel(grey[0].astype(np.float32), cv2.CV_32F, dx, dy) for dx, dy in ((1, 0), (0, 1))))
    weight = certainty.numpy() * np.minimum(1.0, slope / 64.0)
    share = cv2.GaussianBlur(weight, (0, 0), blur)
    mean = cv2.GaussianBlur(flow * weight[..., None], (0, 0), blur) / (share + _TIE)[..., None]
    length = np.linalg.norm(mean, axis=-1, keepdims=True)
    mean *= np.minimum(1.0, _FURTHEST * longest / np.maximum(length, 1e-9))
    height, width = own.shape
    small = cv2.resize(mean * (2 / np.array([width, height], np.float32)), (_GRID, _GRID), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(small).movedim(-1, 0)


def _kept(album: Album, view: int, details: list[Tensor], links: list[_Link]) -> Tensor:
    """The offsets of a view where it agrees better with the others than without them, else none."""
    mask, wanted, sure = _reference(album, view, details, links)
    rows, columns = mask.nonzero(as_tuple=True)
    height, width = mask.shape
    place = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], dim=-1)
    before, after = (
        float((sure * (sampled(details[view], p)[:, 0] - wanted).square()).sum())
        for p in (place, album.warped(view, place))
    )
    warp = album.warps[view]
    return warp if after < _BETTER * before else torch.zeros_like(warp)
