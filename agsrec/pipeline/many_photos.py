"""More photos than are posed and fitted together: a few are, and the others are registered to them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from agsrec.camera_files import camera_file_digest
from agsrec.checkpoints import fingerprint
from agsrec.files import contents_digest
from agsrec.pipeline.match_memory import match_memory
from agsrec.pose_init import METHODS
from agsrec.pose_init.ace0.seeds import SEEDS
from agsrec.pose_init.farthest import farthest_cameras
from agsrec.pose_init.originals import originals_digests

if TYPE_CHECKING:
    from pathlib import Path

    from agsrec.cameras import Cameras
    from agsrec.pipeline.desk import Desk
    from agsrec.pose_init import PoseEstimate
    from agsrec.store import Checkpointing, Request
    from agsrec.view_files import SizedViews
    from agsrec.views import Views

__all__ = ["MOST_TOGETHER", "ManyPosed", "Others", "are_many", "fitted_of", "pose_one_by_one"]

MOST_TOGETHER = 12
"""Photos that a fit is given at most, and an initialiser at once unless one is named."""

_TRUSTED = 0.25  # share of the registered photos that are not fitted: those whose poses are least sure


@dataclass(frozen=True)
class Others:
    """Registered photos that a fit is not given.

    Attributes:
        photos: All photos of the folder, read when asked for.
        names: Those that are not fitted.
        cameras: Their cameras, in the world of the fitted ones before the fit.
    """

    photos: SizedViews
    names: tuple[str, ...]
    cameras: Cameras

    def contents(self) -> dict[str, object]:
        """What tells whether anything has changed."""
        return {"photos": self.photos.full.select(self.names).contents(), "cameras": self.cameras}


@dataclass(frozen=True)
class ManyPosed:
    """Outcome of posing many photos; of their pictures nothing is in it.

    Attributes:
        names: All V photos.
        estimate: Of all of them.
        fitted: Those that are fitted, at most `MOST_TOGETHER`, in their order.
        seconds: Time it took.
    """

    names: tuple[str, ...]
    estimate: PoseEstimate
    fitted: tuple[int, ...]
    seconds: float

    @property
    def lost(self) -> list[str]:
        """Names of the photos that could not be registered, but for those that are odd in a known way."""
        odd = {odd.view for odd in self.estimate.oddities}
        out = (~self.estimate.placed).nonzero().flatten().tolist()
        return [self.names[view] for view in out if view not in odd]

    def together(self, photos: SizedViews) -> tuple[Views, PoseEstimate, Others | None]:
        """The photos to fit, their estimate, and the other registered ones, if there are any."""
        camera = {view: k for k, view in enumerate(self.estimate.indices)}
        rest = [view for view in camera if view not in self.fitted]
        others = None
        if rest:
            cameras = self.estimate.cameras[[camera[view] for view in rest]]
            others = Others(photos, tuple(self.names[view] for view in rest), cameras)
        return photos.views(self.fitted), self._fitted_alone(camera), others

    def _fitted_alone(self, camera: Mapping[int, int]) -> PoseEstimate:
        """The estimate of the photos to fit; `camera` is the index of each photo's."""
        whole, index = self.estimate, [camera[view] for view in self.fitted]
        return replace(
            whole,
            cameras=whole.cameras[index],
            placed=whole.placed[list(self.fitted)],
            confidence=whole.confidence[list(self.fitted)],
            matches=None if whole.matches is None else whole.matches.renumbered(index),
            oddities=(),
        )

    def sentences(self) -> list[str]:
        """What was done, and with which photos."""
        placed = len(self.estimate.cameras)
        said = [
            f"{len(self.names)} photos: {min(SEEDS, len(self.names))} that overlap were posed first, the "
            f"others registered to them (ace0); {placed} have poses after "
            f"{self.seconds:.1f} s"
        ]
        if placed > len(self.fitted):
            named = ", ".join(self.names[view] for view in self.fitted)
            said.append(
                f"The fit is given the {len(self.fitted)} that are farthest apart: {named}; the other "
                f"{placed - len(self.fitted)} are kept to check it"
            )
        return said


def are_many(desk: Desk, count: int) -> bool:
    """Whether so many photos are registered one by one: too many for `auto`, or it is asked for."""
    method = desk.settings.posing.method
    return method == "ace0" or (method == "auto" and count > MOST_TOGETHER)


def pose_one_by_one(desk: Desk, sized: SizedViews, folder: Path | None = None) -> ManyPosed:
    """Estimate the cameras of cut-out photos, of which one at a time is in memory.

    Args:
        desk: Settings, listener and store.
        sized: The photos, read when asked for.
        folder: Folder that processing wrote them into, if it did.
    """
    request = _request(desk, folder, sized)
    return desk.once(
        request,
        f"estimating the cameras of {len(sized)} views",
        partial(_posed, desk, folder, sized, request),
    )


def _model(desk: Desk, method: str) -> str:
    """The model of `auto` or `ace0`: its usual one, unless it was asked for with another."""
    posing = desk.settings.posing
    usual = METHODS[method].model
    assert usual is not None
    return posing.model if posing.model is not None and posing.method == method else usual


def _request(desk: Desk, folder: Path | None, sized: SizedViews) -> Request:
    settings, posing = desk.settings, desk.settings.posing
    inputs: dict[str, Any] = {
        "photos": sized.full.contents(),
        "crops.json": "none" if folder is None else contents_digest(folder / "processed" / "crops.json"),
        "camera file": "none" if posing.file is None else camera_file_digest(posing.file),
        "weights": fingerprint(_model(desk, "auto")),
        "matcher": fingerprint(_model(desk, "ace0")),
    }
    if posing.background != "moving" and folder is not None:
        inputs["photos with their background"] = originals_digests(folder)
    size = f"{sized.width} x {sized.height}"
    options = {"init": "ace0", "init_focal": posing.focal, "background": posing.background, "size": size}
    return desk.request("poses", inputs, **options, seed=settings.seed, device=desk.device.type)


def _posed(
    desk: Desk,
    folder: Path | None,
    sized: SizedViews,
    request: Request,
    begun: Checkpointing | None,
) -> ManyPosed:
    from agsrec.pose_init.ace0.initializer import pose_many

    settings, names = desk.settings, sized.full.names
    posing = settings.posing
    clock = time.perf_counter()
    memory = match_memory(desk, request)
    estimate = pose_many(
        sized,
        names,
        model=_model(desk, "ace0"),
        first_model=_model(desk, "auto"),
        device=settings.device,
        focals=None if posing.focal is None else [posing.focal] * len(names),
        folder=folder,
        background=posing.background,
        memory=memory,
        seed=settings.seed,
        checkpointing=begun,
        report=partial(desk.listener.doing, "poses"),
    )
    memory.tidy()
    return ManyPosed(names, estimate, fitted_of(estimate), time.perf_counter() - clock)


def fitted_of(estimate: PoseEstimate, most: int = MOST_TOGETHER) -> tuple[int, ...]:
    """The photos to fit: of those whose poses are surest, the ones farthest apart."""
    placed: Sequence[int] = estimate.indices
    if len(placed) <= most:
        return tuple(placed)
    sure = estimate.confidence[list(placed)]
    count = max(most, round((1 - _TRUSTED) * len(placed)))
    surest = sure.argsort(descending=True, stable=True)[:count].sort().values.tolist()
    return tuple(placed[surest[k]] for k in farthest_cameras(estimate.cameras[surest], most))
