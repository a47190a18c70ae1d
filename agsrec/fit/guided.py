"""The hook through which a prior judges views of the scene that nobody photographed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from agsrec.fit.novel_views import novel_cameras, unphotographed
from agsrec.limits import usual_threads
from agsrec.render import render_scene
from agsrec.render.cpu.threads import lent
from agsrec.store import plain, rebuilt

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.config import GuidanceConfig
    from agsrec.gaussians import Gaussians

__all__ = ["Guidance", "Judgement", "Judging", "NovelViews", "StatefulGuidance"]

_SEEDS = 2**62


@dataclass(frozen=True)
class NovelViews:
    """What a guidance judges.

    Attributes:
        images: Renders of B novel views over white [B, S, S, 3], in the autograd graph.
        cameras: Their cameras.
        inputs: The photos' cameras as optimised so far, without gradient.
        center: Centre of the object [3], world units.
        progress: How far the guided part of the round is, in [0, 1).
        generator: Source of all randomness.
    """

    images: Tensor  # [B, S, S, 3]
    cameras: Cameras
    inputs: Cameras
    center: Tensor  # [3]
    progress: float
    generator: torch.Generator


Guidance = Callable[[NovelViews], Tensor]
"""Judge of novel views: returns a scalar loss."""


@runtime_checkable
class StatefulGuidance(Protocol):
    """A guidance that remembers something; it is kept with the state of an unfinished fit."""

    def __call__(self, novel: NovelViews, /) -> Tensor:
        """Judge; see `Guidance`."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What it remembers, as plain values and tensors."""
        ...

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Remember that instead."""
        ...


@dataclass(frozen=True)
class Judgement:
    """What a guidance wants of B pictures.

    Attributes:
        cameras: Theirs.
        gradient: Of the weighted loss with respect to the pictures [B, S, S, 3].
        loss: Its value.
    """

    cameras: Cameras
    gradient: Tensor  # [B, S, S, 3]
    loss: float

    def pull(self, gaussians: Gaussians) -> Tensor:
        """A loss of this value that pulls a scene by the gradient."""
        white = torch.ones(len(self.cameras), 3).to(self.gradient)
        images = render_scene(gaussians, self.cameras, white, render_mode="RGB").rgb
        pulled = (images * self.gradient).sum()
        return pulled - pulled.detach() + self.loss


class Judging:
    """A guidance that is asked while a fit goes on without its answer.

    What it says of pictures of one step is heeded `GuidanceConfig.lag` steps later, never sooner or later,
    so that results do not depend on how long it takes. Leaving it as a context ends its thread.

    Args:
        guidance: The guidance.
        config: When it is asked, and how much it counts.
        beside: Let it answer in a thread of its own; otherwise at once.
    """

    def __init__(self, guidance: Guidance, config: GuidanceConfig, *, beside: bool) -> None:
        self._guidance, self._config = guidance, config
        self._asked: deque[tuple[int, Future[Judgement]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="judging") if beside else None

    def __enter__(self) -> Judging:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)

    def ask(
        self,
        step: int,
        gaussians: Gaussians,
        cameras: Cameras,
        center: Tensor,  # [3]
        progress: float,
        generator: torch.Generator,
    ) -> None:
        """Show fresh random views of the scene, unless photos know them better."""
        config = self._config
        inputs = replace(cameras, viewmats=cameras.viewmats.detach(), Ks=cameras.Ks.detach())
        drawn = novel_cameras(gaussians, inputs, config.views, config.size, generator)
        far = unphotographed(drawn, inputs, center, config.full_angle, generator)
        if not far:
            return
        novel, white = drawn[far], torch.ones(len(far), 3).to(center)
        with torch.no_grad():
            images = render_scene(gaussians, novel, white, render_mode="RGB").rgb
        # A source of its own: what is drawn from the fit's must not depend on when the guidance answers.
        own = torch.Generator().manual_seed(int(torch.randint(_SEEDS, (), generator=generator)))
        shown = NovelViews(images.requires_grad_(True), novel, inputs, center, progress, own)
        self._begin(step, partial(self._judged, shown, config.weight * len(far) / len(drawn)))

    def due(self, step: int) -> Judgement | None:
        """What is to be heeded in a step, if anything; waits for it."""
        if not self._asked or self._asked[0][0] + self._config.lag > step:
            return None
        return self._asked.popleft()[1].result()

    def forget(self) -> None:
        """Heed nothing more of what was asked."""
        for _, answer in self._asked:
            if not answer.cancel():
                answer.result()
        self._asked.clear()

    def _begin(self, step: int, judged: Callable[[], Judgement]) -> None:
        if self._thread is None:
            self._asked.append((step, _known(judged())))
        else:
            self._asked.append((step, self._thread.submit(_in_its_thread, judged)))

    def _judged(self, shown: NovelViews, weight: float) -> Judgement:
        loss = weight * self._guidance(shown)
        (gradient,) = torch.autograd.grad(loss, shown.images, allow_unused=True)
        gradient = torch.zeros_like(shown.images) if gradient is None else gradient
        return Judgement(shown.cameras, gradient.detach(), float(loss.detach()))

    def state_dict(self) -> dict[str, Any]:
        """What is still to be heeded, and what the guidance remembers, as plain values and tensors."""
        asked = [(step, answer.result()) for step, answer in self._asked]
        own = self._guidance.state_dict() if isinstance(self._guidance, StatefulGuidance) else {}
        return {"asked": plain(asked), "guidance": own}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on from `state_dict()`."""
        self.forget()
        asked = rebuilt(state["asked"], device=device)
        self._asked.extend((step, _known(judgement)) for step, judgement in asked)
        if isinstance(self._guidance, StatefulGuidance):
            self._guidance.load_state_dict(state["guidance"])


def _known(judgement: Judgement) -> Future[Judgement]:
    answer = Future[Judgement]()
    answer.set_result(judgement)
    return answer


def _in_its_thread(judged: Callable[[], Judgement]) -> Judgement:
    """A judgement by half of the processors: the others go on with the fit."""
    torch.set_num_threads(max(1, usual_threads() // 2))
    with lent(usual_threads() // 2):
        return judged()
