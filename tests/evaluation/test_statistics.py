"""Intervals over patients: nesting, coverage, pairing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from anypet.errors import AnyPETError
from anypet.evaluation.protocol import Row
from anypet.evaluation.statistics import bootstrap, paired_difference, patient_means, summarise


def row(patient: str, case: str, target: str, seed: int, dsc: float) -> Row:
    return Row("s", "g", patient, case, target, seed, 1, (0, 0, 0), True, 0.1, {"dsc": dsc})


def dsc(row: Row) -> float:
    return row.values["dsc"]


def test_seeds_then_targets_then_cases_are_averaged() -> None:
    rows = [row("a", "a1", "t1", seed, 1.0) for seed in range(9)]
    rows += [row("a", "a1", "t2", 0, 0.0), row("a", "a2", "t1", 0, 0.1)]
    rows += [row("b", "b1", "t1", 0, 0.7), row("b", "b1", "t1", 1, math.nan)]
    means, undefined = patient_means(rows, dsc)
    assert means == {"a": pytest.approx((0.5 + 0.1) / 2), "b": pytest.approx(0.7)}
    assert undefined == 1
    interval = summarise(rows, dsc)
    assert (interval.mean, interval.patients, interval.undefined) == (pytest.approx(0.5), 2, 1)
    assert str(interval).startswith("0.500 [0.3")


def test_infinite_values_are_left_out_and_counted() -> None:
    means, undefined = patient_means([row("a", "a", "t", 0, math.inf), row("b", "b", "t", 0, 2.0)], dsc)
    assert (means, undefined) == ({"b": 2.0}, 1)
    assert str(bootstrap({})) == "-"
    assert math.isnan(bootstrap({}).mean)


def test_the_same_seed_gives_the_same_interval_in_any_order() -> None:
    values = {f"p{i}": float(v) for i, v in enumerate(np.random.default_rng(0).normal(size=20))}
    shuffled = dict(reversed(values.items()))
    assert bootstrap(values) == bootstrap(shuffled)
    assert bootstrap(values) != bootstrap(values, seed=1)
    only = bootstrap({"a": 0.4})
    assert (only.low, only.mean, only.high) == (0.4, 0.4, 0.4)
    with pytest.raises(AnyPETError, match="level"):
        bootstrap(values, level=95)


def test_the_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(300):
        values = {str(i): float(v) for i, v in enumerate(rng.beta(5, 2, size=30))}
        found = bootstrap(values, resamples=400)
        assert found.low <= found.mean <= found.high
        covered += found.low <= 5 / 7 <= found.high
    assert 0.89 <= covered / 300 <= 0.98


def test_paired_differences_are_narrower_than_unpaired_ones() -> None:
    rng = np.random.default_rng(4)
    level = rng.uniform(0.2, 0.9, size=20)
    first = [row(str(i), str(i), "t", 0, v + 0.05 + rng.normal(scale=0.01)) for i, v in enumerate(level)]
    second = [row(str(i), str(i), "t", 0, v) for i, v in enumerate(level)]
    second.append(row("alone", "x", "t", 0, 0.0))
    found = paired_difference(first, second, dsc)
    assert found.interval.patients == 20
    assert 0.04 < found.interval.low < found.interval.high < 0.06
    assert found.better == 1.0
    assert summarise(first, dsc).high - summarise(first, dsc).low > 0.1
    with pytest.raises(AnyPETError, match="no patient"):
        paired_difference(first[:1], second[-1:], dsc)
