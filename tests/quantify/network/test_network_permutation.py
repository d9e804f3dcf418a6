"""Tests by permutation: exactness, corrections, and the error rates that they promise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from anypet.errors import AnyPETError
from anypet.quantify.network.covariance import Estimator, fisher_z, pairs, residuals
from anypet.quantify.network.graph import Threshold
from anypet.quantify.network.groups import compare_groups, compare_measures
from anypet.quantify.network.permutation import (
    benjamini_hochberg,
    edge_test,
    modularity_test,
    p_values,
)

PLAIN, DENSITY = Estimator(), Threshold(density=0.3)
# of 100 tests at 5 %, as many rejections or more come up by chance once in a thousand such hundreds
MOST_FALSE = int(stats.binom.ppf(0.999, 100, 0.05))


def correlated(rng: np.random.Generator, subjects: int, organs: int, r: float) -> np.ndarray:
    """Every pair correlates by r."""
    return np.sqrt(r) * rng.normal(size=(subjects, 1)) + np.sqrt(1 - r) * rng.normal(size=(subjects, organs))


def test_p_values_by_hand() -> None:
    null = np.array([[1.0, 5.0], [2.0, 1.0], [3.0, 2.0], [4.0, 3.0]])
    found = p_values([3.0, 6.0], null)
    np.testing.assert_allclose(found.p, [3 / 5, 1 / 5])  # 3 and 4 reach 3; nothing reaches 6
    np.testing.assert_allclose(found.family_wise, [4 / 5, 1 / 5])  # the largest are 5, 2, 3, 4
    np.testing.assert_allclose(found.fdr, [3 / 5, 2 / 5])
    # in units a hundred times smaller the first statistic would never be the largest
    unfair, fair = (p_values([0.05, 5.0], null * [0.01, 1.0], rescale=r) for r in (False, True))
    np.testing.assert_allclose(unfair.family_wise, [1.0, 2 / 5])
    # sizes: sqrt((25 + 30) / 5) and sqrt((25 + 39) / 5); the largest are 1.40, 0.60, 0.90, 1.21
    np.testing.assert_allclose(fair.family_wise, [1 / 5, 2 / 5])
    np.testing.assert_allclose(fair.p, unfair.p)
    with pytest.raises(AnyPETError, match="at least one deal"):
        p_values([1.0], np.empty((0, 1)))


def test_benjamini_hochberg_is_scipys() -> None:
    p = np.random.default_rng(0).random(50) ** 2
    np.testing.assert_allclose(benjamini_hochberg(p), stats.false_discovery_control(p))


def test_p_of_an_edge_is_that_of_scipys_permutation_test() -> None:
    values = correlated(np.random.default_rng(1), 7, 2, 0.6)

    def size(x: np.ndarray) -> float:
        return abs(float(fisher_z(np.corrcoef(x, values[:, 1])[0, 1])))

    exact = [size(values[list(order), 0]) for order in itertools.permutations(range(7))]
    expected = np.mean(np.array(exact) >= size(values[:, 0]) - 1e-9)
    found = edge_test(values, PLAIN, np.random.default_rng(2), 4000)
    assert found.p[0] == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 4000))
    assert found.family_wise[0] == found.p[0]


def test_edges_that_are_there_are_found_and_others_are_not() -> None:
    rng = np.random.default_rng(3)
    values = np.hstack([correlated(rng, 60, 3, 0.6), rng.normal(size=(60, 5))])
    found = edge_test(values, PLAIN, rng, 200)
    joined = [i < 3 and j < 3 for i, j in zip(*np.triu_indices(8, 1), strict=True)]
    assert (found.family_wise[joined] <= 0.01).all()
    assert (found.family_wise[~np.array(joined)] > 0.05).all()
    assert (found.p <= found.family_wise + 1e-12).all()
    again = edge_test(values, PLAIN, np.random.default_rng(4), 50)
    np.testing.assert_array_equal(again.p, edge_test(values, PLAIN, np.random.default_rng(4), 50).p)


@pytest.mark.parametrize("estimator", [PLAIN, Estimator("partial", "ledoit-wolf")])
def test_nothing_is_found_in_shuffled_cohorts(estimator: Estimator) -> None:
    cohort = np.exp(correlated(np.random.default_rng(5), 40, 8, 0.4))
    age = np.random.default_rng(6).normal(size=(40, 1))
    false = 0
    for seed in range(100):
        rng = np.random.default_rng([7, seed])
        shuffled = rng.permuted(cohort, axis=0)  # every organ by itself: no network is left
        found = edge_test(residuals(shuffled, age), estimator, rng, 39)
        false += int(found.family_wise.min() <= 0.05)
    assert false <= MOST_FALSE


def test_shuffled_groups_do_not_differ() -> None:
    rng = np.random.default_rng(8)
    values = correlated(rng, 50, 8, 0.4)
    values[:20] *= 3.0  # the labels below have nothing to do with this
    edges = nodes = components = 0
    for seed in range(100):
        rng = np.random.default_rng([9, seed])
        first = rng.permutation(np.arange(50) < 25)
        left = residuals(values, np.zeros((50, 0)), first)
        found = compare_groups(left, first, PLAIN, DENSITY, rng, permutations=59, component_threshold=2.0)
        edges += int(found.edges.family_wise.min() <= 0.05)
        nodes += int(found.nodes.family_wise.min() <= 0.05)
        components += int(any(part.p <= 0.05 for part in found.components))
    assert max(edges, nodes, components) <= MOST_FALSE


def test_means_and_spreads_of_groups_are_not_what_is_tested() -> None:
    false = 0
    for seed in range(100):
        rng = np.random.default_rng([10, seed])
        values = correlated(rng, 40, 6, 0.3)
        first = np.arange(40) < 16
        values[first] = 5.0 + 2.5 * values[first]  # hotter and more varied, the same network
        left = residuals(values, np.zeros((40, 0)), first)
        found = compare_groups(left, first, PLAIN, DENSITY, rng, permutations=59)
        false += int(found.edges.family_wise.min() <= 0.05)
    assert false <= MOST_FALSE


def test_a_broken_module_is_found() -> None:
    rng = np.random.default_rng(11)
    module, rest = slice(0, 4), slice(4, 8)
    values = rng.normal(size=(120, 8))
    values[:, rest] = correlated(rng, 120, 4, 0.5)
    values[60:, module] = correlated(rng, 60, 4, 0.7)  # not so in the first 60
    first = np.arange(120) < 60
    left = residuals(values, np.zeros((120, 0)), first)
    found = compare_groups(left, first, PLAIN, DENSITY, rng, permutations=300)
    truth = [i < 4 and j < 4 for i, j in zip(*np.triu_indices(8, 1), strict=True)]
    assert (found.edges.family_wise[truth] <= 0.05).mean() >= 0.5
    assert (found.edges.family_wise[~np.array(truth)] > 0.05).all()
    assert (found.difference[truth] < 0).all()
    one, other = (PLAIN.correlation(left[rows]) for rows in (first, ~first))
    np.testing.assert_allclose(found.difference, fisher_z(pairs(one)) - fisher_z(pairs(other)), atol=1e-9)
    largest = found.components[0]
    assert largest.p <= 0.01
    assert {n for edge in largest.edges for n in edge} == {0, 1, 2, 3}
    assert (found.nodes.family_wise[:4] <= 0.05).any()
    swapped = compare_groups(left, ~first, PLAIN, DENSITY, rng, permutations=5)
    np.testing.assert_allclose(swapped.difference, -found.difference)
    measures = compare_measures(left, first, PLAIN, Threshold(value=0.4), rng, permutations=99)
    assert dict(zip(measures.names, measures.p.p, strict=True))["clustering"] <= 0.05
    assert measures.values.shape == (2, 3)


def test_modularity_of_modules_and_of_noise() -> None:
    rng = np.random.default_rng(12)
    modules = np.hstack([correlated(rng, 60, 4, 0.6) for _ in range(3)])
    found = modularity_test(modules, PLAIN, DENSITY, rng, 99)
    assert found.p == 0.01
    assert found.observed > found.expected + 0.1
    false = sum(
        modularity_test(rng.normal(size=(30, 8)), PLAIN, DENSITY, rng, 19).p <= 0.05 for _ in range(100)
    )
    assert false <= MOST_FALSE


def test_shrunk_correlations_have_no_components_and_small_groups_are_refused() -> None:
    rng = np.random.default_rng(13)
    values, first = rng.normal(size=(20, 4)), np.arange(20) < 10
    found = compare_groups(values, first, Estimator(shrinkage="ledoit-wolf"), DENSITY, rng, permutations=9)
    assert found.components == ()
    assert np.isnan(found.component_threshold)
    calls: list[int] = []
    compare_groups(values, first, PLAIN, DENSITY, rng, permutations=9, progress=calls.append)
    assert sum(calls) == 9
    with pytest.raises(AnyPETError, match="3 and 17"):
        compare_groups(values, np.arange(20) < 3, PLAIN, DENSITY, rng)
