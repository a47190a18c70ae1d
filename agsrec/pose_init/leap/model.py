"""The LEAP network under its published names.

Jiang et al., LEAP: Liberate Sparse-view 3D Modeling from Camera Poses, ICLR 2024. Pictures become patch
tokens (DINOv2), the tokens of all views are brought together with those of the first view, learned tokens of
a volume collect from them what they need, and two heads make features and densities of the volume.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agsrec.errors import ShapeError
from agsrec.pose_init.leap.config import LeapConfig
from agsrec.pose_init.leap.volume import LeapVolume, march

__all__ = ["Leap", "normalized_pictures"]

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet
_DENSEST = 1 - 1e-5


def _channels(values: tuple[float, ...], like: Tensor) -> Tensor:
    return torch.tensor(values).to(like)[:, None, None]


def normalized_pictures(rgb: Tensor) -> Tensor:
    """Pictures [..., 3, H, W] in [0, 1] with ImageNet's mean and deviation taken out."""
    return (rgb - _channels(_MEAN, rgb)) / _channels(_STD, rgb)


class Leap(nn.Module):
    """Unposed pictures of one object to a neural volume in the first view's frame.

    Args:
        config: Sizes.
        with_backbone: Leave out DINOv2 for a model that is only given tokens.
    """

    def __init__(self, config: LeapConfig, *, with_backbone: bool = True) -> None:
        super().__init__()
        self.config = config
        self.backbone = _dinov2(config) if with_backbone else None
        self.encoder = _ViewEncoder(config)
        self.lifting = _Lifting(config)
        self.render_module = _RenderModule(config)

    def tokens(self, pictures: Tensor) -> Tensor:
        """Patch tokens [N, h * w, width] of normalised pictures [N, 3, S, S]."""
        size = self.config.image_size
        if pictures.shape[1:] != (3, size, size):
            raise ShapeError(f"pictures must be [N, 3, {size}, {size}], not {list(pictures.shape)}")
        if self.backbone is None:
            raise ShapeError("this LEAP model has no backbone and takes tokens alone")
        return self.backbone(pictures).last_hidden_state[:, 1:]

    def encode(self, tokens: Tensor) -> Tensor:
        """Features [B, V, C, h, w] of all views together, from tokens [B, V, h * w, C], first view first."""
        side = self.config.grid_size
        return self.encoder(tokens.mT.unflatten(-1, (side, side)))

    def decode(self, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, C, D, D, D] and densities [B, 1, D, D, D] from the lifted volume."""
        densities = self.render_module.density_head(coarse).clip(0.0, _DENSEST)
        return self.render_module.features_head(coarse), densities

    def volume_from_tokens(self, tokens: Tensor) -> LeapVolume:
        """The volume of one object from tokens [V, h * w, C] of its views."""
        features, densities = self.decode(self.lifting(self.encode(tokens[None])))
        return self.volume(features[0], densities[0])

    def volume(self, features: Tensor, densities: Tensor) -> LeapVolume:
        """Features [C, D, D, D] and densities [1, D, D, D] as a value."""
        c = self.config
        spacing = (c.max_depth - c.min_depth) / (c.num_samples - 1)
        return LeapVolume(features, densities, c.volume_size, spacing)

    def forward(self, pictures: Tensor) -> LeapVolume:
        """The volume of one object from its normalised pictures [V, 3, S, S], 2 <= V <= max_views."""
        return self.volume_from_tokens(self.tokens(pictures))

    def render(
        self, features: Tensor, densities: Tensor, viewmats: Tensor, Ks: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Normalised colours [B, 3, S, S] and opacities [B, 1, S, S] of B volumes, one camera each.

        Args:
            features: [B, C, D, D, D].
            densities: [B, 1, D, D, D].
            viewmats: World-to-camera [B, 4, 4].
            Ks: Intrinsics [B, 3, 3] in pixels of the input pictures.
        """
        c = self.config
        small = Ks * torch.tensor([c.render_size / c.image_size] * 2 + [1.0]).to(Ks)[:, None]
        depths = torch.linspace(c.min_depth, c.max_depth, c.num_samples).to(features)
        edge = c.render_size
        shown, alpha = march(features, densities, c.volume_size, viewmats, small, edge, edge, depths)
        size = (c.image_size, c.image_size)
        return self._colors(shown), F.interpolate(alpha, size=size, mode="bilinear", align_corners=False)

    def voxel_colors(self, volume: LeapVolume, faint: float = 1e-3, chunk: int = 2048) -> Tensor:
        """RGB [3, D, D, D] in [0, 1] of voxels denser than `faint` and their neighbours; black elsewhere.

        A voxel's colour is what the network paints on a picture that shows nothing but this voxel's features.
        """
        dense = F.max_pool3d(volume.densities, 3, stride=1, padding=1)[0] > faint
        out = torch.zeros(3, *dense.shape).to(volume.features)
        samples = volume.features[:, dense].mT  # [M, C]
        side = 2 * self.config.kernel_size
        painted = []
        for part in samples.split(chunk):
            flat = part[:, :, None, None].expand(-1, -1, side, side)
            middle = slice(
                side * 2**self.config.upsampling // 2 - 1, side * 2**self.config.upsampling // 2 + 1
            )
            painted.append(self._colors(flat)[:, :, middle, middle].mean((2, 3)))
        if painted:
            rgb = torch.cat(painted).mT[:, :, None] * _channels(_STD, out) + _channels(_MEAN, out)
            out[:, dense] = rgb[..., 0].clamp(0, 1)
        return out

    def _colors(self, shown: Tensor) -> Tensor:
        """Normalised colours of composited features; what would be negative light is black."""
        normalized = self.render_module.render.upsample_conv(shown)
        light = F.relu(normalized * _channels(_STD, shown) + _channels(_MEAN, shown))
        return normalized_pictures(light)


def _dinov2(config: LeapConfig) -> Any:
    from transformers import Dinov2Config, Dinov2Model

    return Dinov2Model(
        Dinov2Config(
            hidden_size=config.width,
            num_hidden_layers=config.backbone_layers,
            num_attention_heads=config.backbone_heads,
            image_size=config.image_size,
            patch_size=config.patch_size,
        )
    )


class _CrossAttentionLayer(nn.Module):
    """Attention to other tokens, then a small network; normalised after each. There is no `norm1`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.multihead_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.linear1 = nn.Linear(width, 4 * width)
        self.linear2 = nn.Linear(4 * width, width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        x = self.norm2(x + self.multihead_attn(x, memory, memory, need_weights=False)[0])
        return self.norm3(x + self.linear2(F.gelu(self.linear1(x))))


class _ViewEncoder(nn.Module):
    """The other views look at the first, then all views at each other, layer by layer."""

    def __init__(self, config: LeapConfig) -> None:
        super().__init__()
        width, side, spread = config.width, config.grid_size, config.width**-0.5
        self.transformers_cross = nn.ModuleList(
            _CrossAttentionLayer(width, config.heads) for _ in range(config.encoder_layers)
        )
        self.transformers_self = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, config.heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True
            )
            for _ in range(config.encoder_layers)
        )
        self.pixel_emb = nn.Parameter(torch.rand(1, width, side, side) * spread)
        self.cam_emb = nn.Parameter(torch.rand(config.max_views, width, 1, 1) * spread)

    def forward(self, x: Tensor) -> Tensor:
        """Features [B, V, C, h, w] to the same shape."""
        views, height, width = x.shape[1], x.shape[3], x.shape[4]
        if not 2 <= views <= len(self.cam_emb):
            raise ShapeError(f"LEAP takes 2 to {len(self.cam_emb)} views at once, not {views}")
        x = x + self.pixel_emb + self.cam_emb[:views]
        x = x.flatten(3).permute(0, 1, 3, 2).flatten(1, 2)  # [B, V * h * w, C]
        patches = height * width
        for cross, among in zip(self.transformers_cross, self.transformers_self, strict=True):
            first, others = x[:, :patches], x[:, patches:]
            x = among(torch.cat([first, cross(others, first)], dim=1))
        return x.unflatten(1, (views, height, width)).permute(0, 1, 4, 2, 3)


class _Lifting(nn.Module):
    """Learned tokens of a volume collect from the pictures; convolutions refine them."""

    def __init__(self, config: LeapConfig) -> None:
        super().__init__()
        width, side = config.width, config.latent_size
        self.latent_emb = nn.Parameter(torch.rand(side, side, side, width) / math.sqrt(width))
        self.transformer = nn.ModuleList(
            nn.TransformerDecoderLayer(
                width, config.heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True
            )
            for _ in range(config.lifting_layers)
        )
        self.latent_refine = nn.Sequential(
            nn.ConvTranspose3d(width, config.refine_width, 4, stride=2, padding=1),
            nn.BatchNorm3d(config.refine_width),
            nn.LeakyReLU(),
            nn.Conv3d(config.refine_width, config.volume_width, 3, padding=1),
            nn.BatchNorm3d(config.volume_width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features [B, V, C, h, w] to a coarse volume [B, C', 2 L, 2 L, 2 L]."""
        memory = x.flatten(3).permute(0, 1, 3, 2).flatten(1, 2)
        latent = self.latent_emb.flatten(0, 2).expand(len(x), -1, -1)
        for layer in self.transformer:
            latent = layer(latent, memory)
        side = len(self.latent_emb)
        return self.latent_refine(latent.mT.unflatten(-1, (side, side, side)))


class _RenderModule(nn.Module):
    """The volume's heads, and the layers that turn rendered features into colours."""

    def __init__(self, config: LeapConfig) -> None:
        super().__init__()
        self.density_head = nn.Sequential(
            *_upsampled(config.volume_width, config.head_width),
            nn.Conv3d(config.head_width, config.density_width, 3, padding=1),
            nn.BatchNorm3d(config.density_width),
            nn.LeakyReLU(),
            nn.Conv3d(config.density_width, 1, 3, padding=1),
            nn.ReLU(),
        )
        self.features_head = nn.Sequential(
            *_upsampled(config.volume_width, config.head_width),
            nn.Conv3d(config.head_width, config.feature_channels, 3, padding=1),
            nn.BatchNorm3d(config.feature_channels),
            nn.LeakyReLU(),
        )
        self.render = _Painter(config)


def _upsampled(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.ConvTranspose3d(inputs, outputs, 4, stride=2, padding=1),
        nn.BatchNorm3d(outputs),
        nn.LeakyReLU(),
    ]


class _Painter(nn.Module):
    """From rendered features to colours at the size of the input pictures."""

    def __init__(self, config: LeapConfig) -> None:
        super().__init__()
        channels, kernel, hidden = config.feature_channels, config.kernel_size, config.color_width
        layers: list[nn.Module] = []
        for _ in range(config.upsampling):
            layers += [
                nn.ConvTranspose2d(channels, channels, kernel + 1, stride=2, padding=kernel // 2),
                nn.BatchNorm2d(channels),
                nn.LeakyReLU(),
            ]
        layers += [
            nn.Conv2d(channels, hidden, kernel, padding=kernel // 2),
            nn.BatchNorm2d(hidden),
            nn.LeakyReLU(),
            nn.Conv2d(hidden, 3, kernel, padding=kernel // 2),
        ]
        self.upsample_conv = nn.Sequential(*layers)
