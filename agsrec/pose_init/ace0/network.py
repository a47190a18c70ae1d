"""ACE's network (Brachmann et al., "Accelerated Coordinate Encoding", CVPR 2023) under its published names.

An encoder that knows no scene turns a grey picture into features; a head that knows one scene alone turns
each feature into the point of the scene that the pixel shows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["SUBSAMPLE", "Encoder", "Head", "HeadConfig", "Regressor", "grey_input"]

SUBSAMPLE = 8
"""Pixels of the picture per feature, in both directions."""

_GREY_MEAN, _GREY_STD = 0.4, 0.25  # of what the published encoder was trained with


@dataclass(frozen=True)
class HeadConfig:
    """Sizes of a head.

    Attributes:
        features: Channels of what it is given.
        channels: Its own.
        blocks: Residual blocks beside the first.
        homogeneous: Whether it says points as three numbers over a fourth, or as three.
        min_scale: Smallest number that points are divided into: far away at most so many times less.
        max_scale: Largest.
    """

    features: int = 512
    channels: int = 512
    blocks: int = 1
    homogeneous: bool = True
    min_scale: float = 0.01
    max_scale: float = 4.0


@dataclass(frozen=True)
class EncoderConfig:
    """Channels of an encoder: of its four convolutions, of the second residual block, and of its features."""

    widths: tuple[int, int, int, int] = (32, 64, 128, 256)
    inner: int = 512
    features: int = 512


def grey_input(rgb: Tensor) -> Tensor:
    """Pictures [B, H, W, 3] in [0, 1] as the published encoder takes them, [B, 1, H, W]."""
    grey = rgb @ rgb.new_tensor([0.299, 0.587, 0.114])
    return ((grey - _GREY_MEAN) / _GREY_STD)[:, None]


class Encoder(nn.Module):
    """Features [B, C, H / 8, W / 8] of grey pictures [B, 1, H, W]; see `grey_input`."""

    def __init__(self, config: EncoderConfig | None = None) -> None:
        super().__init__()
        config = config or EncoderConfig()
        one, two, three, four = config.widths
        self.conv1 = nn.Conv2d(1, one, 3, padding=1)
        self.conv2 = nn.Conv2d(one, two, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(two, three, 3, stride=2, padding=1)
        self.conv4 = nn.Conv2d(three, four, 3, stride=2, padding=1)
        self.res1_conv1 = nn.Conv2d(four, four, 3, padding=1)
        self.res1_conv2 = nn.Conv2d(four, four, 1)
        self.res1_conv3 = nn.Conv2d(four, four, 3, padding=1)
        self.res2_conv1 = nn.Conv2d(four, config.inner, 3, padding=1)
        self.res2_conv2 = nn.Conv2d(config.inner, config.inner, 1)
        self.res2_conv3 = nn.Conv2d(config.inner, config.features, 3, padding=1)
        self.res2_skip = nn.Conv2d(four, config.features, 1)

    def forward(self, grey: Tensor) -> Tensor:
        """Features of pictures."""
        coarse = _through([self.conv1, self.conv2, self.conv3, self.conv4], grey)
        coarse = coarse + _through([self.res1_conv1, self.res1_conv2, self.res1_conv3], coarse)
        fine = _through([self.res2_conv1, self.res2_conv2, self.res2_conv3], coarse)
        return self.res2_skip(coarse) + fine


class Head(nn.Module):
    """Scene coordinates [B, 3, h, w] of features [B, C, h, w], each pixel for itself.

    Args:
        config: Sizes.
        mean: Middle of the scene [3], which it starts from.
    """

    max_scale: Tensor
    min_scale: Tensor
    max_inv_scale: Tensor
    min_inv_scale: Tensor
    h_beta: Tensor
    mean: Tensor

    def __init__(self, config: HeadConfig | None = None, mean: Tensor | None = None) -> None:
        super().__init__()
        config = config or HeadConfig()
        self.config = config
        inside, width = config.features, config.channels
        self.head_skip = nn.Identity() if inside == width else nn.Conv2d(inside, width, 1)
        self.res3_conv1 = nn.Conv2d(inside, width, 1)
        self.res3_conv2, self.res3_conv3 = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        for block in range(config.blocks):
            for part in range(3):
                self.add_module(f"{block}c{part}", nn.Conv2d(width, width, 1))
        self.fc1, self.fc2 = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.fc3 = nn.Conv2d(width, 4 if config.homogeneous else 3, 1)
        if config.homogeneous:
            largest, smallest = torch.tensor([config.max_scale]), torch.tensor([config.min_scale])
            self.register_buffer("max_scale", largest)
            self.register_buffer("min_scale", smallest)
            self.register_buffer("max_inv_scale", 1 / largest)
            self.register_buffer("h_beta", math.log(2) / (1 - 1 / largest))
            self.register_buffer("min_inv_scale", 1 / smallest)
        middle = self.fc3.weight.new_zeros(3) if mean is None else mean.detach().clone()
        self.register_buffer("mean", middle.view(1, 3, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Scene coordinates in world units."""
        first = _through([self.res3_conv1, self.res3_conv2, self.res3_conv3], features)
        x = self.head_skip(features) + first
        for block in range(self.config.blocks):
            x = x + _through([self.get_submodule(f"{block}c{part}") for part in range(3)], x)
        x = self.fc3(_through([self.fc1, self.fc2], x))
        return (self._divided(x) if self.config.homogeneous else x) + self.mean

    def _divided(self, x: Tensor) -> Tensor:
        """Points [B, 3, h, w] of homogeneous ones [B, 4, h, w]; 1 where the network says nothing."""
        scale = F.softplus(x[:, 3:], beta=float(self.h_beta)) + self.max_inv_scale
        return x[:, :3] / torch.minimum(scale, self.min_inv_scale)


class Regressor(nn.Module):
    """Encoder and head: scene coordinates [B, 3, H / 8, W / 8] of grey pictures [B, 1, H, W]."""

    def __init__(
        self,
        encoder: EncoderConfig | None = None,
        head: HeadConfig | None = None,
        mean: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(encoder)
        self.heads = Head(head, mean)

    def forward(self, grey: Tensor) -> Tensor:
        """Scene coordinates in world units."""
        return self.heads(self.encoder(grey))


def _through(layers: list[nn.Module], x: Tensor) -> Tensor:
    """The layers one after the other, each with a rectifier."""
    for layer in layers:
        x = F.relu(layer(x))
    return x
