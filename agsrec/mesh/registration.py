"""Photos warped a little so that they agree with each other on the surface.

Poses that are half a degree off, or a surface a little off, show print twice. As in the colour maps of Zhou
and Koltun ("Color map optimization for 3D reconstruction with consumer depth cameras", 2014) each photo gets
a smooth field of offsets; here from optical flow (Kroeger et al., "Fast optical flow using dense inverse
search", 2016) between the photo and what the others show of the same surface.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agsrec.mesh.album import sampled

if TYPE_CHECKING:
    from agsrec.mesh.album import Album, Sight

__all__ = ["registered"]

_ROUNDS, _STEP = 3, 0.6  # each photo goes part of the way, since the others move too
_FURTHEST = 0.01  # of the picture
_SMOOTH = 0.03  # of the picture: standard deviation of the blur of the flow
_GRID = 96  # samples of the offsets along each side
_OTHERS = 5  # photos that one is compared with, those that see most of the same
_FRONTAL = 4  # power of the cosine with which the others count
_LIMB = 0.25  # cosine from which a pixel counts itself
_ENOUGH = 0.1  # weight of the others from which they count fully
_CONTRAST = 600.0  # grey levels per unit of detail
_CLEAR = 64.0  # of the slope of grey levels, eight times as steep: from where it is full evidence
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


@dataclass(frozen=True)
class _Links:
    """Where other views show the M pixels of one view that show the surface.

    Attributes:
        mask: Those pixels [h, w].
        own: How much they count themselves [M].
        others: Another view each, the places in it [M, 2], and how much it counts there [M].
    """

    mask: Tensor
    own: Tensor
    others: list[tuple[int, Tensor, Tensor]]


def _links(album: Album, view: int) -> _Links:
    """The views that share most with one."""
    sight = album.sights[view]
    mask, points, normals = sight.surface()
    # At the limb, all is distorted, and what is coarse is not told from what is fine.
    frontal = ((sight.facing(points, normals) - _LIMB) / (1 - _LIMB)).clamp(0, 1)
    own = sight.trust[mask] * frontal
    found = []
    for other, there in enumerate(album.sights):
        if other != view:
            place, trusted = there.places(points)
            weight = there.facing(points, normals) ** _FRONTAL * trusted
            found.append((float((own * weight).sum()), other, place, weight))
    found.sort(key=lambda link: -link[0])
    return _Links(mask, own, [link[1:] for link in found[:_OTHERS] if link[0] > 0])


def _reference(album: Album, details: list[Tensor], links: _Links) -> tuple[Tensor, Tensor]:
    """What other photos show at the pixels of a view [M], and how surely [M]."""
    total, mean = torch.zeros(len(links.own)), torch.zeros(len(links.own))
    for other, place, weight in links.others:
        some = weight > 1e-3
        seen = sampled(details[other], album.warped(other, place[some]))[:, 0]
        total[some] += weight[some]
        mean[some] += weight[some] * seen
    return mean / total.clamp(min=1e-6), (total / _ENOUGH).clamp(max=1) * links.own


def _offsets(album: Album, view: int, details: list[Tensor], links: _Links) -> Tensor:
    """Offsets [2, g, g] at which a photo agrees with the others, in places."""
    import cv2

    wanted, sure = _reference(album, details, links)
    own = details[view][..., 0]
    reference, certainty = own.clone(), torch.zeros_like(own)
    reference[links.mask] = torch.where(sure > 0, wanted, own[links.mask])
    certainty[links.mask] = sure
    there, here = ((128 + _CONTRAST * d).clamp(0, 255).round().byte().numpy() for d in (reference, own))
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = method.calc(there, here, np.zeros((*own.shape, 2), dtype=np.float32))
    slope = np.hypot(*(cv2.Sobel(there, cv2.CV_32F, dx, 1 - dx) for dx in (1, 0)))
    # Where there is no detail there is no evidence.
    weight = certainty.numpy() * np.minimum(1.0, slope / _CLEAR)
    return torch.from_numpy(_smoothed(np.asarray(flow, dtype=np.float32), weight))


def _smoothed(flow: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """A flow [h, w, 2] in pixels as smooth offsets [2, g, g] in places, short and tied to none."""
    import cv2

    height, width = weight.shape
    blur = _SMOOTH * max(height, width)
    share = cv2.GaussianBlur(weight, (0, 0), blur)
    mean = cv2.GaussianBlur(flow * weight[..., None], (0, 0), blur) / (share + _TIE)[..., None]
    length = np.linalg.norm(mean, axis=-1, keepdims=True)
    mean *= np.minimum(1.0, _FURTHEST * max(height, width) / np.maximum(length, 1e-9))
    mean *= 2 / np.array([width, height], dtype=np.float32)
    return np.moveaxis(cv2.resize(mean, (_GRID, _GRID), interpolation=cv2.INTER_AREA), -1, 0).copy()


def _kept(album: Album, view: int, details: list[Tensor], links: _Links) -> Tensor:
    """The offsets of a view where it agrees better with the others than without them, else none."""
    wanted, sure = _reference(album, details, links)
    rows, columns = links.mask.nonzero(as_tuple=True)
    height, width = links.mask.shape
    place = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], dim=-1)
    before, after = (
        float((sure * (sampled(details[view], p)[:, 0] - wanted).square()).sum())
        for p in (place, album.warped(view, place))
    )
    warp = album.warps[view]
    return warp if after < _BETTER * before else torch.zeros_like(warp)
