"""The report as a page and as PDF: whole, self-contained, deaf to injection, and silent where anonymous."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from anypet.quantify.measures import measure
from anypet.quantify.regions import liver_sphere
from anypet.quantify.suv import Patient
from anypet.report.build import Source, is_anatomy, make_report
from anypet.report.content import NOTICE, Field
from anypet.report.html import as_html
from anypet.report.pdf import as_pdf
from anypet.volume import Volume
from dicom_factory import add_pet, new_dataset
from spheres import ball, empty, painted

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}&amp;"
GRID = empty((4.0, 4.0, 4.0), 130.0)
BALLS = {"node": ((-30.0, 0.0, 20.0), 10.0, 8.0), "mass": ((25.0, 0.0, -25.0), 16.0, 5.0)}
LIVER = ((30.0, 0.0, 30.0), 20.0, 2.0)
SCAN = painted(GRID, LIVER, *BALLS.values())
LESIONS = {name: ball(GRID, centre, radius) for name, (centre, radius, _) in BALLS.items()}
ORGANS = {"liver": ball(GRID, *LIVER[:2]), "thing of Mr Doe": ball(GRID, (0.0, 40.0, 0.0), 10.0)}
PATIENT = Patient(70.0, 1.65, "F")


class Page(HTMLParser):
    """Elements, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def header(**attributes: Any) -> Dataset:
    found = new_dataset("1.2.840.10008.5.1.4.1.1.128", "PT")
    add_pet(found)
    for name, value in attributes.items():
        setattr(found, name, value)
    return found


def source(**words: Any) -> Source:
    arguments: dict[str, Any] = {
        "pet": SCAN, "lesions": LESIONS, "organs": ORGANS, "header": header(), "patient": PATIENT,
        "liver": liver_sphere(SCAN, ORGANS["liver"]), "made_by": (Field("Lesions outlined by", "net 1.0"),),
        "names": (Field("Scan", "folder of Mr Doe"),),
    }  # fmt: skip
    return Source(**(arguments | words))


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(as_html(make_report(source())))


def pdf_text(content: bytes) -> str:
    pypdf = pytest.importorskip("pypdf")
    pages = pypdf.PdfReader(io.BytesIO(content)).pages
    return " ".join(" ".join(p.extract_text() for p in pages).split())


def test_the_page_says_what_was_measured(page: Page) -> None:
    table = measure(SCAN, LESIONS)
    for row in (*table.rows, table.total):
        for value in (f"{row.suv_max:.2f}", f"{row.suv_peak:.2f}", f"{row.mtv_ml:.1f}", f"{row.tlg:.1f}"):
            assert value in page.text
    for words in (
        "Test, Case", "5 March 2024", "node", "mass", "SUVbw (body weight)", "net 1.0", "folder of Mr Doe",
        "thing of Mr Doe", "max / liver", "8.00", "Physician", "Signature", NOTICE, "AnyPET",
    ):  # fmt: skip
        assert words in page.text
    liver_mean = SCAN.array[ORGANS["liver"]].mean()
    assert f"{liver_mean:.2f}" in page.text


def test_the_page_is_one_file(page: Page) -> None:
    sources = [
        value for name, value in page.attributes if name in ("src", "href", "srcset", "action", "data")
    ]
    assert len(sources) == 3  # projections and two lesions
    for value in sources:
        kind, _, data = value.partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data, validate=True).startswith(b"\x89PNG")
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)
    policy = [value for name, value in page.attributes if name == "content" and "default-src" in value]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_nothing_of_a_header_becomes_markup(page: Page) -> None:
    evil = header(
        PatientName=EVIL, PatientID=EVIL, StudyDescription=EVIL, InstitutionName=EVIL, Manufacturer=EVIL
    )
    evil.RadiopharmaceuticalInformationSequence[0].Radiopharmaceutical = EVIL
    lesions = {EVIL: LESIONS["node"], "b": LESIONS["mass"]}
    noted = SCAN.with_array(SCAN.array, warnings=[EVIL])
    html = as_html(
        make_report(
            source(
                pet=noted, header=evil, lesions=lesions, organs={EVIL: ORGANS["liver"]}, tracer=EVIL,
                made_by=(Field(EVIL, EVIL),), names=(Field("Scan", EVIL),),
            )
        )
    )  # fmt: skip
    told = Page(html)
    assert "script" not in told.tags
    assert told.tags.count("img") == page.tags.count("img")
    assert not any(name.startswith("on") for name, _ in told.attributes)
    assert " ".join(EVIL.split()) in told.text  # it is shown, letter for letter
    assert "49" not in told.text.split("alert(2)>")[1][:6]


LEAK = "LEAK"


def full_header() -> Dataset:
    """A header in which everything that may name somebody does."""
    texts = (
        "PatientID", "IssuerOfPatientID", "OtherPatientNames", "PatientAddress", "PatientComments",
        "PatientBirthName", "EthnicGroup", "Occupation", "AdditionalPatientHistory", "MilitaryRank",
        "PatientTelephoneNumbers", "AccessionNumber", "StudyID", "StudyDescription", "SeriesDescription",
        "ProtocolName", "InstitutionName", "InstitutionAddress", "StationName", "DeviceSerialNumber",
        "InstitutionalDepartmentName", "RequestedProcedureDescription", "PerformedProcedureStepDescription",
        "ImageComments", "ReconstructionMethod", "ConvolutionKernel", "AdmissionID", "DeviceUID",
    )  # fmt: skip
    names = ("PatientName", "ReferringPhysicianName", "OperatorsName", "PerformingPhysicianName",
             "NameOfPhysiciansReadingStudy", "PatientMotherBirthName")  # fmt: skip
    found = header(PatientBirthDate="19510203", PatientAge="073Y")
    for keyword in texts:
        setattr(found, keyword, "9.9.9" if keyword == "DeviceUID" else f"{LEAK} {keyword}"[:16])
    for keyword in names:
        setattr(found, keyword, f"{LEAK}^{keyword}")
    found.RadiopharmaceuticalInformationSequence[0].Radiopharmaceutical = f"FDG {LEAK}"
    found.OtherPatientIDsSequence = Items([header(PatientID=LEAK)])
    return found


def test_anonymous_reports_name_nobody() -> None:
    """Neither page nor PDF, nor what is written into their pictures, holds a name, date, time or UID."""
    told = SCAN.with_array(
        SCAN.array,
        suv={"units_rule": "BQML", "time_rule": "START at 2024-03-05 11:00:00", "uptake_minutes": 60.0,
             "warnings": [f"{LEAK} at 2024-03-05 11:00"]},
        warnings=[LEAK], source=LEAK, files=[LEAK], patient={"weight_kg": 70.0, "height_m": 1.65, "sex": "F"},
    )  # fmt: skip
    lesions = {f"{LEAK} node": LESIONS["node"], f"{LEAK} mass": LESIONS["mass"]}
    organs = {"liver": ORGANS["liver"], LEAK: ORGANS["thing of Mr Doe"]}
    full = full_header()
    arguments = source(
        pet=told, lesions=lesions, organs=organs, header=full, patient=None, names=(Field("Scan", LEAK),)
    )
    openly = Page(as_html(make_report(arguments))).text
    assert LEAK in openly
    report = make_report(arguments, anonymise=True)
    html, pdf = as_html(report), as_pdf(report)
    binary = b"".join(base64.b64decode(d) for d in re.findall(r"base64,([A-Za-z0-9+/=]+)", html)) + pdf
    told_text = Page(html).text
    for text in (html, told_text, pdf_text(pdf)):
        assert LEAK not in text
        assert not re.search(
            r"\b(19|20)\d\d[-. ]?(0[1-9]|1[0-2])[-. ]?\d\d\b", re.sub(r"base64,\S+", "", text)
        )
        assert not re.search(r"\b\d\d:\d\d\b", text)
        for uid in (full.StudyInstanceUID, full.SeriesInstanceUID, full.SOPInstanceUID, "1951", "March"):
            assert uid not in re.sub(r"base64,\S+", "", text)
    assert LEAK.encode() not in binary
    assert re.findall(rb"D:(\d{8})", binary) == [b"19700101"]
    for words in ("ANON-", "Lesion 1", "liver", "Organ 2", "F-18 FDG", "370 MBq", "73 years", "2 warnings"):
        assert words in told_text


def test_the_pdf_has_text_and_the_tables(page: Page) -> None:
    content = as_pdf(make_report(source(header=header(PatientName="Ångström^Ευα"))))
    text = pdf_text(content)
    table = measure(SCAN, LESIONS)
    for words in (
        "Ångström, Ευα",
        "5 March 2024",
        "Key slices",
        "Organs",
        "Physician",
        "Not a medical device",
    ):
        assert words in text
    for row in table.rows:
        assert f"{row.suv_max:.2f}" in text
        assert f"{row.tlg:.1f}" in text
    assert content.startswith(b"%PDF-")


def test_many_lesions_fill_pages() -> None:
    centres = [(x, y, z) for x in (-45, -15, 15, 45) for y in (-30, 0, 30) for z in (-45, -15, 15, 45)]
    lesions = {f"n{n}": ball(GRID, c, 6.0) for n, c in enumerate(centres, start=1)}
    report = make_report(source(lesions=lesions), most_slices=3)
    assert len(report.lesions.rows) == 48
    assert len(report.key_slices) == 3
    assert "first 24 of 48" in report.projections.caption
    pypdf = pytest.importorskip("pypdf")
    pages = pypdf.PdfReader(io.BytesIO(as_pdf(report))).pages
    assert len(pages) >= 3
    assert sum("SUVpeak" in p.extract_text() for p in pages) >= 2  # headings are repeated
    assert f"{len(pages)} / {len(pages)}" in " ".join(pages[-1].extract_text().split())


def test_one_object_is_taken_apart() -> None:
    report = make_report(source(lesions={"all": LESIONS["node"] | LESIONS["mass"]}))
    assert [row.cells[0] for row in report.lesions.rows] == ["lesion 1", "lesion 2"]
    assert any("connected components of the mask" in note for note in report.lesions.notes)
    single = make_report(source(lesions={"node": LESIONS["node"]}))
    assert [row.cells[0] for row in single.lesions.rows] == ["node"]


def test_no_lesion_no_organs_no_header() -> None:
    bare = Volume(SCAN.array, SCAN.affine, "SUVbw")
    report = make_report(Source(bare, {"none": np.zeros(SCAN.shape, bool)}))
    assert "holds no lesion" in Page(as_html(report)).text
    assert "holds no lesion" in pdf_text(as_pdf(report))
    assert report.who == "Patient not stated"
    assert report.organs is None


def test_another_suv() -> None:
    report = make_report(source(), suv="lbm")
    assert "SUVlbm" in report.lesions.notes[0]
    assert report.key_values[1].label == "SUVlbm max"
    factor = 9270 / (8780 + 244 * 70 / 1.65**2)
    assert report.lesions.rows[0].cells[1] == f"{8 * factor:.2f}"
    assert not any("liver" in title for title, _ in report.lesions.columns)  # it was measured in SUVbw


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("liver", True),
        ("Left_Kidney", True),
        ("lungs", True),
        ("liver of Doe", False),
        ("", False),
        ("3", False),
    ],
)
def test_words_for_organs(name: str, known: bool) -> None:
    assert is_anatomy(name) == known
