"""The click loop of Algorithm 1 of the SegAnyPET paper: every prompt answers the error before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from anypet.clicks import bounding_box, first_click, next_click
from anypet.models.compact.network import CompactNet, image_channels, prompt_channels
from anypet.training.losses import dice_ce, hard_dice
from anypet.training.patches import Patch

UNIT = (1.0, 1.0, 1.0)


@dataclass
class Dialogue:
    """What has been said about one patch so far, in voxels."""

    points: list[tuple[int, int, int]]
    labels: list[int]
    box: tuple[list[float], list[float]] | None
    anchor_point: tuple[float, float, float]
    anchor_suv: float


@dataclass(frozen=True)
class LoopSettings:
    """How the loop talks: see `training.config.Settings`."""

    clicks: int
    gradient_clicks: str
    box_share: float
    previous_share: float
    repeat_share: float = 0.0


def open_dialogue(patch: Patch, rng: np.random.Generator, box_share: float) -> Dialogue:
    """The first prompt: a click in the inner half of the target, or a loose box."""
    target = patch.target.numpy()
    box = bounding_box(target)
    assert box is not None
    if rng.random() < box_share:
        lo = np.array([s.start for s in box]) - rng.uniform(-0.5, 3, 3)
        hi = np.array([s.stop - 1 for s in box]) + rng.uniform(-0.5, 3, 3)
        centre = (lo + hi) / 2
        inner = tuple(
            slice(max(0, int(c - (h - c) / 2)), int(c + (h - c) / 2) + 1)
            for c, h in zip(centre, hi, strict=True)
        )
        suv = float(np.percentile(patch.image[inner].numpy(), 75)) if patch.image[inner].numel() else 1.0
        return Dialogue([], [], (lo.tolist(), hi.tolist()), tuple(centre), suv)
    click = first_click(target, rng, UNIT)
    suv = float(patch.image[click]) * float(np.exp(rng.normal(0, 0.05)))
    return Dialogue([click], [1], None, click, suv)


def _lumps(shape: tuple[int, ...], rng: np.random.Generator, cells: int) -> Tensor:
    """A smooth random field (1, 1, D, H, W), about standard normal."""
    coarse = torch.from_numpy(rng.standard_normal((1, 1, cells, cells, cells), dtype=np.float32))
    field = F.interpolate(coarse, size=shape, mode="trilinear", align_corners=True)
    return field / field.std().clamp_min(1e-3)


def rough_mask(target: Tensor, rng: np.random.Generator) -> Tensor:
    """Logits of a mask as a coarse pass leaves it: blurred, shrunken or swollen, with gaps and leaks."""
    n = target.shape[-1]
    coarse = int(rng.integers(8, 25))
    small = F.interpolate(target.float()[None, None], size=(coarse,) * 3, mode="area")
    shape = tuple(small.shape[2:])
    if rng.random() < 0.5:  # what a first click leaves out of a large object
        small = small * torch.sigmoid(
            3 * (_lumps(shape, rng, int(rng.integers(2, 5))) + float(rng.uniform(-0.5, 1.5)))
        )
    if rng.random() < 0.25:  # a leak
        leak = torch.sigmoid(4 * (_lumps(shape, rng, int(rng.integers(3, 7))) - float(rng.uniform(0.8, 1.6))))
        small = torch.maximum(small, leak)
    small = small + float(rng.uniform(0.0, 0.25)) * torch.from_numpy(
        rng.standard_normal(tuple(small.shape), dtype=np.float32)
    )
    logits = F.interpolate(small, size=(n, n, n), mode="trilinear", align_corners=False)
    return (logits - float(rng.uniform(0.25, 0.75))) * float(rng.uniform(4, 16))


def answer(patch: Patch, logits: Tensor, talk: Dialogue, rng: np.random.Generator) -> None:
    """Adds the next click: mostly the deepest point of the largest error, sometimes a random error voxel."""
    target, mask = patch.target.numpy(), (logits > 0).numpy()
    if rng.random() < 0.25:
        wrong = np.argwhere(target != mask)
        if len(wrong) == 0:
            return
        i, j, k = (int(v) for v in wrong[rng.integers(len(wrong))])
        talk.points.append((i, j, k))
        talk.labels.append(int(target[i, j, k]))
        return
    found = next_click(target, mask, UNIT)
    if found is not None:
        talk.points.append(found[0])
        talk.labels.append(int(found[1]))


def encode(net: CompactNet, patches: list[Patch], talks: list[Dialogue]) -> list[Tensor]:
    """Features of a batch."""
    channels = image_channels(
        torch.stack([p.image for p in patches])[:, None],
        torch.tensor([t.anchor_suv for t in talks]),
        torch.tensor([t.anchor_point for t in talks], dtype=torch.float32),
        torch.tensor([p.spacing for p in patches]),
    )
    return net.encoder(channels.to(net.device).contiguous(memory_format=torch.channels_last_3d))


def decode(
    net: CompactNet, features: list[Tensor], talks: list[Dialogue], previous: list[Tensor | None]
) -> Tensor:
    """Logits (B, 1, N, N, N) of a batch."""
    rows = [
        prompt_channels(
            torch.tensor(t.points, dtype=torch.float32).reshape(-1, 3),
            torch.tensor(t.labels),
            torch.tensor([t.box] if t.box else [], dtype=torch.float32).reshape(-1, 2, 3),
            before,
            net.config.window,
        )
        for t, before in zip(talks, previous, strict=True)
    ]
    channels = torch.cat(rows).to(net.device)
    return net.decoder(features, channels.contiguous(memory_format=torch.channels_last_3d))


def run_loop(
    net: CompactNet, patches: list[Patch], settings: LoopSettings, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """One pass of the loop over a batch -> (loss with gradient, DSC after the first and the last turn)."""
    talks = [open_dialogue(p, rng, settings.box_share) for p in patches]
    target = torch.stack([p.target for p in patches])[:, None].float()
    previous: list[Tensor | None] = [
        rough_mask(p.target, rng) if rng.random() < settings.previous_share else None for p in patches
    ]
    count = int(rng.integers(1, settings.clicks + 1))
    features = encode(net, patches, talks)
    losses: list[Tensor] = []
    first = torch.zeros(len(patches))
    logits = target
    for turn in range(count):
        learn = settings.gradient_clicks == "all" or turn in (0, count - 1)
        with torch.set_grad_enabled(learn and torch.is_grad_enabled()):
            logits = decode(net, features, talks, previous)
        if learn:
            losses.append(dice_ce(logits, target.to(logits.device)).mean())
        seen = logits.detach().cpu()
        if turn == 0:
            first = hard_dice(seen, target)
        if turn + 1 < count:
            for patch, row, talk in zip(patches, seen, talks, strict=True):
                if rng.random() >= settings.repeat_share:
                    answer(patch, row[0], talk, rng)
            previous = list(seen[:, None])
    return torch.stack(losses).mean(), first, hard_dice(logits.detach().cpu(), target)
