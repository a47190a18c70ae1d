"""Every default of the project, as frozen dataclasses; the command line is built from them.

A field's docstring gives its unit and its effect and becomes its help text. Presets are values; vary one with
`dataclasses.replace`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from agsrec.bounds import Bounded, Count, Filled, NonNegative, Positive, Range, Share, ShareBelow, Whole

__all__ = [
    "PRESETS",
    "RESOLUTIONS",
    "RESOLUTION_RANGE",
    "WORKING_SIZE",
    "DensifyConfig",
    "ExposureConfig",
    "FitConfig",
    "GuidanceConfig",
    "LossConfig",
    "PoseConfig",
    "PresetName",
    "Rates",
    "Round",
    "Stage",
]

PresetName = Literal["fast", "quality", "paper"]

WORKING_SIZE = 512
"""Longer side in pixels of views, unless a fit asks for more: what poses and evaluation work with."""

_Pixels = Annotated[int, Range(8)]

_SHARPENING = 60 * 512  # steps of an added stage times its size
_MOST_GROWTH = 4.0  # of the budget of Gaussians with the resolution


@dataclass(frozen=True)
class Stage(Bounded, called="stage {}"):
    """Iterations at one image size."""

    size: _Pixels
    """Longer image side in pixels; photos that are smaller keep their size."""
    iterations: Whole
    """Optimisation steps; every step renders all views."""


@dataclass(frozen=True)
class Round(Bounded):
    """One fit from a fresh visual hull of the current cameras.

    Starting over forgets geometry that was bent to wrong cameras, while the cameras keep what was learnt.
    """

    num_points: Count
    """Gaussians to start with."""
    max_points: Count
    """Gaussians to grow to."""
    hull_blur: NonNegative
    """Softness of the visual hull, as a fraction of the image width; about the cameras' expected error."""
    stages: Annotated[tuple[Stage, ...], Filled("stage")]
    """Coarse-to-fine schedule."""
    rate_rotation: NonNegative
    """Learning rate of camera rotations about the object, radians."""
    rate_translation: NonNegative
    """Learning rate of camera translations, object radii."""
    rate_decay: Positive = 0.05
    """Camera learning rates at the end of the round, relative to its start."""
    guided: bool = False
    """Let the prior judge novel views in this round, where there is a prior."""
    regularized: bool = False
    """Ask of the scene in this round what `LossConfig.drop` and `LossConfig.roughness` say."""
    sh_degree: Annotated[int, Range(0, 3)] = 0
    """Spherical harmonics degree of the last stage; each stage before has one less."""
    both_ways: bool = False
    """Run this round from the cameras as given, too, and go on from the end whose loss is lower: rounds with
    few Gaussians bring together cameras that are far off, and may bend those that are not."""

    @property
    def iterations(self) -> int:
        """Steps of the whole round."""
        return sum(stage.iterations for stage in self.stages)

    def at_resolution(self, size: int) -> Round:
        """The round ending with pictures of that longer side in pixels.

        Beyond its largest a short stage is added, and the budget of Gaussians grows with the size; below,
        larger pictures are drawn at that size.
        """
        last = self.stages[-1]
        if size <= last.size:
            return replace(self, stages=tuple(replace(s, size=min(s.size, size)) for s in self.stages))
        steps = min(last.iterations, round(_SHARPENING / size))
        budget = round(self.max_points * min(size / last.size, _MOST_GROWTH))
        return replace(self, stages=(*self.stages, Stage(size, steps)), max_points=budget)

    def sh_degree_at(self, stage: int) -> int:
        """Spherical harmonics degree of a stage, by its index."""
        return max(0, self.sh_degree - (len(self.stages) - 1 - stage))


@dataclass(frozen=True)
class Rates(Bounded):
    """Adam learning rates of the Gaussians."""

    means: NonNegative = 3e-3
    """Positions, object radii."""
    means_decay: Positive = 0.1
    """Position rate at the end of a round, relative to its start."""
    quats: NonNegative = 3e-3
    """Quaternion components."""
    log_scales: NonNegative = 1e-2
    """Logarithms of the standard deviations."""
    opacity_logits: NonNegative = 3e-2
    """Logits of the opacities."""
    sh: NonNegative = 2e-2
    """Constant colour coefficient."""
    sh_rest: NonNegative = 1e-3
    """View-dependent colour coefficients."""


@dataclass(frozen=True)
class LossConfig(Bounded):
    """Weights of the loss terms, each a mean over pixels and views."""

    l1_ssim: NonNegative = 1.0
    """Weight of (1 - ssim) L1 + ssim (1 - SSIM)."""
    ssim: Share = 0.4
    """Share of SSIM in that term."""
    mse: NonNegative = 0.0
    """Weight of the squared colour error."""
    mask: NonNegative = 2.0
    """Weight of the squared difference between opacity and mask."""
    ramp: bool = False
    """Scale all these linearly from 0 to 1 over the fit, as published."""
    background: Literal["black", "white", "random"] = "random"
    """What transparent pixels are filled with, in photos and renders alike."""
    drop: ShareBelow = 0.0
    """Largest share of the Gaussians that steps do without, in regularized rounds; it rises from 0 ..."""
    drop_until: Annotated[float, Range(0, 1, above=True)] = 0.8
    """... until this share of the round; then all of them are there for the last word."""
    roughness: NonNegative = 0.0
    """Weight of the surface's roughness from random views, in regularized rounds."""
    novel_interval: Count = 4
    """Steps between two looks from random views."""
    novel_views: Count = 2
    """Random views per look."""
    novel_size: _Pixels = 96
    """Size of their renders in pixels."""
    bounded_colors: bool = False
    """Keep constant colours between black and white, so that none makes up for another beyond them."""


@dataclass(frozen=True)
class DensifyConfig(Bounded):
    """Growing and pruning of Gaussians."""

    interval: Count = 50
    """Steps between two rounds of growing and pruning."""
    start: Share = 0.1
    """Share of a round's steps before the first."""
    stop: Share = 0.7
    """Share of a round's steps after the last."""
    growth: Annotated[float, Range(1)] = 1.3
    """Largest factor by which the number of Gaussians grows at once."""
    split_scale: NonNegative = 0.02
    """Larger Gaussians are split, smaller ones cloned; object radii."""
    min_opacity: Share = 0.02
    """Fainter Gaussians are removed."""
    max_scale: Positive = 0.25
    """Upper limit of standard deviations, object radii."""


@dataclass(frozen=True)
class PoseConfig(Bounded):
    """Camera optimisation."""

    optimize: bool = True
    """Refine camera poses; off keeps them as they are."""
    refine_focal: bool | None = None
    """Refine the focal length too, by one factor for all views; by default where it was estimated."""
    rate_focal: NonNegative = 2e-3
    """Learning rate of the factor's logarithm."""
    beta1: ShareBelow = 0.9
    """Adam's decay of the first moment."""
    beta2: ShareBelow = 0.99
    """Adam's decay of the second moment."""
    warmup: Whole = 10
    """Steps over which a round's camera learning rates rise from zero."""
    matches: NonNegative = 0.05
    """Weight of the matches that initial poses rest on, where there are any."""
    matches_until: Share = 1.0
    """Share of the fit after which the photos alone count."""


@dataclass(frozen=True)
class ExposureConfig(Bounded):
    """Brightness of each photo."""

    optimize: bool = False
    """Give every photo a factor per colour channel, for cameras that set their exposure anew."""
    rate: NonNegative = 5e-3
    """Learning rate of the factors' logarithms."""
    keep: NonNegative = 0.1
    """Weight of their mean square, which keeps factors near one."""


@dataclass(frozen=True)
class GuidanceConfig(Bounded):
    """What the prior does for views nobody photographed, in guided rounds."""

    weight: NonNegative = 1.0
    """Weight of its loss, which is a mean over latent elements."""
    interval: Count = 2
    """Steps between two guided ones."""
    lag: Whole = 0
    """Steps between a look at novel views and the step that heeds what the prior says of them; on the CPU it
    judges them meanwhile, beside the steps."""
    stop: Annotated[float, Range(0, 1, above=True)] = 0.6
    """Share of a round after which the photos alone count, so that they have the last word where they see."""
    views: Count = 1
    """Novel views per guided step."""
    size: _Pixels = 128
    """Size of their renders in pixels; the prior resamples them to its own."""
    nearest: Annotated[int | None, Range(0)] = None
    """Photos shown to the prior per novel view, the nearest by angle; 0 shows all, with equal weight. By
    default 2, and 1 to a prior that is shown besides what all of them show of the judged view."""
    angle_scale: Positive = 20.0
    """Of the photos shown, one this much farther in degrees counts 1/e of another."""
    full_angle: NonNegative = 60.0
    """Views at least so many degrees from the nearest photo are always judged, nearer ones as often as the
    square of their share of it; 0 judges all."""
    scale: Annotated[float | None, Range(0)] = None
    """Strength of classifier-free guidance; 1 is without. By default what suits the prior: 3, and 1 for one
    that is shown what all photos show of the judged view."""
    noise_start: Share = 0.98
    """Share of the diffusion steps that noise is drawn from at the start of a round ..."""
    noise_end: Share = 0.02
    """... and at its end; linear between the two."""
    recrop: bool = True
    """Show the photos cropped to the object's box, as the prior was trained, not as they are."""


@dataclass(frozen=True)
class FitConfig(Bounded):
    """The joint optimisation of Gaussians and cameras."""

    rounds: Annotated[tuple[Round, ...], Filled("round")]
    """Fits one after the other; the last one is the result."""
    rates: Rates = field(default_factory=Rates)
    loss: LossConfig = field(default_factory=LossConfig)
    densify: DensifyConfig = field(default_factory=DensifyConfig)
    poses: PoseConfig = field(default_factory=PoseConfig)
    exposure: ExposureConfig = field(default_factory=ExposureConfig)
    guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
    hull_resolution: _Pixels = 64
    """Voxels along an edge of the visual hull's grid."""
    log_interval: Count = 10
    """Steps between two records of the history."""
    checkpoint_interval: Count = 100
    """Steps between two checkpoints, where checkpoints are wanted."""

    @property
    def iterations(self) -> int:
        """Steps of the whole fit."""
        return sum(r.iterations * (2 if self.both_ways(k) else 1) for k, r in enumerate(self.rounds))

    def both_ways(self, index: int) -> bool:
        """Whether a round, by its index, is run from the cameras as given, too."""
        return index > 0 and self.rounds[index].both_ways

    def at_resolution(self, size: int) -> FitConfig:
        """The fit ending with pictures of that longer side in pixels; see `Round.at_resolution`."""
        largest = self.rounds[-1].stages[-1].size
        rounds = self.rounds if size >= largest else tuple(r.at_resolution(size) for r in self.rounds)
        return replace(self, rounds=(*rounds[:-1], self.rounds[-1].at_resolution(size)))

    def fitted_size(self, width: int, height: int) -> int:
        """Longer side in pixels of the pictures that the scene is fitted to last, from photos of a size."""
        last = next((s for s in reversed(self.rounds[-1].stages) if s.iterations), self.rounds[-1].stages[-1])
        return min(last.size, max(width, height))


_LATER = GuidanceConfig(lag=8)
_REGULAR = LossConfig(drop=0.3, roughness=0.05, bounded_colors=True)
_COARSE = Round(
    num_points=500,
    max_points=500,
    hull_blur=0.06,
    stages=(Stage(32, 150), Stage(64, 150)),
    rate_rotation=1e-2,
    rate_translation=6e-3,
    rate_decay=0.2,
)
_MIDDLE = Round(
    num_points=1500,
    max_points=1500,
    hull_blur=0.03,
    stages=(Stage(64, 200),),
    rate_rotation=6e-3,
    rate_translation=4e-3,
    rate_decay=0.2,
    both_ways=True,
)

FAST = FitConfig(
    rounds=(
        _COARSE,
        _MIDDLE,
        Round(
            num_points=4000,
            max_points=10_000,
            hull_blur=0.015,
            stages=(Stage(64, 100), Stage(128, 200), Stage(256, 200)),
            rate_rotation=4e-3,
            rate_translation=3e-3,
            guided=True,
            regularized=True,
        ),
    ),
    loss=_REGULAR,
    exposure=ExposureConfig(optimize=True),
    guidance=_LATER,
)

QUALITY = FitConfig(
    rounds=(
        _COARSE,
        _MIDDLE,
        Round(
            num_points=5000,
            max_points=25_000,
            hull_blur=0.015,
            stages=(Stage(64, 150), Stage(128, 400), Stage(256, 800)),
            rate_rotation=4e-3,
            rate_translation=3e-3,
            guided=True,
            regularized=True,
        ),
    ),
    loss=_REGULAR,
    exposure=ExposureConfig(optimize=True),
    guidance=_LATER,
)

# Zhao & Tulsiani 2024, public configuration: learning rates, loss weights, iterations, points.
PAPER = FitConfig(
    rounds=(
        Round(
            num_points=25_000,
            max_points=25_000,
            hull_blur=0.03,
            stages=(Stage(256, 500),),
            rate_rotation=2.5e-4,
            rate_translation=2.5e-4,
            rate_decay=1.0,
            guided=True,
            sh_degree=3,
        ),
    ),
    rates=Rates(
        means=1e-3,
        means_decay=0.02,
        quats=5e-3,
        log_scales=5e-3,
        opacity_logits=5e-2,
        sh=1e-2,
        sh_rest=5e-4,
    ),
    loss=LossConfig(l1_ssim=0.0, mse=10_000.0, mask=1000.0, ramp=True, background="white"),
    poses=PoseConfig(matches=0.0),
    densify=DensifyConfig(interval=100, start=0.2, stop=1.0),
    guidance=GuidanceConfig(
        interval=1, stop=1.0, nearest=0, full_angle=0.0, scale=5.0, size=256, recrop=False
    ),
)

PRESETS: dict[PresetName, FitConfig] = {"fast": FAST, "quality": QUALITY, "paper": PAPER}

RESOLUTION_RANGE = (32, 2048)
"""What a fit can be asked to end with; pixels of the longer side."""

RESOLUTIONS: dict[PresetName, int] = {"fast": 256, "quality": 256, "paper": 256}
"""Longer side in pixels at which a preset ends, unless told otherwise, where the photos have that many.

More makes scenes sharper where the photos are, and takes two thirds longer at 512 (`fast`); on real objects,
views that nobody photographed came out as well without it.
"""
