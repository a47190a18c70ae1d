"""The loop of ACE0 (Brachmann et al., "Scene Coordinate Reconstruction", ECCV 2024, section 3).

A head learns the scene from the photos whose poses are known, the others are registered to what it says, and
it learns from these too, until nothing new is registered; then a fresh head learns from all of them. Beyond
the paper, photos that share enough points with registered ones are registered by these first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from agsrec.pose_init.ace0.features import Seen
from agsrec.pose_init.ace0.network import Head, HeadConfig
from agsrec.pose_init.ace0.registered import Registered
from agsrec.pose_init.ace0.training import Buffer, TrainingConfig, scene_points, train
from agsrec.pose_init.resection import Resection, resected

if TYPE_CHECKING:
    from agsrec.pose_init.ace0.sharing import Sharing
    from agsrec.store import Checkpointing

__all__ = ["LoopConfig", "Start", "register_photos"]


_FIRST = TrainingConfig(steps=500, poses_from=1.0)
_AGAIN = TrainingConfig(steps=300, poses_from=0.2)
_LAST = TrainingConfig(steps=500, poses_from=1.0)


@dataclass(frozen=True)
class LoopConfig:
    """How the loop goes.

    Attributes:
        channels: Of the head.
        blocks: Its residual blocks beside the first.
        first: Training on the photos that it starts from, whose poses stay.
        again: Training in every later round, which goes on from the last.
        last: Training of the fresh head, on poses that were adjusted before.
        rounds: Of registration, at most.
        tolerance: Error of a pixel that agrees with a pose, of the picture's longer side.
        share: Of a photo's pixels that have to agree with its pose.
        fewest: Pixels that have to, in any case.
        tries: Poses that are tried for a photo.
    """

    channels: int = 128
    blocks: int = 0
    first: TrainingConfig = _FIRST
    again: TrainingConfig = _AGAIN
    last: TrainingConfig = _LAST
    rounds: int = 8
    tolerance: float = 0.01
    share: float = 0.05
    fewest: int = 40
    tries: int = 1000


@dataclass(frozen=True)
class Start:
    """What is known before the loop, of V photos.

    Attributes:
        viewmats: World to camera [V, 4, 4]; anything where it is not known.
        Ks: Intrinsics [V, 3, 3] in pixels, guessed where they are not known.
        posed: Whether the pose is known [V].
        known: Where the pixels' points of a photo are about [N_v, 3], NaN where that is not known.
        size: Longer side of the photos in pixels.
    """

    viewmats: Tensor
    Ks: Tensor
    posed: Tensor
    known: Sequence[Tensor | None]
    size: float


def register_photos(
    seen: Sequence[Seen],
    start: Start,
    config: LoopConfig | None = None,
    *,
    seed: int = 0,
    adjust: Callable[[Registered], Registered] = lambda found: found,
    sharing: Sharing | None = None,
    checkpointing: Checkpointing | None = None,
    report: Callable[[str], object] = lambda _: None,
) -> Registered:
    """Register photos to some of them whose poses are known.

    Args:
        seen: What is seen in each of V photos.
        start: What is known of them.
        config: How.
        seed: Of everything random.
        adjust: Betters poses all together, when photos were registered by shared points, before the last
            round and after it.
        sharing: The points that photos share, if these are to register them too.
        checkpointing: Where the state is kept after every round: what was interrupted goes on from there, and
            comes out the same.
        report: Told what is done next.
    """
    loop = _Loop(seen, start, config or LoopConfig(), seed, adjust, sharing)
    state = None if checkpointing is None else checkpointing.load()
    if state is not None:
        loop.restore(state)
    while loop.goes_on:
        report(f"round {len(loop.course) + 1}: {int(loop.placed.sum())} of {len(seen)} photos")
        loop.turn()
        if checkpointing is not None:
            checkpointing.save(loop.state())
    if not loop.done:
        report(f"last round: {int(loop.placed.sum())} of {len(seen)} photos")
        loop.finish()
        if checkpointing is not None:
            checkpointing.save(loop.state())
    return loop.found()


class _Loop:
    """Photos, their poses as far as they are known, and the head."""

    def __init__(
        self,
        seen: Sequence[Seen],
        start: Start,
        config: LoopConfig,
        seed: int,
        adjust: Callable[[Registered], Registered],
        sharing: Sharing | None,
    ) -> None:
        self._seen, self._start, self._config, self._seed = seen, start, config, seed
        self._better, self._sharing = adjust, sharing
        self._device = seen[0].features.device
        self.viewmats, self.Ks = start.viewmats.float().cpu().clone(), start.Ks.float().cpu().clone()
        self.placed = start.posed.cpu().clone()
        self.agreeing = self.placed.float()
        self.holding = torch.zeros_like(self.placed)  # by shared points; the head has no say about these
        self.course: list[int] = []
        self.done = False
        self._head = self._fresh(0)

    @property
    def goes_on(self) -> bool:
        """Whether another round may register more."""
        course = [int(self._start.posed.sum()), *self.course]
        grown = len(course) < 2 or course[-1] > course[-2]
        return not self.done and grown and len(self.course) < self._config.rounds and not self._complete

    @property
    def _complete(self) -> bool:
        return bool(self.course) and bool(self.placed.all())

    def turn(self) -> None:
        """Register what shares points with others; then learn from the photos that are registered, and
        register all."""
        self._share()
        if not self.placed.all():
            self._learn(self._config.again if self.course else self._config.first, len(self.course))
            self._register()
        self.course.append(int(self.placed.sum()))

    def finish(self) -> None:
        """A fresh head learns from all photos that are registered, and says which of those stay so that do
        not hold by themselves."""
        self._adjust()
        if not self.holding[self.placed].all():
            self._head = self._fresh(1)
            self._learn(self._config.last, 1 + self._config.rounds)
            self._register()
            self._adjust()
        self.course.append(int(self.placed.sum()))
        self.done = True

    def found(self) -> Registered:
        """What is known of the photos by now."""
        return Registered(self.viewmats, self.Ks, self.placed, self.agreeing, tuple(self.course))

    def _adjust(self) -> None:
        after = self._better(self.found())
        self.viewmats, self.Ks = after.viewmats, after.Ks

    def _share(self) -> None:
        """Register photos by shared points until no more can be, all adjusted in between."""
        if self._sharing is None:
            return
        while True:
            after = self._sharing.register(self.found())
            is_more = bool((after.placed & ~self.placed).any())
            self.viewmats, self.placed, self.agreeing = after.viewmats, after.placed, after.agreeing
            if is_more:
                self._adjust()
            self.holding = self._sharing.holding(self.found())
            if not is_more or self.placed.all():
                return

    def state(self) -> dict[str, Any]:
        """Everything that changes, as plain values and tensors."""
        return {
            "viewmats": self.viewmats,
            "Ks": self.Ks,
            "placed": self.placed,
            "agreeing": self.agreeing,
            "holding": self.holding,
            "course": list(self.course),
            "done": self.done,
            "head": {name: weight.cpu() for name, weight in self._head.state_dict().items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Be as when the state was saved."""
        self.viewmats, self.Ks = state["viewmats"], state["Ks"]
        self.placed, self.agreeing, self.holding = state["placed"], state["agreeing"], state["holding"]
        self.course, self.done = list(state["course"]), state["done"]
        self._head.load_state_dict(state["head"])

    def _fresh(self, number: int) -> Head:
        """A head that has learnt nothing; the middle of the scene is where cameras look at."""
        config = HeadConfig(self._seen[0].features.shape[1], self._config.channels, self._config.blocks)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed + number)
            head = Head(config)
        return head.to(self._device)

    def _learn(self, how: TrainingConfig, number: int) -> None:
        """Train the head on the photos that are registered, and take over their poses."""
        rows = self.placed.nonzero()[:, 0].tolist()
        known = [self._start.known[v] for v in rows]
        buffer = Buffer.of([self._seen[v] for v in rows], self.viewmats[rows], self.Ks[rows], known)
        seed = 1000 * self._seed + number
        after = train(self._head, buffer, how.in_pixels(self._start.size), seed=seed)
        self.viewmats[rows] = after.cpu()

    def _register(self) -> None:
        """Pose every photo by what the head says of it; those with too little stay out, or fall out."""
        for v, seen in enumerate(self._seen):
            if self.holding[v]:
                continue
            points = scene_points(self._head, seen.features)
            found = self._solved(v, points)
            least = max(self._config.fewest, self._config.share * len(seen))
            agreeing = self._agreeing(v, points) if self.placed[v] else 0
            if found.viewmat is not None and found.agreeing > agreeing and found.agreeing >= least:
                self.viewmats[v], agreeing = found.viewmat, found.agreeing
            self.placed[v] = agreeing >= least
            self.agreeing[v] = agreeing / len(seen) if self.placed[v] else 0.0

    def _solved(self, v: int, points: Tensor) -> Resection:
        """The pose of a photo that most of its pixels agree with."""
        return resected(
            points.double().cpu().numpy(),
            self._seen[v].pixels.double().cpu().numpy(),
            self.Ks[v].double().numpy(),
            self._config.tolerance * self._start.size,
            steps=self._config.tries,
        )

    def _agreeing(self, v: int, points: Tensor) -> int:
        """How many pixels of a photo agree with the pose it has."""
        K, viewmat = self.Ks[v].to(points), self.viewmats[v].to(points)
        seen = (viewmat[:3, :3] @ points[..., None])[..., 0] + viewmat[:3, 3]
        drawn = (K @ seen[..., None])[..., 0]
        off = (drawn[:, :2] / drawn[:, 2:].clamp_min(1e-6) - self._seen[v].pixels).norm(dim=1)
        return int(((off < self._config.tolerance * self._start.size) & (seen[:, 2] > 0)).sum())
