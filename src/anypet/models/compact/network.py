"""AnyPET compact: a small convolutional network for PET, encoded once, decoded for every click.

The encoder sees SUV twice, absolute and relative to the SUV under the first click, and where that click is;
what belongs to the object is decided there. Later clicks, boxes and the mask so far enter the decoder at
every scale, which is a fraction of the work.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anypet.models.compact.parts import PARTS
from anypet.models.convolution import Conv3d

IMAGE_CHANNELS = 4  # SUV, SUV relative to the anchor, closeness to the anchor, spacing
PROMPT_CHANNELS = 7  # positive x 2 ranges, negative x 2 ranges, box, mask so far, whether there is one
RANGES = (2.0, 8.0)  # voxels over which the closeness to a click falls to 1/e


@dataclass(frozen=True)
class CompactConfig:
    """Sizes of the network.

    Args:
        window: voxels along each side of the window; a multiple of 16.
        widths: channels at full, 1/2, 1/4, 1/8 and 1/16 resolution; multiples of 8.
        blocks: residual blocks of the encoder at 1/2 ... 1/16.
    """

    window: int = 48
    widths: tuple[int, ...] = (16, 32, 64, 128, 128)
    blocks: tuple[int, ...] = (1, 2, 2, 1)

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


class Block(nn.Module):
    """Two 3^3 convolutions with group normalisation and a shortcut."""

    def __init__(self, width: int):
        super().__init__()
        self.norm1 = nn.GroupNorm(8, width)
        self.conv1 = Conv3d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(8, width)
        self.conv2 = Conv3d(width, width, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.norm1(x)))
        return x + self.conv2(F.relu(self.norm2(y)))


class Encoder(nn.Module):
    """Image channels (B, 4, N, N, N) -> features at 1, 1/2, 1/4, 1/8, 1/16 of the resolution."""

    def __init__(self, config: CompactConfig):
        super().__init__()
        w = config.widths
        self.stem = Conv3d(IMAGE_CHANNELS, w[0], 3, padding=1)
        self.downs = nn.ModuleList(Conv3d(a, b, 2, stride=2) for a, b in pairwise(w))
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(width) for _ in range(n)))
            for width, n in zip(w[1:], config.blocks, strict=True)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        features = [self.stem(x)]
        for down, stage in zip(self.downs, self.stages, strict=True):
            features.append(stage(down(F.relu(features[-1]))))
        return features


class Decoder(nn.Module):
    """Features and prompt channels (B, 7, N, N, N) -> logits (B, 1, N, N, N), and those of the parts.

    What it holds at half resolution also names the part of the body in every cell. Naming all of a window
    teaches anatomy faster than one object at a time does.
    """

    def __init__(self, config: CompactConfig):
        super().__init__()
        w = config.widths
        # the maps are smooth at full resolution: there a 1^3 convolution is enough
        self.prompts = nn.ModuleList(
            Conv3d(PROMPT_CHANNELS, width, 3 if level else 1, padding=1 if level else 0)
            for level, width in enumerate(w)
        )
        self.ups = nn.ModuleList(Conv3d(b, a, 1, bias=False) for a, b in pairwise(w))
        self.blocks = nn.ModuleList(Block(width) for width in w[1:])
        self.norm = nn.GroupNorm(8, w[0])
        self.mix = Conv3d(w[0], w[0], 3, padding=1)
        self.head = Conv3d(w[0], 1, 1)
        self.parts = Conv3d(w[1], len(PARTS), 1)

    def forward(self, features: list[Tensor], prompts: Tensor) -> tuple[Tensor, Tensor]:
        """-> logits (B, 1, N, N, N) of the object and (B, P, N/2, N/2, N/2) of `PARTS`."""
        pyramid = [prompts]
        for _ in features[1:]:
            pyramid.append(F.avg_pool3d(pyramid[-1], 2))
        # amplified where pooling thinned a click out
        x = self.blocks[-1](features[-1] + self.prompts[-1](pyramid[-1] * 4))
        for level in range(len(features) - 2, -1, -1):
            up = F.interpolate(self.ups[level](x), scale_factor=2, mode="nearest")
            x = features[level] + up + self.prompts[level](pyramid[level])
            if level:
                x = self.blocks[level - 1](x)
            if level == 1:
                named = self.parts(F.relu(x))
        return self.head(F.relu(self.mix(F.relu(self.norm(x))))).float(), named.float()


class CompactNet(nn.Module):
    """Encoder and decoder with the channels that they read."""

    def __init__(self, config: CompactConfig | None = None):
        super().__init__()
        self.config = config or CompactConfig()
        self.encoder = Encoder(self.config)
        self.decoder = Decoder(self.config)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.decoder.head.weight.device


def closeness(points: Tensor, size: int, reach: float) -> Tensor:
    """exp(-distance / reach) to the nearest of some points -> (size, size, size); zeros without points.

    Args:
        points: (N, 3) continuous voxel indices.
        size: voxels a side.
        reach: voxels over which it falls to 1/e.
    """
    if len(points) == 0:
        return torch.zeros(size, size, size, device=points.device)
    axis = torch.arange(size, device=points.device, dtype=torch.float32)
    best: Tensor | None = None
    for p in points.float():
        d = (axis[:, None, None] - p[0]) ** 2 + (axis[None, :, None] - p[1]) ** 2 + (axis - p[2]) ** 2
        best = d if best is None else torch.minimum(best, d)
    assert best is not None
    return torch.exp(-best.sqrt() / reach)


def image_channels(suv: Tensor, anchor_suv: Tensor, anchor_point: Tensor, spacing: Tensor) -> Tensor:
    """SUV (B, 1, N, N, N), anchors' SUV (B,) and place (B, 3), spacing mm (B,) -> (B, 4, N, N, N)."""
    size = suv.shape[-1]
    scale = anchor_suv.clamp_min(0.1).reshape(-1, 1, 1, 1, 1)
    near = torch.stack([closeness(p[None], size, RANGES[1]) for p in anchor_point])[:, None]
    grain = torch.log2(spacing / 4.0).reshape(-1, 1, 1, 1, 1).expand_as(suv)
    return torch.cat([torch.asinh(suv), torch.asinh(2 * suv / scale), near, grain], dim=1)


def prompt_channels(
    points: Tensor, labels: Tensor, boxes: Tensor, previous: Tensor | None, size: int
) -> Tensor:
    """One window's prompts -> (1, 7, N, N, N).

    Args:
        points: (N, 3) continuous voxel indices; labels: (N,) 1 or 0.
        boxes: (M, 2, 3) corners in voxels.
        previous: logits (1, 1, N, N, N) of the step before, or None.
    """
    maps = [closeness(points[labels == wanted], size, reach) for wanted in (1, 0) for reach in RANGES]
    box = torch.zeros(size, size, size, device=points.device)
    for lo, hi in boxes:
        cut = [
            slice(max(0, int(torch.ceil(a - 0.5))), max(0, int(b + 0.5) + 1))
            for a, b in zip(lo, hi, strict=True)
        ]
        box[tuple(cut)] = 1.0
    if previous is None:
        mask, known = torch.zeros_like(box), torch.zeros_like(box)
    else:
        mask, known = torch.sigmoid(previous[0, 0]), torch.ones_like(box)
    return torch.stack([*maps, box, mask, known])[None]
