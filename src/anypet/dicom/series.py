"""Grouping DICOM files into series, describing them, and choosing the one to read."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from anypet.dicom.header import number
from anypet.errors import ReadError

log = logging.getLogger(__name__)

_PICTURES = {"MIP", "PROJECTION", "LOCALIZER", "SCREENSHOT", "SCREEN SAVE", "REPORT"}
_SUV_UNITS = {"BQML", "GML", "CM2ML", "CNTS"}


@dataclass(frozen=True, eq=False)
class Series:
    """The instances of one DICOM series: file paths and headers in the same order."""

    uid: str
    paths: tuple[Path, ...]
    headers: tuple[Dataset, ...]

    @property
    def first(self) -> Dataset:
        return self.headers[0]

    @property
    def modality(self) -> str:
        return str(self.first.get("Modality") or "").strip().upper()

    @property
    def number(self) -> int | None:
        value = number(self.first, "SeriesNumber")
        return None if value is None else int(value)

    @property
    def frames(self) -> int:
        """Slices: instances, or frames for multi-frame objects."""
        return sum(int(number(h, "NumberOfFrames") or 1) for h in self.headers)

    @property
    def is_image(self) -> bool:
        """Whether it holds slices that could be a volume: no report, no projection, no screenshot."""
        kinds = {str(k).strip().upper() for k in self.first.get("ImageType") or ()}
        return "Rows" in self.first and not kinds & _PICTURES

    @property
    def corrected(self) -> bool:
        """Whether Corrected Image (0028,0051), or its enhanced counterpart, has attenuation correction."""
        listed = self.first.get("CorrectedImage") or ()
        listed = [listed] if isinstance(listed, str) else listed
        return "ATTN" in {str(c).strip().upper() for c in listed} or (
            str(self.first.get("AttenuationCorrected") or "").strip().upper() == "YES"
        )

    @property
    def extent_mm(self) -> float:
        """Distance of the outermost slices along the direction in which they differ most; 0 if unknown."""
        places = [
            [float(x) for x in h.ImagePositionPatient] for h in self.headers if h.get("ImagePositionPatient")
        ]
        if not places:
            return self.frames * (number(self.first, "SliceThickness") or 0.0)
        return max(max(axis) - min(axis) for axis in zip(*places, strict=True))

    def describe(self) -> dict[str, Any]:
        """What a user needs to tell the series apart, as plain values for JSON."""
        return {
            "uid": self.uid,
            "number": self.number,
            "modality": self.modality,
            "description": str(self.first.get("SeriesDescription") or ""),
            "slices": self.frames if "Rows" in self.first else 0,
            "units": str(self.first.get("Units") or ""),
            "attenuation_corrected": self.corrected if self.modality == "PT" else None,
            "extent_mm": round(self.extent_mm, 1),
        }

    def label(self) -> str:
        """One line for messages: number, modality, description, slices and UID."""
        d = self.describe()
        state = "" if d["attenuation_corrected"] is None else (", AC" if self.corrected else ", not AC")
        units = f", {d['units']}" if d["units"] else ""
        return (
            f"series {d['number']} [{d['modality'] or '?'}] {d['description']!r}, {d['slices']} slices"
            f"{units}{state}, {self.uid}"
        )


def group(found: Sequence[tuple[Path, Dataset]]) -> list[Series]:
    """Groups files by Series Instance UID; the same instance stored twice is kept once.

    Returns:
        The series, by number and then by UID.
    """
    by_uid: dict[str, dict[str, tuple[Path, Dataset]]] = {}
    for path, header in found:
        uid = str(header.get("SeriesInstanceUID") or "")
        instance = str(header.get("SOPInstanceUID") or path)
        bucket = by_uid.setdefault(uid, {})
        if instance in bucket:
            log.info("%s repeats %s and was left out", path, bucket[instance][0])
            continue
        bucket[instance] = (path, header)
    series = [
        Series(uid, tuple(p for p, _ in items.values()), tuple(h for _, h in items.values()))
        for uid, items in by_uid.items()
    ]
    return sorted(series, key=lambda s: (s.number is None, s.number or 0, s.uid))


def choose(
    everything: Sequence[Series], modality: str, wanted: str | int | None, source: str
) -> tuple[Series, str]:
    """The series of a modality to read, and why it was that one.

    Attenuation-corrected goes before uncorrected, units with a SUV before others, a longer field of view
    before a shorter one, more slices before fewer, a lower series number before a higher one.

    Args:
        wanted: Series Instance UID or Series Number; None chooses.
        source: what was read, for messages.

    Raises:
        ReadError: nothing fits; the message lists what is there.
    """
    listing = "; ".join(s.label() for s in everything) or "nothing"
    if wanted is not None:
        picked = _named(everything, wanted, source, listing)
        if picked.modality != modality:
            raise ReadError(f"{source}: series {wanted} is {picked.modality}, but {modality} is wanted")
        return picked, f"asked for by series={wanted!r}"
    candidates = [s for s in everything if s.modality == modality and s.is_image]
    if not candidates:
        raise ReadError(
            f"{source}: no {_in_words(modality)} series; found {listing}{_hint(everything, modality)}"
        )
    ranked = sorted(candidates, key=_rank)
    if len(ranked) == 1:
        return ranked[0], f"the only {modality} series"
    best, second = ranked[0], ranked[1]
    reasons = []
    for words, a, b in zip(_RANK_WORDS, _rank(best), _rank(second), strict=True):
        if a != b:
            reasons.append(words)
            break
    why = f"of {len(ranked)} {modality} series the one {reasons[0] if reasons else 'that came first'}"
    log.info("%s: took %s: %s", source, best.label(), why)
    return best, why


_RANK_WORDS = (
    "with attenuation correction",
    "whose units lead to a SUV",
    "with the longer field of view",
    "with more slices",
    "with the lower series number",
    "that came first",
)


def _rank(series: Series) -> tuple[Any, ...]:
    units = str(series.first.get("Units") or "").strip().upper()
    pet = series.modality == "PT"
    return (
        pet and not series.corrected,
        pet and bool(units) and units not in _SUV_UNITS,
        -round(series.extent_mm / 10.0),  # a centimetre more or less is the same field of view
        -series.frames,
        series.number if series.number is not None else 1 << 30,
        series.uid,
    )


def _named(everything: Sequence[Series], wanted: str | int, source: str, listing: str) -> Series:
    text = str(wanted).strip()
    found = [s for s in everything if s.uid == text]
    if not found and text.lstrip("-").isdigit():
        found = [s for s in everything if s.number == int(text)]
    if not found:
        raise ReadError(f"{source}: no series {wanted!r}; found {listing}")
    if len(found) > 1:
        raise ReadError(
            f"{source}: {len(found)} series have the number {wanted}: give a UID; found {listing}"
        )
    return found[0]


def _in_words(modality: str) -> str:
    return {"PT": "PET (PT)", "CT": "CT"}.get(modality, modality)


def _hint(everything: Sequence[Series], wanted: str) -> str:
    there = {s.modality for s in everything}
    if wanted == "PT" and "NM" in there:
        return ". NM is SPECT or planar and has no SUV rule here"
    if wanted == "PT" and "CT" in there:
        return ". To read the CT, give unit='HU'"
    if wanted == "PT" and there & {"RTSTRUCT", "SEG"}:
        return ". Contours and masks are read with read_labels"
    return ""
