"""Which moment a PET's activities are decay-corrected to, and what is left of the dose then."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from anypet.dicom.header import Notes, number, tag_name
from anypet.dicom.private import GE, SIEMENS, private_text
from anypet.dicom.times import acquisition_datetime, parse_datetime, series_datetime
from anypet.errors import SUVError

ONE_MINUTE = 60.0


def mean_decay_time_s(duration_s: float, half_life_s: float) -> float:
    """Seconds from the start of a frame to the moment whose activity is the frame's mean activity.

    (1 / lambda) ln(lambda T / (1 - exp(-lambda T))), a little before the middle of the frame.
    """
    x = math.log(2) / half_life_s * duration_s
    return half_life_s / math.log(2) * math.log(x / -math.expm1(-x)) if x > 0 else 0.0


def reference_times(
    slices: Sequence[Dataset], half_life_s: float, notes: Notes
) -> tuple[list[datetime], str]:
    """The moment to which each slice of a series with Decay Correction START is corrected.

    In this order: the Decay Correction Date Time (0018,9701) of enhanced PET; GE's private scan date-time
    (0009,100D); the series date-time unless it is later than the earliest acquisition (a series made anew
    after the scan has the time of its making there); Siemens' private (0071,1022); the time computed back
    from Frame Reference Time; the earliest acquisition.

    Returns:
        One moment a slice, the same for all but where acquisitions differ and Frame Reference Time gives each
        its own; and the rule, in words.

    Raises:
        SUVError: no rule applies.

    Source: QIBA SUV pseudo-code (vendor-neutral); OncoRay/IBSI SUV manual for the time computed back.
    """
    first = slices[0]
    starts = [m for m in map(acquisition_datetime, slices) if m is not None]
    earliest = min(starts) if starts else None
    series = series_datetime(first)
    own = computed_back(slices, half_life_s)
    back, spread = _middle(own)
    stated = _stated(first, earliest, notes)
    if stated is not None:
        moment, rule = stated
    elif series is not None and (earliest is None or series <= earliest):
        notes.used(f"{tag_name('SeriesDate')}, {tag_name('SeriesTime')}", series.isoformat())
        moment, rule = series, "series date-time, which is not later than the earliest acquisition"
    elif back is not None and spread <= ONE_MINUTE:
        notes.used(tag_name("FrameReferenceTime"), number(first, "FrameReferenceTime"))
        notes.used(tag_name("ActualFrameDuration"), number(first, "ActualFrameDuration"))
        moment, rule = (
            back,
            "computed back from Frame Reference Time, since the series is later than the scan",
        )
    elif back is not None and len(set(starts)) > 1:
        notes.warn(
            f"{tag_name('FrameReferenceTime')} gives reference times up to {spread / 60:.1f} min apart; each "
            "slice was converted with its own: check the SUV against the scanner's"
        )
        return own, "computed back from Frame Reference Time, slice by slice"
    elif earliest is not None:
        moment, rule = earliest, "earliest acquisition, since the series is later than the scan"
        if back is not None:
            notes.warn(
                f"{tag_name('FrameReferenceTime')} gives reference times {spread / 60:.1f} min apart "
                "from slice to slice and was not used"
            )
    else:
        raise SUVError(
            f"{tag_name('AcquisitionTime')} and {tag_name('SeriesTime')} are missing: the moment of decay "
            "correction is unknown; read with unit='Bq/mL' if activity is enough"
        )
    if earliest is not None:
        notes.used(f"{tag_name('AcquisitionDate')}, {tag_name('AcquisitionTime')}", earliest.isoformat())
    if back is not None and abs((back - moment).total_seconds()) > ONE_MINUTE:
        notes.warn(
            f"the decay reference time {moment} ({rule}) and the one computed back from "
            f"{tag_name('FrameReferenceTime')}, {back:%Y-%m-%d %H:%M:%S}, differ by "
            f"{abs((back - moment).total_seconds()) / 60:.1f} min"
        )
    return [moment] * len(slices), rule


def _stated(first: Dataset, earliest: datetime | None, notes: Notes) -> tuple[datetime, str] | None:
    """A reference time that the header states outright, if it is within a day of the scan."""
    series = series_datetime(first)
    candidates = [
        (tag_name("DecayCorrectionDateTime"), first.get("DecayCorrectionDateTime")),
        ("GE private scan date-time (0009,100D)", private_text(first, 0x0009, GE, 0x0D)),
    ]
    if series is None or (earliest is not None and series > earliest):
        candidates.append(("Siemens private (0071,1022)", private_text(first, 0x0071, SIEMENS, 0x22)))
    for name, value in candidates:
        moment = parse_datetime(value, first.get("TimezoneOffsetFromUTC"))
        if moment is None:
            continue
        if name.startswith("Siemens") and earliest is not None and moment > earliest:
            continue  # it repeats the series time, which has just been found too late
        if earliest is not None and abs((earliest - moment).total_seconds()) > 86400:
            notes.warn(f"{name} {moment} is more than a day from the scan at {earliest} and was not used")
            continue
        notes.used(name, moment.isoformat())
        return moment, name
    return None


def computed_back(slices: Sequence[Dataset], half_life_s: float) -> list[datetime]:
    """Reference time from acquisition, Frame Reference Time (0054,1300) and duration (0018,1242).

    Returns:
        One moment a slice; none at all if any slice lacks a positive value.
    """
    moments = []
    for item in slices:
        start = acquisition_datetime(item)
        centre, duration = number(item, "FrameReferenceTime"), number(item, "ActualFrameDuration")
        if start is None or not centre or not duration or centre <= 0 or duration <= 0:
            return []
        late = mean_decay_time_s(duration / 1000, half_life_s) - centre / 1000
        moments.append(start + timedelta(seconds=late))
    return moments


def _middle(moments: list[datetime]) -> tuple[datetime | None, float]:
    """The median of the moments and how far they are apart in seconds; (None, 0) without any."""
    if not moments:
        return None, 0.0
    ranked = sorted(moments)
    return ranked[len(ranked) // 2], (ranked[-1] - ranked[0]).total_seconds()


def undecayed_factors(
    slices: Sequence[Dataset], injection: datetime, half_life_s: float, notes: Notes
) -> npt.NDArray[np.float64]:
    """For Decay Correction NONE: what each slice is multiplied by to be corrected to the injection.

    lambda T / (1 - exp(-lambda T)) for the decay within the frame, times exp(lambda (t_acq - t_inj)).

    Returns:
        (N,) one factor a slice, in the order given.
    """
    rate = math.log(2) / half_life_s
    factors = np.empty(len(slices))
    for n, item in enumerate(slices):
        start, duration = acquisition_datetime(item), number(item, "ActualFrameDuration")
        if start is None:
            raise SUVError(
                f"{tag_name('AcquisitionTime')} is missing: {tag_name('DecayCorrection')} NONE needs it"
            )
        if duration is None or duration < 0:
            raise SUVError(
                f"{tag_name('ActualFrameDuration')} is missing: {tag_name('DecayCorrection')} NONE needs it"
            )
        x = rate * duration / 1000
        within = x / -math.expm1(-x) if x > 0 else 1.0
        factors[n] = within * math.exp(rate * (start - injection).total_seconds())
    notes.used(tag_name("ActualFrameDuration"), number(slices[0], "ActualFrameDuration"))
    return factors
