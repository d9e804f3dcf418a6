"""Tests by permutation: is there a network at all?

Under the hypothesis that nothing is there, subjects (or group labels) could have been dealt out otherwise;
the p-value is the share of such deals that look at least as extreme, (b + 1) / (m + 1) for b of m, which is
exact and never 0 (Phipson and Smyth 2010). Many edges are tested at once; two corrections are given:

- family-wise, by the largest statistic over all edges in every deal (Westfall and Young 1993): the chance of
  a single false finding is at most the level;
- false discovery rate (Benjamini and Hochberg 1995): the expected share of false ones among the findings is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anypet.errors import AnyPETError
from anypet.quantify.network.covariance import Estimator, fisher_z, pairs, standardise
from anypet.quantify.network.graph import Threshold, quick_measures

FloatArray = npt.NDArray[np.float64]
Progress = Callable[[int], None]
"""Called with the number of deals done since the last call."""

_TIE = 1e-9  # statistics this close are the same deal computed in another order


@dataclass(frozen=True)
class PValues:
    """p-values of K statistics tested together.

    Args:
        p: (K,) of each alone.
        family_wise: (K,) corrected by the largest statistic.
        fdr: (K,) corrected by Benjamini and Hochberg.
    """

    p: FloatArray
    family_wise: FloatArray
    fdr: FloatArray


def p_values(observed: npt.ArrayLike, null: npt.ArrayLike, *, rescale: bool = False) -> PValues:
    """p-values of statistics of which larger ones are more extreme.

    Args:
        observed: (K,).
        null: (M, K), the same statistics in M deals.
        rescale: divide every statistic by its size over all deals first, so that statistics of different
            units weigh the same in the largest.

    Raises:
        AnyPETError: the shapes do not fit.
    """
    measured = np.atleast_1d(np.asarray(observed, dtype=np.float64))
    deals = np.asarray(null, dtype=np.float64).reshape(-1, measured.size)
    if not len(deals):
        raise AnyPETError("a test by permutation needs at least one deal")
    if rescale:
        # the observed deal is one of the deals: the scale must not know which
        scale = np.sqrt((measured**2 + (deals**2).sum(axis=0)) / (len(deals) + 1))
        scale = np.where(scale > 0, scale, 1.0)
        measured, deals = measured / scale, deals / scale
    p = share(deals, measured)
    family_wise = share(deals.max(axis=1, keepdims=True), measured)
    return PValues(p, family_wise, benjamini_hochberg(p))


def share(deals: FloatArray, measured: FloatArray) -> FloatArray:
    """(b + 1) / (M + 1) for (M, K) deals, b of which reach (K,) measured ones; (M, 1) serves all."""
    counts = (deals >= measured - _TIE).sum(axis=0)
    return np.asarray((counts + 1.0) / (len(deals) + 1.0))


def benjamini_hochberg(p: npt.ArrayLike) -> FloatArray:
    """p-values adjusted for the false discovery rate, in the order given."""
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    ranked = values[order] * values.size / np.arange(1, values.size + 1)
    adjusted = np.empty_like(ranked)
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(ranked[::-1])[::-1])
    return adjusted


def edge_test(
    residuals: FloatArray,
    estimator: Estimator,
    rng: np.random.Generator,
    permutations: int = 5000,
    progress: Progress | None = None,
) -> PValues:
    """Whether organs go together more than they would if each had its own order of subjects.

    Args:
        residuals: (N, P), covariates regressed out.
        estimator: of the correlation.
        rng: source of the deals.
        permutations: their number.

    Returns:
        p-values of the P (P - 1) / 2 pairs, two-sided, in the order of `covariance.pairs`.
    """
    values = standardise(residuals)
    observed = np.abs(fisher_z(pairs(estimator.correlation(values))))
    null = np.empty((permutations, observed.size))
    for deal in range(permutations):
        shuffled = rng.permuted(values, axis=0)
        null[deal] = np.abs(fisher_z(pairs(estimator.correlation(shuffled))))
        if progress:
            progress(1)
    return p_values(observed, null)


@dataclass(frozen=True)
class Modularity:
    """Whether communities are more than what a threshold leaves of noise.

    Args:
        observed: modularity of the network (one Louvain run, as in the deals).
        expected: its mean over shuffled cohorts.
        p: share of shuffled cohorts with at least as much.
    """

    observed: float
    expected: float
    p: float


def modularity_test(
    residuals: FloatArray,
    estimator: Estimator,
    threshold: Threshold,
    rng: np.random.Generator,
    permutations: int = 1000,
    progress: Progress | None = None,
) -> Modularity:
    """Compares the network's modularity with that of cohorts in which every organ is shuffled by itself.

    A graph without edges has modularity 0 here. Arguments as for `edge_test`.
    """

    def modularity(values: FloatArray) -> float:
        return quick_measures(threshold.weights(estimator.correlation(values)), ("modularity",))[0]

    values = standardise(residuals)
    observed = modularity(values)
    null = np.empty(permutations)
    for deal in range(permutations):
        null[deal] = modularity(rng.permuted(values, axis=0))
        if progress:
            progress(1)
    p = share(null[:, None], np.array([observed]))
    return Modularity(observed, float(null.mean()), float(p[0]))
