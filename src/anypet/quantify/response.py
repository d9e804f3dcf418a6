"""PERCIST 1.0: the response of solid tumours between two FDG scans, from the hottest lesion of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anypet.errors import AnyPETError
from anypet.quantify.proposal import Proposal
from anypet.quantify.regions import Region
from anypet.quantify.table import MeasureTable
from anypet.quantify.threshold import percist_level

if TYPE_CHECKING:
    from anypet.quantify.measures import Measures

SUL_UNITS = ("SUVlbm", "SUVlbm-james")
CHANGE, ABSOLUTE, TLG_CHANGE = 0.30, 0.8, 0.75
HOTTEST = 5
SMALL_ML = 1.0
LIVER_CHANGE, LIVER_ABSOLUTE, UPTAKE_MINUTES = 0.20, 0.3, 15.0
_ROUNDING = 1e-9  # a change of exactly 30 % must not be decided by the last bit

MEANINGS = {
    "CMR": "complete metabolic response",
    "PMR": "partial metabolic response",
    "SMD": "stable metabolic disease",
    "PMD": "progressive metabolic disease",
    "NE": "not evaluable",
}
RULE = (
    "SUL: uptake by lean body mass. SULpeak: highest mean of a 1 mL sphere. The hottest lesion of each "
    "scan is compared; it need not be the same one.",
    "Measurable at baseline: SULpeak at least 1.5 x liver mean + 2 SD, or 2.0 x blood pool mean + 2 SD "
    "where the liver is diseased. Else NE.",
    "PMD: SULpeak up by more than 30 % and more than 0.8; or TLG of the (at most) five hottest lesions up "
    "by more than 75 %; or a new lesion.",
    "CMR: no lesion left, or SULpeak of every lesion below the liver's mean and not above the blood "
    "pool's, where that is given; no new lesion.",
    "PMR: SULpeak down by at least 30 % and at least 0.8. SMD: none of these.",
    "PERCIST leaves background to the eye and does not say which lesions' TLG; the liver's and blood "
    "pool's mean and the five hottest lesions are what is computed here.",
    "Comparable: liver means within 20 % and 0.3 SUL, uptake times within 15 minutes.",
)
SOURCE = "Wahl RL et al., J Nucl Med 2009;50 Suppl 1:122S; O JH, Lodge MA, Wahl RL, Radiology 2016;280:576"


@dataclass(frozen=True)
class TimePoint:
    """A scan as PERCIST looks at it.

    Args:
        lesions: measures of the lesions in SUVlbm or SUVlbm-james, one row a lesion; maybe none.
        liver: the 3 cm sphere in the right lobe, in the same SUV; None where the liver is diseased.
        blood_pool: the aortic region in the same SUV.
        uptake_minutes: from the injection to the scan.
    """

    lesions: MeasureTable
    liver: Region | None = None
    blood_pool: Region | None = None
    uptake_minutes: float | None = None

    @property
    def reference(self) -> Region:
        """The liver, or the blood pool where there is no liver.

        Raises:
            AnyPETError: neither is given.
        """
        region = self.liver or self.blood_pool
        if region is None:
            raise AnyPETError(
                "PERCIST needs the liver's region, or the blood pool's where the liver is diseased"
            )
        return region

    @property
    def hottest(self) -> list[Measures]:
        """The (at most) five lesions of the highest SULpeak, hottest first."""
        return sorted(self.lesions.rows, key=lambda row: -(row.suv_peak or 0.0))[:HOTTEST]


def percist(baseline: TimePoint, followup: TimePoint, new_lesions: Sequence[str] = ()) -> Proposal:
    """The metabolic response between two time points.

    Args:
        baseline, followup: the two scans, in one SUL.
        new_lesions: names of the follow-up's lesions that the baseline does not have, see `matching`.

    Returns:
        CMR, PMR, SMD, PMD, or NE where the baseline has no measurable target.

    Raises:
        AnyPETError: a table or region is not in SUL, they are in different ones, or a reference is missing.
    """
    unit = _common_unit(baseline, followup)
    needed = percist_level(baseline.reference)
    first, last = baseline.hottest, followup.hottest
    before = first[0].suv_peak if first else None
    after = last[0].suv_peak if last else None
    change = None if before is None or after is None else after - before
    tlg = [sum(row.tlg for row in rows) for rows in (first, last)]
    result, why = _category(baseline, followup, needed, before, after, tlg, len(new_lesions))
    inputs = {
        "SUL": unit,
        "reference": f"{baseline.reference.name}, {baseline.reference.rule}",
        "reference at baseline (mean, SD)": (baseline.reference.mean, baseline.reference.sd),
        "reference at follow-up (mean, SD)": (followup.reference.mean, followup.reference.sd),
        "SULpeak needed at baseline": needed,
        "target at baseline": first[0].name if first else None,
        "target at follow-up": last[0].name if last else None,
        "SULpeak at baseline": before,
        "SULpeak at follow-up": after,
        "change of SULpeak": change,
        "change of SULpeak, %": 100 * change / before if change is not None and before else None,
        "sum of SULpeak, five hottest (baseline, follow-up)": tuple(
            sum(row.suv_peak or 0.0 for row in rows) for rows in (first, last)
        ),
        "TLG, five hottest (baseline, follow-up)": tuple(tlg),
        "lesions (baseline, follow-up)": (len(baseline.lesions.rows), len(followup.lesions.rows)),
        "new lesions": list(new_lesions),
        "uptake minutes (baseline, follow-up)": (baseline.uptake_minutes, followup.uptake_minutes),
    }
    warnings = [*_comparable(baseline, followup), *_doubtful(followup, new_lesions)]
    return Proposal(
        "PERCIST 1.0", result, f"{MEANINGS[result]}: {why}", inputs, RULE, SOURCE, tuple(warnings)
    )


def _common_unit(baseline: TimePoint, followup: TimePoint) -> str:
    units = {
        source.suv.unit if isinstance(source, MeasureTable) else source.unit
        for point in (baseline, followup)
        for source in (point.lesions, point.liver, point.blood_pool)
        if source is not None
    }
    if len(units) != 1 or not units <= set(SUL_UNITS):
        raise AnyPETError(
            "PERCIST compares SUL: measure lesions and regions of both scans in one of "
            f"{', '.join(SUL_UNITS)}, got {', '.join(sorted(units))}"
        )
    return units.pop()


def _category(
    baseline: TimePoint,
    followup: TimePoint,
    needed: float,
    before: float | None,
    after: float | None,
    tlg: Sequence[float],
    new: int,
) -> tuple[str, str]:
    """The category and what decided it."""
    if before is None or before < needed:
        return "NE", f"no lesion of the baseline reaches SULpeak {needed:.2f}"
    if new:
        return "PMD", f"{new} new lesion{'s' if new > 1 else ''}"
    if after is None:
        return "CMR", "no lesion is left"
    change = after - before
    if change > CHANGE * before + _ROUNDING and change > ABSOLUTE + _ROUNDING:
        return "PMD", f"SULpeak {before:.2f} to {after:.2f}"
    if tlg[1] > (1 + TLG_CHANGE) * tlg[0]:
        return "PMD", f"TLG of the hottest lesions {tlg[0]:.1f} to {tlg[1]:.1f}"
    if after < followup.reference.mean and not (
        followup.blood_pool is not None and after > followup.blood_pool.mean
    ):
        return "CMR", f"SULpeak {after:.2f} is no more than background"
    if -change >= CHANGE * before - _ROUNDING and -change >= ABSOLUTE - _ROUNDING:
        return "PMR", f"SULpeak {before:.2f} to {after:.2f}"
    return "SMD", f"SULpeak {before:.2f} to {after:.2f}"


def _doubtful(followup: TimePoint, new_lesions: Sequence[str]) -> list[str]:
    """New lesions so small that they may be stray voxels of the mask."""
    small = [r for r in followup.lesions.rows if r.name in new_lesions and r.volume_ml < SMALL_ML]
    return [f"new lesion {row.name!r} has only {row.volume_ml:.2f} mL: is it one?" for row in small]


def _comparable(baseline: TimePoint, followup: TimePoint) -> list[str]:
    """Why the two scans may not be comparable."""
    found = []
    if baseline.reference.name != followup.reference.name:
        found.append(
            f"the references differ: {baseline.reference.name} at baseline, {followup.reference.name} at "
            "follow-up"
        )
    if baseline.liver is not None and followup.liver is not None:
        first, last = baseline.liver.mean, followup.liver.mean
        if abs(last - first) > LIVER_CHANGE * first or abs(last - first) > LIVER_ABSOLUTE:
            found.append(
                f"the liver's mean went from {first:.2f} to {last:.2f}: more than 20 % or 0.3 SUL apart"
            )
    times = (baseline.uptake_minutes, followup.uptake_minutes)
    if times[0] is None or times[1] is None:
        found.append("the uptake times are not both known")
    elif abs(times[1] - times[0]) > UPTAKE_MINUTES:
        found.append(f"uptake times of {times[0]:.0f} and {times[1]:.0f} min are more than 15 min apart")
    return found
