"""Patient and acquisition as a report's head, from the DICOM header or from what a file knows.

Without identity, only what is listed here leaves: a pseudonym (the same as in anonymised DICOM objects of the
study), sex, age in years, height, weight, and numbers and codes of the scan. No date, UID, name or free text
of the header is among them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import date, time

from pydicom.dataset import Dataset

from anypet.dicom.deidentify import deidentified
from anypet.dicom.header import Notes, dose_bq, number, radiopharmaceutical
from anypet.dicom.nuclides import nuclide_of
from anypet.dicom.times import parse_date, parse_datetime, parse_time, scan_date
from anypet.errors import SUVError
from anypet.quantify.suv import Patient
from anypet.report.content import Field
from anypet.volume import Volume

UNKNOWN = "not stated"
OLDEST = 89  # ages above are not told without identity
# substances whose names say nothing of the patient
_SUBSTANCES = {
    word.lower(): word
    for word in (
        "FDG", "PSMA-11", "PSMA-1007", "DCFPyL", "PSMA", "DOTATATE", "DOTATOC", "DOTANOC", "FAPI", "FET",
        "FDOPA", "choline", "fluciclovine", "fluoride", "florbetaben", "florbetapir", "flutemetamol", "FES",
        "FLT", "FMISO", "methionine",
    )
} | {"deoxyglucose": "FDG"}  # fmt: skip


def who(header: Dataset | None, anonymise: bool) -> str:
    """The patient's name, or a pseudonym."""
    if header is None:
        return "Patient not stated" if not anonymise else "Anonymous"
    if anonymise:
        return str(deidentified(header).PatientID)
    return person(header.get("PatientName")) or _text(header, "PatientID") or "Patient not stated"


def patient_fields(header: Dataset | None, patient: Patient, anonymise: bool) -> tuple[Field, ...]:
    """Who was scanned.

    Args:
        header: of any slice of the PET, or None.
        patient: weight, height and sex that the SUV was made with.
        anonymise: leave out what could name the patient.
    """
    sex = {"M": "male", "F": "female", "O": "other"}.get((patient.sex or "").strip().upper(), UNKNOWN)
    body = [
        Field("Sex", sex),
        Field("Age at scan", _age(header, anonymise)),
        Field("Weight", f"{patient.weight_kg:g} kg" if patient.weight_kg else UNKNOWN),
        Field("Height", f"{100 * patient.height_m:.0f} cm" if patient.height_m else UNKNOWN),
    ]
    if anonymise or header is None:
        return (Field("Pseudonym" if anonymise else "Patient", who(header, anonymise)), *body)
    born = parse_date(header.get("PatientBirthDate"))
    return (
        Field("Patient", who(header, False)),
        Field("Patient ID", _text(header, "PatientID") or UNKNOWN),
        Field("Born", _day(born)),
        *body,
    )


def examination_fields(
    header: Dataset | None, pet: Volume, anonymise: bool, given_tracer: str = ""
) -> tuple[Field, ...]:
    """What was scanned, when and how; a tracer that is given goes before the header's."""
    size = " × ".join(f"{s:.3g}" for s in pet.spacing)
    grid = (Field("Grid", " × ".join(str(n) for n in pet.shape)), Field("Voxel", f"{size} mm"))
    if header is None:
        return _stated((Field("Tracer", given_tracer), *grid))
    scanner = " ".join(filter(None, (_text(header, "Manufacturer"), _text(header, "ManufacturerModelName"))))
    ms = number(header, "ActualFrameDuration")
    common = (
        *injection_fields(header, pet, anonymise, given_tracer),
        Field("Scanner", scanner),
        Field("Frame time", f"{ms / 1000:.0f} s" if ms else ""),
        *grid,
    )
    if anonymise:
        return _stated(common)
    clock = parse_time(header.get("SeriesTime") or header.get("StudyTime"))
    named = (
        Field("Scanned", " ".join(filter(None, (_day(scan_date(header)), _clock(clock))))),
        Field("Study", _text(header, "StudyDescription")),
        Field("Series", _text(header, "SeriesDescription")),
        Field("Accession", _text(header, "AccessionNumber")),
        Field("Institution", _text(header, "InstitutionName")),
        Field("Referred by", person(header.get("ReferringPhysicianName"))),
    )
    return _stated((*named, *common, Field("Reconstruction", _text(header, "ReconstructionMethod"))))


def _stated(fields: Iterable[Field]) -> tuple[Field, ...]:
    return tuple(field for field in fields if field.value)


def injection_fields(
    header: Dataset, pet: Volume, anonymise: bool, given_tracer: str = ""
) -> tuple[Field, ...]:
    """Tracer, activity, time of injection and uptake time."""
    uptake = (pet.meta.get("suv") or {}).get("uptake_minutes")
    dose = injected_mbq(header)
    fields = [
        Field("Tracer", given_tracer or tracer(header, anonymise) or UNKNOWN),
        Field("Activity", f"{dose:.0f} MBq" if dose else UNKNOWN),
    ]
    if not anonymise:
        fields.append(Field("Injected", _clock(_injected_at(header)) or UNKNOWN))
    return (*fields, Field("Uptake time", f"{uptake:.0f} min" if uptake is not None else UNKNOWN))


def injected_mbq(header: Dataset) -> float | None:
    """The injected activity in MBq, where the header says it."""
    try:
        return dose_bq(radiopharmaceutical(header, Notes()), Notes()) / 1e6
    except SUVError:
        return None


def tracer(header: Dataset, anonymise: bool) -> str:
    """Nuclide and substance as the header names them; without identity, only known substances' names."""
    items = header.get("RadiopharmaceuticalInformationSequence")
    if not items:
        return ""
    codes = items[0].get("RadiopharmaceuticalCodeSequence")
    words = _text(items[0], "Radiopharmaceutical") or (_text(codes[0], "CodeMeaning") if codes else "")
    nuclide = nuclide_of(items[0]) or ""
    known = next((name for word, name in _SUBSTANCES.items() if word in words.lower()), "")
    if known or anonymise:
        return " ".join(filter(None, (nuclide, known)))
    return " ".join(filter(None, (nuclide, words)))


def person(name: object) -> str:
    """A DICOM person name "FAMILY^Given^Middle^Prefix^Suffix=..." -> "FAMILY, Given Middle"."""
    alphabetic = next((part for part in str(name or "").split("=") if part.strip("^ ")), "")
    family, *given = (part.strip() for part in alphabetic.split("^"))
    return ", ".join(filter(None, (family, " ".join(filter(None, given[:2])))))


def _text(dataset: Dataset, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip()


def _age(header: Dataset | None, anonymise: bool) -> str:
    years = None if header is None else _years(header)
    if years is None:
        return UNKNOWN
    if anonymise and years > OLDEST:
        return f"over {OLDEST} years"
    return f"{years} years"


def _years(header: Dataset) -> int | None:
    born, scanned = parse_date(header.get("PatientBirthDate")), scan_date(header)
    if born and scanned and born <= scanned:
        return scanned.year - born.year - ((scanned.month, scanned.day) < (born.month, born.day))
    found = re.fullmatch(r"(\d{3})([YMWD])", _text(header, "PatientAge"))
    if not found:
        return None
    per_year: dict[str, Callable[[int], int]] = {
        "Y": lambda n: n, "M": lambda n: n // 12, "W": lambda n: n // 52, "D": lambda n: n // 365
    }  # fmt: skip
    return per_year[found[2]](int(found[1]))


def _injected_at(header: Dataset) -> time | None:
    items = header.get("RadiopharmaceuticalInformationSequence")
    if not items:
        return None
    moment = parse_datetime(items[0].get("RadiopharmaceuticalStartDateTime"))
    return moment.time() if moment else parse_time(items[0].get("RadiopharmaceuticalStartTime"))


def _day(day: date | None) -> str:
    return f"{day.day} {day:%B %Y}" if day else UNKNOWN


def _clock(clock: time | None) -> str:
    return f"{clock:%H:%M}" if clock else ""
