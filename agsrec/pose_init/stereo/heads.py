"""From tokens to points, confidences and descriptors per pixel, under the published names of the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agsrec.pose_init.stereo.croco import Mlp

if TYPE_CHECKING:
    from agsrec.pose_init.stereo.config import DUSt3RConfig

__all__ = ["DPT", "HeadOutput", "build_head", "exponential_points"]

_SMALLEST_NORM = 1e-8


@dataclass(frozen=True)
class HeadOutput:
    """What one image's head says of its pixels.

    Attributes:
        points: [B, H, W, 3], in the frame of the pair's first camera.
        confidence: [B, H, W].
        descriptors: Unit vectors [B, H, W, D], of the matching head alone.
        descriptor_confidence: [B, H, W], of the matching head alone.
    """

    points: Tensor
    confidence: Tensor
    descriptors: Tensor | None = None
    descriptor_confidence: Tensor | None = None


def build_head(config: DUSt3RConfig) -> LinearHead | DPTHead | MatchingHead:
    """The head that a configuration names."""
    kinds = {"linear": LinearHead, "dpt": DPTHead, "catmlp+dpt": MatchingHead}
    return kinds[config.head](config)


class LinearHead(nn.Module):
    """One linear layer from the last token of a patch to all its pixels."""

    def __init__(self, config: DUSt3RConfig) -> None:
        super().__init__()
        self.levels: tuple[int, ...] = (config.dec_depth,)
        self._patch, self._floor = config.patch_size, config.confidence_floor
        self.proj = nn.Linear(config.dec_width, 4 * config.patch_size**2)

    def forward(self, tokens: dict[int, Tensor], grid: tuple[int, int]) -> HeadOutput:
        """Points of a batch from the tokens [B, N, C] of its levels, on a grid of patches."""
        raw = _pixels(self.proj(tokens[self.levels[-1]]), grid, self._patch)
        return _points_and_confidence(raw, self._floor)


class DPTHead(nn.Module):
    """Four levels of tokens, fused from coarse to fine (Ranftl et al. 2021)."""

    def __init__(self, config: DUSt3RConfig) -> None:
        super().__init__()
        depth = config.dec_depth
        self.levels: tuple[int, ...] = (0, depth // 2, 3 * depth // 4, depth)
        self._floor = config.confidence_floor
        self.dpt = DPT(config)

    def forward(self, tokens: dict[int, Tensor], grid: tuple[int, int]) -> HeadOutput:
        """Points of a batch from the tokens [B, N, C] of its levels, on a grid of patches."""
        raw = self.dpt([tokens[level] for level in self.levels], grid)
        return _points_and_confidence(raw, self._floor)


class MatchingHead(DPTHead):
    """Points as from DPT, and a descriptor per pixel (MASt3R, Leroy et al. 2024, section 3.2)."""

    def __init__(self, config: DUSt3RConfig) -> None:
        super().__init__(config)
        self._patch = config.patch_size
        width = config.enc_width + config.dec_width
        output = (config.descriptor_width + 1) * config.patch_size**2
        self.head_local_features = Mlp(width, round(config.descriptor_mlp_ratio * width), output)

    def forward(self, tokens: dict[int, Tensor], grid: tuple[int, int]) -> HeadOutput:
        """Points and descriptors of a batch from the tokens [B, N, C] of its levels, on a grid of patches."""
        found = super().forward(tokens, grid)
        ends = torch.cat([tokens[self.levels[0]], tokens[self.levels[-1]]], dim=-1)
        raw = _pixels(self.head_local_features(ends), grid, self._patch).movedim(1, -1)
        descriptors = raw[..., :-1] / raw[..., :-1].norm(dim=-1, keepdim=True)
        return HeadOutput(found.points, found.confidence, descriptors, raw[..., -1].exp())


class DPT(nn.Module):
    """Tokens of four levels to channels [B, C, H, W], four unless told otherwise."""

    def __init__(self, config: DUSt3RConfig, channels: int = 4) -> None:
        super().__init__()
        widths, width, last = config.dpt_level_widths, config.dpt_width, config.dpt_last_width
        inputs = (config.enc_width, *[config.dec_width] * 3)
        self.scratch = _Scratch(widths, width)
        self.act_postprocess = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inputs[i], widths[i], 1), *_resampling(i, widths[i], config.patch_size))
            for i in range(4)
        )
        self.head = nn.Sequential(
            nn.Conv2d(width, width // 2, 3, padding=1),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
            nn.Conv2d(width // 2, last, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(last, channels, 1),
        )

    def forward(self, levels: list[Tensor], grid: tuple[int, int]) -> Tensor:
        """Channels [B, C, H, W] from the tokens [B, N, C] of four levels, on a grid of patches."""
        return self.head(self.fused(levels, grid))

    def fused(self, levels: list[Tensor], grid: tuple[int, int]) -> Tensor:
        """What the last layers start from [B, width, H / 2, W / 2]."""
        maps = [
            reduce(process(tokens.mT.unflatten(-1, grid)))
            for tokens, process, reduce in zip(
                levels, self.act_postprocess, self.scratch.layer_rn, strict=True
            )
        ]
        path = _cut(self.scratch.refinenet4(maps[3], None), maps[2])
        path = _cut(self.scratch.refinenet3(path, maps[2]), maps[1])
        path = _cut(self.scratch.refinenet2(path, maps[1]), maps[0])
        return self.scratch.refinenet1(path, maps[0])


class _Scratch(nn.Module):
    """The layers of DPT that have no counterpart in its backbone."""

    def __init__(self, widths: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.layer1_rn, self.layer2_rn, self.layer3_rn, self.layer4_rn = (
            nn.Conv2d(w, width, 3, padding=1, bias=False) for w in widths
        )
        # The published weights hold these four under both names.
        self.layer_rn = nn.ModuleList([self.layer1_rn, self.layer2_rn, self.layer3_rn, self.layer4_rn])
        self.refinenet1 = _Fusion(width)
        self.refinenet2 = _Fusion(width)
        self.refinenet3 = _Fusion(width)
        self.refinenet4 = _Fusion(width)
        # The coarsest level has nothing to fuse: these weights are published but never used.
        self.refinenet4.resConfUnit1.requires_grad_(False)


class _Fusion(nn.Module):
    """Adds a finer map to a coarser one and doubles the size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(width, width, 1)
        self.resConfUnit1 = _ResidualUnit(width)
        self.resConfUnit2 = _ResidualUnit(width)

    def forward(self, coarse: Tensor, fine: Tensor | None) -> Tensor:
        x = coarse if fine is None else coarse + self.resConfUnit1(fine)
        x = F.interpolate(self.resConfUnit2(x), scale_factor=2, mode="bilinear", align_corners=True)
        return self.out_conv(x)


class _ResidualUnit(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


def _cut(path: Tensor, finer: Tensor) -> Tensor:
    """A doubled map in the size of the finer one: where that is odd it has one row or column more."""
    rows, columns = finer.shape[-2:]
    return path[..., :rows, :columns]


def _resampling(level: int, width: int, patch: int) -> list[nn.Module]:
    """Layers that bring a map of patches to 1/4, 1/8, 1/16 and 1/32 of the image's sides."""
    cell = 4 * 2**level  # pixels; all published networks have patches of 16
    if patch > cell:
        return [nn.ConvTranspose2d(width, width, patch // cell, stride=patch // cell)]
    return [nn.Conv2d(width, width, 3, stride=cell // patch, padding=1)] if patch < cell else []


def _pixels(tokens: Tensor, grid: tuple[int, int], patch: int) -> Tensor:  # [B, C, H, W]
    """Values of all pixels from tokens [B, N, C * patch * patch]."""
    return F.pixel_shuffle(tokens.mT.unflatten(-1, grid), patch)


def _points_and_confidence(raw: Tensor, floor: float) -> HeadOutput:
    """Points and confidence of four channels [B, 4, H, W]: both grow exponentially with what comes in."""
    raw = raw.movedim(1, -1)
    return HeadOutput(exponential_points(raw[..., :3]), floor + raw[..., 3].exp())


def exponential_points(raw: Tensor) -> Tensor:
    """Points [..., 3] in the directions of `raw` [..., 3], at expm1 of its length."""
    norm = raw.norm(dim=-1, keepdim=True).clamp_min(_SMALLEST_NORM)
    return raw / norm * norm.expm1()
