"""Simulated prompts of training: how a dialogue about one target opens and goes on, and rough masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from anypet.clicks import first_click
from anypet.simulated_prompts import CORRECTORS, jittered_box

UNIT = (1.0, 1.0, 1.0)
WAYS = ("deepest", "deepest", "deepest", "random")


@dataclass
class Dialogue:
    """What has been said about one patch so far, in voxels."""

    points: list[tuple[int, int, int]]
    labels: list[int]
    box: tuple[list[float], list[float]] | None
    anchor_point: tuple[float, float, float]
    anchor_suv: float


def open_dialogue(image: Tensor, mask: Tensor, rng: np.random.Generator, box_share: float) -> Dialogue:
    """The first prompt: a click in the inner half of the target, or a loose box."""
    target = mask.numpy()
    if rng.random() < box_share:
        lo, hi = jittered_box(target, UNIT, rng, 3.0, -0.5, clip=False)
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


def answer(
    truth: Tensor, logits: Tensor, talk: Dialogue, rng: np.random.Generator, ways: Sequence[str] = WAYS
) -> None:
    """Adds the next click, in one of these ways of `CORRECTORS`, each as likely; none where all is right."""
    way = ways[int(rng.integers(len(ways)))]
    found = CORRECTORS[way](truth.numpy(), (logits > 0).numpy(), UNIT, rng)
    if found is not None:
        talk.points.append(found[0])
        talk.labels.append(int(found[1]))
