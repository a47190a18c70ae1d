"""One contract for all initialisers: photos in, cameras of those that could be placed out."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch

from agsrec.device import resolve_device
from agsrec.embedded import EMBEDDED_MATCHER
from agsrec.errors import CameraError, OptionError, SceneError
from agsrec.matching import Oddity
from agsrec.names import BackgroundName, MethodName
from agsrec.pose_init.estimate import PoseEstimate
from agsrec.pose_init.focal import crop_zooms, exif_focals, focals_per_view, typical
from agsrec.pose_init.normalize import normalize_estimate, with_focals
from agsrec.pose_init.principal import as_photographed, principal_offsets
from agsrec.pose_init.spread import for_all

if TYPE_CHECKING:
    from agsrec.store import Memory
    from agsrec.views import Views

__all__ = ["METHODS", "Method", "MethodName", "PlacementError", "Task", "initialize"]

_MIN_OBJECT_PIXELS = 4  # fewer are dust, not an object


class PlacementError(CameraError):
    """The photos do not let a method find at least two poses."""


@dataclass(frozen=True)
class Task:
    """What an initialiser is given.

    Attributes:
        views: Views with an object in each, no two the same picture.
        model: Name or folder of the model, or a model; the method's own where it is None.
        device: Where to compute: "cpu" or "cuda".
        focals: Focal length of each view in pixels, if known.
        zooms: Proportions of the focal lengths, if known.
        file: Camera file, for the method that reads one.
        folder: Folder that preprocessing wrote, if there is one.
        background: Whether what the photos show around the object stood still with it.
        refine: Whether to better rough poses before they are returned.
        memory: Where features and matches are kept for the next time.
        seed: Seed of everything random.
    """

    views: Views
    model: Any = None
    device: str = "cpu"
    focals: Sequence[float] | None = None
    zooms: Sequence[float] | None = None
    file: str | Path | None = None
    folder: Path | None = None
    background: BackgroundName = "auto"
    refine: bool = True
    memory: Memory | None = None
    seed: int = 0


@dataclass(frozen=True)
class Method:
    """An initialiser.

    Attributes:
        run: Estimates the poses.
        model: Model that is used unless another is named; None where the method has none or no usual one.
        learned: Whether it has a model at all.
        upright: Whether its world has an up direction of its own, which normalising would lose.
        exact: Whether its cameras know the photos' principal points; others' look through middles of views.
    """

    run: Callable[[Task], PoseEstimate]
    model: str | None = None
    learned: bool = False
    upright: bool = False
    exact: bool = False


def _imported(module: str, name: str) -> Callable[..., PoseEstimate]:
    """An initialiser by name: its module, and what that imports, loads on first use."""
    return getattr(importlib.import_module(f"agsrec.pose_init.{module}"), name)


def _auto(task: Task) -> PoseEstimate:
    return _with_all_evidence(task, _imported("auto", "initialize_auto"))


def _ace0(task: Task) -> PoseEstimate:
    return _with_all_evidence(task, _imported("ace0.initializer", "initialize_ace0"))


def _with_all_evidence(task: Task, run: Callable[..., PoseEstimate]) -> PoseEstimate:
    return run(
        task.views,
        model=task.model,
        device=task.device,
        focals=task.focals,
        zooms=task.zooms,
        folder=task.folder,
        background=task.background,
        refine=task.refine,
        memory=task.memory,
        seed=task.seed,
    )


def _nview(task: Task) -> PoseEstimate:
    run = _imported("nview", "initialize_nview")
    focals, zooms = (None if v is None else torch.tensor([*v]) for v in (task.focals, task.zooms))
    return run(
        task.views,
        model=task.model,
        device=task.device,
        focal=focals,
        zooms=zooms,
        refine=task.refine,
        seed=task.seed,
    )


def _dust3r(task: Task) -> PoseEstimate:
    run = _imported("dust3r.initializer", "initialize_dust3r")
    return run(task.views, model=task.model, device=task.device, focal=typical(task.focals))


def _mast3r(task: Task) -> PoseEstimate:
    run = _imported("mast3r.initializer", "initialize_mast3r")
    return run(task.views, model=task.model, device=task.device, focal=typical(task.focals))


def _leap(task: Task) -> PoseEstimate:
    run = _imported("leap.initializer", "initialize_leap")
    return run(task.views, model=task.model, device=task.device, focal=typical(task.focals))


def _noposplat(task: Task) -> PoseEstimate:
    run = _imported("noposplat.initializer", "initialize_noposplat")
    return run(task.views, model=task.model, device=task.device, focals=task.focals, refine=task.refine)


def _colmap(task: Task) -> PoseEstimate:
    run = _imported("colmap", "initialize_colmap")
    return run(task.views, focals=task.focals, folder=task.folder, device=task.device, seed=task.seed)


def _file(task: Task) -> PoseEstimate:
    if task.file is None:
        raise OptionError("the method file needs the camera file it shall read")
    return _imported("camera_file", "initialize_from_file")(task.views, task.file, folder=task.folder)


METHODS: dict[str, Method] = {
    "auto": Method(_auto, model="nview-mini", learned=True, upright=True),
    "nview": Method(_nview, model="nview-mini", learned=True, upright=True),
    "dust3r": Method(_dust3r, model="naver/DUSt3R_ViTLarge_BaseDecoder_224_linear", learned=True),
    "mast3r": Method(
        _mast3r, model="naver/MASt3R_ViTLarge_BaseDecoder_512_catmlpdpthead_metric", learned=True
    ),
    "leap": Method(_leap, learned=True),
    "noposplat": Method(_noposplat, model="botaoye/NoPoSplat", learned=True),
    "ace0": Method(_ace0, model=EMBEDDED_MATCHER, learned=True, upright=True, exact=True),
    "colmap": Method(_colmap),
    "file": Method(_file, upright=True, exact=True),
}
"""All initialisers by name."""


def initialize(
    views: Views,
    method: MethodName = "auto",
    *,
    model: Any = None,
    device: str = "auto",
    focal: float | Sequence[float] | None = None,
    zooms: Sequence[float] | None = None,
    file: str | Path | None = None,
    folder: str | Path | None = None,
    background: BackgroundName = "auto",
    refine: bool = True,
    memory: Memory | None = None,
    seed: int = 0,
) -> PoseEstimate:
    """Estimate the cameras of photos of one object.

    A view without an object is not placed. Views that are the same picture get the same camera. The focal
    length is the one given, or else the one that the camera wrote into the photos, or else the method's own
    estimate.

    Args:
        views: V cut-out photos, at least two different ones with an object.
        method: `auto`, `nview`, `dust3r`, `mast3r`, `leap`, `noposplat`, `ace0`, `colmap` or
            `file`.
        model: Name or folder of the method's model, or the model itself; its usual one by default. That of
            `auto` is `nview`'s; that of `ace0` the embedded matcher, or a file with ACE's encoder.
        device: "auto", "cpu" or "cuda".
        focal: Focal length in pixels of the views, one or one per view, if known.
        zooms: For `auto`, `nview` and `ace0`: how much larger each view shows things than its photo, all of
            them taken by one camera of unknown focal length; what `folder` tells by default.
        file: For `file`: a `cameras.json`, a `transforms.json` or a folder with a COLMAP model.
        folder: Folder that preprocessing wrote: with focal lengths, crops, and photos with their background.
        background: For `auto`: whether what the photos show around the object stood still with it ("static"),
            and is matched too, or not ("moving"); "auto" finds out where there are such photos in `folder`.
        refine: For `auto` and `nview`: let coarse scenes choose among guesses and better their poses (see
            `agsrec.pose_init.refine`), some seconds on a CPU; off returns the likeliest guess. For
            `noposplat`: better its poses against the pictures.
        memory: For `auto`: where features and matches of the photos are kept, so that another photo, or
            another seed, costs only what is new.
        seed: Seed of everything random.

    Returns:
        Cameras of the views that could be placed, which see the origin near the middles of their pictures, +y
        up, at the mean distance `CAMERA_DISTANCE`.

    Raises:
        OptionError: An argument cannot be used, or there are too few views.
        PlacementError: Fewer than two views could be placed.
        DeviceError, CheckpointError, MissingExtraError, CameraError: As the message says.
    """
    chosen = _method(method, model, file)
    if background not in get_args(BackgroundName):
        raise OptionError(f"--background must be auto, static or moving, not {background!r}")
    if background != "auto" and method not in ("auto", "ace0"):
        raise OptionError(f"--background: the initialiser {method} does not ask for it; leave it out")
    target = resolve_device(device)
    if not 0 <= seed < 2**63:
        raise OptionError(f"--seed must be between 0 and 2**63 - 1, not {seed}")
    focals = focals_per_view(focal, len(views), views.width, views.height)
    if focals is None and folder is not None:
        focals = exif_focals(folder, views.names, views.width)
    if zooms is not None and len(zooms) != len(views):
        raise OptionError(f"{len(zooms)} zooms given for {len(views)} views; give one per view")
    if zooms is None and folder is not None:
        zooms = crop_zooms(folder, views.names, views.width)
    twin = _twins(views, merge=method != "file")
    kept = [i for i, first in enumerate(twin) if first == i]
    if method != "file":
        _require_two(views, twin, len(kept))
    task = Task(
        views=views[kept],
        model=chosen.model if model is None else model,
        device=target.type,
        focals=None if focals is None else [focals[i] for i in kept],
        zooms=None if zooms is None else [zooms[i] for i in kept],
        file=file,
        folder=None if folder is None else Path(folder),
        background=background,
        refine=refine,
        memory=memory,
        seed=seed,
    )
    estimate = _placed(chosen, task, method)
    if chosen.learned and task.focals is not None:
        estimate = _with_focals(estimate, [task.focals[i] for i in estimate.indices])
    known = method == "file" or task.focals is not None
    position = {view: k for k, view in enumerate(kept)}
    everyone = for_all(estimate, [position.get(first, -1) for first in twin])
    offsets = None if folder is None else principal_offsets(folder, views.names, views.width)
    if offsets is not None and not chosen.exact:
        everyone = as_photographed(everyone, offsets)
    return replace(everyone, focal_known=known, oddities=_with_copies(everyone, twin))


def _method(name: str, model: Any, file: str | Path | None) -> Method:
    """The method of that name, if the other arguments go with it."""
    if name not in METHODS:
        raise OptionError(f"unknown initialiser {name!r}; there are {', '.join(get_args(MethodName))}")
    chosen = METHODS[name]
    if model is not None and not chosen.learned:
        raise OptionError(f"the initialiser {name} has no model; leave the model out")
    if model is None and chosen.learned and chosen.model is None:
        raise OptionError(f"the initialiser {name} comes without a model; name a checkpoint of it")
    if file is not None and name != "file":
        raise OptionError(f"the initialiser {name} reads no camera file; use the method file for {file}")
    return chosen


def _twins(views: Views, *, merge: bool) -> list[int]:
    """For each view the first view that is the same picture, itself if none; -1 where it shows no object.

    Without `merge`, each view stands for itself.
    """
    shown = (views.masks >= 0.5).flatten(1).sum(1) >= _MIN_OBJECT_PIXELS
    pictures = views.composited(torch.zeros(3).to(views.images))
    out: list[int] = []
    for i in range(len(views)):
        same = (j for j in range(i) if merge and out[j] == j and torch.equal(pictures[i], pictures[j]))
        out.append(next(same, i) if shown[i] else -1)
    return out


def _with_copies(estimate: PoseEstimate, twin: Sequence[int]) -> tuple[Oddity, ...]:
    """What is odd about views, and those that are the same picture as an earlier one."""
    named = {odd.view for odd in estimate.oddities}
    copies = [
        Oddity(view, "copy", of=twin[view])
        for view in estimate.indices
        if twin[view] != view and view not in named
    ]
    return tuple(sorted([*estimate.oddities, *copies], key=lambda odd: odd.view))


def _require_two(views: Views, twin: Sequence[int], different: int) -> None:
    """Raise unless there are two different views to relate to each other."""
    if len(views) == 1:
        raise OptionError(f"one view ({views.names[0]}) cannot be posed: there is no other to relate it to")
    if different >= 2:
        return
    blank = [name for name, first in zip(views.names, twin, strict=True) if first < 0]
    if blank:
        raise PlacementError(
            f"at least 2 views with an object are needed to pose them; {', '.join(blank)} "
            f"{'shows' if len(blank) == 1 else 'show'} none, cut out again or use other photos"
        )
    raise PlacementError(f"all {len(views)} views are the same picture; use photos from different sides")


def _placed(chosen: Method, task: Task, method: str) -> PoseEstimate:
    """The method's estimate in the usual world."""
    try:
        estimate = _checked(chosen.run(task), task.views, method)
        return estimate if chosen.upright else normalize_estimate(estimate)
    except (CameraError, SceneError) as error:
        if method == "file":  # it is the file that is wrong
            raise
        raise PlacementError(str(error)) from error


def _checked(estimate: PoseEstimate, views: Views, method: str) -> PoseEstimate:
    """The estimate, if it keeps the contract."""
    cameras, count = estimate.cameras, len(estimate.cameras)
    if count < 2 and method != "file":
        raise PlacementError(
            f"{method} could place only {count} of {len(views)} views; take photos that overlap more, "
            "or try another initialiser"
        )
    assert len(estimate.placed) == len(views), (len(estimate.placed), len(views))
    assert (cameras.width, cameras.height) == (views.width, views.height), (cameras.width, cameras.height)
    if not (cameras.viewmats.isfinite().all() and cameras.Ks.isfinite().all()):
        raise PlacementError(f"{method} found no finite cameras for these views; try another initialiser")
    return estimate


def _with_focals(estimate: PoseEstimate, focals: Sequence[float]) -> PoseEstimate:
    others = tuple(replace(a, cameras=with_focals(a.cameras, focals)) for a in estimate.alternatives)
    cameras, points = with_focals(estimate.cameras, focals), estimate.points
    if points is not None:
        points = points.moved(estimate.cameras, cameras)
    return replace(estimate, cameras=cameras, points=points, alternatives=others)
