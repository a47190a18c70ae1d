"""Initialiser `auto`: matches, the embedded network and coarse scenes together.

Each knows what the others do not. Matches tell how neighbouring views are turned to a degree, and the
focal length, but take opposite sides of a symmetric object for one; the network knows roughly where each
view stands where shapes are distinctive; a coarse scene sees what an arrangement leaves unexplained. So:
several relative rotations per pair and focal length, arrangements that most of them support, coarse scenes as
their judge, and cameras adjusted to the matches that agree with what was chosen.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from agsrec.cameras import Cameras
from agsrec.device import resolve_device
from agsrec.embedded import EMBEDDED_MATCHER
from agsrec.errors import CameraError, CheckpointError
from agsrec.matching import (
    CLOSE,
    ROUGH,
    Agreement,
    Arrangement,
    Correspondences,
    EpipolarTerm,
    Hypothesis,
    Rig,
    Spread,
    Votes,
    adjust,
    adjust_bundle,
    belief_in,
    consistent_matches,
    find_oddities,
    largest_turn,
    load_matcher,
    pair_hypotheses,
    supporting_matches,
    tracks_of,
)
from agsrec.pose_init.estimate import Alternative, PoseEstimate
from agsrec.pose_init.look import Look, look_at, with_principal_points
from agsrec.pose_init.nview.angles import angles_from_rotations
from agsrec.pose_init.nview.consensus import agreed_azimuths, mean_energies, pair_energies
from agsrec.pose_init.nview.initializer import initialize_nview
from agsrec.pose_init.nview.placement import place
from agsrec.pose_init.nview.reading import Reading
from agsrec.pose_init.odd import left_in, lens_guesses, set_right, with_oddities
from agsrec.pose_init.refine import look_again, refine_estimate
from agsrec.pose_init.spread import for_all
from agsrec.pose_init.surroundings import Evidence, all_tied, gather_evidence, standing_agreement
from agsrec.store import Memory

if TYPE_CHECKING:
    from agsrec.fit import CameraLoss
    from agsrec.names import BackgroundName
    from agsrec.point_map import PointMap
    from agsrec.views import Views

__all__ = ["initialize_auto"]

_log = logging.getLogger(__name__)

_ZOOMS = (0.6, 0.8, 1.0, 1.3, 1.7, 2.3, 3.1)  # of the network's focal length, which knows 25 to 55 degrees
_LENS = 0.1  # what a nat of a picture's field of view counts beside those of its pairs
_TRUSTS = (0.6, 0.2)  # what a nat of the network counts beside the matches'
_TREES = 12  # random starts by which zooms are compared
_LIKELY = 3  # zooms that are looked at closely
_PER_TRUST = 3  # arrangements that coarse scenes judge
_SAME_DEG = 10.0  # arrangements that differ less are one
_ADJUST = (0.015, 0.005)  # of the picture's longer side
_NEARLY_STANDING_DEG, _ADJUST_STANDING = 30.0, (0.04, 0.015, 0.005)  # the same where errors add up around
_SETTLED = 3  # arrangements that are adjusted to what stood still
_POLISH = ((0.03, (0.01,)), (0.012, (0.005,)), (0.006, (0.003,)))  # how near, and at which scales
_BUNDLE = ((0.006, (0.003,)), (0.006, (0.0015,)))  # the same, once there are points
_AGREED = replace(CLOSE, turn=0.03)  # what tracks may turn, which tell more of it than scenes do
_CONSISTENT = 0.012  # distance of matches that agree with a pose, of the picture's longer side
_UNMATCHED = 0.6  # share of the views without matches that coarse scenes place within 15 degrees
_COIN = 0.5  # what confidence is worth where two arrangements are as good
_UNSURE, _SURE, _ENOUGH = 0.7, 0.9, 4  # views that are looked at again, and those that must be there for it
_PER_PAIR = 40  # matches of a pair that scenes are fitted with
_NEARLY_DEG = 20.0  # what they may be off a guess that scenes start from
_WEIGHT = 0.05  # of the matches in the loss of a coarse scene
# What a nat counts once there are scenes to look at: the network is often sure and wrong.
_NETWORK, _MATCHES = 0.2, 2.0


def initialize_auto(
    views: Views,
    *,
    model: str | Path,
    device: str = "auto",
    focals: Sequence[float] | None = None,
    zooms: Sequence[float] | None = None,
    folder: Path | None = None,
    background: BackgroundName = "auto",
    refine: bool = True,
    memory: Memory | None = None,
    seed: int = 0,
) -> PoseEstimate:
    """Cameras of views from all evidence there is in their cut-outs, and in what stood still around them.

    Views that lie on their side are turned back first. Without the embedded matcher it is the network and
    coarse scenes alone, which a warning says.

    Args:
        views: V >= 2 cut-outs with objects in them.
        model: The network's folder or name, as for `nview`.
        device: "auto", "cpu" or "cuda".
        focals: Focal lengths [V] in pixels, if known.
        zooms: Proportions of the focal lengths [V], if known; all are taken to be the same otherwise.
        folder: Folder that preprocessing wrote, for the photos with their background.
        background: Whether that stood still with the object; `auto` finds out.
        refine: Let coarse scenes judge arrangements; see `agsrec.pose_init.refine`.
        memory: Where features and matches are kept for the next time.
        seed: Seed of those scenes.

    Returns:
        Estimate with points, alternatives and matches. Every view is placed but those that are mirrored or
        show something else, which `oddities` tells.

    Raises:
        OptionError: The background shall be used, and there are no photos that show it.
        CheckpointError: The network cannot be used.
        DeviceError: There is no such device.
        CameraError: All views are one picture.
    """
    order = _by_content(views)  # so that nothing depends on the order in which photos come
    views = views[order]
    known, zoomed = (None if v is None else torch.tensor([v[i] for i in order]) for v in (focals, zooms))
    target = resolve_device(device)
    try:
        matcher = load_matcher(EMBEDDED_MATCHER, target)
    except CheckpointError as error:
        _log.warning("%s; poses rest on the network alone", error)
        alone = initialize_nview(
            views, model=model, device=device, focal=known, zooms=zoomed, refine=refine, seed=seed
        )
        return for_all(alone, _places(order))
    memory = Memory() if memory is None else memory
    look = look_at(views, model, matcher, target, memory, zoomed)
    lenses = lens_guesses(look.reading, known)
    oddities = find_oddities(views, look.features, look.found, matcher, lenses)
    kept = left_in(len(views), oddities)
    if len(kept) < 2:
        raise CameraError("the photos are all the same picture; use photos from different sides")
    if oddities:
        known, zoomed = (None if v is None else v[kept] for v in (known, zoomed))
        look = look_at(set_right(views, oddities)[kept], model, matcher, target, memory, zoomed)
    if any(odd.kind == "turned" for odd in oddities):
        folder = None  # whose photos were not turned back
    look = with_principal_points(look, folder)
    evidence = gather_evidence(
        look.views, look.reading, look.found, background=background, folder=folder, known=known
    )
    estimate = _estimated(look, evidence, known, refine, seed)
    return for_all(with_oddities(estimate, len(views), oddities), _places(order))


def _estimated(look: Look, evidence: Evidence, known: Tensor | None, refine: bool, seed: int) -> PoseEstimate:
    """Cameras of views that belong together, by all that is seen of them."""
    views, search = look.views, _Search(look.views, look.reading, evidence, known)
    starts = search.starts()
    best = starts[0]
    estimate = PoseEstimate(
        cameras=best.cameras,
        placed=torch.ones(len(views), dtype=torch.bool),
        confidence=search.confidence(best.cameras),
        points=best.points,
        alternatives=tuple(Alternative(s.cameras, s.score, s.points) for s in starts[1:]),
        score=best.score,
        remarks=evidence.remarks,
    )
    if evidence.standing:
        estimate = search.settled(estimate)
    tied = all_tied(evidence.found, estimate.cameras)  # no scene knows better
    if not tied:
        estimate = replace(estimate, remarks=(*estimate.remarks, *look.reading.remarks()))
    if refine and not tied:
        estimate = refine_estimate(views, estimate, search.plausibility, support=search.support, seed=seed)
    if not tied:
        estimate = search.polished(estimate)
        estimate = search.reconsidered(estimate, seed) if refine else estimate
    confidence, matches = search.confidence(estimate.cameras), search.matches(estimate.cameras)
    confidence[estimate.undecided()] *= _COIN
    return replace(estimate, confidence=confidence, matches=matches)


def _by_content(views: Views) -> list[int]:
    """The views' indices in an order that their pictures alone determine."""
    digests = [hashlib.sha256(image.cpu().numpy().tobytes()).digest() for image in views.images]
    return sorted(range(len(views)), key=digests.__getitem__)


def _places(order: Sequence[int]) -> list[int]:
    """Where each view is among views that come as `order` says."""
    return sorted(range(len(order)), key=order.__getitem__)


@dataclass(frozen=True)
class _Start:
    """An arrangement with everything that follows from it."""

    cameras: Cameras
    points: PointMap
    score: float


class _Search:
    """Arrangements of views, by all that is known of them."""

    def __init__(self, views: Views, reading: Reading, evidence: Evidence, known: Tensor | None) -> None:
        self._size = (views.width, views.height)
        self._views = views
        self._reading = reading
        self._found = evidence.found
        self._known = known is not None
        self._focals = evidence.focals
        self._zooms = evidence.zooms or _ZOOMS
        self._standing = evidence.standing
        self._trusts = _TRUSTS[-1:] if evidence.standing else _TRUSTS
        self._near = ROUGH if evidence.standing else CLOSE  # what stood still tells more than any scene
        self._energies = pair_energies(reading.differences)
        self._tilts = reading.rotations(torch.zeros(len(views)))
        self._hypotheses: dict[float, list[Hypothesis]] = {}  # by zoom
        self._agreements: dict[float, Agreement] = {}

    def starts(self) -> list[_Start]:
        """The arrangements that are worth a scene, the likeliest first; the network's own is among them."""
        modes = agreed_azimuths(self._energies, modes=2)
        upright = [self._reading.rotations(a) for a in modes.azimuths]
        ranked: dict[float, list[tuple[float, Arrangement]]] = {trust: [] for trust in self._trusts}
        for zoom in self._likely_zooms(upright):
            for trust in ranked:
                agreement = self._agreement(zoom, trust)
                ranked[trust] += [(zoom, one) for one in agreement.arrangements(upright)]
        chosen = [self._start(Rig(upright[0], place(self._reading.sightings, self._focals)[0], self._focals))]
        for candidates in ranked.values():
            mine = 0
            for zoom, one in sorted(candidates, key=lambda c: -c[1].score - self._lens(c[0])):
                start = self._start(self._adjusted(zoom, one))
                turns = (largest_turn(start.cameras.rotations, c.cameras.rotations) for c in chosen)
                if min(turns) > _SAME_DEG:
                    chosen.append(start)
                    mine += 1
                if mine == _PER_TRUST:
                    break
        return sorted(chosen, key=lambda start: -start.score)

    def _likely_zooms(self, upright: Sequence[Tensor]) -> list[float]:
        """The zooms at which pairs agree best: at the right one their relative rotations fit each other."""
        scores = {}
        for zoom in (1.0,) if self._known else self._zooms:
            self._hypotheses[zoom] = self._tried(zoom)
            self._agreements[zoom] = self._agreement(zoom, _TRUSTS[-1])
            best = self._agreements[zoom].arrangements(upright, trees=_TREES, modes=1)[0]
            scores[zoom] = best.score + self._lens(zoom)
        return sorted(scores, key=lambda zoom: -scores[zoom])[:_LIKELY]

    def _lens(self, zoom: float) -> float:
        """What the pictures tell of a zoom, on the scale of arrangements' scores."""
        return _LENS * self._reading.lens(zoom * self._focals)

    def _agreement(self, zoom: float, trust: float) -> Agreement:
        return Agreement(self._hypotheses[zoom], Votes(self._tilts, self._energies, trust))

    def _tried(self, zoom: float) -> list[Hypothesis]:
        """What matches say if the focal lengths are `zoom` times the guess."""
        focals = zoom * self._focals
        distances = place(self._reading.sightings, focals)[0].norm(dim=1).double().numpy()
        lengths = focals.double().numpy()
        pairs = ((f, [f.first, f.second]) for f in self._found)
        return [h for f, p in pairs for h in pair_hypotheses(f, lengths[p], self._size, distances[p])]

    def _adjusted(self, zoom: float, one: Arrangement) -> Rig:
        """Cameras of an arrangement, brought to the matches that made it."""
        focals = zoom * self._focals
        rig = Rig(one.rotations, place(self._reading.sightings, focals)[0], focals)
        within, scales = (_NEARLY_STANDING_DEG, _ADJUST_STANDING) if self._standing else (12.0, _ADJUST)
        support = supporting_matches(self._hypotheses[zoom], one.rotations, within_deg=within)
        if not support:
            return rig
        return adjust(rig, Correspondences.of(support, *self._size), self._free(ROUGH), scales=scales)

    def _start(self, rig: Rig) -> _Start:
        cameras, points = self._reading.stand(rig.rotations, rig.focals, self._views, rig.centers)
        return _Start(cameras, points, self.plausibility(cameras))

    def _free(self, spread: Spread) -> Spread:
        """The same, but that known focal lengths stay."""
        return replace(spread, focal=0.0) if self._known else spread

    def plausibility(self, cameras: Cameras) -> float:
        """Nats per pair of views for cameras, by the network and by the matches."""
        azimuths = angles_from_rotations(cameras.rotations)[1].round().long() % 360
        said = float(mean_energies(self._energies, azimuths[None]))
        return _NETWORK * said + _MATCHES * self._agreements[self._zoom(cameras)].of_matches(
            cameras.rotations
        )

    def support(self, cameras: Cameras) -> CameraLoss | None:
        """The matches of believable hypotheses that cameras nearly agree with, as a term of a fit's loss."""
        hypotheses = self._hypotheses[self._zoom(cameras)]
        agreeing = supporting_matches(hypotheses, cameras.rotations, within_deg=_NEARLY_DEG)
        if not agreeing:
            return None
        return EpipolarTerm(Correspondences.of(agreeing, *self._size, most=_PER_PAIR), weight=_WEIGHT)

    def _zoom(self, cameras: Cameras) -> float:
        """The zoom that was tried nearest to the cameras'."""
        zoom = float((cameras.focal_lengths.mean(1) / self._focals).median())
        return min(self._agreements, key=lambda z: abs(z / zoom - 1))

    def confidence(self, cameras: Cameras) -> Tensor:
        """How likely each view's pose is to be right [V]: as by the scenes alone, and more for every other
        view whose matches agree with it."""
        rig = _rig(cameras)
        wrong = torch.full((len(cameras),), 1 - _UNMATCHED)
        for f in self._found:
            agreeing = consistent_matches([f], rig, self._size, _CONSISTENT)
            belief = belief_in(f, len(agreeing[0])) if agreeing else 0.0
            wrong[[f.first, f.second]] *= 1 - belief
        return 1 - wrong

    def reconsidered(self, estimate: PoseEstimate, seed: int) -> PoseEstimate:
        """The estimate after another look at views that no match holds, by a scene of those that are sure."""
        confidence = self.confidence(estimate.cameras)
        unsure = (confidence < _UNSURE).nonzero().flatten().tolist()
        if not unsure or int((confidence > _SURE).sum()) < _ENOUGH:
            return estimate
        after = look_again(self._views, estimate, unsure, self.plausibility, support=self.support, seed=seed)
        return estimate if after is estimate else self.polished(after)

    def matches(self, cameras: Cameras) -> Correspondences | None:
        """The matches that agree with cameras."""
        agreeing = consistent_matches(self._found, _rig(cameras), self._size, _CONSISTENT)
        return Correspondences.of(agreeing, *self._size) if agreeing else None

    def settled(self, estimate: PoseEstimate) -> PoseEstimate:
        """The estimate or an alternative, adjusted: whichever most of what stood still agrees with.

        Errors add up around an object, and are spread over all views again in small steps.
        """
        others = estimate.alternatives[: _SETTLED - 1]
        tried = [estimate, *(replace(estimate, cameras=a.cameras, points=a.points) for a in others)]
        adjusted = [self.polished(self.polished(one)) for one in tried]
        return max(adjusted, key=lambda one: standing_agreement(self._found, one.cameras))

    def polished(self, estimate: PoseEstimate) -> PoseEstimate:
        """The estimate with its cameras adjusted to all matches that agree with them."""
        cameras = estimate.cameras
        rig = _rig(cameras)
        for near, scales in _POLISH:
            support = consistent_matches(self._found, rig, self._size, near)
            if not support:
                return estimate
            rig = adjust(rig, Correspondences.of(support, *self._size), self._free(self._near), scales=scales)
        if not self._standing:  # of which there are thousands of tracks, for minutes
            rig = self._bundled(rig)
        viewmats = cameras.viewmats.clone()
        viewmats[:, :3, :3], viewmats[:, :3, 3] = rig.rotations.float(), rig.centers.float()
        after = replace(cameras, viewmats=viewmats, Ks=Cameras.intrinsics(rig.focals.float(), *self._size))
        points = None if estimate.points is None else estimate.points.moved(cameras, after)
        return replace(estimate, cameras=after, points=points)

    def _bundled(self, rig: Rig) -> Rig:
        """Cameras adjusted, with points, to the tracks of all matches that agree with them."""
        for near, scales in _BUNDLE:
            tracks = tracks_of(consistent_matches(self._found, rig, self._size, near), *self._size)
            rig = adjust_bundle(rig, tracks, self._free(_AGREED), scales=scales).rig
        return rig


def _rig(cameras: Cameras) -> Rig:
    """The cameras as what is adjusted to matches; the object's centre is the world's."""
    return Rig(cameras.rotations, cameras.viewmats[:, :3, 3], cameras.focal_lengths.mean(1))
