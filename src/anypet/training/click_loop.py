"""The click loop of Algorithm 1 of the SegAnyPET paper: every prompt answers the error before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from anypet.training.dialogue import WAYS, answer, open_dialogue, rough_mask
from anypet.training.learners import Learner
from anypet.training.losses import hard_dice
from anypet.training.patches import Patch


@dataclass(frozen=True)
class LoopSettings:
    """How the loop talks: see `training.config.Settings`."""

    clicks: int
    gradient_clicks: str
    box_share: float
    previous_share: float
    repeat_share: float = 0.0
    once_share: float = 0.4
    half: bool = False
    answers: tuple[str, ...] = WAYS


@dataclass(frozen=True)
class Talk:
    """What one pass of the loop gives, for B targets in W windows.

    Args:
        logits: (B, 1, N, N, N) after each turn that carries a gradient, oldest first.
        target: (B, 1, N, N, N), 0 or 1.
        rows: (B,) the window of each target.
        parts: logits (B, P, ...) of the named parts at the last turn, or None.
        first, last: DSC (B,) after the first and the last turn.
    """

    logits: list[Tensor]
    target: Tensor
    rows: Tensor
    parts: Tensor | None
    first: Tensor
    last: Tensor


def turns(settings: LoopSettings, rng: np.random.Generator) -> int:
    """How many turns a pass has: often one, the commonest use, else 1 to `clicks`."""
    if rng.random() < settings.once_share:
        return 1
    return int(rng.integers(1, settings.clicks + 1))


def run_loop(
    learner: Learner,
    patches: list[Patch],
    settings: LoopSettings,
    rngs: list[np.random.Generator],
    count: int,
    device: torch.device | str = "cpu",
) -> Talk:
    """One pass of the loop over the windows of a batch and all their targets.

    Args:
        learner: encodes the windows once and decodes them `count` times for each of its targets.
        patches: the windows.
        settings: of the dialogues.
        rngs: one for each window, so that a batch may be shared out among processes.
        count: turns.
        device: of the learner.
    """
    rows = [n for n, p in enumerate(patches) for _ in p.targets]
    masks = [t for p in patches for t in p.targets]
    talks = [
        open_dialogue(patches[n].image, mask, rngs[n], settings.box_share)
        for n, mask in zip(rows, masks, strict=True)
    ]
    previous: list[Tensor | None] = [
        rough_mask(mask, rngs[n])[0, 0].to(device) if rngs[n].random() < settings.previous_share else None
        for n, mask in zip(rows, masks, strict=True)
    ]
    target = torch.stack(masks)[:, None].float()
    half = torch.autocast(torch.device(device).type, torch.bfloat16, enabled=settings.half)
    at = torch.tensor(rows, device=device)
    with half:
        images = torch.stack([p.image for p in patches]).to(device)
        features = learner.encode(
            images, torch.tensor([p.spacing for p in patches], device=device), at, talks
        )
    kept: list[Tensor] = []
    first = last = torch.zeros(len(masks))
    for turn in range(count):
        learn = settings.gradient_clicks == "all" or turn == count - 1
        with torch.set_grad_enabled(learn and torch.is_grad_enabled()), half:
            said = learner.decode(features, talks, previous)
        if learn:
            kept.append(said.logits)
        seen = said.logits.detach().cpu()
        last = hard_dice(seen, target)
        first = last if turn == 0 else first
        if turn + 1 < count:
            for n, mask, row, talk in zip(rows, masks, seen, talks, strict=True):
                if rngs[n].random() >= settings.repeat_share:
                    answer(mask, row[0], talk, rngs[n], settings.answers)
            previous = list(said.state)
    return Talk(kept, target.to(device), at, said.parts, first, last)
