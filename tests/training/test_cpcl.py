"""Equations (2) to (6) of the SegAnyPET paper against numbers worked out by hand or in plain NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from anypet.training.cpcl import (
    LN2,
    average_prediction,
    consistency_loss,
    predictive_entropy,
    ramp_up,
    rectify,
    total_loss,
)

P = [torch.tensor([[0.2, 0.9]]), torch.tensor([[0.4, 0.8]]), torch.tensor([[0.9, 0.1]])]


def test_average_by_hand():
    assert average_prediction(P)[0].tolist() == pytest.approx([0.5, 0.6])


def test_consistency_by_hand():
    # (0.3^2 + 0.1^2 + 0.4^2) + (0.3^2 + 0.2^2 + 0.5^2)
    assert float(consistency_loss(P, "sum")) == pytest.approx(0.26 + 0.38)
    assert float(consistency_loss(P, "mean")) == pytest.approx((0.26 + 0.38) / 2)
    assert float(consistency_loss([P[0]] * 4)) == 0.0


def test_consistency_keeps_samples_apart_and_has_a_gradient():
    rng = np.random.default_rng(0)
    p = rng.uniform(size=(3, 2, 1, 4, 4, 4))
    tensors = [torch.tensor(v, requires_grad=True) for v in p]
    by_numpy = ((p - p.mean(0)) ** 2).sum(axis=(0, 2, 3, 4, 5))
    loss = consistency_loss(tensors, "sum")
    assert loss.detach().numpy() == pytest.approx(by_numpy)
    loss.sum().backward()
    # d/dp of sum (p - mean)^2 is 2 (p - mean): the part through the mean sums to nothing
    assert tensors[1].grad is not None
    assert tensors[1].grad.numpy() == pytest.approx(2 * (p[1] - p.mean(0)))


def test_entropy_by_hand():
    found = predictive_entropy(torch.tensor([0.0, 0.5, 1.0, 0.25], dtype=torch.float64))
    quarter = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert found.tolist() == pytest.approx([0.0, LN2, 0.0, quarter])


def test_rectification_by_hand():
    mean = torch.tensor([0.5, 0.5, 0.99, 0.01, 0.6, 0.4])
    label = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0, 0.0])
    # H(0.6) = 0.673 = 0.971 ln 2: above a share of 0.9; certain voxels keep their label, right or wrong
    assert rectify(label, mean, 0.9).tolist() == [1, 0, 0, 1, 1, 1]
    assert rectify(label, mean, 0.98).tolist() == [1, 0, 0, 1, 0, 0]
    assert rectify(label, mean, 0.9, "towards").tolist() == [0, 0, 0, 1, 1, 0]
    assert rectify(label, mean, 1.0).tolist() == label.tolist()


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=30), st.floats(0, 1))
def test_rectified_labels_stay_binary_and_follow_the_formula(voxels, threshold):
    y = np.array([v[0] for v in voxels], dtype=float)
    p = np.array([v[1] for v in voxels])
    with np.errstate(divide="ignore", invalid="ignore"):
        u = -(np.where(p > 0, p * np.log(p), 0) + np.where(p < 1, (1 - p) * np.log(1 - p), 0))
    expected = y + (u > threshold * LN2 + 1e-12) * (-1) ** y
    found = rectify(torch.tensor(y), torch.tensor(p), threshold).numpy()
    close = np.abs(u - threshold * LN2) < 1e-9
    assert np.array_equal(found[~close], expected[~close])
    assert set(found.tolist()) <= {0.0, 1.0}


def test_ramp_by_hand():
    assert ramp_up(1.0) == pytest.approx(0.1)
    assert ramp_up(0.0) == pytest.approx(0.1 * math.exp(-5))
    assert ramp_up(0.5) == pytest.approx(0.1 * math.exp(-2.5))
    assert ramp_up(0.5, ramp="gaussian") == pytest.approx(0.1 * math.exp(-1.25))
    assert ramp_up(7.0, omega=0.3) == pytest.approx(0.3)


def test_total_by_hand():
    parts = [torch.tensor(v) for v in (2.0, 0.5, 1.5)]
    assert float(total_loss(*parts, weight=0.1)) == pytest.approx(2.0 + 0.1 * (0.5 + 5 * 1.5))
