"""Dialogues, rough masks and the loop of Algorithm 1."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toys import ball, tiny_learner

from anypet.training.click_loop import LoopSettings, run_loop, turns
from anypet.training.dialogue import answer, open_dialogue, rough_mask
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


@pytest.mark.parametrize(("mode", "kept"), [("all", 3), ("last", 1)])
def test_turns_that_carry_a_gradient(mode: str, kept: int):
    small = ball(radius=5)
    patches = [ball(), Patch(small.image, (*small.targets, ball(radius=9).targets[0]), 4.0, "lesion")]
    rngs = [np.random.default_rng(n) for n in range(2)]
    talk = run_loop(tiny_learner(), patches, LoopSettings(3, mode, 0.3, 0.5), rngs, 3)
    assert len(talk.logits) == kept
    assert talk.logits[-1].shape == talk.target.shape == (3, 1, 32, 32, 32)
    assert talk.rows.tolist() == [0, 1, 1]
    assert talk.first.shape == talk.last.shape == (3,)
    assert talk.parts is not None
    (sum(v.sum() for v in talk.logits) + talk.parts.sum()).backward()


def test_turns_follow_their_shares():
    rng = np.random.default_rng(0)
    counts = [turns(LoopSettings(4, "last", 0, 0, once_share=0.4), rng) for _ in range(2000)]
    assert np.bincount(counts)[1:] / 2000 == pytest.approx([0.55, 0.15, 0.15, 0.15], abs=0.04)
    assert {turns(LoopSettings(1, "last", 0, 0), rng) for _ in range(20)} == {1}
