"""The two-way transformer of the mask decoder: tokens read the image, and the image reads the tokens."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from anypet.models.segany.layers import FeedForward


class CrossAttention(nn.Module):
    """Multi-head attention between two lists of tokens, with `inner` channels inside."""

    def __init__(self, dim: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(dim, inner)
        self.k_proj = nn.Linear(dim, inner)
        self.v_proj = nn.Linear(dim, inner)
        self.out_proj = nn.Linear(inner, dim)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (B, N, dim), k and v (B, M, dim) -> (B, N, dim)."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, x in ((self.q_proj, q), (self.k_proj, k), (self.v_proj, v))
        )
        # in the released order: a fused kernel saves nothing on so few tokens, but rounds otherwise
        attention = ((q @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1])).softmax(-1)
        return self.out_proj((attention @ v).transpose(1, 2).flatten(2))


class TwoWayLayer(nn.Module):
    """Self-attention of the tokens, tokens to image, feed-forward, image to tokens; norm after each.

    Args:
        first: the first layer attends without the tokens' positions and replaces instead of adding, since
            its tokens are their own positions.
    """

    def __init__(self, dim: int, heads: int, hidden: int, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = CrossAttention(dim, heads, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = CrossAttention(dim, heads, dim // 2)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim, hidden, F.relu)
        self.norm3 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = CrossAttention(dim, heads, dim // 2)

    def forward(
        self, tokens: Tensor, image: Tensor, tokens_at: Tensor, image_at: Tensor
    ) -> tuple[Tensor, Tensor]:
        """tokens (B, N, dim), image (B, M, dim), and the positions of both -> tokens, image."""
        if self.first:
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            q = tokens + tokens_at
            tokens = tokens + self.self_attn(q, q, tokens)
        tokens = self.norm1(tokens)
        tokens = self.norm2(
            tokens + self.cross_attn_token_to_image(tokens + tokens_at, image + image_at, image)
        )
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(
            image + self.cross_attn_image_to_token(image + image_at, tokens + tokens_at, tokens)
        )
        return tokens, image


class TwoWayTransformer(nn.Module):
    """Two layers and a last look of the tokens at the image."""

    def __init__(self, dim: int, depth: int = 2, heads: int = 8, hidden: int = 2048) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayLayer(dim, heads, hidden, i == 0) for i in range(depth))
        self.final_attn_token_to_image = CrossAttention(dim, heads, dim // 2)
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, image: Tensor, image_at: Tensor) -> tuple[Tensor, Tensor]:
        """tokens (B, N, dim), image and its positions (B, M, dim) -> tokens, image."""
        tokens_at = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, tokens_at, image_at)
        last = self.final_attn_token_to_image(tokens + tokens_at, image + image_at, image)
        return self.norm_final_attn(tokens + last), image
