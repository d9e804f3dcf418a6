"""The loss of a batch, from its parts and shared out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from toys import ball, tiny_learner

from anypet.models.compact.parts import LESION, PARTS
from anypet.training.click_loop import LoopSettings, run_loop
from anypet.training.cpcl import CPCL
from anypet.training.losses import dice_ce
from anypet.training.objective import Objective, named_loss

LOOP = LoopSettings(3, "all", 0.0, 0.0)


def rngs(count: int) -> list[np.random.Generator]:
    return [np.random.default_rng(n) for n in range(count)]


def test_good_labels_give_the_mean_over_windows_then_targets_and_prompts():
    learner = tiny_learner()
    two = replace(ball(), targets=(ball().targets[0], ball(radius=3).targets[0]))
    patches = [ball(radius=5), two]
    loss, scores = Objective(learner, LOOP, CPCL(), 0.0)(patches, rngs(2), 3, 0.5)
    talk = run_loop(learner, patches, LOOP, rngs(2), 3)
    each = torch.stack([dice_ce(v, talk.target) for v in talk.logits]).mean(0).detach()
    assert float(loss.detach()) == pytest.approx(float((each[0] + (each[1] + each[2]) / 2) / 2), rel=1e-6)
    assert scores.loss == pytest.approx(float(loss.detach()))
    assert scores.rectified == 0.0


def test_poor_labels_give_equation_six():
    learner = tiny_learner()
    patches = [replace(ball(), high_quality=False)]
    cpcl = CPCL(omega=0.2, beta=3.0, threshold=0.95)
    loss, scores = Objective(learner, LOOP, cpcl, 0.0)(patches, rngs(1), 3, 0.5)
    talk = run_loop(learner, patches, LOOP, rngs(1), 3)
    p = [torch.sigmoid(v).detach().numpy() for v in talk.logits]
    mean = np.mean(p, axis=0)
    entropy = -(mean * np.log(mean) + (1 - mean) * np.log(1 - mean))
    label = talk.target.numpy()
    changed = np.where(entropy > 0.95 * np.log(2), 1 - label, label)
    consistency = sum(((v - mean) ** 2).mean() for v in p)
    supervised = np.mean([float(dice_ce(v, torch.tensor(changed))) for v in talk.logits])
    expected = 0.2 * np.exp(-2.5) * (consistency + 3.0 * supervised)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert scores.rectified == pytest.approx((changed != label).mean())
    assert 0 < scores.rectified < 1


def test_consistency_alone_ignores_the_poor_label():
    learner, cpcl = tiny_learner(), CPCL(beta=0.0)
    losses = []
    for label in (ball().targets[0], ball(radius=7).targets[0].roll(3, 0)):
        torch.manual_seed(0)
        patch = replace(ball(), targets=(label,), high_quality=False)
        talk = run_loop(learner, [patch], LOOP, rngs(1), 1)
        loss, _ = Objective(learner, LoopSettings(1, "all", 0, 0), cpcl, 0.0)([patch], rngs(1), 1, 1.0)
        losses.append(float(loss))
        assert talk.logits
    assert losses == [0.0, 0.0]  # one prompt agrees with itself


def test_unknown_parts_cost_nothing():
    logits = torch.randn(2, len(PARTS), 16, 16, 16, generator=torch.Generator().manual_seed(0))
    known = named_loss(logits, [ball(), ball()])
    half = named_loss(logits, [ball(), replace(ball(), parts=None)])
    alone = named_loss(logits[:1], [ball()])
    assert float(half) == pytest.approx(float(alone) / 2)
    assert float(known) > float(half)
    assert float(named_loss(None, [ball()])) == 0.0
    right = torch.full((1, len(PARTS), 16, 16, 16), -20.0)
    right[0, LESION] = 20.0
    assert (
        float(named_loss(right, [replace(ball(), parts=torch.full((32, 32, 32), LESION, dtype=torch.uint8))]))
        < 1e-5
    )


def test_everything_has_a_gradient():
    learner = tiny_learner()
    loss, _ = Objective(learner, LOOP, CPCL(), 0.5)(
        [ball(), replace(ball(), high_quality=False)], rngs(2), 2, 0.5
    )
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in learner.parameters())
