"""Single subjects against a reference: the change by its definition, what is found, and the error rate."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from anypet.errors import AnyPETError
from anypet.quantify.network.cohort import Cohort
from anypet.quantify.network.covariance import Estimator
from anypet.quantify.network.deviation import Reference

ORGANS = tuple("abcdef")
PLAIN = Estimator()


def cohort(rng: np.random.Generator, size: int, covariates: int = 0) -> Cohort:
    """One factor over all organs, and an effect of every covariate."""
    design = rng.normal(50, 10, (size, covariates))
    uptake = (
        10
        + rng.normal(size=(size, 1))
        + rng.normal(size=(size, len(ORGANS)))
        + 0.1 * design.sum(1, keepdims=True)
    )
    names = tuple(f"s{n}" for n in range(size))
    return Cohort(names, ("",) * size, ORGANS, uptake, tuple(f"x{n}" for n in range(covariates)), design)


def with_values(base: Cohort, uptake: np.ndarray, design: np.ndarray | None = None) -> Cohort:
    design = base.design[: len(uptake)] if design is None else design
    names = tuple(f"t{n}" for n in range(len(uptake)))
    return Cohort(names, ("patient",) * len(uptake), ORGANS, uptake, base.covariates, design)


def test_change_by_its_definition() -> None:
    rng = np.random.default_rng(0)
    reference = cohort(rng, 25)
    subject = reference.uptake.mean(0) + np.array([6.0, -6, 0, 0, 0, 0])

    def change(x: np.ndarray, members: np.ndarray) -> np.ndarray:
        return (np.corrcoef(np.vstack([members, x]).T) - np.corrcoef(members.T)) * (len(members) + 1)

    own = np.array([change(reference.uptake[n], np.delete(reference.uptake, n, 0)) for n in range(25)])
    spread = own.std(0, ddof=1)
    np.fill_diagonal(spread, 1.0)
    expected = (change(subject, reference.uptake) - own.mean(0)) / spread
    found = Reference(reference, PLAIN).compare(with_values(reference, subject[None]), 0)
    np.testing.assert_allclose(found.edges, expected, atol=1e-8)
    np.testing.assert_allclose(found.organs, np.sqrt((expected**2).sum(0) / 5))
    assert found.total == pytest.approx(np.sqrt((expected[np.triu_indices(6, 1)] ** 2).mean()))
    errors = reference.uptake - np.array([np.delete(reference.uptake, n, 0).mean(0) for n in range(25)])
    np.testing.assert_allclose(
        found.uptake, (subject - reference.uptake.mean(0)) / np.sqrt((errors**2).mean(0)), atol=1e-8
    )
    assert found.edges[0, 1] < -3  # two organs that usually go together went apart
    assert (found.subject, found.group) == ("t0", "patient")


def test_a_deviant_organ_is_found() -> None:
    rng = np.random.default_rng(1)
    reference = cohort(rng, 60, covariates=2)
    healthy = cohort(rng, 1, covariates=2)
    sick = healthy.uptake.copy()
    sick[0, 2] += 8.0
    found = Reference(reference, PLAIN).compare(with_values(reference, sick, healthy.design), 0)
    assert int(np.argmax(found.organs)) == 2
    assert found.organ_p[2] == pytest.approx(1 / 61)
    assert found.total_p <= 0.05
    assert found.uptake[2] > 4


def test_covariates_explain_uptake_that_would_be_deviant() -> None:
    rng = np.random.default_rng(2)
    reference = cohort(rng, 80, covariates=1)
    old = np.array([[95.0]])
    uptake = np.full((1, 6), 10 + 0.1 * 95.0)  # what is usual at 95
    found = Reference(reference, PLAIN).compare(with_values(reference, uptake, old), 0)
    assert found.total_p > 0.05
    blind = Cohort(reference.subjects, reference.groups, ORGANS, reference.uptake, (), np.zeros((80, 0)))
    unaware = Reference(blind, PLAIN).compare(with_values(blind, uptake, np.zeros((1, 0))), 0)
    assert (unaware.uptake > found.uptake + 1).all()


def test_healthy_subjects_deviate_at_the_stated_rate() -> None:
    rng = np.random.default_rng(3)
    total = organ = 0
    for _ in range(20):
        reference, others = cohort(rng, 30), cohort(rng, 10)
        against = Reference(reference, PLAIN)
        for n in range(10):
            found = against.compare(others, n)
            total += int(found.total_p <= 0.1)
            organ += int(found.organ_p.min() <= 0.1)
    # 200 subjects, of whom tens share a reference: twice the binomial's spread around 3 / 31
    most = 200 * 3 / 31 + 2 * 3 * np.sqrt(200 * 3 / 31 * 28 / 31)
    assert 0 < total <= most
    assert 0 < organ <= most
    assert stats.binom.sf(most, 200, 0.1) < 1e-6


def test_what_is_refused() -> None:
    rng = np.random.default_rng(4)
    with pytest.raises(AnyPETError, match="9 subjects; at least 10"):
        Reference(cohort(rng, 9), PLAIN)
    with pytest.raises(AnyPETError, match="not by rank"):
        Reference(cohort(rng, 20), Estimator(transform="rank"))
    with pytest.raises(AnyPETError, match="11 subjects cannot have 12 covariates"):
        Reference(cohort(rng, 12, covariates=12), PLAIN)
    with pytest.raises(AnyPETError, match="organs and the covariates"):
        Reference(cohort(rng, 20), PLAIN).compare(cohort(rng, 20, covariates=1), 0)
