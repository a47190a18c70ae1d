"""Every number of the outlier loop."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from agsrec.bounds import Bounded, Positive, ShareBelow
from agsrec.config import PRESETS, FitConfig, Round, Stage
from agsrec.fit.coarse import coarse_schedule
from agsrec.pose_search import SearchConfig

__all__ = ["OutlierConfig", "most_outliers"]

_MIN_VIEWS = 3  # Two views are explained by nearly any two poses.


def most_outliers(num_views: int) -> int:
    """Views that may be left out at most (SparseAGS, Zhao & Tulsiani 2024).

    One of up to five, all but four below eight, four from eight on; never so many that fewer than three stay
    to determine the object.
    """
    allowed = 1 if num_views <= 5 else min(4, num_views - 4)
    return max(0, min(allowed, num_views - _MIN_VIEWS))


def _scene() -> FitConfig:
    """A fit good enough to search in and to compare by: no prior, no fine detail."""
    through = tuple(replace(r, both_ways=False) for r in PRESETS["fast"].rounds[:2])
    return FitConfig(rounds=(*through, *_contest().rounds))


def _contest() -> FitConfig:
    """The end of that fit alone, for cameras that have been through it."""
    fine = Round(
        num_points=2000,
        max_points=4000,
        hull_blur=0.03,
        stages=(Stage(64, 120), Stage(128, 120)),
        rate_rotation=5e-3,
        rate_translation=4e-3,
        rate_decay=0.2,
    )
    return FitConfig(rounds=(fine,))


@dataclass(frozen=True)
class OutlierConfig(Bounded, called="{} of the outlier loop"):
    """How badly posed views are looked for, posed again and judged.

    Attributes:
        probe: Short fit that is made without each view in turn.
        probe_size: Edge of the pictures that errors are measured on after it, pixels.
        suspicion: Score from which a view is suspected; see `agsrec.outliers.detect`.
        scene: Fit of the views that nobody suspects, in which suspects are searched.
        search: The search.
        same_deg: A pose found within so many degrees of the given one confirms it.
        ambiguous: A search whose margin is below this could not tell the best pose from the next.
        comparable: Poses whose loss is at most so many times the least are tried beside the trusted views.
        contradicted: One that is suspected and has a score this far above the least one's comes last.
        convincing: A found pose must lower the view's score by so much against the given one to be another.
        unexplained: Score at a new pose beyond which that explains no photo.
        unbelievable: Score beyond which the given pose does not either: a new one needs more evidence.
        overlap: Intersection over union of the silhouettes, below which the best pose explains no photo ...
        sure_overlap: ... and below which it does not where it is ambiguous too: another object's photo fits
            all poses alike and none well, while a symmetric object fits two of them well.
        contest: Fit by which corrected poses compete with the given ones.
        contest_size: Edge of the pictures that errors are measured on after it, pixels.
    """

    probe: FitConfig = field(default_factory=lambda: coarse_schedule(Stage(32, 100), warmup=40))
    probe_size: int = 32
    suspicion: Positive = 0.55
    scene: FitConfig = field(default_factory=_scene)
    search: SearchConfig = field(default_factory=lambda: SearchConfig(max_roll_deg=45.0))
    same_deg: Positive = 25.0
    ambiguous: ShareBelow = 0.1
    comparable: float = 2.0
    contradicted: float = 0.5
    convincing: float = 0.25
    unexplained: Positive = 0.8
    unbelievable: float = 1.2
    overlap: float = 0.65
    sure_overlap: float = 0.85
    contest: FitConfig = field(default_factory=_contest)
    contest_size: int = 128
