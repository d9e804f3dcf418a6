"""From the voxels of a PET series to SUVbw, with the tags and the rules that led there.

Sources: DICOM PS3.3 C.8.9 (PET modules); QIBA's vendor-neutral SUV pseudo-code; the OncoRay/IBSI SUV manual.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from anypet.dicom import body, header
from anypet.dicom.decay import reference_times, undecayed_factors
from anypet.dicom.header import Notes, tag_name
from anypet.dicom.private import PHILIPS, private_text
from anypet.errors import SUVError

UPTAKE_MINUTES = (45.0, 120.0)


@dataclass(frozen=True, eq=False)
class SUVConversion:
    """How a series becomes SUVbw: SUVbw = (stored x slope + intercept) x factor, slice by slice.

    Args:
        factors: (N,) one factor a slice, in the order of the datasets given.
        units: Units (0054,1001) of the series.
        units_rule: how these units lead to SUVbw, in words.
        time_rule: which moment the decay correction refers to and how that was found, in words.
        tags: the tags used and their values.
        uptake_minutes: from the injection to the earliest acquisition; None where a time is missing.
        warnings: what a reader should know before trusting the numbers.
    """

    factors: npt.NDArray[np.float64]
    units: str
    units_rule: str
    time_rule: str
    tags: dict[str, str]
    uptake_minutes: float | None
    warnings: tuple[str, ...]

    @property
    def constant(self) -> bool:
        """Whether all slices have the same factor."""
        return bool(np.ptp(self.factors) <= 1e-9 * abs(self.factors[0]))

    @property
    def factor(self) -> float:
        """The factor of the first slice, which is that of all where `constant`."""
        return float(self.factors[0])

    def as_dict(self) -> dict[str, Any]:
        """The conversion as plain values for JSON."""
        return {
            "factor": self.factor if self.constant else [float(f) for f in self.factors],
            "units": self.units,
            "units_rule": self.units_rule,
            "time_rule": self.time_rule,
            "uptake_minutes": None if self.uptake_minutes is None else round(self.uptake_minutes, 2),
            "tags": dict(self.tags),
            "warnings": list(self.warnings),
        }


def suv_factor(datasets: Dataset | Sequence[Dataset], *, allow_uncorrected: bool = False) -> SUVConversion:
    """The factor that turns a PET series into SUVbw.

    Args:
        datasets: one slice, or all slices of one series; pixel data is not needed. The earliest acquisition
            and slices without decay correction can only be told from all slices.
        allow_uncorrected: accept a series that is not marked as attenuation-corrected; a warning remains.

    Returns:
        The conversion; its factors are in the order of `datasets`.

    Raises:
        SUVError: the tag named in the message is missing, empty, contradictory or unsupported.
    """
    slices = [datasets] if isinstance(datasets, Dataset) else list(datasets)
    if not slices:
        raise SUVError("no DICOM slice given")
    first, notes = slices[0], Notes()
    modality = str(first.get("Modality", "PT")).strip().upper()
    if modality != "PT":
        raise SUVError(f"{tag_name('Modality')} is {modality!r}: only PET (PT) has a SUV")
    for keyword in ("Units", "DecayCorrection"):
        values = sorted({str(item.get(keyword) or "").strip().upper() for item in slices})
        if len(values) > 1:
            raise SUVError(f"{tag_name(keyword)} differs within the series: {', '.join(values)}; split it")
    _check_corrections(first, notes, allow_uncorrected)
    units = str(first.get("Units") or "").strip().upper()
    notes.used(tag_name("Units"), units or "empty")
    scale, units_rule, activity = _units_to(slices, units, notes)
    if activity:
        weight = header.weight_kg(first, notes)
        per_dose, time_rule, uptake = _per_remaining_dose(slices, notes)
        factors = scale * per_dose * weight * 1000.0
        units_rule += "; SUVbw = Bq/mL x body weight in g / decayed dose"
    else:
        factors, time_rule, uptake = scale, "none needed: the stored values hold the dose already", None
        uptake = _uptake_if_known(slices)
    _check_uptake(uptake, notes)
    return SUVConversion(
        factors, units, units_rule, time_rule, dict(notes.tags), uptake, tuple(notes.warnings)
    )


def _check_corrections(first: Dataset, notes: Notes, allow_uncorrected: bool) -> None:
    """Requires corrections for attenuation and decay, as Corrected Image (0028,0051) lists them."""
    name, decay_name = tag_name("CorrectedImage"), tag_name("DecayCorrection")
    value = first.get("CorrectedImage")
    listed = [value] if isinstance(value, str) else list(value or ())
    done = {str(v).strip().upper() for v in listed} - {""}
    notes.used(name, "\\".join(sorted(done)) or "empty")
    decay = str(first.get("DecayCorrection") or "").strip().upper()
    if "ATTN" not in done:
        found = f"lists only {', '.join(sorted(done))}" if done else "is missing or empty"
        if not allow_uncorrected:
            raise SUVError(
                f"{name} {found}, without ATTN: a PET without attenuation correction has no SUV; "
                "take the corrected series, or pass allow_uncorrected=True if you know it is corrected"
            )
        notes.warn(f"{name} {found}, without ATTN: the SUV holds only if attenuation was corrected")
    if not done & {"DECY", "DECAY"} and decay != "NONE" and (done or not allow_uncorrected):
        raise SUVError(
            f"{name} is without DECY but {decay_name} is {decay or 'empty'}: they contradict each other; "
            "correct the header (NONE if the decay is not corrected)"
        )


def _units_to(slices: list[Dataset], units: str, notes: Notes) -> tuple[npt.NDArray[np.float64], str, bool]:
    """(N,) factors from the rescaled values to Bq/mL (third value True) or to SUVbw (False), and the rule."""
    ones = np.ones(len(slices))
    if units == "BQML":
        return ones, "BQML: values are Bq/mL", True
    if units == "GML":
        factor, rule = _gml(slices[0], notes)
        return ones * factor, rule, False
    if units == "CM2ML":
        weight, height = header.weight_kg(slices[0], notes), header.height_m(slices[0], notes)
        return ones / body.suvbsa_factor(weight, height), "CM2ML: SUVbsa x weight / body surface", False
    if units == "CNTS":
        return _philips_counts(slices, notes)
    name = tag_name("Units")
    if units == "CPS":
        raise SUVError(
            f"{name} is CPS: counts a second, usually not corrected and not calibrated; take the Bq/mL series"
        )
    raise SUVError(
        f"{name} is {units or 'missing'}: it gives no SUV; expected BQML, GML, CM2ML or Philips CNTS"
    )


def _gml(first: Dataset, notes: Notes) -> tuple[float, str]:
    """Factor from GML values of whatever SUV Type (0054,1006) to SUVbw."""
    kind = str(first.get("SUVType") or "").strip().upper()
    notes.used(tag_name("SUVType"), kind or "empty")
    if kind in ("", "BW"):
        return 1.0, f"GML with SUV Type {kind or 'empty'}: values are SUVbw"
    measures: dict[str, body.Measure] = {
        "LBM": body.lbm_james,
        "LBMJAMES": body.lbm_james,
        "LBMJAMES128": body.lbm_james128,
        "LBMJANMA": body.lbm_janmahasatian,
        "IBW": body.ideal_body_weight,
    }
    if kind not in measures:
        raise SUVError(
            f"{tag_name('SUVType')} is {kind} with {tag_name('Units')} GML: expected BW, LBM, LBMJAMES128, "
            "LBMJANMA or IBW"
        )
    weight, height = header.weight_kg(first, notes), header.height_m(first, notes)
    norm = measures[kind](weight, height, header.sex(first, notes))
    return weight / norm, f"GML with SUV Type {kind}: value x weight {weight:g} kg / {norm:.4g} kg"


def _philips_counts(slices: list[Dataset], notes: Notes) -> tuple[npt.NDArray[np.float64], str, bool]:
    """Philips' private factors for CNTS: (7053,1000) to SUVbw, else (7053,1009) to Bq/mL."""
    for offset, what, activity in ((0x00, "SUVbw", False), (0x09, "Bq/mL", True)):
        found = [_positive(private_text(item, 0x7053, PHILIPS, offset)) for item in slices]
        if all(f is not None for f in found):
            tag = f"Philips private (7053,10{offset:02X})"
            notes.used(tag, found[0])
            return np.array(found, dtype=float), f"CNTS x {tag}: counts to {what}", activity
    raise SUVError(
        f"{tag_name('Units')} is CNTS and both Philips factors, (7053,1000) to SUV and (7053,1009) to "
        "Bq/mL, are missing or 0: counts without a calibration have no SUV"
    )


def _per_remaining_dose(
    slices: list[Dataset], notes: Notes
) -> tuple[npt.NDArray[np.float64], str, float | None]:
    """(N,) 1 / dose in 1/Bq at the moment each slice is corrected to, the rule, and the uptake in min."""
    first, name = slices[0], tag_name("DecayCorrection")
    drug = header.radiopharmaceutical(first, notes)
    dose = header.dose_bq(drug, notes)
    mode = str(first.get("DecayCorrection") or "").strip().upper()
    notes.used(name, mode or "empty")
    if mode not in ("START", "ADMIN", "NONE"):
        raise SUVError(f"{name} is {mode or 'missing'}: expected START, ADMIN or NONE")
    start = header.scan_start(slices)
    if mode == "ADMIN":
        uptake = _uptake_if_known(slices)
        return (
            np.full(len(slices), 1.0 / dose),
            "ADMIN: corrected to the injection, dose taken as it is",
            uptake,
        )
    if start is None:
        raise SUVError(
            f"{tag_name('AcquisitionTime')} and {tag_name('SeriesTime')} are missing: the decay between "
            "injection and scan is unknown"
        )
    half_life = header.half_life_s(drug, notes)
    injection = header.injection_datetime(drug, first, start, half_life, notes)
    uptake = (start - injection).total_seconds() / 60
    if mode == "NONE":
        factors = undecayed_factors(slices, injection, half_life, notes) / dose
        return factors, "NONE: each slice corrected here from its own acquisition to the injection", uptake
    references, rule = reference_times(slices, half_life, notes)
    elapsed = np.array([(moment - injection).total_seconds() for moment in references])
    factors = 2.0 ** (elapsed / half_life) / dose
    return factors, f"START at {references[0].isoformat(sep=' ')}: {rule}", uptake


def _uptake_if_known(slices: list[Dataset]) -> float | None:
    """Minutes from injection to scan where the header has them; nothing depends on it but a warning."""
    notes = Notes()
    try:
        drug = header.radiopharmaceutical(slices[0], notes)
        start: datetime | None = header.scan_start(slices)
        if start is None:
            return None
        half_life = header.half_life_s(drug, notes)
        injection = header.injection_datetime(drug, slices[0], start, half_life, notes)
    except SUVError:
        return None
    return (start - injection).total_seconds() / 60


def _check_uptake(minutes: float | None, notes: Notes) -> None:
    low, high = UPTAKE_MINUTES
    if minutes is not None and not low <= minutes <= high:
        notes.warn(
            f"the scan began {minutes:.0f} min after the injection: outside {low:.0f} to {high:.0f} min"
        )


def _positive(text: str | None) -> float | None:
    try:
        value = float(text or 0)
    except ValueError:
        return None
    return value if value > 0 else None
