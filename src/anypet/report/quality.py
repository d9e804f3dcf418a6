"""Checks of a scan that a reader makes before trusting its numbers: uptake time, dose, SUV rule, liver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydicom.dataset import Dataset

from anypet.dicom.suv import UPTAKE_MINUTES
from anypet.quantify.regions import Region
from anypet.quantify.suv import Patient
from anypet.report.content import Flag
from anypet.report.heading import injected_mbq
from anypet.volume import Volume

EANM = "EANM guideline 2.0, Boellaard 2015"
FDG_MINUTES = (55.0, 75.0)
FDG_LIVER = (1.3, 3.0)
MBQ_PER_KG = (0.5, 15.0)
BODY_MASS = (12.0, 60.0)


def quality_flags(
    pet: Volume,
    patient: Patient,
    *,
    header: Dataset | None = None,
    tracer: str = "",
    liver: Region | None = None,
    has_ct: bool = False,
    anonymise: bool = False,
) -> tuple[Flag, ...]:
    """The checks, the ones of the SUV first.

    Args:
        pet: (i, j, k) in a SUV, with what reading noted.
        patient: weight, height and sex.
        header: of a slice of the PET.
        tracer: as the header or the user names it; FDG has limits of its own.
        liver: reference region in SUVbw.
        has_ct: whether the pictures have a CT under the PET.
        anonymise: warnings of the reader are counted, not quoted, as they may quote dates and names.
    """
    suv: Mapping[str, Any] = pet.meta.get("suv") or {}
    fdg = "FDG" in tracer.upper()
    flags = [
        _rule(suv, pet.unit, header if anonymise else None),
        _uptake(suv.get("uptake_minutes"), fdg),
        _dose(header, patient),
        _body(patient),
        _liver(liver, fdg),
        *_corrections(header),
    ]
    if not has_ct:
        flags.append(Flag("note", "CT", "none given", "slices show the PET alone"))
    return (*flags, *_noted(pet, suv, anonymise))


def _rule(suv: Mapping[str, Any], unit: str, anonymous: Dataset | None) -> Flag:
    """How the values became SUV; for an anonymous report without the moment that decay refers to."""
    if not suv:
        return Flag("note", "SUV", unit, "as the file says: how it was made is not known")
    decay = str(suv.get("time_rule") or "not stated")
    if anonymous is not None:
        code = str(anonymous.get("DecayCorrection") or "").strip().upper()
        decay = code if code in ("START", "ADMIN", "NONE") else "not stated"
    return Flag("good", "SUV", str(suv.get("units_rule") or unit), f"decay: {decay}")


def _uptake(minutes: float | None, fdg: bool) -> Flag:
    if minutes is None:
        return Flag("note", "Uptake time", "unknown", "injection or scan time is not stated")
    low, high = UPTAKE_MINUTES
    value = f"{minutes:.0f} min"
    if not low <= minutes <= high:
        return Flag("warning", "Uptake time", value, f"outside {low:.0f} to {high:.0f} min")
    if fdg and not FDG_MINUTES[0] <= minutes <= FDG_MINUTES[1]:
        return Flag("note", "Uptake time", value, f"FDG: {_span(FDG_MINUTES)} min to compare scans ({EANM})")
    return Flag("good", "Uptake time", value, f"within {_span(FDG_MINUTES if fdg else UPTAKE_MINUTES)} min")


def _dose(header: Dataset | None, patient: Patient) -> Flag:
    dose = None if header is None else injected_mbq(header)
    if dose is None or not patient.weight_kg:
        return Flag("note", "Activity", "unknown", "activity or weight is not stated")
    per_kg = dose / patient.weight_kg
    good = MBQ_PER_KG[0] <= per_kg <= MBQ_PER_KG[1]
    where = "within" if good else "outside of what is plausible,"
    value = f"{dose:.0f} MBq, {per_kg:.1f} MBq/kg"
    return Flag("good" if good else "warning", "Activity", value, f"{where} {_span(MBQ_PER_KG)} MBq/kg")


def _body(patient: Patient) -> Flag:
    if not patient.weight_kg or not patient.height_m:
        return Flag("note", "Body", "unknown", "weight or height is not stated")
    index = patient.weight_kg / patient.height_m**2
    good = BODY_MASS[0] <= index <= BODY_MASS[1]
    value = f"{patient.weight_kg:g} kg, {100 * patient.height_m:.0f} cm, {index:.1f} kg/m2"
    where = "plausible," if good else "outside"
    return Flag("good" if good else "warning", "Body", value, f"{where} {_span(BODY_MASS)} kg/m2")


def _liver(liver: Region | None, fdg: bool) -> Flag:
    if liver is None:
        return Flag("note", "Liver", "not measured", "give the liver to check the SUV against it")
    value = f"SUVmean {liver.mean:.2f} (SD {liver.sd:.2f})"
    if not fdg:
        return Flag("note", "Liver", value, "the limits are known for FDG only")
    good = FDG_LIVER[0] <= liver.mean <= FDG_LIVER[1]
    where = "within" if good else "outside"
    return Flag("good" if good else "warning", "Liver", value, f"{where} {_span(FDG_LIVER)} (FDG; {EANM})")


def _corrections(header: Dataset | None) -> list[Flag]:
    if header is None or "CorrectedImage" not in header:
        return []
    value = header.CorrectedImage
    done = {str(v).strip().upper() for v in ([value] if isinstance(value, str) else value)}
    asked = {"decay": {"DECY", "DECAY"}, "attenuation": {"ATTN"}, "scatter": {"SCAT"}, "randoms": {"RAN"}}
    named = [name for name, codes in asked.items() if done & codes]
    missing = [name for name in asked if name not in named]
    why = f"not listed: {', '.join(missing)}" if missing else "decay, attenuation, scatter and randoms"
    return [Flag("note" if missing else "good", "Corrected for", ", ".join(named) or "nothing", why)]


def _noted(pet: Volume, suv: Mapping[str, Any], anonymise: bool) -> list[Flag]:
    """What reading warned of."""
    found = [*(suv.get("warnings") or ()), *(pet.meta.get("warnings") or ())]
    found = [text for text in dict.fromkeys(found) if "min after the injection" not in text]  # has its flag
    if anonymise and found:
        return [Flag("warning", "Reading", f"{len(found)} warnings", "see anypet info of the original scan")]
    return [Flag("warning", "Reading", str(text), "noted when the scan was read") for text in found]


def _span(limits: tuple[float, float]) -> str:
    return f"{limits[0]:g} to {limits[1]:g}"
