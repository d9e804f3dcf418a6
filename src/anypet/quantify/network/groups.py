"""Do two groups have the same network? Labels are dealt out anew and again, and the networks compared.

Covariates are regressed out first, and each organ is brought to mean 0 and variance 1 in either group; so
what is tested is how organs go together, not how high their uptake is or how much it varies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse.csgraph import connected_components

from anypet.errors import AnyPETError
from anypet.quantify.network.covariance import Estimator, fisher_z, from_pairs, pairs, standardise
from anypet.quantify.network.graph import QUICK, Threshold, quick_measures
from anypet.quantify.network.permutation import Progress, PValues, p_values, share

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Edges = list[tuple[int, int]]


@dataclass(frozen=True)
class Component:
    """Edges that differ between the groups and hang together.

    Args:
        edges: pairs of columns of the cohort.
        p: share of deals whose largest component has at least as many edges.
    """

    edges: tuple[tuple[int, int], ...]
    p: float


@dataclass(frozen=True)
class Comparison:
    """How the networks of two groups differ.

    Args:
        correlations: (P, P) of the first and of the second group.
        difference: (K,) first minus second in Fisher's z, pairs in the order of `covariance.pairs`.
        edges: p-values of the differences, two-sided.
        strength: (P,) first minus second strength in the thresholded graphs.
        nodes: p-values of the strengths, two-sided.
        components: network-based statistic (Zalesky 2010): connected edges whose difference, in standard
            errors, is above `component_threshold`; the largest first.
        component_threshold: standard errors; NaN where they are not known, then there are no components.
    """

    correlations: tuple[FloatArray, FloatArray]
    difference: FloatArray
    edges: PValues
    strength: FloatArray
    nodes: PValues
    components: tuple[Component, ...]
    component_threshold: float


def compare_groups(
    residuals: FloatArray,
    first: BoolArray,
    estimator: Estimator,
    threshold: Threshold,
    rng: np.random.Generator,
    *,
    controlled: int = 0,
    permutations: int = 5000,
    component_threshold: float = 3.0,
    progress: Progress | None = None,
) -> Comparison:
    """Compares the edges and the organs of two groups' networks.

    Args:
        residuals: (N, P), covariates regressed out with an intercept for each group (Freedman and Lane 1983).
        first: (N,) who belongs to the first group; the others are the second.
        estimator, threshold: of the networks.
        rng: source of the deals.
        controlled: columns of the covariates' design, for the standard error.
        permutations: deals.
        component_threshold: standard errors above which an edge may join a component.

    Raises:
        AnyPETError: a group has fewer than 4 subjects.
    """
    values = _standardised(residuals, first)
    organs = values.shape[1]
    errors = [estimator.fisher_error(int(n), organs, controlled) for n in (first.sum(), (~first).sum())]
    edge_threshold = component_threshold * float(np.hypot(errors[0], errors[1]))

    def networks(labels: BoolArray) -> tuple[FloatArray, FloatArray, list[Edges]]:
        one, other = (estimator.correlation(values[rows]) for rows in (labels, ~labels))
        difference = fisher_z(pairs(one)) - fisher_z(pairs(other))
        strength = threshold.weights(one).sum(axis=0) - threshold.weights(other).sum(axis=0)
        return difference, strength, _components(difference, edge_threshold, organs)

    difference, strength, found = networks(first)
    null_edges = np.empty((permutations, difference.size))
    null_nodes = np.empty((permutations, organs))
    largest = np.empty(permutations)
    for deal in range(permutations):
        edges, nodes, parts = networks(rng.permutation(first))
        null_edges[deal], null_nodes[deal] = np.abs(edges), np.abs(nodes)
        largest[deal] = max(map(len, parts), default=0)
        if progress:
            progress(1)
    sizes = share(largest[:, None], np.array([float(len(part)) for part in found]))
    return Comparison(
        correlations=(estimator.correlation(values[first]), estimator.correlation(values[~first])),
        difference=difference,
        edges=p_values(np.abs(difference), null_edges),
        strength=strength,
        nodes=p_values(np.abs(strength), null_nodes),
        components=tuple(Component(tuple(e), float(p)) for e, p in zip(found, sizes, strict=True)),
        component_threshold=component_threshold if np.isfinite(edge_threshold) else float("nan"),
    )


@dataclass(frozen=True)
class MeasureComparison:
    """How measures of the whole graph differ between two groups.

    Args:
        names: of the measures.
        values: (2, K) of the first and of the second group.
        p: of the differences, two-sided.
    """

    names: tuple[str, ...]
    values: FloatArray
    p: PValues


def compare_measures(
    residuals: FloatArray,
    first: BoolArray,
    estimator: Estimator,
    threshold: Threshold,
    rng: np.random.Generator,
    *,
    permutations: int = 1000,
    names: Sequence[str] = QUICK,
    progress: Progress | None = None,
) -> MeasureComparison:
    """Compares measures (`graph.QUICK`) of the two whole graphs; arguments as for `compare_groups`."""
    values = _standardised(residuals, first)

    def measures(labels: BoolArray) -> FloatArray:
        graphs = (threshold.weights(estimator.correlation(values[rows])) for rows in (labels, ~labels))
        return np.array([quick_measures(weights, names) for weights in graphs])

    observed = measures(first)
    null = np.empty((permutations, len(names)))
    for deal in range(permutations):
        one, other = measures(rng.permutation(first))
        null[deal] = np.abs(one - other)
        if progress:
            progress(1)
    return MeasureComparison(
        tuple(names), observed, p_values(np.abs(observed[0] - observed[1]), null, rescale=True)
    )


def _standardised(residuals: FloatArray, first: BoolArray) -> FloatArray:
    sizes = int(first.sum()), int((~first).sum())
    if min(sizes) < 4:
        raise AnyPETError(f"groups of {sizes[0]} and {sizes[1]} subjects: at least 4 are needed in each")
    values = np.empty_like(residuals)
    for rows in (first, ~first):
        values[rows] = standardise(residuals[rows])
    return values


def _components(difference: FloatArray, threshold: float, organs: int) -> list[Edges]:
    """Connected sets of edges above the threshold, the largest first."""
    matrix = np.abs(from_pairs(difference, organs)) > threshold
    if not matrix.any():
        return []
    _, part = connected_components(matrix, directed=False)
    parts: dict[int, Edges] = {}
    for i, j in np.argwhere(np.triu(matrix, k=1)):
        parts.setdefault(int(part[i]), []).append((int(i), int(j)))
    return sorted(parts.values(), key=len, reverse=True)
