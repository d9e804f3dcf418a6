"""What a PET header says of patient, dose and injection, checked and in SI-like units (kg, m, Bq, s)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from anypet.dicom.nuclides import HALF_LIFE_S, nuclide_of
from anypet.dicom.private import GE, private_text
from anypet.dicom.times import acquisition_datetime, parse_datetime, parse_time, scan_date, series_datetime
from anypet.errors import SUVError

# An injection further back than this leaves less than 2 % of the dose: a wrong date is likelier.
MAX_HALF_LIVES = 6.0
MBQ_BELOW = 1e5  # a dose under 1e5 Bq (0.1 MBq) cannot be imaged: the header means MBq


@dataclass
class Notes:
    """Collects the tags a conversion used and what it found odd, as it goes."""

    tags: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def used(self, tag: str, value: Any) -> None:
        self.tags[tag] = str(value)

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)


def item(**attributes: Any) -> Dataset:
    """A dataset, such as an item of a sequence, with these attributes."""
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def changed(header: Dataset, **attributes: Any) -> Dataset:
    """A copy of a header with other attributes; assigning them would change the elements of the original."""
    made = item(**attributes)
    made.update({element.tag: element for element in header if element.keyword not in attributes})
    return made


def tag_name(keyword: str) -> str:
    """ "Units" -> "Units (0054,1001)", for messages."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        return keyword
    return f"{keyword_for_tag(tag)} ({Tag(tag).group:04X},{Tag(tag).element:04X})"


def number(dataset: Dataset, keyword: str) -> float | None:
    """A numeric attribute as float; None when absent, empty, not finite or not a number."""
    value = dataset.get(keyword)
    try:
        result = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return result if math.isfinite(result) else None


def weight_kg(dataset: Dataset, notes: Notes) -> float:
    """Patient's Weight (0010,1030) in kg; above 1000 it is taken as grams, with a warning."""
    name = tag_name("PatientWeight")
    weight = number(dataset, "PatientWeight")
    if weight is None or weight <= 0:
        raise SUVError(
            f"{name} is {_found(dataset, 'PatientWeight')}: SUVbw needs the body weight in kg; "
            "correct the header, or read with unit='Bq/mL'"
        )
    notes.used(name, weight)
    if weight > 1000:
        notes.warn(f"{name} is {weight:g}: taken as grams, that is {weight / 1000:g} kg")
        weight /= 1000
    return weight


def height_m(dataset: Dataset, notes: Notes) -> float:
    """Patient's Size (0010,1020) in metres; above 3 it is taken as centimetres, with a warning."""
    name = tag_name("PatientSize")
    height = number(dataset, "PatientSize")
    if height is None or height <= 0:
        raise SUVError(f"{name} is {_found(dataset, 'PatientSize')}: this SUV needs the height in metres")
    notes.used(name, height)
    if height > 3:
        notes.warn(f"{name} is {height:g}: taken as centimetres")
        height /= 100
    return height


def sex(dataset: Dataset, notes: Notes) -> str:
    """Patient's Sex (0010,0040), "M", "F" or "O"."""
    value = str(dataset.get("PatientSex") or "").strip().upper()
    notes.used(tag_name("PatientSex"), value)
    return value


def radiopharmaceutical(dataset: Dataset, notes: Notes) -> Dataset:
    """The Radiopharmaceutical Information item (0054,0016); the first, with a warning, if there are more."""
    items = dataset.get("RadiopharmaceuticalInformationSequence")
    if not items:
        raise SUVError(
            f"{tag_name('RadiopharmaceuticalInformationSequence')} is missing or empty: "
            "dose and injection time are unknown; read with unit='Bq/mL' if activity is enough"
        )
    if len(items) > 1:
        notes.warn(
            f"{tag_name('RadiopharmaceuticalInformationSequence')} has {len(items)} items; used the first"
        )
    return items[0]


def dose_bq(drug: Dataset, notes: Notes) -> float:
    """Radionuclide Total Dose (0018,1074) in Bq; below 1e5 it is taken as MBq, with a warning."""
    name = tag_name("RadionuclideTotalDose")
    dose = number(drug, "RadionuclideTotalDose")
    if dose is None or dose <= 0:
        raise SUVError(
            f"{name} is {_found(drug, 'RadionuclideTotalDose')}: SUV needs the injected activity in Bq; "
            "correct the header, or read with unit='Bq/mL'"
        )
    notes.used(name, dose)
    if dose < MBQ_BELOW:
        notes.warn(f"{name} is {dose:g}: too small for Bq, taken as MBq")
        dose *= 1e6
    if not 1e6 <= dose <= 5e9:
        notes.warn(f"{name} gives {dose / 1e6:g} MBq: unusual for PET, check the header")
    return dose


def half_life_s(drug: Dataset, notes: Notes) -> float:
    """Radionuclide Half Life (0018,1075) in seconds, else that of the nuclide named in (0054,0300)."""
    name = tag_name("RadionuclideHalfLife")
    given, nuclide = number(drug, "RadionuclideHalfLife"), nuclide_of(drug)
    known = HALF_LIFE_S.get(nuclide or "")
    if given is not None and given > 0:
        notes.used(name, given)
        if known and abs(given / known - 1) > 0.02:
            notes.warn(f"{name} is {given:g} s, but {nuclide} has {known:g} s: check which one is right")
        return given
    if known is None:
        raise SUVError(
            f"{name} is {_found(drug, 'RadionuclideHalfLife')} and "
            f"{tag_name('RadionuclideCodeSequence')} names no known nuclide: decay cannot be corrected"
        )
    notes.used(tag_name("RadionuclideCodeSequence"), nuclide)
    notes.warn(f"{name} is {_found(drug, 'RadionuclideHalfLife')}: used {known:g} s of {nuclide}")
    return known


def scan_start(slices: list[Dataset]) -> datetime | None:
    """The earliest acquisition date-time of a series, else the series date-time; None without both."""
    moments = [m for m in map(acquisition_datetime, slices) if m is not None]
    return min(moments) if moments else series_datetime(slices[0])


def injection_datetime(
    drug: Dataset, dataset: Dataset, start: datetime, half_life: float, notes: Notes
) -> datetime:
    """When the dose was given.

    (0018,1078) date-time; else (0018,1072) time on the day of the scan, or the day before if that lies after
    the scan's start (midnight in between); else GE's private (0009,103B).

    Args:
        drug: item of (0054,0016).
        dataset: one slice of the series.
        start: start of the scan.
        half_life: seconds.

    Raises:
        SUVError: no time is given, or the time lies after the scan or implausibly long before it.
    """
    full, clock_name = tag_name("RadiopharmaceuticalStartDateTime"), tag_name("RadiopharmaceuticalStartTime")
    moment = parse_datetime(
        drug.get("RadiopharmaceuticalStartDateTime"), dataset.get("TimezoneOffsetFromUTC")
    )
    if moment is not None:
        notes.used(full, moment.isoformat())
        if _plausible(moment, start, half_life):
            return moment
        if moment.date() == start.date():
            raise SUVError(f"{full} {moment} lies after the start of the scan {start}: correct the header")
        # de-identification often moves the dates of the scan and forgets this one
        again = _on_scan_day(moment, start)
        if not _plausible(again, start, half_life):
            raise SUVError(f"{full} {moment} does not fit the start of the scan {start}: correct the header")
        notes.warn(
            f"{full} {moment} does not fit the scan at {start}: its time was used with the scan's date"
        )
        return again
    clock = parse_time(drug.get("RadiopharmaceuticalStartTime"))
    if clock is not None:
        notes.used(clock_name, clock.isoformat())
        moment = _on_scan_day(datetime.combine(scan_date(dataset) or start.date(), clock), start)
        if not _plausible(moment, start, half_life):
            hours = (start - moment).total_seconds() / 3600
            raise SUVError(
                f"{clock_name} {clock} lies after the start of the scan {start}; if it meant the day before, "
                f"the uptake would have taken {hours:.1f} h: correct the header"
            )
        return moment
    private = parse_datetime(private_text(dataset, 0x0009, GE, 0x3B))
    if private is not None and _plausible(private, start, half_life):
        notes.used("GE private (0009,103B)", private.isoformat())
        return private
    raise SUVError(
        f"no injection time: {full} and {clock_name} are missing or empty; correct the header, "
        "or read with unit='Bq/mL'"
    )


def _plausible(injection: datetime, start: datetime, half_life: float) -> bool:
    return 0 <= (start - injection).total_seconds() <= MAX_HALF_LIVES * half_life


def _on_scan_day(moment: datetime, start: datetime) -> datetime:
    moved = datetime.combine(start.date(), moment.time())
    return moved - timedelta(days=1) if moved > start else moved


def _found(dataset: Dataset, keyword: str) -> str:
    if keyword not in dataset:
        return "missing"
    value = dataset.get(keyword)
    return "empty" if value is None else str(value).strip() or "empty"
