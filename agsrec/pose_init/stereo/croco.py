"""Transformer blocks of CroCo (Weinzaepfel et al. 2022, 2023), under the names of its published weights."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from agsrec.pose_init.stereo.rope import Rotation, rotate

__all__ = ["DecoderBlock", "EncoderBlock", "Mlp", "PatchEmbed"]

_NORM_EPS = 1e-6
_MLP_RATIO = 4


class PatchEmbed(nn.Module):
    """Square patches of an image as tokens."""

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:
        """Tokens [B, N, C], row by row, of images [B, 3, H, W]."""
        return self.proj(images).flatten(2).mT


class Mlp(nn.Module):
    """Two layers with a GELU between them."""

    def __init__(self, width: int, hidden: int, output: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, output)

    def forward(self, x: Tensor) -> Tensor:
        """Output [..., output] of x [..., width]."""
        return self.fc2(F.gelu(self.fc1(x)))


class _Attention(nn.Module):
    """Self-attention; queries and keys turn with their positions."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self._num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:  # [B, N, C]
        q, k, v = (_split(part, self._num_heads) for part in self.qkv(x).chunk(3, dim=-1))
        return self.proj(_attend(rotate(q, rotation), rotate(k, rotation), v))


class _CrossAttention(nn.Module):
    """Attention from one image's tokens to the other's."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self._num_heads = num_heads
        self.projq = nn.Linear(width, width)
        self.projk = nn.Linear(width, width)
        self.projv = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, y: Tensor, x_rotation: Rotation, y_rotation: Rotation) -> Tensor:
        q = rotate(_split(self.projq(x), self._num_heads), x_rotation)
        k = rotate(_split(self.projk(y), self._num_heads), y_rotation)
        return self.proj(_attend(q, k, _split(self.projv(y), self._num_heads)))


class EncoderBlock(nn.Module):
    """Attention within an image, then an MLP."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.attn = _Attention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.mlp = Mlp(width, _MLP_RATIO * width, width)

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        """New tokens [B, N, C] of tokens [B, N, C]."""
        x = x + self.attn(self.norm1(x), rotation)
        return x + self.mlp(self.norm2(x))


class DecoderBlock(nn.Module):
    """Attention within an image, then to the other image, then an MLP."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.attn = _Attention(width, num_heads)
        self.norm_y = nn.LayerNorm(width, eps=_NORM_EPS)
        self.norm2 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.cross_attn = _CrossAttention(width, num_heads)
        self.norm3 = nn.LayerNorm(width, eps=_NORM_EPS)
        self.mlp = Mlp(width, _MLP_RATIO * width, width)

    def forward(self, x: Tensor, y: Tensor, x_rotation: Rotation, y_rotation: Rotation) -> Tensor:
        """New tokens [B, N, C] of one image from its own and the other image's tokens [B, M, C]."""
        x = x + self.attn(self.norm1(x), x_rotation)
        x = x + self.cross_attn(self.norm2(x), self.norm_y(y), x_rotation, y_rotation)
        return x + self.mlp(self.norm3(x))


def _split(x: Tensor, num_heads: int) -> Tensor:  # [B, heads, N, D]
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:  # [B, N, C]
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)
