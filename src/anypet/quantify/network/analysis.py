"""The whole analysis of a cohort: networks, tests, comparison of two groups, subjects against a reference."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from anypet.errors import AnyPETError
from anypet.quantify.network.cohort import GROUP, Cohort
from anypet.quantify.network.covariance import Estimator, residuals
from anypet.quantify.network.deviation import Deviation, Reference
from anypet.quantify.network.graph import (
    GraphMeasures,
    NodeMeasures,
    Threshold,
    communities,
    graph_measures,
    graph_of,
    labels_of,
    node_measures,
)
from anypet.quantify.network.groups import Comparison, MeasureComparison, compare_groups, compare_measures
from anypet.quantify.network.permutation import Modularity, Progress, PValues, edge_test, modularity_test

log = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]

MOST_GRAPHS = 1000  # deals of tests that need a whole graph each time


@dataclass(frozen=True)
class Settings:
    """How a cohort is analysed.

    Args:
        estimator: of the correlations.
        threshold: which of them become edges.
        permutations: deals of the tests of edges and organs; tests of whole graphs make at most 1000.
        seed: of all that is random.
        level: of significance, for what is marked in figures and counted.
    """

    estimator: Estimator = field(default_factory=Estimator)
    threshold: Threshold = field(default_factory=lambda: Threshold(density=0.2))
    permutations: int = 5000
    seed: int = 0
    level: float = 0.05

    def __post_init__(self) -> None:
        if self.permutations < 1:
            raise AnyPETError(f"at least 1 permutation is needed, got {self.permutations}")
        if not 0 < self.level < 1:
            raise AnyPETError(f"the level of significance lies between 0 and 1, got {self.level}")

    @property
    def graph_permutations(self) -> int:
        """Deals of tests that need a whole graph each time."""
        return min(self.permutations, MOST_GRAPHS)


@dataclass(frozen=True)
class Network:
    """The network of a cohort or of one of its groups.

    Args:
        name: of the group; "" for everybody.
        subjects: their number.
        organs: P names.
        correlation: (P, P).
        error: standard error of Fisher's z; NaN where not known.
        weights: (P, P) of the graph's edges, 0 for none.
        edges: p-values of all pairs, in the order of `covariance.pairs`.
        community: (P,) number of each organ's community, from 1, the largest first.
        nodes: organ -> its measures.
        whole: measures of the graph.
        modularity: test of the communities.
    """

    name: str
    subjects: int
    organs: tuple[str, ...]
    correlation: FloatArray
    error: float
    weights: FloatArray
    edges: PValues
    community: tuple[int, ...]
    nodes: dict[str, NodeMeasures]
    whole: GraphMeasures
    modularity: Modularity


@dataclass(frozen=True)
class Analysis:
    """All that was found.

    Args:
        organs, covariates: of the cohort, covariates as columns of its design.
        networks: one, or one for each of two groups.
        comparison, measures: of the two groups; None without.
        deviations: of everybody outside the reference group; empty without.
        reference: its name; "" without.
    """

    organs: tuple[str, ...]
    covariates: tuple[str, ...]
    networks: tuple[Network, ...]
    comparison: Comparison | None
    measures: MeasureComparison | None
    deviations: tuple[Deviation, ...]
    reference: str


def deals(settings: Settings, groups: int) -> int:
    """How often `analyse` will report progress."""
    each = settings.permutations + settings.graph_permutations
    return each * (max(groups, 1) + (groups == 2))


def analyse(
    cohort: Cohort,
    settings: Settings | None = None,
    groups: Sequence[str] = (),
    reference: str = "",
    progress: Progress | None = None,
) -> Analysis:
    """Analyses a cohort.

    Args:
        cohort: from `cohort.read_cohort`.
        settings: how.
        groups: none: one network of everybody (or of the reference group); one: of that group; two: of
            either, and their comparison.
        reference: group with which everybody else in the table is compared one by one.
        progress: called after every deal; see `deals`.

    Raises:
        AnyPETError: a group is unknown, there are more than two, or there are too few subjects.
    """
    settings = settings or Settings()
    groups = list(dict.fromkeys(groups)) or ([reference] if reference else [])
    if len(groups) > 2:
        raise AnyPETError(f"one or two groups are analysed, got {len(groups)}: {', '.join(groups)}")
    members = [cohort.members(group) for group in groups] or [np.arange(len(cohort))]
    if not groups and len(cohort.group_names) > 1 and not _regressed(cohort):
        log.warning(
            "the groups %s are taken together: their different means show as correlations; choose groups, "
            "or name `group` as a covariate",
            ", ".join(cohort.group_names),
        )
    rows = np.concatenate(members)
    chosen = cohort.take(rows)
    first = np.arange(len(rows)) < len(members[0])
    left = residuals(
        settings.estimator.transformed(chosen.uptake), chosen.design, first if len(groups) == 2 else None
    )
    parts = (first, ~first) if len(groups) == 2 else (first,)
    _check(chosen, left, parts)
    networks = [
        _network(name, left[part], chosen, settings, number, progress)
        for number, (name, part) in enumerate(zip(groups or [""], parts, strict=True))
    ]
    comparison = measures = None
    if len(groups) == 2:
        shared = (left, first, settings.estimator, settings.threshold)
        comparison = compare_groups(
            *shared,
            np.random.default_rng([settings.seed, 2]),
            controlled=chosen.design.shape[1],
            permutations=settings.permutations,
            progress=progress,
        )
        measures = compare_measures(
            *shared,
            np.random.default_rng([settings.seed, 3]),
            permutations=settings.graph_permutations,
            progress=progress,
        )
    return Analysis(
        organs=cohort.organs,
        covariates=cohort.covariates,
        networks=tuple(networks),
        comparison=comparison,
        measures=measures,
        deviations=_deviations(cohort, reference, settings.estimator) if reference else (),
        reference=reference,
    )


def _regressed(cohort: Cohort) -> bool:
    return any(name.startswith(f"{GROUP}=") for name in cohort.covariates)


def _check(cohort: Cohort, left: FloatArray, parts: Sequence[npt.NDArray[np.bool_]]) -> None:
    """Names the organs that do not vary within a group, by themselves or given the covariates."""
    for part in parts:
        flat = (np.ptp(cohort.uptake[part], axis=0) == 0) | (np.ptp(left[part], axis=0) == 0)
        if flat.any():
            names = ", ".join(organ for organ, is_flat in zip(cohort.organs, flat, strict=True) if is_flat)
            raise AnyPETError(
                f"{names}: no variation over {int(part.sum())} subjects once the covariates are regressed "
                "out; leave it out"
            )


def _network(
    name: str,
    left: FloatArray,
    cohort: Cohort,
    settings: Settings,
    number: int,
    progress: Progress | None,
) -> Network:
    estimator, threshold = settings.estimator, settings.threshold
    correlation = estimator.correlation(left)
    weights = threshold.weights(correlation)
    graph = graph_of(weights, cohort.organs)
    parts, modularity = communities(graph, settings.seed)
    rng = np.random.default_rng([settings.seed, number])
    return Network(
        name=name,
        subjects=len(left),
        organs=cohort.organs,
        correlation=correlation,
        error=estimator.fisher_error(len(left), len(cohort.organs), cohort.design.shape[1]),
        weights=weights,
        edges=edge_test(left, estimator, rng, settings.permutations, progress),
        community=tuple(labels_of(parts, cohort.organs)),
        nodes=node_measures(graph, parts),
        whole=graph_measures(graph, parts, modularity, settings.seed),
        modularity=modularity_test(left, estimator, threshold, rng, settings.graph_permutations, progress),
    )


def _deviations(cohort: Cohort, reference: str, estimator: Estimator) -> tuple[Deviation, ...]:
    inside = cohort.members(reference)
    outside = np.setdiff1d(np.arange(len(cohort)), inside)
    if not outside.size:
        raise AnyPETError(f"everybody is in the reference group {reference!r}: there is nobody to compare")
    if _regressed(cohort):
        raise AnyPETError("with a reference group, `group` cannot be a covariate; leave it out")
    against = Reference(cohort.take(inside), estimator)
    return tuple(against.compare(cohort, int(row)) for row in outside)
