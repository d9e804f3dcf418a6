"""Means with intervals in which the patient, not the click or the scan, is the observation.

Rows are averaged from the inside out: seeds within a target, targets within a case, cases within a patient.
Then patients are drawn with replacement (Efron's percentile bootstrap); so ten clicks on one tumour do not
pass for ten tumours.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from anypet.errors import AnyPETError

RESAMPLES = 5000


class Observed(Protocol):
    """A row of measured values that says on whom it was measured."""

    @property
    def patient(self) -> str: ...
    @property
    def case(self) -> str: ...
    @property
    def target(self) -> str: ...


Row = TypeVar("Row", bound=Observed)


@dataclass(frozen=True)
class Interval:
    """A mean over patients with its bootstrap interval.

    Args:
        mean: mean of the patients' values; NaN when none is defined.
        low, high: ends of the interval; equal to the mean for a single patient.
        patients: how many went in.
        undefined: how many rows were left out because their value is not finite.
    """

    mean: float
    low: float
    high: float
    patients: int
    undefined: int = 0

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]" if self.patients else "-"


def patient_means(rows: Iterable[Row], value: Callable[[Row], float]) -> tuple[dict[str, float], int]:
    """Patient -> mean value, averaged from the inside out, and how many rows had no finite value.

    Args:
        rows: of one system (and one click count, unless `value` does not depend on it).
        value: of a row; rows where it is NaN or infinite are left out and counted.
    """
    values: dict[tuple[str, ...], list[float]] = defaultdict(list)
    undefined = 0
    for row in rows:
        number = value(row)
        if math.isfinite(number):
            values[row.patient, row.case, row.target].append(number)
        else:
            undefined += 1
    for depth in (2, 1, 0):  # seeds, then targets, then cases
        gathered: dict[tuple[str, ...], list[float]] = defaultdict(list)
        for key, numbers in values.items():
            gathered[key[: max(depth, 1)]].append(float(np.mean(numbers)))
        values = gathered
    return {key[0]: numbers[0] for key, numbers in values.items()}, undefined


def bootstrap(
    patients: Mapping[str, float], *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """The mean over patients with a percentile-bootstrap interval.

    Args:
        patients: patient -> value; their order does not matter.
        level: share of the bootstrap means that the interval holds.
        resamples: how often the patients are drawn.
        seed: of the draws; same seed, same interval.

    Raises:
        AnyPETError: a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise AnyPETError(f"the level of an interval lies between 0 and 1, got {level}")
    if not patients:
        return Interval(math.nan, math.nan, math.nan, 0)
    values = np.array([patients[name] for name in sorted(patients)])
    means = _resampled_means(values, resamples, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values.mean()), float(low), float(high), len(values))


def _resampled_means(values: npt.NDArray[np.float64], resamples: int, seed: int) -> npt.NDArray[np.float64]:
    draws = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    means: npt.NDArray[np.float64] = values[draws].mean(axis=1)
    return means


def summarise(rows: Iterable[Row], value: Callable[[Row], float], *, seed: int = 0) -> Interval:
    """`patient_means` and `bootstrap` in one step."""
    patients, undefined = patient_means(rows, value)
    found = bootstrap(patients, seed=seed)
    return Interval(found.mean, found.low, found.high, found.patients, undefined)


@dataclass(frozen=True)
class Difference:
    """How much higher one system's mean is than another's, on the same patients.

    Args:
        interval: of the mean difference.
        better: share of the patients on whom the first system's value is higher.
    """

    interval: Interval
    better: float


def paired_difference(
    first: Iterable[Row], second: Iterable[Row], value: Callable[[Row], float], *, seed: int = 0
) -> Difference:
    """First minus second system, over the patients that both have.

    Raises:
        AnyPETError: no patient has a finite value in both.
    """
    (a, lost_a), (b, lost_b) = patient_means(first, value), patient_means(second, value)
    differences = {name: a[name] - b[name] for name in a.keys() & b.keys()}
    if not differences:
        raise AnyPETError("no patient was evaluated with both systems; a paired difference needs some")
    found = bootstrap(differences, seed=seed)
    interval = Interval(found.mean, found.low, found.high, found.patients, lost_a + lost_b)
    return Difference(interval, float(np.mean([d > 0 for d in differences.values()])))
