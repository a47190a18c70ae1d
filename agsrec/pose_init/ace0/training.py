"""A head that learns a scene from photos with poses, and betters the poses as it learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from agsrec.pose_init.ace0.features import Seen
from agsrec.pose_init.ace0.loss import CoordinateLoss, ReprojectionLoss, Step, coordinate_loss
from agsrec.pose_init.ace0.network import Head
from agsrec.pose_init.ace0.poses import PoseNetwork, refined

__all__ = ["Buffer", "TrainingConfig", "scene_points", "train"]


_PUBLISHED_SIDE = 480.0  # pixels of the pictures that published errors in pixels are for

# World units are those in which cameras are 1.85 from the object; the published ones are metres.
_LOSS = CoordinateLoss(ReprojectionLoss("dyntanh"), depth_max=10.0, depth_target=1.85, pull=200.0)


@dataclass(frozen=True)
class TrainingConfig:
    """How a head is trained.

    Attributes:
        steps: Of the optimiser (AdamW).
        batch: Pixels of a step.
        rate: Largest learning rate, which is risen to and comes down from (one cycle, as published).
        pose_rate: Of the network that refines poses.
        poses_from: Share of the steps after which poses are refined; 1 leaves them as they are.
        loss: What is made of coordinates.
    """

    steps: int = 500
    batch: int = 512
    rate: float = 5e-3
    pose_rate: float = 3e-3
    poses_from: float = 0.0
    loss: CoordinateLoss = _LOSS

    def in_pixels(self, size: float, reference: float = _PUBLISHED_SIDE) -> TrainingConfig:
        """The same for pictures of another longer side, pixels."""
        scale, robust = size / reference, self.loss.reprojection
        robust = replace(
            robust, soft_clamp=scale * robust.soft_clamp, soft_clamp_min=scale * robust.soft_clamp_min
        )
        loss = replace(self.loss, reprojection=robust, hard_clamp=scale * self.loss.hard_clamp)
        return replace(self, loss=loss)


@dataclass(frozen=True)
class Buffer:
    """The N pixels of V photos that a head learns from.

    Attributes:
        features: [N, C].
        pixels: [N, 2].
        photos: Which of the photos each is in [N].
        viewmats: World to camera of the photos [V, 4, 4].
        Ks: Their intrinsics [V, 3, 3], pixels.
        known: Where pixels' points are known to be about [N, 3]; NaN where they are not.
    """

    features: Tensor
    pixels: Tensor
    photos: Tensor
    viewmats: Tensor
    Ks: Tensor
    known: Tensor

    @staticmethod
    def of(seen: Sequence[Seen], viewmats: Tensor, Ks: Tensor, known: Sequence[Tensor | None]) -> Buffer:
        """The pixels of V photos, in half precision; what is known of each photo's pixels [N_v, 3]."""
        device = seen[0].features.device
        photos = [torch.full((len(s),), v, device=device) for v, s in enumerate(seen)]
        points = [
            torch.full((len(s), 3), torch.nan, device=device) if k is None else k.to(device)
            for s, k in zip(seen, known, strict=True)
        ]
        return Buffer(
            torch.cat([s.features.half() for s in seen]),
            torch.cat([s.pixels for s in seen]),
            torch.cat(photos),
            viewmats.to(device),
            Ks.to(device),
            torch.cat(points),
        )

    def __len__(self) -> int:
        return len(self.pixels)


def train(head: Head, buffer: Buffer, config: TrainingConfig, *, seed: int) -> Tensor:
    """Train a head on a buffer; it is changed.

    Args:
        head: To train, from the weights it has.
        buffer: What it learns from.
        config: How.
        seed: Of the choice of pixels.

    Returns:
        The poses as they were refined, world to camera [V, 4, 4].
    """
    device = buffer.features.device
    generator = torch.Generator(device).manual_seed(seed)
    head.requires_grad_(True).train()
    network = _still(device, seed)
    optimizer = torch.optim.AdamW(head.parameters(), lr=config.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.rate, total_steps=config.steps)
    pose_optimizer = torch.optim.AdamW(network.parameters(), lr=config.pose_rate)
    with torch.enable_grad():
        for step in range(config.steps):
            rows = torch.randint(len(buffer), (config.batch,), generator=generator, device=device)
            moving = step >= config.poses_from * config.steps
            poses = refined(network, buffer.viewmats) if moving else buffer.viewmats[:, :3]
            points = scene_points(head, buffer.features[rows].float())
            photos = buffer.photos[rows]
            batch = Step(buffer.pixels[rows], poses[photos], buffer.Ks[photos], buffer.known[rows])
            loss, _ = coordinate_loss(points, batch, config.loss, step / config.steps)
            for one in (optimizer, pose_optimizer):
                one.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            if moving:
                pose_optimizer.step()
    head.requires_grad_(False).eval()
    after = buffer.viewmats.clone()
    if config.poses_from < 1:
        with torch.no_grad():
            after[:, :3] = refined(network, buffer.viewmats)
    return after


def scene_points(head: Head, features: Tensor) -> Tensor:
    """Scene coordinates [N, 3] of features [N, C]."""
    return head(features.T[None, :, None])[0, :, 0].T


def _still(device: torch.device, seed: int) -> PoseNetwork:
    """A network that refines poses, and as yet leaves them as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = PoseNetwork()
    nn.init.zeros_(network.fc3.weight)
    if network.fc3.bias is not None:
        nn.init.zeros_(network.fc3.bias)
    return network.to(device)
