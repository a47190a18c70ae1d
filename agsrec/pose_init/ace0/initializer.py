"""Initialiser `ace0`: of many photos a few are posed by `auto`, and the others are registered to these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from agsrec.cameras import CAMERA_DISTANCE, Cameras
from agsrec.config import Stage
from agsrec.device import resolve_device
from agsrec.embedded import EMBEDDED_MATCHER
from agsrec.errors import CameraError, SceneError
from agsrec.fit import fit
from agsrec.fit.coarse import coarse_schedule
from agsrec.pose_init.ace0.bundling import agreeing_pairs, bundled
from agsrec.pose_init.ace0.collection import Collection, collected
from agsrec.pose_init.ace0.features import Seen, describer
from agsrec.pose_init.ace0.loop import LoopConfig, Start, register_photos
from agsrec.pose_init.ace0.registered import Registered
from agsrec.pose_init.ace0.searching import Searching
from agsrec.pose_init.ace0.seeds import SeedChoice, choose_seeds
from agsrec.pose_init.ace0.shared_points import SharedPoints
from agsrec.pose_init.ace0.sharing import Sharing
from agsrec.pose_init.auto import initialize_auto
from agsrec.pose_init.estimate import PoseEstimate
from agsrec.pose_init.focal import crop_zooms, exif_focals
from agsrec.pose_init.lifting import lifted, scene_depths
from agsrec.pose_init.originals import originals_digests
from agsrec.pose_init.principal import as_photographed, principal_offsets
from agsrec.pose_init.spread import for_all
from agsrec.store import Memory
from agsrec.views import Views

if TYPE_CHECKING:
    from agsrec.matching import Correspondences, Oddity
    from agsrec.names import BackgroundName
    from agsrec.store import Checkpointing

__all__ = ["initialize_ace0", "pose_many"]

_FIRST_MODEL = "nview-mini"
_SURFACE = coarse_schedule(Stage(32, 150), Stage(64, 150), warmup=1000)  # its cameras stay
_SURELY = 0.4  # share of agreeing pixels from which a pose is sure
_MOST = 0.8  # share of photos of one object that are enough not to look for more


@dataclass(frozen=True)
class _Seeds:
    """The photos that are posed first.

    Attributes:
        index: Which they are.
        estimate: Their cameras, those that took the photos.
        depths: z of the object [P, H, W] in those that are placed.
    """

    index: list[int]
    estimate: PoseEstimate
    depths: Tensor


def initialize_ace0(
    views: Views,
    *,
    model: str | Path = EMBEDDED_MATCHER,
    **options: Any,
) -> PoseEstimate:
    """The same as `pose_many`, with its options, for views in memory."""
    return pose_many(views.images, views.names, model=model, **options)


def pose_many(
    photos: Sequence[Tensor] | Tensor,
    names: Sequence[str],
    *,
    model: str | Path = EMBEDDED_MATCHER,
    first_model: str | Path = _FIRST_MODEL,
    device: str = "auto",
    focals: Sequence[float] | None = None,
    zooms: Sequence[float] | None = None,
    folder: Path | None = None,
    background: BackgroundName = "auto",
    refine: bool = True,
    memory: Memory | None = None,
    seed: int = 0,
    config: LoopConfig | None = None,
    checkpointing: Checkpointing | None = None,
    report: Callable[[str], object] = lambda _: None,
) -> PoseEstimate:
    """Cameras of many photos of one object; one photo at a time is in memory, beside the first few.

    Args:
        photos: V cut-outs, RGBA [H, W, 4] each, of one size, straight alpha; asked for one at a time.
        names: One per photo.
        model: What describes pixels: the embedded matcher's DISK, or a file with an encoder of ACE.
        first_model: The network with which `auto` poses the first photos: its folder or name.
        device: "auto", "cpu" or "cuda".
        focals: Focal lengths [V] in pixels, if known; as `folder` has them by default.
        zooms: Their proportions [V], likewise.
        folder: Folder that preprocessing wrote, for crops, focal lengths and photos with their background.
        background: For the photos that `auto` poses first.
        refine: The same.
        memory: Where descriptions, matches and the first poses are kept for the next time.
        seed: Seed of everything random.
        config: How the loop goes.
        checkpointing: Where its state is kept.
        report: Told what is done next.

    Returns:
        Estimate in which photos without a camera could not be registered. Its cameras have the principal
        points of the photos, where preprocessing has noted them.

    Raises:
        CheckpointError, DeviceError, OptionError: As for `auto`.
        CameraError: Fewer than two photos could be posed.
    """
    target = resolve_device(device)
    memory = Memory(device=target) if memory is None else memory
    describe = describer(model, target, memory)
    collection = collected(photos, names, describe, target, report)
    different, seen = collection.different, collection.seen
    if len(different) < 2:
        raise CameraError("fewer than two of the photos show an object and are different; use other photos")
    height, width = photos[0].shape[:2]
    size = width, height
    lenses = _Lenses.of(folder, names, width, focals, zooms)
    options = (first_model, device, folder, background, refine, seed)
    around = {} if folder is None or background == "moving" else originals_digests(folder)
    shared, known = SharedPoints(seen), lenses.focals is not None
    sharing, adjusted = Sharing(shared, size), partial(bundled, shared, size=size, focal_known=known)
    searching = Searching(
        (photos[v] for v in different), shared, size, device=target, seed=seed, report=report
    )

    def posed_from(rows: list[int], state: Callable[[str], Checkpointing | None]) -> _Outcome:
        """All photos, by way of some that are posed first."""
        chosen = [different[k] for k in rows]
        report(f"posing {len(chosen)} of {len(photos)} photos first: {', '.join(names[v] for v in chosen)}")
        first = Views(torch.stack([photos[v].float().cpu() for v in chosen]), tuple(names[v] for v in chosen))
        seeds = memory.once(
            ("first photos", first, chosen, lenses, around, [str(option) for option in options]),
            lambda: _posed_first(first, chosen, lenses, options, memory, target),
        )
        if len(seeds.estimate.cameras) < 2:
            return _Outcome(seeds, None)
        found = register_photos(
            seen,
            _start(different, seen, seeds, lenses, size),
            config,
            seed=seed,
            adjust=adjusted,
            sharing=sharing,
            checkpointing=state("loop"),
            report=report,
        )
        more = searching.register(found, sharing.holding(found), state("search"))
        return _Outcome(seeds, found if more is found else adjusted(more))

    outcome = _best_of(choose_seeds(collection.thumbnails, shared), posed_from, checkpointing, report)
    if outcome.found is None:
        raise CameraError("fewer than two of the first photos could be posed; use photos that overlap more")
    estimate = _estimate(outcome.found, collection, outcome.seeds, shared, size)
    return replace(estimate, focal_known=known)


# -------------------------------------------------------------------- which photos first


@dataclass(frozen=True)
class _Outcome:
    """What came of posing some photos first.

    Attributes:
        seeds: These.
        found: All photos; None where fewer than two of these could be posed.
    """

    seeds: _Seeds
    found: Registered | None

    @property
    def count(self) -> int:
        """Photos that are registered."""
        return 0 if self.found is None else int(self.found.placed.sum())


def _best_of(
    choice: SeedChoice,
    posed_from: Callable[[list[int], Callable[[str], Checkpointing | None]], _Outcome],
    checkpointing: Checkpointing | None,
    report: Callable[[str], object],
) -> _Outcome:
    """The outcome of photos that overlap, or of some far apart if that leaves many out and these fewer."""

    def outcome(way: str, rows: list[int]) -> _Outcome:
        return posed_from(rows, lambda part: checkpointing and checkpointing.part(f"{way}, {part}"))

    near = outcome("overlapping", choice.overlapping)
    if near.count >= _MOST * choice.alike or set(choice.apart) == set(choice.overlapping):
        return near
    report(f"only {near.count} of {choice.alike} photos could be registered to these: trying others")
    far = outcome("apart", choice.apart)
    return far if far.count > near.count else near


# -------------------------------------------------------------------- lenses


@dataclass(frozen=True)
class _Lenses:
    """What is known of how V photos were taken.

    Attributes:
        focals: Focal lengths [V], pixels; None where they are to be found.
        zooms: Their proportions [V], where these are known.
        offsets: Principal points from the middles of the cut-outs [V, 2], pixels; None where unknown.
    """

    focals: list[float] | None
    zooms: list[float] | None
    offsets: Tensor | None

    @staticmethod
    def of(
        folder: Path | None,
        names: Sequence[str],
        width: int,
        focals: Sequence[float] | None,
        zooms: Sequence[float] | None,
    ) -> _Lenses:
        """As it is given, or else as preprocessing noted it."""
        offsets = None
        if folder is not None:
            focals = exif_focals(folder, names, width) if focals is None else focals
            zooms = crop_zooms(folder, names, width) if zooms is None else zooms
            offsets = principal_offsets(folder, names, width)
        return _Lenses(
            None if focals is None else list(focals), None if zooms is None else list(zooms), offsets
        )

    def zoom(self, v: int) -> float:
        """Focal length of a photo, in the unit in which proportions are known."""
        return 1.0 if self.zooms is None else self.zooms[v]

    def principal(self, v: int) -> Tensor:
        """Principal point [2] of a photo from the middle of its cut-out."""
        return torch.zeros(2, device="cpu") if self.offsets is None else self.offsets[v]


# -------------------------------------------------------------------- the first photos


def _posed_first(
    views: Views,
    chosen: list[int],
    lenses: _Lenses,
    options: tuple[str | Path, str, Path | None, BackgroundName, bool, int],
    memory: Memory,
    device: torch.device,
) -> _Seeds:
    """The first photos posed by `auto`, and the surface that a coarse scene of them has."""
    model, name, folder, background, refine, seed = options
    estimate = initialize_auto(
        views,
        model=model,
        device=name,
        focals=None if lenses.focals is None else [lenses.focals[v] for v in chosen],
        zooms=[lenses.zoom(v) for v in chosen],
        folder=folder,
        background=background,
        refine=refine,
        memory=memory,
        seed=seed,
    )
    if lenses.offsets is not None:
        estimate = as_photographed(estimate, lenses.offsets[chosen])
    placed, cameras = views[estimate.indices], estimate.cameras
    try:
        scene = fit(placed.to(device), cameras.to(device, torch.float32), _SURFACE, seed=seed)
        depths = scene_depths(scene.gaussians, scene.cameras, scene.fitted_size).cpu()
    except (CameraError, SceneError):  # nothing is known of depths then, which takes longer
        depths = torch.full((len(placed), views.height, views.width), torch.nan, device="cpu")
    return _Seeds(chosen, replace(estimate, points=None, alternatives=()), depths)


def _start(
    different: Sequence[int], seen: Sequence[Seen], seeds: _Seeds, lenses: _Lenses, size: tuple[int, int]
) -> Start:
    """What is known of the different photos before the loop."""
    cameras = seeds.estimate.cameras
    zooms = torch.tensor([lenses.zoom(seeds.index[row]) for row in seeds.estimate.indices])
    typical = float((cameras.focal_lengths.mean(1) / zooms.to(cameras.Ks)).median())
    middle = 0.5 * torch.tensor(size, device="cpu")
    Ks = torch.eye(3, device="cpu").repeat(len(different), 1, 1)
    for k, v in enumerate(different):
        Ks[k, [0, 1], [0, 1]] = typical * lenses.zoom(v) if lenses.focals is None else lenses.focals[v]
        Ks[k, :2, 2] = middle + lenses.principal(v)
    viewmats = torch.eye(4, device="cpu").repeat(len(different), 1, 1)
    posed = torch.zeros(len(different), dtype=torch.bool, device="cpu")
    known: list[Tensor | None] = [None] * len(different)
    for camera, row in enumerate(seeds.estimate.indices):
        k = different.index(seeds.index[row])
        posed[k], viewmats[k], Ks[k] = True, cameras.viewmats[camera], cameras.Ks[camera]
        pixels = seen[k].pixels.cpu()
        known[k] = lifted(pixels, seeds.depths[camera], viewmats[k], Ks[k]).float()
    return Start(viewmats, Ks, posed, known, float(max(size)))


# -------------------------------------------------------------------- what comes of it


def _estimate(
    found: Registered, collection: Collection, seeds: _Seeds, shared: SharedPoints, size: tuple[int, int]
) -> PoseEstimate:
    """The estimate for all photos, at the usual distance from the object."""
    rows = found.placed.nonzero()[:, 0].tolist()
    if len(rows) < 2:
        raise CameraError("fewer than two photos could be registered; use photos that overlap more")
    cameras = Cameras(found.viewmats[rows], found.Ks[rows], *size)
    scale = float(CAMERA_DISTANCE / cameras.centers.norm(dim=1).mean())
    still, origin = torch.eye(3, device="cpu"), torch.zeros(3, device="cpu")
    matches: Correspondences | None = agreeing_pairs(shared, found, size)
    different = PoseEstimate(
        cameras=cameras.transformed(scale, still, origin),
        placed=found.placed,
        confidence=(found.agreeing / _SURELY).clamp(0, 1),
        matches=matches,
        remarks=seeds.estimate.remarks,
    )
    place = {v: k for k, v in enumerate(collection.different)}
    everyone = for_all(different, [place.get(same, -1) for same in collection.first])
    return replace(everyone, oddities=_oddities(seeds, everyone))


def _oddities(seeds: _Seeds, everyone: PoseEstimate) -> tuple[Oddity, ...]:
    """What was odd about the first photos, but for those that were registered as they are after all."""
    listed = [
        replace(odd, view=seeds.index[odd.view], of=None if odd.of is None else seeds.index[odd.of])
        for odd in seeds.estimate.oddities
    ]
    return tuple(
        odd
        for odd in sorted(listed, key=lambda odd: odd.view)
        if not (everyone.placed[odd.view] and odd.kind in ("mirrored", "foreign"))
    )
