"""STU-Net's network (Huang et al. 2023, arXiv:2304.06716), with the names of its published weights.

A U-Net of residual blocks with five poolings: instance norm, leaky ReLU, up by nearest neighbour and a
convolution of 1^3. No package carries it, so it is written here from the paper and checked against the key
names of its release.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALL = (16, 32, 64, 128, 256, 256)
BASE = (32, 64, 128, 256, 512, 512)


class ResidualBlock(nn.Module):
    """Two convolutions of 3^3 beside the identity, or beside a convolution of 1^3 where the shape changes."""

    def __init__(self, channels: int, out: int, stride: int = 1, project: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, out, 3, stride, 1)
        self.norm1 = nn.InstanceNorm3d(out, affine=True)
        self.conv2 = nn.Conv3d(out, out, 3, 1, 1)
        self.norm2 = nn.InstanceNorm3d(out, affine=True)
        self.conv3 = nn.Conv3d(channels, out, 1, stride) if project else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, D, H, W) -> (B, out, D / stride, ...)."""
        y = F.leaky_relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return F.leaky_relu(y + (x if self.conv3 is None else self.conv3(x)))


class Up(nn.Module):
    """Twice as fine by nearest neighbour, then a convolution of 1^3."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, D, H, W) -> (B, out, 2 D, 2 H, 2 W)."""
        up: Tensor = self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
        return up


class STUNet(nn.Module):
    """The network; every pooling halves all three axes.

    Args:
        channels: of the input.
        classes: of the output.
        widths: channels of its stages; `SMALL` and `BASE` are two of the paper's sizes.
        depth: residual blocks of each stage.
    """

    def __init__(self, channels: int, classes: int, widths: Sequence[int] = SMALL, depth: int = 1) -> None:
        super().__init__()
        first = [channels, *widths[:-1]]
        self.conv_blocks_context = nn.ModuleList(
            _stage(a, b, depth, 1 if n == 0 else 2)
            for n, (a, b) in enumerate(zip(first, widths, strict=True))
        )
        up = list(zip(widths[:0:-1], widths[-2::-1], strict=True))  # coarse to fine
        self.upsample_layers = nn.ModuleList(Up(a, b) for a, b in up)
        self.conv_blocks_localization = nn.ModuleList(_stage(2 * b, b, depth, 1) for _, b in up)
        self.seg_outputs = nn.ModuleList(nn.Conv3d(b, classes, 1) for _, b in up)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, D, H, W), sides divisible by 32 -> logits (B, classes, D, H, W)."""
        skips = []
        for stage in self.conv_blocks_context:
            x = stage(x)
            skips.append(x)
        skips.pop()
        for up, stage in zip(self.upsample_layers, self.conv_blocks_localization, strict=True):
            x = stage(torch.cat((up(x), skips.pop()), dim=1))
        logits: Tensor = self.seg_outputs[-1](x)
        return logits


def _stage(channels: int, out: int, depth: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        ResidualBlock(channels, out, stride, project=True),
        *(ResidualBlock(out, out) for _ in range(depth - 1)),
    )
