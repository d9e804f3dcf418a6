"""DICOM dates and times as `datetime`, in the scanner's local time."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta, timezone

from pydicom.dataset import Dataset

_DATE = re.compile(r"(\d{4})[.\-]?(\d{2})[.\-]?(\d{2})$")
_TIME = re.compile(r"(\d{2}):?(\d{2})?:?(\d{2})?(?:\.(\d{1,6})\d*)?$")
_DATE_TIME = re.compile(r"(\d{8})(\d{2}[\d.]*)?([+-]\d{4})?$")


def parse_date(value: object) -> date | None:
    """A DA value ("20250131", also the old "2025.01.31"); None when empty or not a date."""
    found = _DATE.match(_clean(value))
    if not found:
        return None
    try:
        return date(*(int(part) for part in found.groups()))
    except ValueError:
        return None


def parse_time(value: object) -> time | None:
    """A TM value ("HHMMSS.ffffff", shorter forms, also "HH:MM:SS"); None when empty or not a time."""
    found = _TIME.match(_clean(value))
    if not found:
        return None
    hour, minute, second, fraction = found.groups()
    try:  # 60 is a leap second in DICOM and unknown to Python
        return time(
            int(hour), int(minute or 0), min(int(second or 0), 59), int((fraction or "0").ljust(6, "0")[:6])
        )
    except ValueError:
        return None


def parse_datetime(value: object, local_offset: str | None = None) -> datetime | None:
    """A DT value, in local time; None when empty, not a date-time, or a date alone.

    Args:
        value: "YYYYMMDDHHMMSS.ffffff" with or without an offset such as "+0100".
        local_offset: Timezone Offset From UTC (0008,0201). With it, a value that names another offset is
            moved to local time; without it, the offset is dropped, since every other time lacks one too.
    """
    found = _DATE_TIME.match(_clean(value))
    if not found or not found[2]:
        return None
    day, clock = parse_date(found[1]), parse_time(found[2])
    if day is None or clock is None:
        return None
    moment = datetime.combine(day, clock)
    if found[3] and local_offset and re.fullmatch(r"[+-]\d{4}", local_offset.strip()):
        moment = moment.replace(tzinfo=_zone(found[3])).astimezone(_zone(local_offset.strip()))
    return moment.replace(tzinfo=None)


def acquisition_datetime(dataset: Dataset) -> datetime | None:
    """Start of the acquisition of one slice: (0008,002A), else a scan date with (0008,0032)."""
    moment = parse_datetime(dataset.get("AcquisitionDateTime"), dataset.get("TimezoneOffsetFromUTC"))
    if moment is not None:
        return moment
    clock = parse_time(dataset.get("AcquisitionTime"))
    day = scan_date(dataset)
    return datetime.combine(day, clock) if clock and day else None


def series_datetime(dataset: Dataset) -> datetime | None:
    """Series Date and Time (0008,0021), (0008,0031)."""
    clock = parse_time(dataset.get("SeriesTime"))
    day = parse_date(dataset.get("SeriesDate")) or scan_date(dataset)
    return datetime.combine(day, clock) if clock and day else None


def scan_date(dataset: Dataset) -> date | None:
    """The day of the scan: of the acquisition, else of the series, the study or the content."""
    moment = parse_datetime(dataset.get("AcquisitionDateTime"))
    if moment is not None:
        return moment.date()
    for keyword in ("AcquisitionDate", "SeriesDate", "StudyDate", "ContentDate"):
        day = parse_date(dataset.get(keyword))
        if day is not None:
            return day
    return None


def _zone(offset: str) -> timezone:
    minutes = int(offset[1:3]) * 60 + int(offset[3:5])
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))


def _clean(value: object) -> str:
    return "" if value is None else str(value).strip(" \0")
