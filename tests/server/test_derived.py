"""Files of a session on a DICOM study: what is exported reads back to the same masks and numbers."""

from __future__ import annotations

import csv
import html
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pydicom
import pytest
from highdicom import sr
from pypdf import PdfReader

from anypet.io import read, read_masks
from anypet.quantify.measures import measure
from anypet.server.boxes import decode
from anypet.volume import Volume
from serving import Served, dicom_study, settings

MIDDLE = [24, 20, 30]
NAMES = ["object 1", "half"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    with Served(settings(folder, folder=dicom_study(folder))) as one:
        yield one


@pytest.fixture(scope="module")
def scan(served: Served) -> Volume:
    assert served.engine.settings.folder is not None
    return read(served.engine.settings.folder)


@pytest.fixture(scope="module")
def work(served: Served) -> tuple[httpx.Client, str]:
    """A session with two objects that overlap, and an empty one."""
    client = served.client()
    path = served.session(client)
    client.post(f"{path}/point", json={"point": MIDDLE, "space": "voxel"}).raise_for_status()
    client.post(f"{path}/objects", json={"name": "half"}).raise_for_status()
    for point, positive in ((MIDDLE, True), ([28, 20, 30], False)):
        body = {"point": point, "positive": positive, "space": "voxel"}
        client.post(f"{path}/point", json=body).raise_for_status()
    client.post(f"{path}/objects", json={"name": "empty"}).raise_for_status()
    return client, path


def masks(client: httpx.Client, path: str, shape: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """The masks as the server tells them."""
    return {
        name: decode(client.get(f"{path}/mask", params={"object": name}).json()["mask"]).on_grid(shape, bool)
        for name in NAMES
    }


def save(client: httpx.Client, path: str, kind: str, file: Path, **params: Any) -> Path:
    file.write_bytes(client.get(f"{path}/export/{kind}", params=params).raise_for_status().content)
    return file


@pytest.mark.parametrize("kind", ["seg", "rtstruct"])
def test_dicom_reads_back_to_the_same_voxels(
    work: tuple[httpx.Client, str], scan: Volume, kind: str, tmp_path: Path
) -> None:
    shown = masks(*work, scan.shape)
    assert 100 < shown["half"].sum() < shown["object 1"].sum()
    found = read_masks(save(*work, kind, tmp_path / "a.dcm"), scan)
    assert list(found) == NAMES  # the empty one is left out
    for name, mask in found.items():
        assert np.array_equal(mask, shown[name])
    found = read_masks(save(*work, kind, tmp_path / "b.dcm", object=["half"]), scan)
    assert list(found) == ["half"]
    assert np.array_equal(found["half"], shown["half"])


def test_a_report_comes_with_the_segmentation_that_it_refers_to(
    work: tuple[httpx.Client, str], scan: Volume, tmp_path: Path
) -> None:
    client, path = work
    with zipfile.ZipFile(save(client, path, "sr", tmp_path / "report.zip")) as archive:
        assert sorted(archive.namelist()) == ["seg.dcm", "sr.dcm"]
        archive.extractall(tmp_path)
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    report = sr.srread(tmp_path / "sr.dcm")
    groups = report.content.get_volumetric_roi_measurement_groups()
    table = {row["name"]: row["measures"] for row in client.get(f"{path}/table").json()}
    assert [group.tracking_identifier for group in groups] == NAMES
    for group in groups:
        refers = group.referenced_segment[0].ReferencedSOPSequence[0]
        assert refers.ReferencedSOPInstanceUID == seg.SOPInstanceUID
        told = table[group.tracking_identifier]
        found = {
            (m.name.meaning, m.derivation.meaning if m.derivation else ""): m.value
            for m in group.get_measurements()
        }
        by_name = {name: value for (name, how), value in found.items()}
        assert by_name["Volume"] == pytest.approx(told["volume_ml"], rel=1e-6)
        by_derivation = {how: value for (name, how), value in found.items() if name.startswith("SUV")}
        assert by_derivation["Maximum"] == pytest.approx(told["suv_max"], rel=1e-6)
        assert by_derivation["Mean"] == pytest.approx(told["suv_mean"], rel=1e-6)


def test_the_tables_are_those_of_the_library(work: tuple[httpx.Client, str], scan: Volume) -> None:
    client, path = work
    expected = {row.name: row for row in measure(scan, masks(client, path, scan.shape)).rows}
    table = client.get(f"{path}/table").json()
    assert [row["name"] for row in table] == NAMES
    revisions = {o["name"]: o["revision"] for o in client.get(path).json()["objects"]}
    for row in table:
        assert row["revision"] == revisions[row["name"]]
        for name in ("suv_max", "suv_mean", "suv_peak", "volume_ml", "tlg"):
            assert row["measures"][name] == pytest.approx(getattr(expected[row["name"]], name), rel=1e-6)
    rows = list(csv.DictReader(io.StringIO(client.get(f"{path}/export/csv").text)))
    assert [row["name"] for row in rows] == [*NAMES, "total"]
    assert {row["scan"] for row in rows} == {client.get("/api/scans").json()[0]["name"]}
    for row in rows[:2]:
        assert float(row["suv_peak"]) == pytest.approx(expected[row["name"]].suv_peak)
        assert float(row["tlg"]) == pytest.approx(expected[row["name"]].tlg)


def test_reports_name_patient_and_objects_as_text(work: tuple[httpx.Client, str]) -> None:
    client, path = work
    evil = "<img src=x onerror=alert(1)>"
    client.patch(f"{path}/objects", json={"name": "half", "rename": evil}).raise_for_status()
    try:
        answer = client.get(f"{path}/export/report").raise_for_status()
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert evil not in answer.text
        assert html.escape(evil) in answer.text
        assert "T1" in answer.text  # the patient's ID, from the header
        pdf = client.get(f"{path}/export/pdf").raise_for_status().content
        text = "".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages)
        assert "object 1" in text
    finally:
        client.patch(f"{path}/objects", json={"name": evil, "rename": "half"}).raise_for_status()


def test_a_name_in_the_table_is_no_formula(work: tuple[httpx.Client, str]) -> None:
    client, path = work
    change = {"name": "half", "rename": "=1+1"}
    client.patch(f"{path}/objects", json=change).raise_for_status()
    try:
        text = client.get(f"{path}/export/csv").text
        assert ",'=1+1," in text
    finally:
        client.patch(f"{path}/objects", json={"name": "=1+1", "rename": "half"}).raise_for_status()


def test_every_kind_can_be_had(work: tuple[httpx.Client, str]) -> None:
    client, path = work
    kinds = {one["kind"] for one in client.get(f"{path}/exports").json()}
    reports = {"report", "pdf"}
    assert kinds == {"nifti", "nrrd", "seg", "rtstruct", "sr", "csv", "timers", "session"} | reports
    for kind in kinds:
        answer = client.get(f"{path}/export/{kind}")
        assert answer.status_code == 200
        assert answer.content
    empty = {"object": ["empty"]}
    for kind in kinds - {"timers", "session"}:
        assert client.get(f"{path}/export/{kind}", params=empty).status_code == 422


def test_files_without_the_patients_name(
    work: tuple[httpx.Client, str], scan: Volume, tmp_path: Path
) -> None:
    """Name, number and file name of the scan are gone from everything; the masks are the same."""
    client, path = work
    scan_name = client.get("/api/scans").json()[0]["name"]
    for one in client.get(f"{path}/exports").json():
        kind = one["kind"]
        answer = client.get(f"{path}/export/{kind}", params={"anonymise": True})
        if kind in ("timers", "session"):
            assert answer.status_code == 422
            assert "without anonymising" in answer.text
            continue
        assert answer.status_code == 200, answer.text
        assert scan_name not in answer.headers["Content-Disposition"]
        content = answer.content
        if kind == "sr":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                content = b"".join(archive.read(name) for name in archive.namelist())
        if kind == "pdf":
            content = "".join(p.extract_text() for p in PdfReader(io.BytesIO(content)).pages).encode()
        assert b"Test^Case" not in content
        assert b"Case" not in content
        if kind in ("seg", "rtstruct"):
            assert pydicom.dcmread(io.BytesIO(content)).PatientID not in ("", "T1")
    shown = masks(client, path, scan.shape)
    found = read_masks(save(client, path, "seg", tmp_path / "a.dcm", anonymise=True), scan)
    for name, mask in found.items():
        assert np.array_equal(mask, shown[name])


def test_a_study_in_a_zip_is_found_again(served: Served, scan: Volume, tmp_path: Path) -> None:
    client = served.client()
    buffer = io.BytesIO()
    folder = served.engine.settings.folder
    with zipfile.ZipFile(buffer, "w") as archive:
        for file in sorted(folder.rglob("*.dcm")):
            archive.write(file, file.relative_to(folder))
    sent = client.post("/api/scans", files={"files": ("study.zip", buffer.getvalue())}).raise_for_status()
    told = client.post("/api/sessions", json={"scan": sent.json()["id"]}).raise_for_status().json()
    path = f"/api/sessions/{told['id']}"
    client.post(f"{path}/point", json={"point": MIDDLE, "space": "voxel"}).raise_for_status()
    shown = decode(client.get(f"{path}/mask").json()["mask"]).on_grid(scan.shape, bool)
    found = read_masks(save(client, path, "seg", tmp_path / "a.dcm"), scan)
    assert np.array_equal(found["object 1"], shown)
