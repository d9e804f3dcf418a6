"""The click loop of Algorithm 1 of the SegAnyPET paper: every prompt answers the error before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from anypet.clicks import bounding_box, first_click, next_click
from anypet.models.compact.network import Ask, CompactNet, prompt_channels
from anypet.models.compact.parts import LESION, ORGAN_PARTS, PARTS
from anypet.training.losses import dice_ce, hard_dice, parts_loss
from anypet.training.patches import Patch

UNIT = (1.0, 1.0, 1.0)
TISSUE_WEIGHT = 0.25  # of what is no target (fat, muscle, ...) in the loss of the named parts


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
    half: bool = False


def open_dialogue(image: Tensor, mask: Tensor, rng: np.random.Generator, box_share: float) -> Dialogue:
    """The first prompt: a click in the inner half of the target, or a loose box."""
    target = mask.numpy()
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
        suv = float(np.percentile(image[inner].numpy(), 75)) if image[inner].numel() else 1.0
        return Dialogue([], [], (lo.tolist(), hi.tolist()), tuple(centre), suv)
    click = first_click(target, rng, UNIT)
    suv = float(image[click]) * float(np.exp(rng.normal(0, 0.05)))
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


def answer(truth: Tensor, logits: Tensor, talk: Dialogue, rng: np.random.Generator) -> None:
    """Adds the next click: mostly the deepest point of the largest error, sometimes a random error voxel."""
    target, mask = truth.numpy(), (logits > 0).numpy()
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


def ask_of(talk: Dialogue, previous: Tensor | None) -> Ask:
    """A dialogue as the network is asked."""
    return Ask(
        talk.anchor_suv,
        torch.tensor(talk.anchor_point, dtype=torch.float32),
        torch.tensor(talk.points, dtype=torch.float32).reshape(-1, 3),
        torch.tensor(talk.labels),
        torch.tensor([talk.box] if talk.box else [], dtype=torch.float32).reshape(-1, 2, 3),
        previous,
    )


@dataclass(frozen=True)
class Outcome:
    """What one pass of the loop gives.

    Args:
        loss: of the masks, with gradient.
        parts: loss of the named parts, with gradient.
        first, last: DSC (targets,) after the first and the last turn.
    """

    loss: Tensor
    parts: Tensor
    first: Tensor
    last: Tensor


def run_loop(
    net: CompactNet, patches: list[Patch], settings: LoopSettings, rng: np.random.Generator
) -> Outcome:
    """One pass of the loop over the windows of a batch and all their targets."""
    device = net.device
    rows = torch.tensor([n for n, p in enumerate(patches) for _ in p.targets])
    images = [p.image for p in patches for _ in p.targets]
    masks = [t for p in patches for t in p.targets]
    talks = [open_dialogue(i, t, rng, settings.box_share) for i, t in zip(images, masks, strict=True)]
    target = torch.stack(masks)[:, None].float()
    previous: list[Tensor | None] = [
        rough_mask(t, rng)[0, 0] if rng.random() < settings.previous_share else None for t in masks
    ]
    # half of all passes ask once: one click is the commonest use
    count = 1 if rng.random() < 0.4 else int(rng.integers(1, settings.clicks + 1))
    with torch.autocast(device.type, torch.bfloat16, enabled=settings.half):
        suv = torch.stack([p.image for p in patches])[:, None].to(device)
        features = net.encoder(suv, torch.tensor([p.spacing for p in patches], device=device))
    named = _named_loss(features.parts, patches)
    features = features.pick(rows.to(device))
    losses: list[Tensor] = []
    first = torch.zeros(len(masks))
    logits = target
    for turn in range(count):
        learn = settings.gradient_clicks == "all" or turn == count - 1
        asks = [ask_of(talk, before) for talk, before in zip(talks, previous, strict=True)]
        with (
            torch.set_grad_enabled(learn and torch.is_grad_enabled()),
            torch.autocast(device.type, torch.bfloat16, enabled=settings.half),
        ):
            logits = net.decoder(features.levels, prompt_channels(features, asks))
        if learn:
            losses.append(dice_ce(logits, target.to(device)).mean())
        seen = logits.detach().cpu()
        if turn == 0:
            first = hard_dice(seen, target)
        if turn + 1 < count:
            for mask, row, talk in zip(masks, seen, talks, strict=True):
                if rng.random() >= settings.repeat_share:
                    answer(mask, row[0], talk, rng)
            previous = [row[0] for row in seen]
    return Outcome(torch.stack(losses).mean(), named, first, hard_dice(logits.detach().cpu(), target))


def _named_loss(logits: Tensor, patches: list[Patch]) -> Tensor:
    """Loss of the named parts over the windows whose parts are known."""
    known = [n for n, p in enumerate(patches) if p.parts is not None]
    if not known:
        return logits.new_zeros(())
    parts = torch.stack([p.parts for p in patches if p.parts is not None]).to(logits.device)
    weights = torch.full((len(PARTS),), TISSUE_WEIGHT, device=logits.device)
    weights[[*ORGAN_PARTS, LESION]] = 1.0
    return parts_loss(logits[torch.tensor(known, device=logits.device)], parts, weights).mean()
