"""The outlier loop: fit, leave out, search, fit again in competition, accept or keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal

import torch

from agsrec.cameras import Cameras
from agsrec.errors import CameraError, SceneError
from agsrec.fit import FitResult, fit
from agsrec.metrics.poses import align_cameras
from agsrec.outliers.detect import Detection, Pair, detect
from agsrec.outliers.repose import Searched, repose
from agsrec.outliers.residuals import view_errors
from agsrec.outliers.rounds import Rounds

if TYPE_CHECKING:
    from torch import Tensor

    from agsrec.fit import FitProgress
    from agsrec.metrics.images import PerceptualModel
    from agsrec.outliers.config import OutlierConfig
    from agsrec.store import Checkpointing
    from agsrec.views import Views

__all__ = ["Branch", "Contest", "Correction", "Verdict", "correct_outliers"]

Verdict = Literal["trusted", "confirmed", "corrected", "kept", "unusable"]
"""Never suspected; suspected, but no better pose was found; posed anew; a new pose was found but lost against
the given one; explained by no pose and left out."""

Branch = Literal["given", "corrected"]
"""Which cameras the result is fitted from."""


@dataclass(frozen=True)
class Contest:
    """A fit from corrected poses against one from the given poses.

    Attributes:
        views: The views that take part, by index.
        moved: Those whose poses differ.
        corrected: Errors of all in the first fit; see `view_errors`.
        given: Errors of all in the second.
    """

    views: tuple[int, ...]
    moved: tuple[int, ...]
    corrected: tuple[float, ...]
    given: tuple[float, ...]

    @property
    def improved(self) -> tuple[int, ...]:
        """The moved views whose errors fell."""
        pairs = zip(self.views, self.corrected, self.given, strict=True)
        return tuple(view for view, new, old in pairs if view in self.moved and new < old)

    @property
    def accepted(self) -> bool:
        """Whether every moved view and the mean improve."""
        return self.improved == tuple(sorted(self.moved)) and sum(self.corrected) < sum(self.given)


@dataclass(frozen=True)
class Correction:
    """Outcome of the loop.

    Attributes:
        views: All V photos.
        given: Their cameras as given.
        start: Cameras to fit from, one per used view.
        used: The used views, by index.
        verdicts: What became of every view.
        detection: Why views were suspected.
        searches: What was found for the suspects.
        contests: Fits in competition, the last one decides.
        fits: Fits that decisions rest on, by name: "trusted" and, where there was a contest, "corrected" and
            "given".
        seconds: Time the loop took, in interrupted runs too.
    """

    views: Views
    given: Cameras
    start: Cameras
    used: tuple[int, ...]
    verdicts: tuple[Verdict, ...]
    detection: Detection
    searches: tuple[Searched, ...] = ()
    contests: tuple[Contest, ...] = ()
    fits: Mapping[str, FitResult] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def branch(self) -> Branch:
        """Which cameras won."""
        return "corrected" if "corrected" in self.verdicts else "given"

    @property
    def trusted(self) -> list[int]:
        """The views that were never suspected; the scene that suspects are searched in is fitted to them."""
        return self.having("trusted")

    def having(self, *verdicts: Verdict) -> list[int]:
        """The views with one of these verdicts."""
        return [view for view, verdict in enumerate(self.verdicts) if verdict in verdicts]

    def on_cpu(self) -> Correction:
        """The same with all tensors on the CPU."""
        fits = {
            name: replace(f, gaussians=f.gaussians.to("cpu"), cameras=f.cameras.to("cpu"))
            for name, f in self.fits.items()
        }
        return replace(
            self,
            views=self.views.to("cpu"),
            given=self.given.to("cpu"),
            start=self.start.to("cpu"),
            searches=tuple(replace(s, candidates=s.candidates.to("cpu")) for s in self.searches),
            fits=fits,
        )

    def as_dict(self) -> dict[str, Any]:
        """Every decision with its numbers, as plain values."""
        names = self.views.names
        return {
            "branch": self.branch,
            "verdicts": dict(zip(names, self.verdicts, strict=True)),
            "left_out": [names[view] for view in self.having("unusable")],
            "trials": [
                {
                    "errors": _named(names, trial.kept, trial.errors),
                    "mean_error_without": _named(names, trial.kept, trial.without),
                    "scores": _named(names, trial.kept, trial.scores),
                    "pair": _pair_record(trial.pair, names),
                    "left_out": None if trial.left_out is None else names[trial.left_out],
                }
                for trial in self.detection.trials
            ],
            "searches": [_search_record(search, names) for search in self.searches],
            "contests": [
                {
                    "moved": [names[view] for view in contest.moved],
                    "errors_corrected": _named(names, contest.views, contest.corrected),
                    "errors_given": _named(names, contest.views, contest.given),
                    "accepted": contest.accepted,
                }
                for contest in self.contests
            ],
            "seconds": self.seconds,
        }


def _named(names: Sequence[str], views: Sequence[int], values: Sequence[float]) -> dict[str, float | None]:
    return {names[view]: value for view, value in zip(views, _finite(values), strict=True)}


def _finite(values: Sequence[float]) -> list[float | None]:
    return [value if isfinite(value) else None for value in values]


def _pair_record(pair: Pair | None, names: Sequence[str]) -> dict[str, Any] | None:
    if pair is None:
        return None
    without, score = _finite([pair.without, pair.score])
    return {"views": [names[view] for view in pair.views], "mean_error_without": without, "score": score}


def _search_record(search: Searched, names: Sequence[str]) -> dict[str, Any]:
    record = {
        k: v for k, v in vars(search).items() if k not in ("view", "candidates", "turned_deg", "errors")
    }
    pairs = zip(search.turned_deg, search.errors, strict=True)
    return {
        "view": names[search.view],
        **record,
        "candidates": [{"turned_deg": turned, "error": error} for turned, error in pairs],
    }


def correct_outliers(
    views: Views,
    cameras: Cameras,
    config: OutlierConfig,
    *,
    seed: int = 0,
    lpips: PerceptualModel | None = None,
    checkpointing: Checkpointing | None = None,
    report: Callable[[str], None] | None = None,
    watch: Callable[[FitProgress], None] | None = None,
) -> Correction:
    """Find badly posed views and pose them again (SparseAGS, Zhao & Tulsiani 2024, sections 3.4 and 3.5).

    Args:
        views: V cut-out photos.
        cameras: Their cameras, most of them about right.
        config: All numbers.
        seed: Seed of everything random; equal seeds give equal decisions on one machine.
        lpips: Perceptual model that takes part in the competition, if there is one.
        checkpointing: Where to keep the state after every step; a matching one found there is continued.
        report: Told what is being done.
        watch: Progress of every fit.
    """
    rounds = Rounds(views.images.device, checkpointing)
    return _Loop(views, cameras, config, seed, lpips, rounds, report, watch).run()


@dataclass
class _Loop:
    """What all steps of one run need."""

    views: Views
    cameras: Cameras
    config: OutlierConfig
    seed: int
    lpips: PerceptualModel | None
    rounds: Rounds
    report: Callable[[str], None] | None
    watch: Callable[[FitProgress], None] | None

    def run(self) -> Correction:
        """All steps, one after the other."""
        everyone = range(len(self.views))
        detection = detect(
            self.views,
            self.cameras,
            self.config,
            seed=self.seed,
            rounds=self.rounds,
            report=self.report,
            watch=self.watch,
        )
        verdicts: list[Verdict] = ["trusted" for _ in everyone]
        untouched = Correction(
            self.views, self.cameras, self.cameras, tuple(everyone), tuple(verdicts), detection
        )
        if not detection.suspects:
            return replace(untouched, seconds=self.rounds.seconds)
        trusted = [view for view in everyone if view not in detection.suspects]
        try:
            scene = self._fit("trusted poses", trusted, self.cameras[trusted], self.config.scene)
        except (CameraError, SceneError):  # nothing to search in: the final fit says what is wrong
            return replace(untouched, seconds=self.rounds.seconds)
        drift = align_cameras(self.cameras[trusted], scene.cameras)
        given = drift.cameras(self.cameras).to(dtype=torch.float32)
        searches, found = self._search_all(detection.suspects, scene, trusted, given)
        for search in searches:
            verdicts[search.view] = "unusable" if search.finding == "unexplained" else "confirmed"
        contests, fits = self._compete(searches, found, scene, trusted, given, verdicts)
        used = tuple(view for view in everyone if verdicts[view] != "unusable")
        start = self.cameras[used]
        if "corrected" in verdicts:
            winner, taking_part = fits["corrected"].cameras, contests[-1].views
            start = winner[[taking_part.index(view) for view in used]]
        return replace(
            untouched,
            start=start,
            used=used,
            verdicts=tuple(verdicts),
            searches=tuple(searches),
            contests=tuple(contests),
            fits={"trusted": scene} | fits,
            seconds=self.rounds.seconds,
        )

    def _fit(self, name: str, chosen: Sequence[int], cameras: Cameras, config: Any) -> FitResult:
        """A fit of some views, computed once."""
        self._say(f"fitting {len(chosen)} views ({name})")
        photos = self.views[chosen]

        def fitted() -> FitResult:
            result = fit(photos, cameras, config, seed=self.seed, progress=self.watch)
            return replace(result, history=[])  # nobody asks, and it is long

        return self.rounds.once(name, fitted)

    def _errors(self, chosen: Sequence[int], result: FitResult) -> Tensor:
        size = self.config.contest_size
        photos, cameras = self.views[chosen], result.cameras
        return view_errors(
            photos, result.gaussians, cameras, size, fitted_size=result.fitted_size, lpips=self.lpips
        )

    def _search_all(
        self, suspects: Sequence[int], scene: FitResult, trusted: list[int], given: Cameras
    ) -> tuple[list[Searched], dict[int, Cameras]]:
        """Searches for all suspects, in their order, and where the explained ones are; in the scene's world.

        The confirmed ones, or else the one that is explained best, join the scene, and the others are
        searched for again: a view may show what no trusted one does.
        """
        searches: dict[int, Searched] = {}
        found: dict[int, Cameras] = {}
        missing, chosen, wider = list(suspects), list(trusted), scene
        while missing:
            again = {view: self._search(view, wider, chosen, scene, given) for view in missing}
            searches |= again
            joining = {v: given[[v]] for v, s in again.items() if s.finding == "confirmed"}
            elsewhere = [view for view, s in again.items() if s.finding == "elsewhere"]
            if elsewhere and not joining:
                best = min(elsewhere, key=lambda view: again[view].errors[0])
                joining = {best: again[best].found}
            found |= joining
            missing = [view for view in missing if view not in found]
            if not joining or not missing:
                break
            chosen = [*trusted, *found]
            wider, found = self._joined(scene, trusted, found)
        return [searches[view] for view in suspects], found

    def _joined(
        self, scene: FitResult, trusted: list[int], found: Mapping[int, Cameras]
    ) -> tuple[FitResult, dict[int, Cameras]]:
        """A fit of trusted and found views, and where it has the latter; in the given scene's world."""
        names = " and ".join(self.views.names[view] for view in found)
        start = Cameras.cat([scene.cameras, *found.values()])
        wider = self._fit(f"trusted, joined by {names}", [*trusted, *found], start, self.config.contest)
        back = align_cameras(wider.cameras[range(len(trusted))], scene.cameras)
        joined = back.cameras(wider.cameras).to(dtype=torch.float32)
        return wider, {view: joined[len(trusted) + k] for k, view in enumerate(found)}

    def _search(
        self, view: int, scene: FitResult, chosen: list[int], first: FitResult, given: Cameras
    ) -> Searched:
        """Search for a view in the scene of the chosen ones; the answer is in the first scene's world."""
        self._say(f"searching for the pose of view {self.views.names[view]}")
        there = align_cameras(first.cameras, scene.cameras[range(len(first.cameras))])

        def search() -> Searched:
            photos, photo = self.views[chosen], self.views[[view]]
            camera = there.cameras(given[[view]]).to(dtype=torch.float32)
            found = repose(scene, photos, photo, camera, self.config, seed=self.seed)
            candidates = there.inverse().cameras(found.candidates).to(dtype=torch.float32)
            return replace(found, view=view, candidates=candidates)

        return self.rounds.once(f"search {view} beside {chosen}", search)

    def _compete(
        self,
        searches: list[Searched],
        found: Mapping[int, Cameras],
        scene: FitResult,
        trusted: list[int],
        given: Cameras,
        verdicts: list[Verdict],
    ) -> tuple[list[Contest], dict[str, FitResult]]:
        """Contests until one is accepted or no moved view improves; fills in the verdicts."""
        moved = {s.view: s for s in searches if s.finding == "elsewhere"}
        contests: list[Contest] = []
        fits: dict[str, FitResult] = {}
        if not moved:
            return contests, fits
        taking_part = [view for view in range(len(self.views)) if verdicts[view] != "unusable"]
        known = {view: scene.cameras[[trusted.index(view)]] for view in trusted}
        old = Cameras.cat([known.get(view, given[[view]]) for view in taking_part])
        fits["given"] = self._fit("given poses", taking_part, old, self.config.contest)
        before = self._errors(taking_part, fits["given"])
        while moved:
            new = Cameras.cat([found[v] if v in moved else known.get(v, given[[v]]) for v in taking_part])
            name = "corrected poses" if not contests else f"corrected poses, try {len(contests) + 1}"
            fits["corrected"] = self._fit(name, taking_part, new, self.config.contest)
            after = self._errors(taking_part, fits["corrected"])
            contest = Contest(
                tuple(taking_part), tuple(sorted(moved)), tuple(after.tolist()), tuple(before.tolist())
            )
            contests.append(contest)
            for view in moved:
                verdicts[view] = "corrected" if contest.accepted else "kept"
            if contest.accepted or len(contest.improved) in (0, len(moved)):
                break
            moved = {view: s for view, s in moved.items() if view in contest.improved}
        for search in searches:
            # It lost with its new pose, and its given pose does not explain it either.
            if verdicts[search.view] == "kept" and search.given_score > self.config.unbelievable:
                verdicts[search.view] = "unusable"
        return contests, fits

    def _say(self, text: str) -> None:
        if self.report is not None:
            self.report(text)
