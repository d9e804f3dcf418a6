"""Limits of agreement and ICC against published examples and numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anypet.errors import AnyPETError
from anypet.evaluation.reliability import bland_altman, differences, icc

# Shrout and Fleiss 1979, table 2: six targets by four judges
SHROUT_FLEISS = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]

# Bland and Altman, Lancet 1986: peak expiratory flow (L/min), Wright's meter and a mini meter, first readings
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


def test_bland_altman_of_the_paper() -> None:
    found = bland_altman(WRIGHT, MINI)
    assert found.cases == 17
    assert found.bias.value == pytest.approx(-2.1, abs=0.05)
    assert found.sd == pytest.approx(38.8, abs=0.05)
    assert (found.bias.low, found.bias.high) == pytest.approx((-22.0, 17.8), abs=0.1)
    # the paper rounds 1.96 to 2, and the error of a limit to sqrt(3 / n) SD
    assert found.lower.value == pytest.approx(-79.7, abs=1.7)
    assert found.upper.value == pytest.approx(75.5, abs=1.7)
    assert (found.lower.low, found.lower.high) == pytest.approx((-114.3, -45.1), abs=2)
    assert (found.upper.low, found.upper.high) == pytest.approx((40.9, 110.1), abs=2)


def test_bland_altman_by_hand() -> None:
    # differences 1, 3, 2: mean 2, SD 1; t(2) at 97.5 % is 4.3027
    found = bland_altman([2.0, 5.0, 6.0], [1.0, 2.0, 4.0])
    assert (found.bias.value, found.sd) == pytest.approx((2, 1))
    assert found.bias.high - 2 == pytest.approx(4.3027 / 3**0.5, abs=1e-3)
    assert (found.lower.value, found.upper.value) == pytest.approx((2 - 1.96, 2 + 1.96), abs=1e-3)
    assert found.upper.high - found.upper.value == pytest.approx(
        4.3027 * (1 / 3 + 1.96**2 / 4) ** 0.5, abs=1e-3
    )
    # per cent of the means 1.5, 3.5, 5: 66.7, 85.7, 40
    relative = bland_altman([2.0, 5.0, 6.0], [1.0, 2.0, 4.0], relative=True)
    assert relative.bias.value == pytest.approx((200 / 3 + 600 / 7 + 40) / 3)


def test_bland_altman_of_too_little() -> None:
    one = bland_altman([3.0, np.nan], [1.0, 1.0])
    assert (one.cases, one.bias.value) == (1, 2.0)
    assert np.isnan([one.sd, one.lower.value, one.bias.low]).all()
    assert bland_altman([], []).cases == 0
    mean, difference = differences([0.0, 2.0], [0.0, 1.0], relative=True)
    np.testing.assert_allclose((mean, difference), ([1.5], [100 / 1.5]))
    assert bland_altman([0.0, 2.0], [0.0, 1.0]).cases == 2
    with pytest.raises(AnyPETError, match="same cases"):
        bland_altman([1.0, 2.0], [1.0])


def test_limits_hold_the_share_they_promise() -> None:
    rng = np.random.default_rng(0)
    held = []
    for _ in range(400):
        found = bland_altman(rng.normal(1.0, 2.0, 20), np.zeros(20))
        held.append(
            [
                found.bias.low <= 1.0 <= found.bias.high,
                found.upper.low <= 1 + 1.96 * 2 <= found.upper.high,
            ]
        )
    assert np.mean(held, axis=0) == pytest.approx([0.95, 0.95], abs=0.035)


def test_icc_of_shrout_and_fleiss() -> None:
    found = icc(SHROUT_FLEISS)
    assert found.estimate.value == pytest.approx(0.29, abs=0.005)  # their table 4
    # interval as psych::ICC of R gives it for this table
    assert (found.estimate.low, found.estimate.high) == pytest.approx((0.019, 0.761), abs=0.0006)
    assert (found.cases, found.readers) == (6, 4)


def test_icc_by_hand() -> None:
    # two readers, three cases, one always 1 higher: rows 1.5, 3.5, 5.5, MS rows 8, columns 1.5, error 0
    found = icc([[1, 2], [3, 4], [5, 6]])
    assert found.estimate.value == pytest.approx(8 / (8 + 2 * 1.5 / 3))
    assert found.estimate.low <= found.estimate.value <= found.estimate.high <= 1


def test_icc_of_perfect_and_of_no_agreement() -> None:
    same = icc([[1, 1, 1], [2, 2, 2], [5, 5, 5]]).estimate
    assert (same.value, same.low, same.high) == (1, 1, 1)
    rng = np.random.default_rng(1)
    noise = icc(rng.normal(size=(300, 3))).estimate
    assert noise.value == pytest.approx(0, abs=0.1)
    assert noise.low < 0 < noise.high
    assert np.isnan(icc(np.ones((4, 3))).estimate.value)


def test_icc_of_too_little() -> None:
    assert np.isnan(icc([[1.0, 2.0]]).estimate.value)
    assert np.isnan(icc([[1.0], [2.0]]).estimate.value)
    partly = icc([*SHROUT_FLEISS, [np.nan, 1, 2, 3]])
    assert partly == icc(SHROUT_FLEISS)
    with pytest.raises(AnyPETError, match="table"):
        icc([1.0, 2.0])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9999), st.floats(0.01, 100), st.floats(-50, 50))
def test_icc_does_not_depend_on_units_or_order(seed: int, scale: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(7, 1)) + 0.5 * rng.normal(size=(7, 3))
    found = icc(table).estimate
    other = icc(scale * table[rng.permutation(7)][:, rng.permutation(3)] + shift).estimate
    assert other.value == pytest.approx(found.value, abs=1e-6)
    assert other.low == pytest.approx(found.low, abs=1e-5)
    assert found.low <= found.value <= found.high


def test_icc_interval_holds_the_truth() -> None:
    # cases of variance 4, readers 1, rest 1: ICC(2,1) = 4 / 6
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(300):
        table = 2 * rng.normal(size=(30, 1)) + rng.normal(size=(1, 6)) + rng.normal(size=(30, 6))
        found = icc(table).estimate
        held += found.low <= 4 / 6 <= found.high
    assert held / 300 == pytest.approx(0.95, abs=0.05)
