"""Losses against numbers worked out by hand and against MONAI."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anypet.training.losses import dice_ce, hard_dice, parts_loss


def test_dice_ce_by_hand():
    logits = torch.tensor([2.0, -1.0]).reshape(1, 1, 1, 1, 2)
    target = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 1, 2)
    p = 1 / (1 + np.exp(-np.array([2.0, -1.0])))
    dice = 1 - (2 * p[0] + 1) / (p[0] ** 2 + p[1] ** 2 + 1 + 1)
    ce = -(np.log(p[0]) + np.log(1 - p[1])) / 2
    assert float(dice_ce(logits, target)) == pytest.approx(dice + ce, abs=1e-6)
    assert float(hard_dice(logits, target)) == 1.0


def test_dice_ce_against_monai():
    from monai.losses import DiceLoss

    gen = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 1, 8, 8, 8, generator=gen)
    target = (torch.rand(3, 1, 8, 8, 8, generator=gen) > 0.6).float()
    dice = DiceLoss(sigmoid=True, squared_pred=True, smooth_nr=1.0, smooth_dr=1.0, reduction="none")(
        logits, target
    )
    ce = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(
        (1, 2, 3, 4)
    )
    assert torch.allclose(dice_ce(logits, target), dice.flatten() + ce, atol=1e-5)


def test_parts_loss_by_hand():
    logits = torch.tensor([0.0, 1.0]).reshape(1, 2, 1, 1, 1)
    parts = torch.zeros(1, 2, 2, 2, dtype=torch.uint8)
    parts[0, 0, 0] = 1  # two voxels of the second part
    parts[0, 1, 1] = 255  # two of which nothing is known
    log_p = np.array([0.0, 1.0]) - np.log(1 + np.e)
    weights = torch.tensor([0.5, 1.0])
    by_hand = -(0.5 * 4 / 8 * log_p[0] + 2 / 8 * log_p[1]) / (0.5 * 4 / 8 + 2 / 8)
    assert float(parts_loss(logits, parts, weights)) == pytest.approx(by_hand, abs=1e-6)
    assert float(parts_loss(logits, torch.full_like(parts, 255), weights)) == 0.0


def test_parts_loss_is_cross_entropy_where_cells_are_pure():
    gen = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 3, 3, 3, generator=gen)
    cells = torch.randint(0, 5, (2, 3, 3, 3), generator=gen)
    weights = torch.tensor([0.2, 1.0, 0.5, 1.0, 2.0])
    parts = cells.repeat_interleave(2, 1).repeat_interleave(2, 2).repeat_interleave(2, 3).to(torch.uint8)
    expected = [
        torch.nn.functional.cross_entropy(logits[n : n + 1], cells[n : n + 1], weights) for n in range(2)
    ]
    assert parts_loss(logits, parts, weights).tolist() == pytest.approx(
        [float(e) for e in expected], abs=1e-6
    )
