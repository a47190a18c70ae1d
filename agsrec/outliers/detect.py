"""Which views are badly posed: leave each out in turn, and see what becomes of a quick fit.

A wrong view shows in two ways. It is explained worse than the others, as long as the scene is too coarse to
explain it away; and the mean error falls when it goes. Both are measured on pictures of a few pixels, by fits
of a second, which tell poses apart as well as long ones do and leave less room for explaining away.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    from collections.abc import Callable

    from agsrec.fit import FitProgress
    from agsrec.outliers.config import OutlierConfig

__all__ = ["Detection", "Trial", "detect", "score_with", "scores"]

_OWN = 0.25  # Share of a view's own error in its score; what happens to the others tells more.


@dataclass(frozen=True)
class Trial:
    """What leaving out each of the remaining views did.

    Attributes:
        kept: The remaining views, by index.
        errors: Error of each of them in the fit of them all.
        without: Mean error of the others in the fit without it; infinite where there is no such fit.
        scores: How suspicious each is; see `scores`.
        left_out: The view that was left out for good after this, if any.
    """

    kept: tuple[int, ...]
    errors: tuple[float, ...]
    without: tuple[float, ...]
    scores: tuple[float, ...]
    left_out: int | None


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
    `most_outliers` times.

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
    for number in range(limit):
        if report is not None:
            report(f"leaving out each of {len(kept)} views in turn")
        plain = rounds.once(
            f"trial {number}", lambda kept=tuple(kept): _probes(views, cameras, kept, config, seed, watch)
        )
        trial = _judged(tuple(kept), plain, config)
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


def score_with(
    views: Views, cameras: Cameras, photo: Views, camera: Cameras, config: OutlierConfig, *, seed: int = 0
) -> float:
    """How suspicious a photo with a camera [1] is beside views that are trusted; as `scores`."""
    together = Views(torch.cat([views.images, photo.images]), (*views.names, *photo.names))
    count = len(views)
    both = Cameras.cat([cameras, camera])
    errors = _probe(together, both, [*range(count + 1)], config, seed)
    if not errors.isfinite().all():
        return float("inf")
    alone = _probe(together, both, [*range(count)], config, seed)
    own = float((errors[-1] / errors[:-1].median()).log())
    fall = (count + 1) * float((errors.mean() / alone.mean()).log())
    return _OWN * own + (1 - _OWN) * fall


def _judged(kept: tuple[int, ...], plain: dict[str, Any], config: OutlierConfig) -> Trial:
    errors = torch.tensor(plain["errors"], dtype=torch.float64)
    without = torch.tensor(plain["without"], dtype=torch.float64)
    if not errors.isfinite().all():  # no fit at all: nothing can be said
        return Trial(kept, tuple(plain["errors"]), tuple(plain["without"]), (0.0,) * len(kept), None)
    values = scores(errors, without)
    worst = int(values.argmax())
    left_out = kept[worst] if float(values[worst]) > config.suspicion else None
    return Trial(kept, tuple(plain["errors"]), tuple(plain["without"]), tuple(values.tolist()), left_out)


def _probes(
    views: Views,
    cameras: Cameras,
    kept: tuple[int, ...],
    config: OutlierConfig,
    seed: int,
    watch: Callable[[FitProgress], None] | None,
) -> dict[str, Any]:
    """Errors of all kept views together, and the mean without each of them."""
    everyone = _probe(views, cameras, kept, config, seed, watch)
    without = [_probe(views, cameras, [k for k in kept if k != left], config, seed, watch) for left in kept]
    return {"errors": everyone.tolist(), "without": [float(w.mean()) for w in without]}


def _probe(
    views: Views,
    cameras: Cameras,
    kept: tuple[int, ...] | list[int],
    config: OutlierConfig,
    seed: int,
    watch: Callable[[FitProgress], None] | None = None,
) -> Tensor:
    """Errors of views after a quick fit of them; infinite if their cameras fit no scene."""
    photos = views[kept]
    try:
        result = fit(photos, cameras[kept], config.probe, seed=seed, progress=watch)
    except (CameraError, SceneError):
        return torch.full((len(kept),), torch.inf)
    return view_errors(photos, result.gaussians, result.cameras, config.probe_size)
