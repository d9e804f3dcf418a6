"""The joint loss of both heads: cross entropy plus Dice at every resolution, coarser ones counting less."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anypet.lesions.network import Heads, TwoHeadedUNet
from anypet.training.lesions.patches import LesionPatch
from anypet.training.lesions.scans import UNKNOWN
from anypet.training.objective import Scores


def ce_dice(logits: Tensor, target: Tensor, balanced: bool = False) -> Tensor:
    """Cross entropy plus soft Dice, nnU-Net's loss.

    Args:
        logits: (B, K, d, h, w).
        target: int64 (B, d, h, w), below K, or `UNKNOWN`, which counts for nothing.
        balanced: whether a class counts in the cross entropy as the fourth root of its voxels, not as all of
            them. Else one of a few hundred voxels among 500,000 is never predicted: its share of the cross
            entropy is nothing, and the gradient of Dice vanishes with its probability.

    Returns:
        Mean cross entropy over known voxels, plus 1 less the Dice of each class but the background, over the
        batch as one image; classes that are neither there nor predicted to be, by half a voxel, count 0.
    """
    known = target != UNKNOWN
    weights = None
    if balanced:
        counts = torch.bincount(target[known], minlength=logits.shape[1]).to(logits.dtype)
        weights = counts.clamp_min(1) ** -0.75
    voxels = F.cross_entropy(logits, target, weights, ignore_index=UNKNOWN, reduction="none")
    counted_as = known.to(logits.dtype) if weights is None else weights[torch.where(known, target, 0)] * known
    entropy = voxels.sum() / counted_as.sum().clamp_min(1e-6)
    p = torch.softmax(logits, 1)[:, 1:] * known[:, None]
    truth = F.one_hot(torch.where(known, target, 0), logits.shape[1]).movedim(-1, 1)[:, 1:].to(p.dtype)
    axes = (0, 2, 3, 4)
    overlap, total = (p * truth).sum(axes), p.sum(axes) + truth.sum(axes)
    dice = 1 - (2 * overlap + 0.5) / (total + 0.5)
    counted = (truth.sum(axes) > 0) | (total > 0.5)
    return entropy + (dice * counted).sum() / counted.sum().clamp_min(1)


def coarser(target: Tensor, size: tuple[int, ...]) -> Tensor:
    """Labels (B, d, h, w) at another resolution, the nearest voxel of each."""
    return F.interpolate(target[:, None].float(), size=size, mode="nearest-exact")[:, 0].long()


def deep_loss(levels: list[Tensor], target: Tensor, balanced: bool = False) -> Tensor:
    """`ce_dice` of logits at full, half, ... resolution, weighted 1, 1/2, 1/4, ... to a sum of 1."""
    weights = [0.5**n for n in range(len(levels))]
    losses = [
        w * ce_dice(v.float(), target if n == 0 else coarser(target, tuple(v.shape[2:])), balanced)
        for n, (w, v) in enumerate(zip(weights, levels, strict=True))
    ]
    return torch.stack(losses).sum() / sum(weights)


class LesionObjective(nn.Module):
    """Loss and scores of a batch; see `anypet.training.objective.Objective` for the click loop's.

    Args:
        net: what learns.
        organ_weight: of the organ head's loss; 0 leaves the head out.
        low_precision: whether the network computes in bfloat16.
    """

    def __init__(self, net: TwoHeadedUNet, organ_weight: float = 1.0, low_precision: bool = False) -> None:
        super().__init__()
        self.net, self.organ_weight, self.low_precision = net, organ_weight, low_precision

    def turns(self, rng: np.random.Generator) -> int:
        """One: clicks come in with the image."""
        return 1

    def forward(
        self, patches: list[LesionPatch], rngs: list[np.random.Generator], count: int, share: float
    ) -> tuple[Tensor, Scores]:
        """Loss with gradient, and scores: `parts` is the organs' loss, `dice_first` the lesions' DSC in
        patches without any click, `dice_last` in those with some; NaN where a batch has none."""
        device = next(self.net.parameters()).device
        x = torch.stack([p.inputs for p in patches]).to(device)
        lesion = torch.stack([p.lesion for p in patches]).long().to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.low_precision):
            heads: Heads = self.net(
                x.contiguous(memory_format=torch.channels_last_3d), organs=self.organ_weight > 0, deep=True
            )
        loss = deep_loss(heads.lesion, lesion)
        parts = torch.zeros((), device=device)
        if self.organ_weight > 0:
            organs = torch.stack([p.organs for p in patches]).long().to(device)
            parts = deep_loss(heads.organs, organs, balanced=True)
        found = [
            _dice(heads.lesion[0][n].detach().argmax(0) == 1, lesion[n] == 1) for n in range(len(patches))
        ]
        silent = [d for d, p in zip(found, patches, strict=True) if not p.clicked and d is not None]
        talked = [d for d, p in zip(found, patches, strict=True) if p.clicked and d is not None]
        scores = Scores(
            float(loss.detach()), float(parts.detach()),
            float(np.mean(silent)) if silent else float("nan"),
            float(np.mean(talked)) if talked else float("nan"),
        )  # fmt: skip
        return loss + self.organ_weight * parts, scores


def _dice(mask: Tensor, truth: Tensor) -> float | None:
    """DSC, or None where there is no lesion."""
    if not bool(truth.any()):
        return None
    return 2.0 * float((mask & truth).sum()) / float(mask.sum() + truth.sum())
