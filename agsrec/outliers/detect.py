"""Which views are badly posed: leave each out in turn, and see what becomes of a quick fit.

A wrong view shows in two ways. It is explained worse than the others, as long as the scene is too coarse to
explain it away; and the mean error falls when it goes. Both are measured on pictures of a few pixels, by fits
of a second, which tell poses apart as well as long ones do and leave less room for explaining away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from agsrec.cameras import Cameras
from agsrec.errors import CameraError, SceneError
from agsrec.fit import fit
from agsrec.outliers.config import most_outliers
from agsrec.outliers.residuals import view_errors
from agsrec.outliers.rounds import Rounds
from agsrec.views import Views

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agsrec.fit import FitProgress
    from agsrec.outliers.config import OutlierConfig

__all__ = ["Detection", "Pair", "Trial", "detect", "pair_score", "scores", "scores_with"]

_OWN = 0.25  # Share of a view's own error in its score; what happens to the others tells more.


@dataclass(frozen=True)
class Pair:
    """What leaving out the two most suspicious views at once did.

    Attributes:
        views: The two, by index, the worse first.
        without: Mean error of the others in the fit without them; infinite where there is no such fit.
        score: How suspicious the two are; see `pair_score`.
    """

    views: tuple[int, int]
    without: float
    score: float


@dataclass(frozen=True)
class Trial:
    """What leaving out each of the remaining views did.

    Attributes:
        kept: The remaining views, by index.
        errors: Error of each of them in the fit of them all.
        without: Mean error of the others in the fit without it; infinite where there is no such fit.
        scores: How suspicious each is; see `scores`.
        left_out: The view that was left out for good after this, if any.
        pair: The two most suspicious together, where none was suspected alone and two may leave.
    """

    kept: tuple[int, ...]
    errors: tuple[float, ...]
    without: tuple[float, ...]
    scores: tuple[float, ...]
    left_out: int | None
    pair: Pair | None = None

    @property
    def told(self) -> bool:
        """Whether there was a fit of them all to tell anything from."""
        return all(math.isfinite(error) for error in self.errors)


@dataclass(frozen=True)
class Detection:
    """Outcome of the detection.

    Attributes:
        suspects: Views that are probably badly posed, the worst first.
        trials: How that came about.
    """

    suspects: tuple[int, ...]
    trials: tuple[Trial, ...] = ()


def detect(
    views: Views,
    cameras: Cameras,
    config: OutlierConfig,
    *,
    seed: int = 0,
    rounds: Rounds | None = None,
    report: Callable[[str], None] | None = None,
    watch: Callable[[FitProgress], None] | None = None,
) -> Detection:
    """Find the views whose poses contradict the others' (SparseAGS, Zhao & Tulsiani 2024, section 3.4).

    The worst view is left out for good as long as its score is above `config.suspicion`, and at most
    `most_outliers` times. Two wrong views can hide each other, because the error stays high when one of them
    goes: where none is suspected alone, the two worst are tried together.

    Args:
        views: V cut-out photos.
        cameras: Their cameras.
        config: All numbers.
        seed: Seed of the fits.
        rounds: Keeps what is known already.
        report: Told what is being done.
        watch: Progress of every fit.
    """
    rounds = Rounds() if rounds is None else rounds
    kept = list(range(len(views)))
    limit = most_outliers(len(views))
    trials: list[Trial] = []
    probes = _Probes(views, cameras, config, seed, watch)
    for number in range(limit):
        if report is not None:
            report(f"leaving out each of {len(kept)} views in turn")
        trial = _trial(probes, tuple(kept), rounds, number, may_be_two=number + 1 < limit)
        trials.append(trial)
        if trial.left_out is None:
            break
        kept.remove(trial.left_out)
    suspects = tuple(t.left_out for t in trials if t.left_out is not None)
    return Detection(suspects, tuple(trials))


def scores(errors: Tensor, without: Tensor) -> Tensor:
    """How suspicious each of V views is [V], from errors [V] and mean errors without each view [V].

    Weighted mean of two logarithms: of the view's own error against the median, and of how the mean error
    falls when the view goes, times V, so that it is of the same size. A view like all others scores about 0,
    one that has e times their error about 1.
    """
    own = (errors / errors.median()).log()
    fall = len(errors) * (errors.mean() / without).log()
    fall = torch.where(fall.isfinite(), fall - fall.median(), torch.full_like(fall, -torch.inf))
    return _OWN * own + (1 - _OWN) * fall


def pair_score(trial: Trial, pair: tuple[int, int], without: float) -> float:
    """How suspicious two views are together: as `scores`, in the mean of the two.

    Args:
        trial: What leaving out each view did.
        pair: The two, by index.
        without: Mean error without both; infinite where there is no such fit.
    """
    errors = torch.tensor(trial.errors, dtype=torch.float64)
    each = len(errors) * (errors.mean() / torch.tensor(trial.without, dtype=torch.float64)).log()
    usual = each[each.isfinite()].median()
    own = (errors[[trial.kept.index(view) for view in pair]] / errors.median()).log().mean()
    fall = len(errors) * (errors.mean() / without).log() / 2 - usual
    return float(_OWN * own + (1 - _OWN) * fall)


def scores_with(
    views: Views, cameras: Cameras, photo: Views, candidates: Cameras, config: OutlierConfig, *, seed: int = 0
) -> list[float]:
    """How suspicious a photo is beside views that are trusted, with each of M cameras [M]; as `scores`."""
    together = Views(torch.cat([views.images, photo.images]), (*views.names, *photo.names))
    count = len(views)
    alone = float(_Probes(views, cameras, config, seed).errors(range(count)).mean())
    found = []
    for k in range(len(candidates)):
        both = Cameras.cat([cameras, candidates[k]])
        errors = _Probes(together, both, config, seed).errors(range(count + 1))
        own = float((errors[-1] / errors[:-1].median()).log())
        fall = (count + 1) * float((errors.mean() / alone).log())
        found.append(_OWN * own + (1 - _OWN) * fall if errors.isfinite().all() else math.inf)
    return found


def _trial(probes: _Probes, kept: tuple[int, ...], rounds: Rounds, number: int, *, may_be_two: bool) -> Trial:
    """Leave out each of the kept views, and where that says nothing, the two worst together."""
    plain = rounds.once(f"trial {number}", lambda: probes.each(kept))
    trial = _judged(kept, plain, probes.config.suspicion)
    if trial.left_out is not None or not may_be_two or not trial.told:
        return trial
    worst, next_worst = sorted(kept, key=lambda view: -trial.scores[kept.index(view)])[:2]
    two = worst, next_worst
    without = rounds.once(f"pair {number}", lambda: probes.mean_without(kept, two))
    score = pair_score(trial, two, without)
    suspected = score > probes.config.suspicion
    return replace(trial, left_out=worst if suspected else None, pair=Pair(two, without, score))


def _judged(kept: tuple[int, ...], plain: dict[str, Any], suspicion: float) -> Trial:
    errors = torch.tensor(plain["errors"], dtype=torch.float64)
    without = torch.tensor(plain["without"], dtype=torch.float64)
    values = [0.0] * len(kept)  # without a fit nothing can be said
    if errors.isfinite().all():
        values = scores(errors, without).tolist()
    worst = max(values)
    left_out = kept[values.index(worst)] if worst > suspicion else None
    return Trial(kept, tuple(plain["errors"]), tuple(plain["without"]), tuple(values), left_out)


@dataclass(frozen=True)
class _Probes:
    """Quick fits of some of the views."""

    views: Views
    cameras: Cameras
    config: OutlierConfig
    seed: int
    watch: Callable[[FitProgress], None] | None = None

    def each(self, kept: Sequence[int]) -> dict[str, Any]:
        """Errors of all kept views together, and the mean without each of them."""
        errors = self.errors(kept).tolist()
        return {"errors": errors, "without": [self.mean_without(kept, [view]) for view in kept]}

    def mean_without(self, kept: Sequence[int], left_out: Sequence[int]) -> float:
        """Mean error of the kept views in a fit without some of them."""
        return float(self.errors([view for view in kept if view not in left_out]).mean())

    def errors(self, chosen: Sequence[int]) -> Tensor:
        """Errors of views after a quick fit of them; infinite if their cameras fit no scene."""
        photos = self.views[chosen]
        try:
            result = fit(photos, self.cameras[chosen], self.config.probe, seed=self.seed, progress=self.watch)
        except (CameraError, SceneError):
            return torch.full((len(photos),), torch.inf)
        size, fitted = self.config.probe_size, result.fitted_size
        return view_errors(photos, result.gaussians, result.cameras, size, fitted_size=fitted)
