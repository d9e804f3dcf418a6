"""How far several readers, or models, agree on the same cases when none of them is the truth.

Every pair of readers is compared case by case: overlap, surfaces, lesions. What each of them measured
(volume, uptake, lesions) is kept beside it, for limits of agreement and intraclass correlation over cases.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from anypet.clicks import BoolArray, bounding_box
from anypet.components import connected_components
from anypet.errors import AnyPETError
from anypet.evaluation.consensus import Consensus, staple
from anypet.evaluation.metrics import dice, measure
from anypet.evaluation.reliability import ICC, BlandAltman, bland_altman, icc
from anypet.evaluation.statistics import Interval, bootstrap
from anypet.volume import Volume

MEASURES = {"volume_ml": "volume (mL)", "tlg": "TLG (SUV x mL)", "suvmean": "SUVmean"}


@dataclass(frozen=True)
class LesionMatch:
    """Lesions of two readers, paired one to one.

    Args:
        first, second: 18-connected components of each.
        matched: pairs that share a voxel.
        dsc: mean Dice coefficient of the pairs; NaN without any.
    """

    first: int
    second: int
    matched: int
    dsc: float

    @property
    def agreement(self) -> float:
        """2 matched / (first + second): the F1 score of either against the other; NaN without lesions."""
        total = self.first + self.second
        return 2 * self.matched / total if total else float("nan")


def match_lesions(first: BoolArray, second: BoolArray) -> LesionMatch:
    """Pairs the lesions of two masks so that the Dice coefficients of the pairs add up to the most.

    A lesion that one reader drew as two is paired with one of them.

    Args:
        first, second: (I, J, K) bool on one grid.
    """
    box = bounding_box(first | second)
    if box is None:
        return LesionMatch(0, 0, 0, float("nan"))
    one, other = connected_components(first[box], 18), connected_components(second[box], 18)
    counts = int(one.max()), int(other.max())
    shared = np.zeros((counts[0] + 1, counts[1] + 1))
    np.add.at(shared, (one.ravel(), other.ravel()), 1)
    sizes = shared.sum(axis=1)[1:, None] + shared.sum(axis=0)[1:]
    overlap = 2 * shared[1:, 1:] / np.where(sizes > 0, sizes, 1)
    rows, columns = linear_sum_assignment(overlap, maximize=True)
    dsc = overlap[rows, columns]
    dsc = dsc[dsc > 0]
    return LesionMatch(*counts, len(dsc), float(dsc.mean()) if dsc.size else float("nan"))


@dataclass(frozen=True)
class Reading:
    """What one reader measured in one case.

    Args:
        case, target, reader: of what, by whom.
        volume_ml: in millilitres.
        suvmean: NaN for an empty mask or without a PET.
        tlg: SUVmean times volume; NaN without a PET.
        lesions: 18-connected components.
        sensitivity, specificity: against the consensus (`consensus.Consensus`); NaN without one.
        dsc_consensus: Dice coefficient with it.
    """

    case: str
    target: str
    reader: str
    volume_ml: float
    suvmean: float
    tlg: float
    lesions: int
    sensitivity: float = math.nan
    specificity: float = math.nan
    dsc_consensus: float = math.nan


@dataclass(frozen=True)
class PairAgreement:
    """How far two readers agree on one case.

    Args:
        case, target, first, second: on what, and who.
        dsc, nsd, hd95: as in `metrics`; symmetric.
        lesions: matched one to one.
    """

    case: str
    target: str
    first: str
    second: str
    dsc: float
    nsd: float
    hd95: float
    lesions: LesionMatch


@dataclass(frozen=True, eq=False)
class CaseAgreement:
    """All readings and pairs of a case's target, and the consensus if one was asked for."""

    readings: tuple[Reading, ...]
    pairs: tuple[PairAgreement, ...]
    consensus: Consensus | None


def compare_case(
    case: str,
    masks: Mapping[str, BoolArray],
    grid: Volume,
    *,
    target: str = "all",
    with_uptake: bool = False,
    tolerance_mm: float = 3.0,
    consensus: bool = True,
) -> CaseAgreement:
    """Compares every reader of a case with every other.

    Args:
        case, target: names.
        masks: reader -> (I, J, K) bool.
        grid: the masks' grid, and the SUV where `with_uptake`.
        with_uptake: whether `grid` holds SUV.
        tolerance_mm: of the surface Dice.
        consensus: whether to find it.

    Raises:
        AnyPETError: fewer than two readers, or a mask of another shape.
    """
    if len(masks) < 2:
        raise AnyPETError(f"case {case}: agreement needs two readers, got {', '.join(masks) or 'none'}")
    for reader, mask in masks.items():
        if mask.shape != grid.shape:
            raise AnyPETError(
                f"case {case}: the mask of {reader} has shape {mask.shape}, the grid {grid.shape}"
            )
    spacing = [float(s) for s in grid.spacing]
    pairs = []
    for (first, one), (second, other) in itertools.combinations(masks.items(), 2):
        values = measure(one, other, spacing, tolerance_mm=tolerance_mm, metrics=("dsc", "nsd", "hd95"))
        pairs.append(PairAgreement(case, target, first, second, **values, lesions=match_lesions(one, other)))
    found = staple(list(masks.values())) if consensus else None
    suv = grid.array if with_uptake else None
    readings = []
    for n, (reader, mask) in enumerate(masks.items()):
        reading = Reading(case, target, reader, **_measures(mask, suv, grid.voxel_volume_ml))
        if found:
            reading = replace(
                reading,
                sensitivity=found.sensitivity[n],
                specificity=found.specificity[n],
                dsc_consensus=dice(found.mask, mask),
            )
        readings.append(reading)
    return CaseAgreement(tuple(readings), tuple(pairs), found)


def _measures(mask: BoolArray, suv: npt.NDArray[Any] | None, voxel_ml: float) -> dict[str, Any]:
    count = int(np.count_nonzero(mask))
    box = bounding_box(mask)
    total = math.nan if suv is None else float(suv[mask].sum(dtype=np.float64))
    return {
        "volume_ml": count * voxel_ml,
        "suvmean": total / count if count else math.nan,
        "tlg": total * voxel_ml,
        "lesions": 0 if box is None else int(connected_components(mask[box], 18).max()),
    }


@dataclass(frozen=True)
class PairSummary:
    """Two readers over all cases of a target.

    Args:
        target, first, second: on what, and who.
        dsc, nsd: means over cases with bootstrap intervals; cases that both left empty do not count.
        lesions: 2 matched / (first + second) over all cases together; NaN without lesions.
        limits: measure -> Bland and Altman's limits of agreement, absolute and in per cent.
    """

    target: str
    first: str
    second: str
    dsc: Interval
    nsd: Interval
    lesions: float
    limits: Mapping[str, tuple[BlandAltman, BlandAltman]]


@dataclass(frozen=True)
class Summary:
    """All pairs, and the intraclass correlation of every target and measure over all readers."""

    pairs: tuple[PairSummary, ...]
    icc: Mapping[tuple[str, str], ICC]


def summarise_agreement(
    readings: Sequence[Reading], pairs: Sequence[PairAgreement], *, seed: int = 0
) -> Summary:
    """Sums up cases.

    Args:
        readings, pairs: of all cases, from `compare_case`.
        seed: of the bootstrap.
    """
    found = []
    for target, first, second in dict.fromkeys((p.target, p.first, p.second) for p in pairs):
        chosen = [p for p in pairs if (p.target, p.first, p.second) == (target, first, second)]
        counts = [p.lesions for p in chosen]
        total = sum(m.first + m.second for m in counts)
        found.append(
            PairSummary(
                target,
                first,
                second,
                dsc=_mean({p.case: p.dsc for p in chosen}, seed),
                nsd=_mean({p.case: p.nsd for p in chosen}, seed),
                lesions=2 * sum(m.matched for m in counts) / total if total else math.nan,
                limits=_limits(readings, target, first, second),
            )
        )
    tables = {
        (target, name): icc(_ratings(readings, target, name))
        for target in dict.fromkeys(r.target for r in readings)
        for name in MEASURES
    }
    kept = {key: value for key, value in tables.items() if value.cases}
    return Summary(tuple(found), kept)


def _mean(values: Mapping[str, float], seed: int) -> Interval:
    finite = {case: value for case, value in values.items() if math.isfinite(value)}
    found = bootstrap(finite, seed=seed)
    return Interval(found.mean, found.low, found.high, found.patients, len(values) - len(finite))


def _limits(
    readings: Sequence[Reading], target: str, first: str, second: str
) -> dict[str, tuple[BlandAltman, BlandAltman]]:
    limits = {}
    for name in MEASURES:
        one, other = paired(readings, target, name, first, second)
        if np.isfinite(one).any():
            limits[name] = (bland_altman(one, other), bland_altman(one, other, relative=True))
    return limits


def pair_names(summary: Summary) -> list[str]:
    """What the pairs are called; with the target where there are several."""
    several = len({p.target for p in summary.pairs}) > 1
    return [
        f"{p.target}: {p.first} / {p.second}" if several else f"{p.first} / {p.second}" for p in summary.pairs
    ]


def paired(
    readings: Sequence[Reading], target: str, name: str, first: str, second: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """A measure of two readers, in the order of the cases."""
    of = {(r.case, r.reader): float(getattr(r, name)) for r in readings if r.target == target}
    cases = list(dict.fromkeys(case for case, _ in of))
    one, other = (np.array([of[case, reader] for case in cases]) for reader in (first, second))
    return one, other


def _ratings(readings: Sequence[Reading], target: str, name: str) -> npt.NDArray[np.float64]:
    """(cases, readers) of a measure."""
    of = {(r.case, r.reader): float(getattr(r, name)) for r in readings if r.target == target}
    cases, readers = (list(dict.fromkeys(key[n] for key in of)) for n in (0, 1))
    return np.array([[of[case, reader] for reader in readers] for case in cases])
