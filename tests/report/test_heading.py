"""The head of a report: what is said of a patient, and that nothing but that leaves anonymously."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from anypet.quantify.suv import Patient
from anypet.report import heading
from anypet.volume import Volume
from dicom_factory import add_pet, new_dataset

SCAN = Volume(np.zeros((4, 5, 6), np.float32), np.diag([4.0, 4.0, 3.0, 1.0]), "SUVbw")
PATIENT = Patient(70.0, 1.65, "F")


def header(**attributes: object) -> Dataset:
    found = new_dataset("1.2.840.10008.5.1.4.1.1.128", "PT")
    add_pet(found)
    for name, value in attributes.items():
        setattr(found, name, value)
    return found


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("Doe^Jane", "Doe, Jane"),
        ("Doe^Jane^Q^Dr^MD", "Doe, Jane Q"),
        ("Doe", "Doe"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou"),
        ("=山田^太郎", "山田, 太郎"),
        ("^^^^", ""),
        (None, ""),
    ],
)
def test_person_names(stored: str | None, shown: str) -> None:
    assert heading.person(stored) == shown


@pytest.mark.parametrize(
    ("born", "told", "age"),
    [
        ("19840305", "", "40 years"),  # on the birthday, the scan is of 5 March 2024
        ("19840306", "", "39 years"),
        ("", "059Y", "59 years"),
        ("", "018M", "1 years"),
        ("20300101", "", "not stated"),
        ("", "old", "not stated"),
        ("19200101", "", "104 years"),
    ],
)
def test_age_at_the_scan(born: str, told: str, age: str) -> None:
    fields = {f.label: f.value for f in heading.patient_fields(_aged(born, told), PATIENT, False)}
    assert fields["Age at scan"] == age
    anonymous = {f.label: f.value for f in heading.patient_fields(_aged(born, told), PATIENT, True)}
    assert anonymous["Age at scan"] == ("over 89 years" if age == "104 years" else age)


def _aged(born: str, told: str) -> Dataset:
    found = header(PatientBirthDate=born)
    if told and told != "old":
        found.PatientAge = told
    return found


def test_the_examination() -> None:
    scan = SCAN.with_array(SCAN.array, suv={"uptake_minutes": 60.0})
    found = header(InstitutionName="General", ReferringPhysicianName="House^G", ActualFrameDuration="120000")
    told = {f.label: f.value for f in heading.examination_fields(found, scan, False)}
    assert told["Scanned"] == "5 March 2024 11:00"
    assert told["Injected"] == "10:00"
    assert told["Activity"] == "370 MBq"
    assert told["Uptake time"] == "60 min"
    assert told["Institution"] == "General"
    assert told["Referred by"] == "House, G"
    assert told["Frame time"] == "120 s"
    assert told["Voxel"] == "4 × 4 × 3 mm"
    assert "Accession" not in told  # empty in the header
    assert [f.label for f in heading.examination_fields(None, scan, False)] == ["Grid", "Voxel"]
    given = heading.examination_fields(None, scan, True, "PSMA")
    assert [f.value for f in given if f.label == "Tracer"] == ["PSMA"]


@pytest.mark.parametrize(
    ("words", "openly", "anonymously"),
    [
        ("FDG -- fluorodeoxyglucose", "F-18 FDG", "F-18 FDG"),
        ("Fludeoxyglucose F^18^", "F-18 FDG", "F-18 FDG"),
        ("for Mrs Doe", "F-18 for Mrs Doe", "F-18"),
        ("", "F-18", "F-18"),
    ],
)
def test_tracers(words: str, openly: str, anonymously: str) -> None:
    found = header()
    found.RadiopharmaceuticalInformationSequence[0].Radiopharmaceutical = words
    assert heading.tracer(found, False) == openly
    assert heading.tracer(found, True) == anonymously


def test_a_header_without_an_injection() -> None:
    found = header(RadiopharmaceuticalInformationSequence=Items([]))
    told = {f.label: f.value for f in heading.injection_fields(found, SCAN, False)}
    assert set(told.values()) == {"not stated"}


def test_without_a_header() -> None:
    assert heading.who(None, False) == "Patient not stated"
    assert heading.who(None, True) == "Anonymous"
    told = {f.label: f.value for f in heading.patient_fields(None, Patient(), True)}
    assert told == dict.fromkeys(("Sex", "Age at scan", "Weight", "Height"), "not stated") | {
        "Pseudonym": "Anonymous"
    }
