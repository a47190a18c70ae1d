"""What the all-views network and its finer tokens are built of."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Attention", "Block", "attended", "patch_stem"]


class Attention(nn.Module):
    """Self-attention with normalised queries and keys."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.norm_q = nn.LayerNorm(width // heads, bias=False)
        self.norm_k = nn.LayerNorm(width // heads, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [G, N, C], attending within their group."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(attended(self.norm_q(q).to(v.dtype), self.norm_k(k).to(v.dtype), v))


class Block(nn.Module):
    """A block of the transformer: attention, then each token for itself."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.rise = nn.Linear(width, 4 * width)
        self.fall = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [G, N, C]."""
        x = x + self.attention(self.norm1(x))
        return x + self.fall(F.relu(self.rise(self.norm2(x))).square())


def attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """What queries [G, H, N, D] get of keys and values [G, H, M, D]: [G, N, H * D]."""
    # Not the fused attention: its bfloat16 backward pass is slow on CPUs.
    weights = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)
    return (weights.to(v.dtype) @ v).transpose(1, 2).flatten(2)


def patch_stem(width: int) -> nn.Sequential:
    """Pictures [N, 4, S, S] to patches of 8 pixels [N, C, S / 8, S / 8]."""
    return nn.Sequential(
        nn.PixelUnshuffle(2),
        nn.Conv2d(16, 96, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(96, width, 3, stride=2, padding=1),
    )
