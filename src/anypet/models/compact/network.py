"""AnyPET compact: a small convolutional network for PET, encoded once, decoded for every prompt.

The encoder sees a window of SUV and no prompt. It is trained to name the part of the body in every voxel
besides, so its features know anatomy. The decoder asks with maps of the prompts and with *affinities*: how
much each voxel resembles the clicked ones, by the parts that the encoder names there and by a learned metric.
Both work at half resolution; voxels enter as 2^3 channels a cell and leave as 2^3 logits a cell.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anypet.models.compact.parts import PARTS

CELL = 2  # voxels along a side of a cell
RANGES = (2.0, 8.0)  # voxels over which the closeness to a click falls to 1/e
MAPS = 10  # closeness, affinity by parts and by metric of both signs; whether there is a box, a mask


@dataclass(frozen=True)
class CompactConfig:
    """Sizes of the network.

    Args:
        window: voxels along each side of the window; a multiple of 16.
        widths: channels at 1/2, 1/4, 1/8 and 1/16 resolution.
        blocks: residual blocks of the encoder on the way down at 1/4, 1/8 and 1/16 (half resolution is dear
            and has one on the way up only).
        metric: length of the learned vectors whose angle is the likeness of two cells.
    """

    window: int = 48
    widths: tuple[int, ...] = (32, 64, 128, 128)
    blocks: tuple[int, ...] = (2, 2, 1)
    metric: int = 16

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of every voxel."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        last = F.layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias)
        return last.movedim(-1, 1)


class Block(nn.Module):
    """Two 3^3 convolutions with normalisation and a shortcut."""

    def __init__(self, width: int):
        super().__init__()
        self.norm1 = ChannelNorm(width)
        self.conv1 = nn.Conv3d(width, width, 3, padding=1, bias=False)
        self.norm2 = ChannelNorm(width)
        self.conv2 = nn.Conv3d(width, width, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.norm1(x)))
        return x + self.conv2(F.relu(self.norm2(y)))


def _up(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def to_cells(x: Tensor) -> Tensor:
    """(B, C, N, N, N) -> (B, 8 C, N/2, N/2, N/2): the voxels of a cell become channels."""
    b, c, n = x.shape[0], x.shape[1], x.shape[2] // CELL
    x = x.reshape(b, c, n, CELL, n, CELL, n, CELL).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return x.reshape(b, c * CELL**3, n, n, n)


def from_cells(x: Tensor) -> Tensor:
    """(B, 8 C, n, n, n) -> (B, C, 2n, 2n, 2n), the inverse of `to_cells`."""
    b, c, n = x.shape[0], x.shape[1] // CELL**3, x.shape[2]
    x = x.reshape(b, c, CELL, CELL, CELL, n, n, n).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(b, c, n * CELL, n * CELL, n * CELL)


@dataclass
class Features:
    """What the encoder makes of a batch of windows.

    Args:
        suv: (B, 1, N, N, N), the windows themselves.
        levels: features (B, C, ...) at 1/2, 1/4, 1/8 resolution.
        parts: logits (B, P, N/2, N/2, N/2) of `PARTS`.
        metric: unit vectors (B, M, N/2, N/2, N/2).
    """

    suv: Tensor
    levels: list[Tensor]
    parts: Tensor
    metric: Tensor

    def pick(self, rows: Tensor) -> Features:
        """The features of some windows, in this order, again and again where a row is named twice."""
        levels = [v[rows] for v in self.levels]
        return Features(self.suv[rows], levels, self.parts[rows], self.metric[rows])


class Encoder(nn.Module):
    """SUV (B, 1, N, N, N) and spacing mm (B,) -> `Features`."""

    def __init__(self, config: CompactConfig):
        super().__init__()
        w = config.widths
        self.stem = nn.Conv3d(2 * CELL**3 + 1, w[0], 3, padding=1)
        self.downs = nn.ModuleList(nn.Conv3d(a, b, 2, stride=2) for a, b in pairwise(w))
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(width) for _ in range(n)))
            for width, n in zip(w[1:], config.blocks, strict=True)
        )
        self.ups = nn.ModuleList(nn.Conv3d(b, a, 1, bias=False) for a, b in pairwise(w))
        self.joins = nn.ModuleList(Block(width) for width in w[:-1])
        self.norm = ChannelNorm(w[0])
        self.parts = nn.Conv3d(w[0], len(PARTS), 1)
        self.metric = nn.Conv3d(w[0], config.metric, 1)

    def forward(self, suv: Tensor, spacing: Tensor) -> Features:
        cells = to_cells(torch.cat([torch.asinh(suv), torch.asinh(4 * suv)], dim=1))
        grain = torch.log2(spacing / 4.0).reshape(-1, 1, 1, 1, 1).expand_as(cells[:, :1])
        x = torch.cat([cells, grain], dim=1).contiguous(memory_format=torch.channels_last_3d)
        down = [self.stem(x)]
        for step, stage in zip(self.downs, self.stages, strict=True):
            down.append(stage(step(F.relu(down[-1]))))
        x = down[-1]
        levels = []
        for level in range(len(down) - 2, -1, -1):
            x = self.joins[level](down[level] + _up(self.ups[level](x)))
            levels.insert(0, x)
        top = F.relu(self.norm(x))
        return Features(suv, levels, self.parts(top).float(), F.normalize(self.metric(top).float(), dim=1))


class Decoder(nn.Module):
    """Features and prompt channels (B, 34, N/2, N/2, N/2) -> logits (B, 1, N, N, N)."""

    def __init__(self, config: CompactConfig):
        super().__init__()
        w = config.widths[:-1]
        channels = MAPS + 3 * CELL**3
        self.prompt = nn.Conv3d(channels, w[0], 3, padding=1)
        self.takes = nn.ModuleList(nn.Conv3d(width, width, 1, bias=False) for width in w)
        self.downs = nn.ModuleList(nn.Conv3d(a, b, 2, stride=2) for a, b in pairwise(w))
        self.stages = nn.ModuleList(Block(width) for width in w[1:])
        self.ups = nn.ModuleList(nn.Conv3d(b, a, 1, bias=False) for a, b in pairwise(w))
        self.joins = nn.ModuleList(Block(width) for width in w[:-1])
        self.norm = ChannelNorm(w[0])
        self.head = nn.Conv3d(w[0], CELL**3, 1)
        self.skip = nn.Conv3d(channels, CELL**3, 1, bias=False)

    def forward(self, levels: list[Tensor], prompts: Tensor) -> Tensor:
        down = [self.prompt(prompts) + self.takes[0](levels[0])]
        for step, take, stage, feature in zip(
            self.downs, self.takes[1:], self.stages, levels[1:], strict=True
        ):
            down.append(stage(step(F.relu(down[-1])) + take(feature)))
        x = down[-1]
        for level in range(len(down) - 2, -1, -1):
            x = self.joins[level](down[level] + _up(self.ups[level](x)))
        return from_cells((self.head(F.relu(self.norm(x))) + self.skip(prompts)).float())


class CompactNet(nn.Module):
    """Encoder and decoder."""

    def __init__(self, config: CompactConfig | None = None):
        super().__init__()
        self.config = config or CompactConfig()
        self.encoder = Encoder(self.config)
        self.decoder = Decoder(self.config)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.decoder.head.weight.device


@dataclass
class Ask:
    """The prompts of one target in one window, in voxels of the window.

    Args:
        anchor_suv: SUV of the first prompt; anchor_point: its place (3,), also where nothing was clicked.
        points: (K, 3) continuous indices; labels: (K,) 1 or 0.
        boxes: (M, 2, 3) corners.
        previous: logits (N, N, N) of the step before, or None.
    """

    anchor_suv: float
    anchor_point: Tensor
    points: Tensor
    labels: Tensor
    boxes: Tensor
    previous: Tensor | None = None


def closeness(points: Tensor, cells: int, reach: float) -> Tensor:
    """exp(-distance / reach) of every cell to the nearest of some points -> (cells, cells, cells); 0 without.

    Args:
        points: (K, 3) continuous voxel indices.
        cells: cells a side.
        reach: voxels over which it falls to 1/e.
    """
    if len(points) == 0:
        return torch.zeros(cells, cells, cells, device=points.device)
    centres = torch.arange(cells, device=points.device, dtype=torch.float32) * CELL + (CELL - 1) / 2
    square = (centres - points.float()[..., None]) ** 2  # (K, 3, cells)
    d = square[:, 0, :, None, None] + square[:, 1, None, :, None] + square[:, 2, None, None, :]
    return torch.exp(-d.amin(0).sqrt() / reach)


def likeness(vectors: Tensor, points: Tensor) -> Tensor:
    """Highest scalar product of every cell's vector with those at some points -> (n, n, n); 0 without.

    Args:
        vectors: (C, n, n, n).
        points: (K, 3) continuous voxel indices; those outside count as the nearest cell.
    """
    n = vectors.shape[-1]
    if len(points) == 0:
        return vectors.new_zeros(n, n, n)
    at = torch.floor((points.float() + 0.5) / CELL).long().clamp(0, n - 1).to(vectors.device)
    asked = vectors[:, at[:, 0], at[:, 1], at[:, 2]]  # (C, K)
    return torch.einsum("cxyz,ck->kxyz", vectors, asked).amax(0)


def prompt_channels(features: Features, asks: list[Ask]) -> Tensor:
    """What the decoder is asked, one row a target -> (B, 34, N/2, N/2, N/2)."""
    n = features.suv.shape[-1]
    scale = torch.tensor([max(a.anchor_suv, 0.1) for a in asks], device=features.suv.device)
    relative = torch.asinh(2 * features.suv / scale.reshape(-1, 1, 1, 1, 1))
    share = torch.softmax(features.parts, dim=1)
    # the length is that of the vector asked about: 1 where a cell is named as the clicked one is
    share = share / share.norm(dim=1, keepdim=True).clamp_min(0.1)
    rows, boxes, masks = [], [], []
    for row, ask in enumerate(asks):
        positive, negative = ask.points[ask.labels == 1], ask.points[ask.labels == 0]
        own = torch.cat([ask.anchor_point.reshape(1, 3).to(positive), positive])
        maps = [closeness(p, n // CELL, reach) for p in (positive, negative) for reach in RANGES]
        maps += [likeness(v[row], p) for v in (share, features.metric) for p in (own, negative)]
        known = float(ask.previous is not None)
        maps += [torch.full_like(maps[0], float(len(ask.boxes) > 0)), torch.full_like(maps[0], known)]
        rows.append(torch.stack([m.to(features.suv.device) for m in maps]))
        boxes.append(_box_map(ask.boxes, n).to(features.suv.device))
        before = torch.zeros_like(features.suv[0]) if ask.previous is None else ask.previous[None]
        masks.append((torch.sigmoid(before) if ask.previous is not None else before).to(features.suv.device))
    fine = to_cells(torch.cat([relative, torch.stack(boxes), torch.stack(masks)], dim=1))
    channels = torch.cat([torch.stack(rows), fine], dim=1)
    return channels.contiguous(memory_format=torch.channels_last_3d)


def _box_map(boxes: Tensor, n: int) -> Tensor:
    """(M, 2, 3) corners in voxels -> (1, n, n, n), 1 inside."""
    inside = torch.zeros(n, n, n)
    for lo, hi in boxes:
        i, j, k = (
            slice(max(0, int(torch.ceil(a - 0.5))), max(0, int(b + 0.5) + 1))
            for a, b in zip(lo, hi, strict=True)
        )
        inside[i, j, k] = 1.0
    return inside[None]
