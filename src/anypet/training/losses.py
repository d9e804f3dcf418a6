"""Dice plus cross entropy, the loss of SegAnyPET (and of SAM before it)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def dice_ce(logits: Tensor, target: Tensor) -> Tensor:
    """Soft Dice loss plus binary cross entropy, per sample.

    Args:
        logits: (B, 1, D, H, W).
        target: (B, 1, D, H, W), 0 or 1.

    Returns:
        (B,): 1 - (2 sum(p y) + 1) / (sum(p^2) + sum(y^2) + 1), plus the mean cross entropy over voxels.
    """
    p = torch.sigmoid(logits)
    axes = (1, 2, 3, 4)
    overlap = 2 * (p * target).sum(axes) + 1
    dice = 1 - overlap / ((p * p).sum(axes) + target.sum(axes) + 1)
    return dice + F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(axes)


def hard_dice(logits: Tensor, target: Tensor) -> Tensor:
    """DSC (B,) of the mask at probability 0.5."""
    mask, truth = logits > 0, target > 0.5
    axes = (1, 2, 3, 4)
    return 2.0 * (mask & truth).sum(axes) / (mask.sum(axes) + truth.sum(axes)).clamp_min(1)


def parts_loss(logits: Tensor, parts: Tensor, weights: Tensor, unknown: int = 255) -> Tensor:
    """Cross entropy of cells against the shares of the parts in them, per sample.

    Args:
        logits: (B, P, n, n, n).
        parts: uint8 (B, 2n, 2n, 2n), values below P, or `unknown`, which counts for nothing.
        weights: (P,), of each part.

    Returns:
        (B,): weighted mean over the cells; 0 where nothing is known.
    """
    b, p, n = logits.shape[:3]
    cells = parts.reshape(b, n, 2, n, 2, n, 2).permute(0, 2, 4, 6, 1, 3, 5).reshape(b, 8, n, n, n).long()
    known = cells != unknown
    share = logits.new_zeros(b, p, n, n, n)
    share.scatter_add_(1, torch.where(known, cells, 0), known.to(logits.dtype) / 8)
    share = share * weights.reshape(1, p, 1, 1, 1)
    entropy = -(share * torch.log_softmax(logits, dim=1)).sum((1, 2, 3, 4))
    return entropy / share.sum((1, 2, 3, 4)).clamp_min(1e-3)
