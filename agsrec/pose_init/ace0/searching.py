"""Photos that share no points with others, registered by what a scene of the registered ones looks like.

Where texture is poor or views lie far apart, nothing matches, and a head regresses badly. Analysis by
synthesis still tells: a coarse scene is fitted to the photos that have poses, the others are searched for in
it, and what is found makes a better scene. Photos that it contradicts lose their poses, and are searched for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from agsrec.cameras import Cameras
from agsrec.config import Stage
from agsrec.errors import CameraError, SceneError
from agsrec.fit import fit
from agsrec.fit.coarse import coarse_schedule
from agsrec.fit.refine import GENTLE, refine_poses
from agsrec.fit.target import shrunk
from agsrec.matching import EpipolarTerm
from agsrec.metrics.poses import rotation_angles
from agsrec.pose_init.ace0.bundling import agreeing_pairs
from agsrec.pose_init.farthest import farthest_cameras
from agsrec.pose_search import GaussianRenderer, Level, SearchConfig, pose_losses, search_pose
from agsrec.views import Views

if TYPE_CHECKING:
    from agsrec.pose_init.ace0.registered import Registered
    from agsrec.pose_init.ace0.shared_points import SharedPoints
    from agsrec.store import Checkpointing

__all__ = ["Searching"]

_SIDE = 128  # pixels of the pictures that are looked at
_SCENE = coarse_schedule(Stage(32, 120), Stage(64, 180), warmup=100, points=1000)
_SEARCH = SearchConfig(directions=800, rolls=36, levels=(Level(32, 3, 32), Level(48, 4, 8), Level(64, 4, 3)))
_POLISH = (Stage(64, 60),)  # of poses that are not in it
_FEWEST, _MOST = 3, 40  # photos that make a scene
_ROUNDS = 8
_MARGIN = 0.25  # how much better a photo has to be explained from one side than from any other
# Squared differences per pixel of the object up to which it is; see `_explained`.
_LOSS, _MOST_LOSS = 1.8, 0.25
_HOPELESS = 0.6  # loss from which a photo shows something else
_WORSE = 3.0  # times the usual loss from which a photo is contradicted
_SAME_DEG = 15.0  # from its doubted pose, at which a photo that is found there again was right
_FINE = 0.01  # loss that contradicts nothing, if it is the usual one
_MATCHES = 0.5  # weight of the points that photos share in the loss of a scene


@dataclass(frozen=True)
class _State:
    """Where the search is.

    Attributes:
        found: What is known of V photos.
        foreign: Which of them [V] show something else.
        doubted: Which had poses [V], still noted in `found`, that a scene contradicted.
        rounds: That are done.
        done: Whether no more is to be found.
    """

    found: Registered
    foreign: Tensor
    doubted: Tensor
    rounds: int = 0
    done: bool = False

    def kept(self) -> dict[str, Any]:
        """What changes, as plain values and tensors."""
        found = self.found
        return {
            "found": (found.viewmats, found.placed, found.agreeing),
            "foreign": self.foreign,
            "doubted": self.doubted,
            "rounds": self.rounds,
            "done": self.done,
        }

    def restored(self, kept: dict[str, Any]) -> _State:
        """As when it was kept."""
        viewmats, placed, agreeing = kept["found"]
        found = replace(self.found, viewmats=viewmats, placed=placed, agreeing=agreeing)
        return _State(found, **{name: value for name, value in kept.items() if name != "found"})


class Searching:
    """Registers photos by scenes of the registered ones.

    Args:
        photos: V cut-outs, RGBA [H, W, 4] each, straight alpha; read once, one at a time.
        shared: The points that they share.
        size: Width and height of the photos in pixels.
        device: Where to compute.
        seed: Of everything random.
        report: Told what is done next.
    """

    def __init__(
        self,
        photos: Iterable[Tensor],
        shared: SharedPoints,
        size: tuple[int, int],
        *,
        device: torch.device,
        seed: int = 0,
        report: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._photos, self._shared, self._size = photos, shared, size
        self._device, self._seed, self._report = device, seed, report

    @cached_property
    def _small(self) -> Tensor:
        """All photos, small [V, h, w, 4]."""
        return torch.stack([shrunk(photo, _SIDE) for photo in self._photos]).to(self._device)

    def register(
        self, found: Registered, holding: Tensor, checkpointing: Checkpointing | None = None
    ) -> Registered:
        """Pose the photos that have no pose and that a scene of the others explains from one side alone.

        Args:
            found: What is known of the photos.
            holding: Whose poses [V] are beyond doubt.
            checkpointing: Where the state is kept after every round.

        Returns:
            The same with more poses, or fewer, and all of them bettered by scenes; `found` itself where none
            was found.
        """
        if bool(found.placed.all()) or int(found.placed.sum()) < _FEWEST:
            return found
        nothing = torch.zeros_like(found.placed)
        state = _State(found, nothing, nothing)
        kept = None if checkpointing is None else checkpointing.load()
        state = state if kept is None else state.restored(kept)
        try:
            while not state.done:
                state = self._turn(state, holding)
                if checkpointing is not None:
                    checkpointing.save(state.kept())
        except (CameraError, SceneError):  # poses that fit no scene: there is nothing to look at
            pass
        return state.found

    def _turn(self, state: _State, holding: Tensor) -> _State:
        """The state after one more scene."""
        missing = (~state.found.placed & ~state.foreign).nonzero()[:, 0].tolist()
        is_last = state.rounds == _ROUNDS or not missing
        looks = f"looking for {len(missing)} photos in a scene of the others, round {state.rounds + 1}"
        self._report("adjusting the poses to a scene" if is_last else looks)
        look = self._look(state.found, holding)
        if state.rounds == _ROUNDS:  # what was found last is bettered, too
            return replace(state, found=look.found, done=True)
        wrong = look.contradicted() & ~holding
        after = look.searched(replace(state, doubted=state.doubted | wrong), missing)
        if int(after.found.placed.sum()) < _FEWEST:  # they contradict each other: none is known to be wrong
            return replace(state, done=True)
        if bool((after.found.placed != look.found.placed).any()):
            return replace(after, rounds=state.rounds + 1)
        # Where nobody was found the poses stay as points made them, which are finer than a coarse scene.
        return replace(state if state.rounds == 0 else after, done=True)

    def _look(self, found: Registered, holding: Tensor) -> _Look:
        """A scene of photos that have poses, and these bettered by it."""
        height, width = self._small.shape[1:3]
        everyone = Cameras(found.viewmats, found.Ks, *self._size).to(self._device, torch.float32)
        everyone = everyone.resized(width, height)
        posed = found.placed.nonzero()[:, 0].tolist()
        rows = [posed[k] for k in farthest_cameras(everyone[posed], _MOST)]
        scene = fit(
            self._views(rows), everyone[rows], _SCENE, seed=self._seed, camera_loss=self._held(found, rows)
        )
        viewmats = found.viewmats.clone()
        viewmats[rows] = scene.cameras.viewmats.to(viewmats)
        rest = [v for v in posed if v not in rows and not holding[v]]
        if rest:
            better = refine_poses(
                scene.gaussians,
                self._views(rest),
                everyone[rest],
                fitted_size=scene.fitted_size,
                stages=_POLISH,
                **GENTLE,
            )
            viewmats[rest] = better.viewmats.to(viewmats)
        focal = float(scene.cameras.focal_lengths.mean(1).median()) * scene.fitted_size / max(width, height)
        render = GaussianRenderer(scene.gaussians, focal=focal)
        return _Look(render, self._small, everyone.Ks, replace(found, viewmats=viewmats))

    def _views(self, rows: Sequence[int]) -> Views:
        return Views(self._small[list(rows)], tuple(str(v) for v in rows))

    def _held(self, found: Registered, rows: Sequence[int]) -> EpipolarTerm | None:
        """What the points that some photos share have against their cameras."""
        inside = torch.zeros_like(found.placed)
        inside[list(rows)] = True
        matches = agreeing_pairs(self._shared, replace(found, placed=inside), self._size)
        if matches is None:
            return None
        return EpipolarTerm(matches.resized(self._small.shape[2] / self._size[0]), weight=_MATCHES)


@dataclass(frozen=True)
class _Look:
    """A scene, in which photos are looked for.

    Attributes:
        render: Draws it.
        small: V small photos [V, h, w, 4].
        Ks: Their intrinsics [V, 3, 3].
        found: What is known of them.
    """

    render: GaussianRenderer
    small: Tensor
    Ks: Tensor
    found: Registered

    @cached_property
    def losses(self) -> Tensor:
        """What the scene leaves unexplained of each photo it was made of [V], NaN for the others."""
        losses = torch.full(self.found.placed.shape, torch.nan, device="cpu")
        for v in self.found.placed.nonzero()[:, 0].tolist():
            viewmat = self.found.viewmats[[v]]
            losses[v] = pose_losses(self.render, self.small[v], self.Ks[v], viewmat, _SEARCH)[0]
        return losses

    @property
    def usual(self) -> float:
        """That of the photo in the middle."""
        return float(self.losses.nanmedian())

    def contradicted(self) -> Tensor:
        """Photos of which the scene leaves much unexplained [V], although it was made of them."""
        return self.losses > _WORSE * max(self.usual, _FINE)

    def searched(self, state: _State, missing: Sequence[int]) -> _State:
        """The state after looking for missing photos, and without the poses that are doubted."""
        viewmats, foreign = self.found.viewmats.clone(), state.foreign.clone()
        placed = self.found.placed & ~state.doubted
        agreeing, doubted = self.found.agreeing.where(placed, 0), state.doubted.clone()
        for v in missing:
            poses = search_pose(self.render, self.small[v], self.Ks[v], _SEARCH)
            loss, best = float(poses.losses[0]), poses.viewmats[0].to(viewmats)
            foreign[v] = loss > _HOPELESS
            turn = best[:3, :3] @ viewmats[v, :3, :3].mT
            again = bool(doubted[v]) and float(rotation_angles(turn)) < _SAME_DEG
            margin = max(poses.margin, _MARGIN) if again else poses.margin
            if _explained(loss, margin):
                viewmats[v], placed[v], agreeing[v], doubted[v] = best, True, margin, False
        found = replace(self.found, viewmats=viewmats, placed=placed, agreeing=agreeing)
        return replace(state, found=found, foreign=foreign, doubted=doubted)


def _explained(loss: float, margin: float) -> bool:
    """Whether a scene explains a photo: the less well it does, the worse all other sides have to be."""
    return margin >= _MARGIN and loss < min(_LOSS * margin**2, _MOST_LOSS)
