"""The first two stages, from a folder of photos to cameras: cut out, and pose."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agsrec.camera_files import camera_file_digest, find_photo_cameras, is_of_photos
from agsrec.checkpoints import fingerprint
from agsrec.dataset import load_unposed_views
from agsrec.embedded import EMBEDDED_MATCHER, embedded_folder
from agsrec.files import contents_digest, folder_entries
from agsrec.fit.support import unsupported_shares
from agsrec.images import has_photos
from agsrec.metrics.coverage import one_side_sentence
from agsrec.pipeline.desk import Desk
from agsrec.pipeline.many_photos import Others, are_many, pose_one_by_one
from agsrec.pipeline.match_memory import match_memory
from agsrec.pipeline.odd_photos import odd_entries, odd_sentences
from agsrec.pipeline.settings import PhotoFolder
from agsrec.pose_init import METHODS, initialize
from agsrec.pose_init.originals import originals_digests
from agsrec.store import Request
from agsrec.view_files import SizedViews, find_view_files

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.pose_init import PoseEstimate
    from agsrec.views import Views

__all__ = ["Posed", "cut_out_photos", "pose_in_memory", "pose_photos", "pose_views", "say_what_nobody_saw"]

_PATIENCE = 600.0  # seconds to wait for another run that is cutting the same photos out
_MOST_UNSUPPORTED = 0.2  # of a mask: double what good masks reach with poses that are 8 degrees off


@dataclass(frozen=True)
class Posed:
    """Outcome of an initialiser.

    Attributes:
        everyone: The V views it was shown.
        estimate: Cameras of the P views that could be placed, and more.
        seconds: Time it took.
        others: Photos that have cameras too, and that a fit is not given.
    """

    everyone: Views
    estimate: PoseEstimate
    seconds: float
    others: Others | None = None

    @property
    def views(self) -> Views:
        """The P views that could be placed."""
        return self.everyone[self.estimate.indices]

    def extras(self) -> dict[str, dict[str, Any]]:
        """What `cameras.json` stores of each placed view besides its camera."""
        values = self.estimate.confidence[self.estimate.placed].tolist()
        focal: dict[str, Any] = {} if self.estimate.focal_known else {"focal_estimated": True}
        found = {
            name: {"confidence": round(v, 4), **focal}
            for name, v in zip(self.views.names, values, strict=True)
        }
        if self.estimate.matches is not None:
            held = self.matched()
            for name, entry in found.items():
                entry["rests_on"] = "matches" if name in held else "shape"
        if self.estimate.metres_per_unit is not None:
            for entry in found.values():
                entry["metres_per_unit"] = self.estimate.metres_per_unit
        for name in self.undecided():
            found[name]["ambiguous"] = True
        for name, odd in odd_entries(self.everyone.names, self.estimate.oddities).items():
            found[name] = {**found[name], **odd}
        return found

    def undecided(self) -> list[str]:
        """Names of the views that stand elsewhere in an arrangement that explains the photos as well."""
        return [self.views.names[index] for index in self.estimate.undecided()]

    def matched(self) -> set[str]:
        """Names of the views that share points with others by which their poses are known."""
        matches = self.estimate.matches
        return set() if matches is None else {self.views.names[i] for i in matches.pairs.unique().tolist()}


# -------------------------------------------------------------------- cut out


@dataclass(frozen=True)
class CutOutRecord:
    """What was written when photos were cut out.

    Attributes:
        files: Digests of the cut-out photos by name.
        said: What was done, and sentences for which cut-outs should be looked at.
    """

    files: Mapping[str, str]
    said: tuple[str, ...]


def cut_out_photos(desk: Desk, folder: Path) -> None:
    """Cut the photos of a folder out into its `processed/`, as `agsrec process` does.

    Cut-outs that are there are used as they are, unless an earlier run into the same result made them from
    other photos or otherwise, and nobody has touched them since.
    """
    from agsrec.preprocess import is_unfinished

    if not has_photos(folder) or _cut_outs(folder):
        return  # whoever needs photos says so
    there = {} if is_unfinished(folder) else _digests(folder)
    ours = desk.store.latest("cutout")
    if there and desk.store.is_used("cutout") and (ours is None or ours.files != there):
        return
    if not there:
        desk.store.distrust("cutout", "the cut-out photos are not there")
    request = _cut_out_request(desk, folder)
    record = desk.once(request, "cutting the object out of the photos", lambda _: _cut_out(desk, folder))
    what, *remarks = record.said
    desk.listener.say(what)
    for sentence in remarks:
        desk.listener.warn(sentence)


def _cut_outs(folder: Path) -> list[Path]:
    return [f for f in folder_entries(folder) if f.name.endswith("_rgba.png")]


def _digests(folder: Path) -> dict[str, str]:
    return {f.name: contents_digest(f) for f in _cut_outs(folder / "processed")}


def _photo_cameras(desk: Desk, folder: Path) -> Path | None:
    """The camera file by which photos are undistorted, where it is not the one that is with them."""
    file = desk.settings.posing.file
    if file is None or file == find_photo_cameras(folder) or not is_of_photos(file):
        return None  # others are for the cut-out views
    return file


def _cut_out_request(desk: Desk, folder: Path) -> Request:
    from agsrec.preprocess import AUTO, EMBEDDED, default_model, find_photos

    model = desk.settings.background_model
    model = default_model() if model == AUTO else model
    cameras = _photo_cameras(desk, folder) or find_photo_cameras(folder)
    weights = embedded_folder(EMBEDDED) if model == EMBEDDED else None
    inputs = {
        "photos": {name: contents_digest(file) for name, file in find_photos(folder)[1].items()},
        "masks": contents_digest(folder / "masks"),
        "camera file": "none" if cameras is None else camera_file_digest(cameras),
        "weights": "none" if weights is None else fingerprint(weights),
    }
    return desk.request("cutout", inputs, background_model=model)


def _cut_out(desk: Desk, folder: Path) -> CutOutRecord:
    from agsrec.preprocess import process

    model, cameras = desk.settings.background_model, _photo_cameras(desk, folder)
    done = process(folder, model=model, cameras=cameras, patience=_PATIENCE)
    undistorted = ", undistorted" if done.lenses else ""
    said = f"Cut {len(done.files)} photos out{undistorted} into {folder / 'processed'}"
    return CutOutRecord(_digests(folder), (said, *done.remarks()))


# -------------------------------------------------------------------- pose


def pose_photos(desk: Desk, photos: PhotoFolder) -> Posed:
    """Estimate the cameras of a folder's cut-out photos; says what was placed and what was not."""
    files = find_view_files(photos.folder, num_views=photos.num_views, views=photos.views)
    if are_many(desk, len(files)):
        sized = SizedViews.of(files, size=desk.settings.working_size)
        posed = _posed_one_by_one(desk, sized, photos.folder)
    else:
        posed = _posed_together(desk, photos)
    estimate = posed.estimate
    for sentence in estimate.remarks:
        desk.listener.warn(sentence)
    if estimate.metres_per_unit is not None:
        desk.listener.say(f"A unit of the scene is {estimate.metres_per_unit:.3g} m long")
    _say_what_does_not_fit(desk, posed)
    _say_what_is_unsure(desk, posed)
    _say_what_is_ambiguous(desk, posed)
    _say_that_two_share_nothing(desk, posed)
    say_what_nobody_saw(desk, estimate.cameras)
    return posed


def _posed_one_by_one(desk: Desk, sized: SizedViews, folder: Path | None = None) -> Posed:
    """The same of photos that are too many to be posed together; says what became of each."""
    many = pose_one_by_one(desk, sized, folder)
    for sentence in many.sentences():
        desk.listener.say(sentence)
    if many.lost:
        desk.listener.warn(f"Left out, because they could not be registered: {', '.join(many.lost)}")
    for sentence in odd_sentences(many.names, many.estimate.oddities):
        desk.listener.warn(sentence)
    views, estimate, others = many.together(sized)
    return Posed(views, estimate, many.seconds, others)


def _posed_together(desk: Desk, photos: PhotoFolder) -> Posed:
    """The same of a few photos; says which have cameras."""
    folder, posing = photos.folder, desk.settings.posing
    size = desk.settings.working_size
    loaded = load_unposed_views(folder, num_views=photos.num_views, views=photos.views, size=size)
    posed = pose_views(desk, loaded, folder)
    estimate = posed.estimate
    focal = float(estimate.cameras.focal_lengths.mean())
    source = f"{posing.method} ({posing.file})" if posing.file else posing.method
    desk.listener.say(
        f"{source} placed {len(estimate.cameras)} of {len(loaded)} views in {posed.seconds:.1f} s, "
        f"focal length {focal:.0f} pixels of {loaded.width}"
    )
    for sentence in odd_sentences(loaded.names, estimate.oddities):
        desk.listener.warn(sentence)
    odd = {loaded.names[o.view] for o in estimate.oddities}
    placed = zip(loaded.names, estimate.placed.tolist(), strict=True)
    lost = [name for name, is_placed in placed if not is_placed and name not in odd]
    if lost:
        desk.listener.warn(f"Left out, because their poses could not be found: {', '.join(lost)}")
    return posed


def pose_in_memory(desk: Desk, views: Views) -> Posed:
    """Estimate the cameras of cut-out photos that are in memory: as those of a folder, of few or many."""
    if not are_many(desk, len(views)):
        return pose_views(desk, views)
    pixels = (views.images.detach().cpu() * 255).round().byte().numpy()
    return _posed_one_by_one(desk, SizedViews.of_pictures(pixels, views.names))


def pose_views(desk: Desk, views: Views, folder: Path | None = None) -> Posed:
    """Estimate the cameras of cut-out photos, which processing may have written into a folder."""
    settings = desk.settings
    posing = settings.posing
    usual = METHODS[posing.method].model if posing.method in METHODS else None
    model = usual if posing.model is None else posing.model
    inputs = {
        "photos": views,
        "crops.json": "none" if folder is None else contents_digest(folder / "processed" / "crops.json"),
        "camera file": "none" if posing.file is None else camera_file_digest(posing.file),
        "weights": "none" if model is None else fingerprint(model),
    }
    options = {"init": posing.method, "init_focal": posing.focal}
    if posing.method == "auto":
        options["background"] = posing.background
        if posing.background != "moving" and folder is not None:
            inputs["photos with their background"] = originals_digests(folder)
        matcher = embedded_folder(EMBEDDED_MATCHER)
        inputs["matcher"] = "none" if matcher is None else contents_digest(matcher)
    if posing.method == "colmap" and folder is not None:
        inputs["photos with their background"] = contents_digest(folder / "source")
    request = desk.request("poses", inputs, **options, seed=settings.seed, device=desk.device.type)

    def estimated(_: object) -> Posed:
        clock = time.perf_counter()
        memory = match_memory(desk, request)
        estimate = initialize(
            views,
            posing.method,
            model=posing.model,
            device=settings.device,
            focal=posing.focal,
            file=posing.file,
            folder=folder,
            background=posing.background,
            memory=memory,
            seed=settings.seed,
        )
        memory.tidy()
        return Posed(views, estimate, time.perf_counter() - clock)

    return desk.once(request, f"estimating the cameras of {len(views)} views", estimated)


def _say_what_does_not_fit(desk: Desk, posed: Posed) -> None:
    """Name the photos whose masks the other photos contradict, now that their poses are known."""
    views = posed.views
    for name, share in zip(
        views.names, unsupported_shares(views, posed.estimate.cameras).tolist(), strict=True
    ):
        if share > _MOST_UNSUPPORTED:
            desk.listener.warn(
                f"The cut-out of {name} is doubtful: {share:.0%} of it lies where the other photos show "
                "nothing of the object, or its pose is wrong; look at it"
            )


def _say_what_is_unsure(desk: Desk, posed: Posed) -> None:
    """Name the photos that no shared texture ties to the others, where it does tie some."""
    held = posed.matched()
    loose = [name for name in posed.views.names if name not in held]
    if held and loose:
        were = "was" if len(loose) == 1 else "were"
        desk.listener.warn(
            f"Only the shape says where {', '.join(loose)} {were} taken from: no print or "
            "texture that the other photos show too; look at the poses, or take photos in between"
        )


def _say_what_is_ambiguous(desk: Desk, posed: Posed) -> None:
    """Name the photos that could as well have been taken from elsewhere."""
    undecided = posed.undecided()
    if undecided:
        desk.listener.warn(
            f"The object looks alike from several sides: {', '.join(undecided)} would fit as well from "
            "elsewhere, so these poses are a guess; photos in which a mark on the object, or something that "
            "stands beside it, tells its sides apart would decide"
        )


def say_what_nobody_saw(desk: Desk, cameras: Cameras) -> None:
    """Say so where the photos leave a side of the object to be made up."""
    sentence = one_side_sentence(cameras)
    if sentence is not None:
        desk.listener.warn(sentence)


def _say_that_two_share_nothing(desk: Desk, posed: Posed) -> None:
    """Of two photos without matches nobody can say which is wrong, if one is."""
    matched = desk.settings.posing.method == "auto" and embedded_folder(EMBEDDED_MATCHER) is not None
    if matched and len(posed.everyone) == 2 and posed.estimate.matches is None:
        desk.listener.warn(
            f"{' and '.join(posed.everyone.names)} share no print or texture: only their shapes say where "
            "they were taken from, and if they show different objects the result is of neither; take a photo "
            "in between"
        )
