"""The 3D vision transformer that turns a window of PET into an image embedding, once for all prompts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anypet.models.segany.attention import CubeAttention
from anypet.models.segany.config import NetworkConfig
from anypet.models.segany.layers import FeedForward, LayerNorm3d


class PatchEmbed(nn.Module):
    """Cuts (B, 1, D, H, W) into patches and embeds each: (B, d, h, w, dim), channels last."""

    def __init__(self, patch: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(1, dim, kernel_size=patch, stride=patch)

    def forward(self, x: Tensor, fast: bool = True) -> Tensor:
        if not fast:
            return self.proj(x).movedim(1, -1)
        # a convolution whose stride is its kernel is a matrix product over patches, which is quicker on CPUs
        p = self.proj.kernel_size[0]
        b, _, d, h, w = x.shape
        patches = x.reshape(b, d // p, p, h // p, p, w // p, p).permute(0, 1, 3, 5, 2, 4, 6).flatten(4)
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


def to_windows(x: Tensor, size: int) -> Tensor:
    """(B, D, H, W, C), zero-padded at the far ends to multiples of `size` -> (B * windows, size^3, C)."""
    pad = [(-n) % size for n in x.shape[1:4]]
    x = F.pad(x, (0, 0, 0, pad[2], 0, pad[1], 0, pad[0]))
    b, d, h, w, c = x.shape
    x = x.view(b, d // size, size, h // size, size, w // size, size, c)
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(-1, size, size, size, c)


def from_windows(windows: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """What `to_windows` made of a grid (D, H, W) -> (B, D, H, W, C), without the padding."""
    size, c = windows.shape[1], windows.shape[-1]
    d, h, w = (-(-n // size) for n in shape)
    x = windows.view(-1, d, h, w, size, size, size, c).permute(0, 1, 4, 2, 5, 3, 6, 7)
    x = x.reshape(-1, d * size, h * size, w * size, c)
    return x[:, : shape[0], : shape[1], : shape[2]]


class Block(nn.Module):
    """A pre-norm transformer block on a grid of tokens (B, D, H, W, dim).

    Args:
        window: tokens along each edge of its windows; 0 = the whole grid of `grid` tokens along each edge.
    """

    def __init__(self, dim: int, heads: int, grid: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = CubeAttention(dim, heads, window or grid)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = FeedForward(dim, 4 * dim, F.gelu)

    def forward(self, x: Tensor, fast: bool = True) -> Tensor:
        x = x + self.attend(self.norm1(x), fast)
        return x + self.mlp(self.norm2(x))

    def attend(self, x: Tensor, fast: bool) -> Tensor:
        """Attention with the padding folded into one key where the grid is smaller than a window."""
        if fast and max(x.shape[1:4]) < self.window:
            return self.attn.forward_folded(x)
        attend = self.attn if fast else self.attn.forward_released
        if not self.window:
            return attend(x)
        return from_windows(attend(to_windows(x, self.window)), (x.shape[1], x.shape[2], x.shape[3]))


class ImageEncoder(nn.Module):
    """Image (B, 1, N, N, N), z-normalised -> embedding (B, embed_dim, n, n, n), n = N / patch size.

    Args:
        config: sizes.
        fast: fold the padding of windows that are larger than the grid (the same result, 5 to 10 times
            quicker); False computes every padded token as the published code does, in its order of
            operations, for comparison.
    """

    def __init__(self, config: NetworkConfig, fast: bool = True) -> None:
        super().__init__()
        self.fast = fast
        dim, out, grid = config.dim, config.embed_dim, config.grid
        self.patch_embed = PatchEmbed(config.patch_size, dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, grid, dim))
        self.blocks = nn.ModuleList(
            Block(dim, config.heads, grid, 0 if i in config.global_blocks else config.window)
            for i in range(config.depth)
        )
        self.neck = nn.Sequential(
            nn.Conv3d(dim, out, kernel_size=1, bias=False),
            LayerNorm3d(out),
            nn.Conv3d(out, out, kernel_size=3, padding=1, bias=False),
            LayerNorm3d(out),
        )

    def forward(self, image: Tensor) -> Tensor:
        x = self.patch_embed(image, self.fast) + self.pos_embed
        for block in self.blocks:
            x = block(x, self.fast)
        return self.neck(x.movedim(-1, 1))
