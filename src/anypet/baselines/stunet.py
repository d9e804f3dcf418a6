"""STU-Net's network (Huang et al. 2023, arXiv:2304.06716), with the names of its published weights.

A U-Net of residual blocks with five poolings: instance norm, leaky ReLU, up by nearest neighbour and a
convolution of 1^3. No package carries it, so it is written here from the paper and checked against the key
names of its release. nnU-Net's trainer trains it, and plans.json names it like any other network.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALL = (16, 32, 64, 128, 256, 256)
BASE = (32, 64, 128, 256, 512, 512)
Stride = Sequence[int]
STRIDES: tuple[Stride, ...] = ((1, 1, 1), *((2, 2, 2),) * 5)


class ResidualBlock(nn.Module):
    """Two convolutions of 3^3 beside the identity, or beside a convolution of 1^3 where the shape changes."""

    def __init__(self, channels: int, out: int, stride: Stride = (1, 1, 1), project: bool = False) -> None:
        super().__init__()
        a, b, c = stride
        self.conv1 = nn.Conv3d(channels, out, 3, (a, b, c), 1)
        self.norm1 = nn.InstanceNorm3d(out, affine=True)
        self.conv2 = nn.Conv3d(out, out, 3, 1, 1)
        self.norm2 = nn.InstanceNorm3d(out, affine=True)
        self.conv3 = nn.Conv3d(channels, out, 1, (a, b, c)) if project else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, D, H, W) -> (B, out, D / stride, ...)."""
        y = F.leaky_relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return F.leaky_relu(y + (x if self.conv3 is None else self.conv3(x)))


class Up(nn.Module):
    """Finer by nearest neighbour, then a convolution of 1^3."""

    def __init__(self, channels: int, out: int, stride: Stride) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, out, 1)
        self._stride = [float(s) for s in stride]

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, D, H, W) -> (B, out, D * stride, ...)."""
        up: Tensor = self.conv(F.interpolate(x, scale_factor=self._stride, mode="nearest"))
        return up


class Switch(nn.Module):
    """Where nnU-Net's trainer turns the coarser outputs off and on: `network.decoder.deep_supervision`."""

    def __init__(self, deep_supervision: bool) -> None:
        super().__init__()
        self.deep_supervision = deep_supervision


class STUNet(nn.Module):
    """The network, with the arguments that nnU-Net's plans give.

    Args:
        input_channels: of the input.
        num_classes: of the output.
        widths: channels of its stages; `SMALL` and `BASE` are two of the paper's sizes.
        depth: residual blocks of each stage.
        strides: of each stage along the three axes; the first is 1, the paper's others 2.
        deep_supervision: whether coarser outputs are given too, for training.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        widths: Sequence[int] = SMALL,
        depth: int = 1,
        strides: Sequence[Stride] = STRIDES,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        first = [input_channels, *widths[:-1]]
        self.conv_blocks_context = nn.ModuleList(
            _stage(a, b, depth, stride) for a, b, stride in zip(first, widths, strides, strict=True)
        )
        # coarse to fine
        up = list(zip(widths[:0:-1], widths[-2::-1], strides[:0:-1], strict=True))
        self.upsample_layers = nn.ModuleList(Up(a, b, stride) for a, b, stride in up)
        self.conv_blocks_localization = nn.ModuleList(_stage(2 * b, b, depth, (1, 1, 1)) for _, b, _ in up)
        self.seg_outputs = nn.ModuleList(nn.Conv3d(b, num_classes, 1) for _, b, _ in up)
        self.decoder = Switch(deep_supervision)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """(B, channels, D, H, W), sides divisible by all strides together -> logits (B, classes, D, H, W).

        With deep supervision a list: these, and those of the coarser stages, fine to coarse.
        """
        skips = []
        for stage in self.conv_blocks_context:
            x = stage(x)
            skips.append(x)
        skips.pop()
        found = []
        for up, stage, head in zip(
            self.upsample_layers, self.conv_blocks_localization, self.seg_outputs, strict=True
        ):
            x = stage(torch.cat((up(x), skips.pop()), dim=1))
            found.append(head(x))
        return found[::-1] if self.decoder.deep_supervision else found[-1]


def plan_stunet(plans: Mapping[str, Any], configuration: str, width: int = 0) -> dict[str, Any]:
    """nnU-Net's plans with STU-Net as the network: its six stages, pooled as nnU-Net planned it.

    Where nnU-Net pools less than five times the last stages keep their resolution; a sixth pooling is left
    out, as in STU-Net's own trainers.

    Args:
        plans: of nnU-Net.
        configuration: the one to change.
        width: channels of the first stage; 0 takes `SMALL`.
    """
    changed = copy.deepcopy(dict(plans))
    chosen = changed["configurations"][configuration]
    strides = [list(s) for s in chosen["architecture"]["arch_kwargs"]["strides"]][: len(SMALL)]
    strides += [[1, 1, 1]] * (len(SMALL) - len(strides))
    widths = [(width or SMALL[0]) * w // SMALL[0] for w in SMALL]
    chosen["architecture"] = {
        "network_class_name": f"{STUNet.__module__}.{STUNet.__name__}",
        "arch_kwargs": {"widths": widths, "depth": 1, "strides": strides},
        "_kw_requires_import": [],
    }
    return changed


def _stage(channels: int, out: int, depth: int, stride: Stride) -> nn.Sequential:
    return nn.Sequential(
        ResidualBlock(channels, out, stride, project=True),
        *(ResidualBlock(out, out) for _ in range(depth - 1)),
    )
