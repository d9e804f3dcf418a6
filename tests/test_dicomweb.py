"""A PACS: what is stored there is found, fetched, segmented, and its results read back to the same voxels."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pydicom
import pytest
import typer
from typer.testing import CliRunner

import anypet
from anypet.cli.pull import pull
from anypet.cli.push import push
from anypet.dicomweb import Archive, checked_uid, read_objects
from anypet.errors import AnyPETError
from anypet.io import read_masks
from anypet.server.boxes import decode
from dicom_factory import STUDY_UID, make_series
from fakes import ball_scan
from orthanc import PASSWORD, USER, running
from serving import OTHER, Served, dicom_study, settings

DERIVED = {"SEG", "RTSTRUCT", "SR"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("orthanc")) as url:
        yield url


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dicom_study(tmp_path_factory.mktemp("scanner"))


@pytest.fixture(scope="module")
def archive(url: str, study: Path) -> Archive:
    """Holds one PET/CT study, and one that is a CT only."""
    archive = Archive(url, USER, PASSWORD)
    assert len(archive.store(read_objects([study]))) == 2 * ball_scan().shape[2]

    def other(ds: Any, k: int) -> None:
        ds.StudyInstanceUID, ds.PatientID, ds.PatientName = STUDY_UID + ".7", "T2", "Other^Case"

    make_series(study.parent / "other", modality="CT", edit=other)
    archive.store(read_objects([study.parent / "other"]))
    return archive


def test_studies_are_found_by_patient_name_and_date(archive: Archive) -> None:
    for asked in (
        {"patient": "T1"}, {"name": "est"}, {"name": "Test*"}, {"name": "test case"}, {"name": "Test^Case"},
        {"study": STUDY_UID}, {"date": "20240305"}, {"date": "20240301-20240331"}, {"date": "20240305-"}, {},
    ):  # fmt: skip
        found = archive.find(**asked)
        assert [one.uid for one in found] == [STUDY_UID], asked
        assert set(found[0].modalities) - DERIVED == {"PT", "CT"}
        assert (found[0].patient_id, found[0].patient_name) == ("T1", "Test^Case")
        assert (found[0].date, found[0].time, found[0].accession) == ("20240305", "095500", "")
        assert found[0].instances >= 112
    for asked in (
        {"patient": "T2"},
        {"name": "nobody"},
        {"name": "case test"},
        {"date": "-20240304"},
        {"patient": "t"},
    ):
        assert archive.find(**asked) == [], asked
    assert len(archive.find(modality="")) == 2
    assert len(archive.find(modality="", limit=1)) == 1


def test_a_study_is_fetched_as_the_scanner_wrote_it(archive: Archive, study: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    folder = archive.fetch(
        STUDY_UID, tmp_path / "copy", progress=lambda done, planned: seen.append((done, planned))
    )
    assert seen[-1] == (112, 112)
    assert [done for done, _ in seen] == list(range(1, 113))
    for mine in (anypet.read(study), anypet.io.read_study(study).ct):
        assert mine is not None
        theirs = anypet.io.read_study(folder)
        again = theirs.pet if mine.unit == "SUVbw" else theirs.ct
        assert again is not None
        assert np.array_equal(again.array, mine.array)
        assert np.allclose(again.affine, mine.affine)
    pet = next(one for one in archive.series(STUDY_UID) if one.modality == "PT")
    archive.fetch(STUDY_UID, tmp_path / "pet", series=[pet.uid])
    assert len(list((tmp_path / "pet").rglob("*.dcm"))) == pet.instances == 56
    with pytest.raises(AnyPETError, match="there already"):
        archive.fetch(STUDY_UID, tmp_path / "pet")
    with pytest.raises(AnyPETError, match="not on"):
        archive.fetch(STUDY_UID, tmp_path / "none", series=["1.2.3"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy", "pet"]


def test_what_breaks_off_leaves_no_folder(archive: Archive, tmp_path: Path) -> None:
    def stop(done: int, planned: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        archive.fetch(STUDY_UID, tmp_path / "copy", progress=stop)
    assert list(tmp_path.iterdir()) == []


def finished(client: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    until = time.monotonic() + 120
    while job["state"] == "running":
        assert time.monotonic() < until
        job = client.get(f"/api/jobs/{job['id']}", params={"wait": 5}).json()
    return job


def test_from_the_archive_to_a_click_and_back(archive: Archive, study: Path, tmp_path: Path) -> None:
    with Served(settings(tmp_path, archive=archive)) as served:
        client = served.client()
        assert client.get("/api/pacs").json() == {"name": "127.0.0.1"}
        listed = client.get("/api/pacs/studies", params={"patient": "T1"}).json()
        assert [one["uid"] for one in listed] == [STUDY_UID]
        job = finished(client, client.post(f"/api/pacs/studies/{STUDY_UID}/fetch").json())
        assert (job["state"], job["done"]) == ("done", 112), job
        scan = job["result"]
        assert scan["name"] == "Test^Case 20240305"
        assert scan["id"] in [one["id"] for one in client.get("/api/scans").json()]
        assert served.client(OTHER).get("/api/scans").json() == []
        told = client.post("/api/sessions", json={"scan": scan["id"]}).raise_for_status().json()
        path = f"/api/sessions/{told['id']}"
        assert client.post(f"{path}/push").status_code == 422  # nothing is segmented yet
        client.post(f"{path}/point", json={"point": [24, 20, 30], "space": "voxel"}).raise_for_status()
        client.post(f"{path}/objects", json={"name": "node"}).raise_for_status()
        client.post(f"{path}/box", json={"lo": [20, 16, 26], "hi": [28, 24, 34], "space": "voxel"})
        shape = ball_scan().shape
        shown = {
            name: decode(client.get(f"{path}/mask", params={"object": name}).json()["mask"]).on_grid(
                shape, bool
            )
            for name in ("object 1", "node")
        }
        assert all(mask.sum() > 100 for mask in shown.values())
        assert served.client(OTHER).post(f"{path}/push").status_code == 404
        job = finished(client, client.post(f"{path}/push").json())
        assert job["state"] == "done", job

    stored = {one["kind"]: one for one in job["result"]["stored"]}
    assert set(stored) == {"seg", "rtstruct", "sr"}
    series = {one.uid: one for one in archive.series(STUDY_UID)}
    for kind, one in stored.items():
        assert series[one["series"]].modality == kind.upper()
        back = archive.fetch(STUDY_UID, tmp_path / kind, series=[one["series"]])
        file = next(back.rglob("*.dcm"))
        assert pydicom.dcmread(file).SOPInstanceUID == one["instance"]
        if kind == "sr":
            assert stored["seg"]["instance"] in str(pydicom.dcmread(file))
            continue
        found = read_masks(file, anypet.read(study))
        assert list(found) == list(shown)
        for name, mask in found.items():
            assert np.array_equal(mask, shown[name]), (kind, name)


def test_a_server_without_archive_says_so(tmp_path: Path) -> None:
    with Served(settings(tmp_path)) as served:
        client = served.client()
        assert client.get("/api/pacs").json() == {"name": None}
        for answer in (client.get("/api/pacs/studies"), client.post("/api/pacs/studies/1.2/fetch")):
            assert answer.status_code == 404
            assert "--pacs" in answer.json()["detail"]


def invoke(command: Any, *arguments: str, **environment: str) -> Any:
    app = typer.Typer()
    app.command()(command)
    env = {"COLUMNS": "200", "ANYPET_PACS_USER": USER, "ANYPET_PACS_PASSWORD": PASSWORD, **environment}
    return CliRunner().invoke(app, arguments, env=env)


def test_the_command_line_lists_fetches_and_stores(
    archive: Archive, url: str, study: Path, tmp_path: Path
) -> None:
    listed = invoke(pull, url, "--patient", "T1")
    assert listed.exit_code == 0, listed.output
    assert STUDY_UID in listed.output
    assert "Test^Case" in listed.output
    assert "no PET study" in invoke(pull, url, "--patient", "T2").output
    fetched = invoke(pull, url, "--study", STUDY_UID, "-o", str(tmp_path / "study"))
    assert fetched.exit_code == 0, fetched.output
    assert np.array_equal(anypet.read(tmp_path / "study").array, anypet.read(study).array)
    wrong = invoke(pull, url, "--patient", "T2", "-o", str(tmp_path / "none"))
    assert isinstance(wrong.exception, AnyPETError)
    assert "0 PET studies" in str(wrong.exception)

    def another(ds: Any, k: int) -> None:
        ds.StudyInstanceUID = STUDY_UID + ".9"

    files = make_series(tmp_path / "one", modality="CT", edit=another)
    pushed = invoke(push, str(tmp_path / "one"), ANYPET_PACS=url)
    assert f"stored {len(files)} objects" in pushed.output, pushed.exception
    assert [one.instances for one in archive.series(STUDY_UID + ".9")] == [len(files)]


def test_who_may_not_is_told(url: str) -> None:
    for wrong in (Archive(url), Archive(url, USER, "wrong"), Archive(url, token="wrong")):
        with pytest.raises(AnyPETError, match="user and a password"):
            wrong.find()
    with pytest.raises(AnyPETError, match=r"refuses|speak DICOMweb"):
        Archive(url.removesuffix("/dicom-web"), USER, PASSWORD).find()


def test_no_archive_there_is_said() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(AnyPETError, match="does not answer"):
        Archive(f"http://127.0.0.1:{port}/dicom-web").find()
    for address in ("pacs.example", "ftp://pacs.example", "file:///etc/passwd", ""):
        with pytest.raises(AnyPETError, match="no address"):
            Archive(address)


@pytest.mark.parametrize("text", ["", "1", "../1.2", "1.2/3", "1.2\n", "1..2", "1.2" * 30])
def test_what_is_no_uid_is_not_asked_for(text: str) -> None:
    with pytest.raises(AnyPETError, match="no UID"):
        checked_uid(text)


def test_what_is_no_dicom_is_not_stored(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("not DICOM")
    for path, says in (
        (tmp_path / "note.txt", "no DICOM"),
        (tmp_path, "no DICOM"),
        (tmp_path / "x", "no such"),
    ):
        with pytest.raises(AnyPETError, match=says):
            list(read_objects([path]))
