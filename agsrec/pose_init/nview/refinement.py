"""Finer tokens of the all-views network: where pictures twice as large show what the coarse ones cannot.

The first half of the blocks, the coarse pass, sees all of the object. Then the patches with most detail are
looked at once more at twice the resolution, and in the second half every token asks those of its own view
by cross-attention; the blocks across views carry on what it learned. Which patches have detail is measured,
not learned: what the larger picture shows beyond the smaller one is exactly what is lost without them, and a
choice of the best few gives a learned score no gradient. The attention's last layer starts at zero, so that a
network with finer tokens computes at first what it did without them.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agsrec.pose_init.nview.layers import Block, attended, patch_stem

__all__ = ["Refinement", "detail"]


class Refinement(nn.Module):
    """Makes the finer tokens, and has the others ask them."""

    def __init__(self, width: int, heads: int, grid: int, count: int, before: Iterable[int]) -> None:
        """With `count` tokens per view, of `grid` coarse ones along a side, asked before those blocks."""
        super().__init__()
        self.grid, self.count, self.before = grid, count, tuple(before)
        self.stem = patch_stem(width)
        self.position = nn.Parameter(0.02 * torch.randn(4 * grid**2, width))
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList([Block(width, heads)])
        self.questions = nn.ModuleList(_Question(width, heads) for _ in self.before)

    def tokens(self, crops: Tensor, kept: Tensor, x: Tensor) -> Tensor:
        """Finer tokens [B * V, K, C].

        Args:
            crops: Pictures twice as large as those that the blocks see [B, V, 4, 2 S, 2 S].
            kept: Indices of the coarse tokens [B, V, T].
            x: The camera's token and the coarse ones so far [B, V, 1 + T, C].
        """
        flat, kept, x = crops.flatten(0, 1), kept.flatten(0, 1), x.flatten(0, 1)
        score = detail(flat).view(len(flat), self.grid, 2, self.grid, 2).transpose(2, 3).flatten(3)
        score = score.flatten(1, 2).gather(1, kept[..., None].expand(-1, -1, 4)).flatten(1)  # [BV, 4 T]
        best = score.topk(self.count, dim=1).indices
        parent, quarter = best // 4, best % 4
        coarse = kept.gather(1, parent)
        row = 2 * (coarse // self.grid) + quarter // 2
        column = 2 * (coarse % self.grid) + quarter % 2
        index = row * 2 * self.grid + column
        patches = self.stem(flat - 0.5 * flat[:, 3:]).flatten(2).mT + self.position
        fine = _rows(patches, index) + self.norm(_rows(x[:, 1:], parent))
        for block in self.blocks:
            fine = block(fine)
        return fine

    def forward(self, index: int, x: Tensor, fine: Tensor) -> Tensor:
        """Tokens [B, V, N, C] before block `index`, after they have asked the finer ones of their view."""
        question = self.questions[self.before.index(index)]
        return x + question(x.flatten(0, 1), fine).view(x.shape)


class _Question(nn.Module):
    """Cross-attention that says nothing at first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_x, self.norm_fine = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q = nn.Linear(width, width, bias=False)
        self.kv = nn.Linear(width, 2 * width, bias=False)
        self.norm_q = nn.LayerNorm(width // heads, bias=False)
        self.norm_k = nn.LayerNorm(width // heads, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor, fine: Tensor) -> Tensor:  # [G, N, C], [G, K, C]
        q = self.q(self.norm_x(x)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = self.kv(self.norm_fine(fine)).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(attended(self.norm_q(q).to(v.dtype), self.norm_k(k).to(v.dtype), v))


def detail(crops: Tensor) -> Tensor:
    """How much patches of 8 pixels of crops [N, 4, S, S] show that crops half as large do not [N, (S / 8)^2].

    The mean square by which colours differ from the mean of their two by two pixels, inside the object: its
    outline is sharp everywhere. Where there is none, the patches come first that show most of the object.
    """
    mean = F.avg_pool2d(crops[:, :3], 2)
    spread = (F.avg_pool2d(crops[:, :3].square(), 2) - mean.square()).sum(1, keepdim=True)
    inside = -F.max_pool2d(-crops[:, 3:], 2)
    return F.avg_pool2d(spread.clamp(min=0) * inside + 1e-6 * inside, 4).flatten(1)


def _rows(values: Tensor, index: Tensor) -> Tensor:
    """Rows [G, K, C] of values [G, N, C] by their indices [G, K]."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))
