"""Checks of a scan: each limit from both sides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from anypet.dicom.suv import UPTAKE_MINUTES
from anypet.objects import Patch
from anypet.quantify.regions import Region
from anypet.quantify.suv import Patient
from anypet.report import quality
from anypet.report.content import Flag
from anypet.report.quality import quality_flags
from anypet.volume import Volume
from dicom_factory import add_pet, new_dataset

PATIENT = Patient(70.0, 1.65, "F")


def scan(**suv: Any) -> Volume:
    meta = {"suv": {"units_rule": "BQML", "time_rule": "START at 2024-03-05 11:00:00", **suv}} if suv else {}
    return Volume(np.zeros((2, 2, 2), np.float32), np.eye(4), "SUVbw", meta)


def header(dose: float = 370e6) -> Dataset:
    found = new_dataset("1.2.840.10008.5.1.4.1.1.128", "PT")
    add_pet(found)
    found.RadiopharmaceuticalInformationSequence[0].RadionuclideTotalDose = dose
    return found


def liver(mean: float) -> Region:
    return Region("liver", "", None, (0, 0, 0), Patch.empty(bool), "SUVbw", mean, 0.2, mean, mean, 14.0)


def flag(what: str, *arguments: Any, **words: Any) -> Flag:
    return next(f for f in quality_flags(*arguments, **words) if f.what == what)


@pytest.mark.parametrize(
    ("minutes", "tracer", "level"),
    [
        (60.0, "FDG", "good"),
        (55.0, "F-18 FDG", "good"),
        (54.0, "FDG", "note"),
        (80.0, "FDG", "note"),
        (80.0, "PSMA", "good"),
        (44.0, "FDG", "warning"),
        (121.0, "PSMA", "warning"),
        (None, "FDG", "note"),
    ],
)
def test_uptake_time(minutes: float | None, tracer: str, level: str) -> None:
    assert flag("Uptake time", scan(uptake_minutes=minutes), PATIENT, tracer=tracer).level == level


@pytest.mark.parametrize(
    ("mean", "tracer", "level"),
    [(2.1, "FDG", "good"), (1.2, "FDG", "warning"), (3.1, "FDG", "warning"), (5.0, "PSMA", "note")],
)
def test_liver(mean: float, tracer: str, level: str) -> None:
    found = flag("Liver", scan(), PATIENT, tracer=tracer, liver=liver(mean))
    assert found.level == level
    assert f"{mean:.2f}" in found.value
    assert flag("Liver", scan(), PATIENT, tracer=tracer).value == "not measured"


@pytest.mark.parametrize(("dose", "level"), [(370e6, "good"), (20e6, "warning"), (1.2e9, "warning")])
def test_activity(dose: float, level: str) -> None:
    found = flag("Activity", scan(), PATIENT, header=header(dose))
    assert found.level == level
    assert f"{dose / 70e6:.1f} MBq/kg" in found.value
    assert flag("Activity", scan(), Patient(), header=header()).level == "note"


def test_body() -> None:
    assert flag("Body", scan(), PATIENT).level == "good"
    assert flag("Body", scan(), Patient(700.0, 1.65)).level == "warning"
    assert flag("Body", scan(), Patient(70.0)).level == "note"


def test_the_rule_of_the_suv() -> None:
    scanned = scan(uptake_minutes=60.0)
    openly = flag("SUV", scanned, PATIENT, header=header())
    assert "2024-03-05" in openly.why
    anonymous = flag("SUV", scanned, PATIENT, header=header(), anonymise=True)
    assert (anonymous.value, anonymous.why) == ("BQML", "decay: START")
    assert flag("SUV", scan(), PATIENT).level == "note"


def test_corrections() -> None:
    assert flag("Corrected for", scan(), PATIENT, header=header()).why == "not listed: randoms"
    whole = header()
    whole.CorrectedImage = ["DECY", "ATTN", "SCAT", "RAN"]
    assert flag("Corrected for", scan(), PATIENT, header=whole).level == "good"
    whole.CorrectedImage = "ATTN"
    assert "decay, scatter, randoms" in flag("Corrected for", scan(), PATIENT, header=whole).why


def test_warnings_of_reading_are_quoted_once_or_only_counted() -> None:
    text = "the decay reference time 2024-03-05 11:00:00 is odd"
    twice = scan(warnings=[text, "the scan began 30 min after the injection: outside 45 to 120 min"])
    twice = twice.with_array(twice.array, warnings=[text, "another"])
    found = [f for f in quality_flags(twice, PATIENT) if f.what == "Reading"]
    assert [f.value for f in found] == [text, "another"]
    found = [f for f in quality_flags(twice, PATIENT, anonymise=True) if f.what == "Reading"]
    assert [f.value for f in found] == ["2 warnings"]


def test_a_ct_is_missed() -> None:
    assert flag("CT", scan(), PATIENT).level == "note"
    assert not any(f.what == "CT" for f in quality_flags(scan(), PATIENT, has_ct=True))


def test_the_page_of_the_docs_has_these_limits() -> None:
    page = (Path(__file__).parents[2] / "docs" / "report.md").read_text("utf-8")
    for limits, unit in (
        (quality.FDG_MINUTES, "min"), (UPTAKE_MINUTES, "min"), (quality.MBQ_PER_KG, "MBq/kg"),
        (quality.BODY_MASS, "kg/m2"),
    ):  # fmt: skip
        assert f"{limits[0]:g} to {limits[1]:g} {unit}" in page
    assert f"SUVmean {quality.FDG_LIVER[0]:.1f} to {quality.FDG_LIVER[1]:.1f}" in page
