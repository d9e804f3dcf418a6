"""Clicks and the mask of the step before, as the tokens and the dense embedding that the decoder reads."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from anypet.models.segany.config import NetworkConfig
from anypet.models.segany.layers import LayerNorm3d


class RandomPositions(nn.Module):
    """Positional encoding by random frequencies: coordinates in [0, 1]^3 -> `embed_dim` channels."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        frequencies = torch.randn(3, embed_dim // 3)
        self.register_buffer("positional_encoding_gaussian_matrix", frequencies)
        self.positional_encoding_gaussian_matrix: Tensor

    def forward(self, coordinates: Tensor) -> Tensor:
        """(..., 3) along (D, H, W) -> (..., embed_dim)."""
        angles = 2 * math.pi * ((2 * coordinates - 1) @ self.positional_encoding_gaussian_matrix)
        # the third part repeats the sine: so the weights were fitted, and so they must be used
        return torch.cat([angles.sin(), angles.cos(), angles.sin()], dim=-1)

    def grid(self, n: int) -> Tensor:
        """The encoding of every cell of an n^3 embedding: (1, embed_dim, n, n, n).

        Axes 0 and 1 are swapped against those of the clicks: cell (a, b, c) carries the encoding of a point
        in cell (b, a, c). The published networks were trained so; undoing it would put their clicks in the
        wrong place.
        """
        matrix = self.positional_encoding_gaussian_matrix
        centre = (torch.arange(n, device=matrix.device, dtype=matrix.dtype) + 0.5) / n
        a, b, c = torch.meshgrid(centre, centre, centre, indexing="ij")
        return self(torch.stack([b, a, c], dim=-1)).permute(3, 0, 1, 2)[None]


class PromptEncoder(nn.Module):
    """Points and a previous mask -> sparse tokens and a dense embedding."""

    def __init__(self, config: NetworkConfig, mask_channels: int = 16) -> None:
        super().__init__()
        dim = config.embed_dim
        self.image_size = config.image_size
        self.pe_layer = RandomPositions(dim)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, dim) for _ in range(2))  # negative, positive
        self.not_a_point_embed = nn.Embedding(1, dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv3d(1, mask_channels // 4, kernel_size=2, stride=2),
            LayerNorm3d(mask_channels // 4),
            nn.GELU(),
            nn.Conv3d(mask_channels // 4, mask_channels, kernel_size=2, stride=2),
            LayerNorm3d(mask_channels),
            nn.GELU(),
            nn.Conv3d(mask_channels, dim, kernel_size=1),
        )
        # in the published weights, but used neither in their training nor in their inference: the first click
        # comes with a mask of zeros, whose embedding is another one
        self.no_mask_embed = nn.Embedding(1, dim)

    def sparse(self, points: Tensor, labels: Tensor) -> Tensor:
        """Clicks -> tokens (B, N + 1, embed_dim), or (B, 0, embed_dim) where there are no clicks.

        Args:
            points: (B, N, 3) voxel indices along (D, H, W).
            labels: (B, N) 1 = positive, 0 = negative.
        """
        if points.shape[1] == 0:
            return points.new_zeros(len(points), 0, self.not_a_point_embed.embedding_dim)
        negative, positive = self.point_embeddings
        kinds = torch.cat([negative.weight, positive.weight])  # type: ignore[list-item]
        tokens = self.pe_layer((points + 0.5) / self.image_size) + kinds[labels]
        # a box would have closed the list; in its place the networks expect one token that says "no point"
        pad = self.not_a_point_embed.weight.expand(len(points), 1, -1)
        return torch.cat([tokens, pad], dim=1)

    def dense(self, mask: Tensor) -> Tensor:
        """Logits (B, 1, 4n, 4n, 4n) of the step before, raw -> embedding (B, embed_dim, n, n, n)."""
        return self.mask_downscaling(mask)
