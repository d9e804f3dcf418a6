"""Dialogues, rough masks and the loop of Algorithm 1."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toys import TINY, ball

from anypet.models.compact import CompactConfig, CompactNet
from anypet.training.click_loop import LoopSettings, answer, open_dialogue, rough_mask, run_loop
from anypet.training.losses import hard_dice
from anypet.training.patches import Patch


def test_dialogue_opens_on_the_target_and_answers_errors():
    patch, rng = ball(), np.random.default_rng(0)
    truth = patch.targets[0]
    talk = open_dialogue(patch.image, truth, rng, box_share=0.0)
    assert truth[talk.points[0]]
    assert talk.anchor_suv == pytest.approx(5.0, rel=0.3)
    for _ in range(6):
        answer(truth, torch.full((32, 32, 32), -5.0), talk, rng)
    assert talk.labels == [1] * 7
    answer(truth, torch.full((32, 32, 32), 5.0), talk, rng)
    assert talk.labels[-1] == 0
    assert not truth[talk.points[-1]]
    before = len(talk.points)
    answer(truth, torch.where(truth, 5.0, -5.0), talk, rng)
    assert len(talk.points) == before
    box = open_dialogue(patch.image, truth, rng, box_share=1.0)
    assert box.points == []
    assert box.box is not None
    assert all(lo <= 10.5 and hi >= 21.5 for lo, hi in zip(*box.box, strict=True))


def test_rough_masks_resemble_the_target():
    truth = ball(radius=10).targets[0]
    scores = [
        float(hard_dice(rough_mask(truth, np.random.default_rng(s)), truth[None, None])) for s in range(20)
    ]
    assert 0.4 < np.mean(scores) < 0.98


@pytest.mark.parametrize("mode", ["all", "last"])
def test_loop_has_gradients_everywhere(mode: str):
    net = CompactNet(CompactConfig(32, TINY["widths"], TINY["blocks"]))
    small = ball(radius=5)
    patches = [ball(), Patch(small.image, (*small.targets, ball(radius=9).targets[0]), 4.0, "lesion")]
    done = run_loop(net, patches, LoopSettings(3, mode, 0.3, 0.5), np.random.default_rng(0))
    (done.loss + done.parts).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    assert done.first.shape == done.last.shape == (3,)
    assert float(done.parts.detach()) > 0


def test_unknown_parts_cost_nothing():
    net = CompactNet(CompactConfig(32, TINY["widths"], TINY["blocks"]))
    patch = ball()
    unknown = Patch(patch.image, patch.targets, 4.0, "real")
    done = run_loop(net, [unknown], LoopSettings(1, "all", 0.0, 0.0), np.random.default_rng(0))
    assert float(done.parts) == 0.0
