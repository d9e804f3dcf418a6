"""Correlations against textbook formulas, numpy, scipy and numbers of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from anypet.errors import AnyPETError
from anypet.quantify.network.covariance import (
    Estimator,
    fisher_z,
    from_pairs,
    interval,
    ledoit_wolf,
    pairs,
    residuals,
    standardise,
)

NONE = np.zeros((40, 0))


def sample(seed: int, n: int = 40, p: int = 5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, p)) @ rng.normal(size=(p, p)) + rng.normal(size=p)


def test_plain_correlation_is_numpys() -> None:
    values = sample(0)
    np.testing.assert_allclose(Estimator().correlation(values), np.corrcoef(values.T), atol=1e-12)


def test_partial_correlation_is_that_of_the_inverse_covariance() -> None:
    values = sample(1)
    precision = np.linalg.inv(np.cov(values.T))
    expected = -precision / np.sqrt(np.outer(np.diag(precision), np.diag(precision)))
    np.fill_diagonal(expected, 1.0)
    np.testing.assert_allclose(Estimator("partial").correlation(values), expected, atol=1e-10)


def test_partial_correlation_is_that_of_regression_residuals() -> None:
    values = sample(2)
    others = np.column_stack([np.ones(len(values)), values[:, 2:]])
    left = values[:, :2] - others @ np.linalg.lstsq(others, values[:, :2], rcond=None)[0]
    expected = np.corrcoef(left.T)[0, 1]
    assert Estimator("partial").correlation(values)[0, 1] == pytest.approx(expected, abs=1e-10)


def test_partial_correlation_of_three_by_the_textbook() -> None:
    values = sample(3, p=3)
    r = np.corrcoef(values.T)
    expected = (r[0, 1] - r[0, 2] * r[1, 2]) / np.sqrt((1 - r[0, 2] ** 2) * (1 - r[1, 2] ** 2))
    assert Estimator("partial").correlation(values)[0, 1] == pytest.approx(expected, abs=1e-10)


def test_regressing_a_covariate_out_is_partial_correlation_given_it() -> None:
    values = sample(4, p=3)
    left = residuals(values[:, :2], values[:, 2:])
    given_third = Estimator("partial").correlation(values)[0, 1]
    assert Estimator().correlation(left)[0, 1] == pytest.approx(given_third, abs=1e-10)


def test_spearman_and_logarithm() -> None:
    values = np.exp(sample(5))
    by_rank = Estimator(transform="rank")
    expected = stats.spearmanr(values).statistic
    np.testing.assert_allclose(by_rank.correlation(by_rank.transformed(values)), expected, atol=1e-12)
    by_log = Estimator(transform="log")
    np.testing.assert_allclose(by_log.transformed(values), np.log(values))


def test_residuals_have_nothing_of_the_covariates_left() -> None:
    rng = np.random.default_rng(6)
    design = rng.normal(50, 10, size=(40, 2))
    values = sample(6) + design @ rng.normal(size=(2, 5))
    left = residuals(values, design)
    np.testing.assert_allclose(left.mean(0), 0, atol=1e-10)
    np.testing.assert_allclose(left.T @ design, 0, atol=1e-8)
    twice = np.column_stack([design, design[:, 0] * 2 + 1, np.full(40, 3.0)])  # says nothing new
    np.testing.assert_allclose(residuals(values, twice), left, atol=1e-10)


def test_groups_have_their_own_means_and_shared_slopes() -> None:
    rng = np.random.default_rng(7)
    groups = np.repeat(["a", "b"], 20)
    age = rng.normal(50, 10, (40, 1))
    noise = rng.normal(size=(40, 3))
    values = noise + 0.3 * age + np.where(groups == "a", 0.0, 25.0)[:, None]
    left = residuals(values, age, groups)
    np.testing.assert_allclose(left[:20].mean(0), 0, atol=1e-10)
    np.testing.assert_allclose(left[20:].mean(0), 0, atol=1e-10)
    # an independent way: centre within the groups, then one slope without an intercept
    centre = lambda x: x - np.where((groups == "a")[:, None], x[:20].mean(0), x[20:].mean(0))  # noqa: E731
    a, v = centre(age), centre(values)
    np.testing.assert_allclose(left, v - a * (a.T @ v) / (a.T @ a), atol=1e-9)


def test_ledoit_wolf_against_scikit_learn() -> None:
    # sklearn.covariance.ledoit_wolf of release 1.9 gives 0.6869875338871975 for these values
    values = np.array(
        [[((7 * a * a + 3 * a * b + 5 * b) % 11) / 3 + 0.3 * b for b in range(4)] for a in range(10)]
    )
    assert ledoit_wolf(standardise(values)) == pytest.approx(0.6869875338871975, abs=1e-12)


def test_ledoit_wolf_by_its_definition() -> None:
    z = standardise(sample(8, n=12, p=20))
    matrix = z.T @ z / 12
    distance = ((matrix - np.eye(20)) ** 2).sum()
    noise = sum(((np.outer(x, x) - matrix) ** 2).sum() for x in z) / 12**2
    assert ledoit_wolf(z) == pytest.approx(min(noise, distance) / distance)


def test_shrinkage_helps_where_there_are_few_subjects() -> None:
    rng = np.random.default_rng(9)
    truth = 0.3 * np.ones((15, 15)) + 0.7 * np.eye(15)
    errors = []
    for _ in range(30):
        few = rng.multivariate_normal(np.zeros(15), truth, size=12)
        matrices = (Estimator(shrinkage=s).correlation(few) for s in ("none", "ledoit-wolf"))  # type: ignore[arg-type]
        errors.append([((matrix - truth) ** 2).sum() for matrix in matrices])
    plain, shrunk = np.mean(errors, axis=0)
    assert shrunk < 0.9 * plain
    with pytest.raises(AnyPETError, match=r"15 organs .* 12 subjects.*ledoit-wolf"):
        Estimator("partial").correlation(few)
    assert np.isfinite(Estimator("partial", "ledoit-wolf").correlation(few)).all()


def test_fisher_z_and_its_interval() -> None:
    # r = 0.5 of 28 subjects: z = 0.5493, SE = 1/5, so 0.1573 to 0.9413 and back 0.156 to 0.736
    assert fisher_z(0.5) == pytest.approx(0.549306, abs=1e-6)
    error = Estimator().fisher_error(28, 10, 0)
    assert error == pytest.approx(0.2)
    low, high = interval(0.5, error)
    assert (float(low), float(high)) == pytest.approx((0.1560, 0.7358), abs=1e-4)
    reference = stats.pearsonr(*sample(10, n=28, p=2).T)
    ends = interval(reference.statistic, error)
    assert ends == pytest.approx(tuple(reference.confidence_interval(0.95)), abs=1e-10)
    assert Estimator("partial").fisher_error(28 + 8 + 3, 10, 3) == pytest.approx(0.2)
    assert np.isnan(Estimator(shrinkage="ledoit-wolf").fisher_error(100, 5, 0))
    assert np.isnan(Estimator("partial").fisher_error(20, 18, 2))
    assert np.isfinite(fisher_z([1.0, -1.0])).all()


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10_000), st.sampled_from(["plain", "partial"]), st.sampled_from(["none", "ledoit-wolf"])
)
def test_a_correlation_matrix_whatever_the_units(seed: int, kind: str, shrinkage: str) -> None:
    estimator = Estimator(kind, shrinkage)  # type: ignore[arg-type]
    values = sample(seed, n=25, p=4)
    matrix = estimator.correlation(values)
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_array_equal(np.diag(matrix), 1.0)
    assert np.abs(matrix).max() <= 1
    other = estimator.correlation(values * [1e-3, 1.0, 50.0, 1e4] + [5.0, -3.0, 0.0, 100.0])
    np.testing.assert_allclose(matrix, other, atol=1e-6)


def test_pairs_and_back() -> None:
    matrix = Estimator().correlation(sample(11))
    np.testing.assert_array_equal(pairs(matrix)[:4], matrix[0, 1:])
    np.testing.assert_array_equal(from_pairs(pairs(matrix), 5, 1.0), np.where(np.eye(5), 1.0, matrix))


def test_what_cannot_be_had() -> None:
    values = sample(12)
    with pytest.raises(AnyPETError, match="40 subjects cannot have 50 covariates"):
        residuals(values, np.random.default_rng(0).normal(size=(40, 50)))
    values[:, 1] = 3.0
    with pytest.raises(AnyPETError, match="column 2 does not vary"):
        Estimator().correlation(values)
    weight = np.random.default_rng(1).normal(70, 9, (40, 1))
    explained = residuals(np.column_stack([2 * weight + 1, sample(13)]), weight)
    np.testing.assert_array_equal(explained[:, 0], 0.0)
