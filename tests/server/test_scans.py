"""Scans of the server: found in folders, read once, kept apart between their owners."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from anypet.errors import AnyPETError, ReadError
from anypet.io import read, read_study, write
from anypet.server.folder import discover
from anypet.server.scans import NotFoundError, Reading, ScanLibrary
from anypet.volume import Volume
from dicom_factory import make_series, values
from fakes import ball_scan

SCAN = ball_scan((16, 14, 12), centre=(8, 7, 6))


def library(tmp_path: Path, folder: Path | None = None, **how: str) -> ScanLibrary:
    return ScanLibrary(tmp_path / "state", folder, **how)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Studies of three kinds, and things that are none."""
    root = tmp_path / "scans"
    (root / "case 1").mkdir(parents=True)
    write(SCAN, root / "case 1" / "SUV.nii.gz")
    write(SCAN.with_array(np.full(SCAN.shape, 40, np.float32), "HU"), root / "case 1" / "CTres.nii.gz")
    write(SCAN.with_array(SCAN.array > 4, "label"), root / "case 1" / "SEG.nii.gz")
    write(SCAN, root / "alone.nrrd")
    make_series(root / "dicom" / "PT", values())
    shutil.make_archive(str(root / "packed"), "zip", root / "dicom")
    (root / "notes.txt").write_text("hello")
    (root / ".hidden").mkdir()
    return root


def test_a_folder_is_looked_through(folder: Path) -> None:
    found = {one.name: one for one in discover(folder)}
    assert sorted(found) == ["alone.nrrd", "case 1/SUV.nii.gz", "dicom", "packed.zip"]
    ct = found["case 1/SUV.nii.gz"].ct
    assert ct is not None
    assert ct.name == "CTres.nii.gz"
    assert len({one.id for one in found.values()}) == 4
    assert [one.id for one in discover(folder)] == [one.id for one in discover(folder)]


def test_one_study_or_one_file_is_one_scan(folder: Path, tmp_path: Path) -> None:
    assert [one.name for one in discover(folder / "alone.nrrd")] == ["alone.nrrd"]
    assert [one.name for one in discover(folder / "dicom" / "PT")] == ["PT"]
    shutil.copytree(folder / "dicom" / "PT", folder / "dicom" / "PT 2")  # two series folders, one study
    assert [one.name for one in discover(folder / "dicom")] == ["dicom"]
    shutil.rmtree(folder / "dicom" / "PT 2")
    (folder / "dicom" / "other").mkdir()
    assert [one.name for one in discover(folder / "dicom")] == ["PT"]


def test_scans_are_read_as_anypet_reads_them(folder: Path, tmp_path: Path) -> None:
    scans = library(tmp_path, folder)
    for entry in scans.entries("anna"):
        scan = scans.open(entry.id, "anna")
        assert entry.path is not None
        expected = read_study(entry.path, ct=entry.ct)
        assert np.array_equal(scan.pet.array, expected.pet.array)
        assert np.allclose(scan.pet.affine, expected.pet.affine)
        assert (scan.ct is None) == (expected.ct is None)
        if scan.ct is not None and expected.ct is not None:
            assert np.array_equal(scan.ct.array, expected.ct.array)
            assert scan.ct.unit == "HU"
        assert np.array_equal(read(scan.nifti("pet")).array, scan.pet.array)
    with pytest.raises(NotFoundError, match="no 'ct'"):
        scans.open(scans.entries("anna")[0].id, "anna").nifti("ct")


def test_a_scan_is_read_once_and_again_when_its_file_changes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import anypet.server.scans as module

    reads: list[str] = []
    real = module.read_study
    monkeypatch.setattr(
        module, "read_study", lambda path, **how: (reads.append(str(path)), real(path, **how))[1]
    )
    key = next(e.id for e in library(tmp_path, folder).entries("a") if e.name == "alone.nrrd")
    first = library(tmp_path, folder).open(key, "anna")
    again = library(tmp_path, folder)  # as after a restart
    assert again.open(key, "bo").sha256 == first.sha256
    assert len(reads) == 1
    write(SCAN.with_array(SCAN.array * 2), folder / "alone.nrrd")
    os.utime(folder / "alone.nrrd", ns=(1, 1))
    assert np.array_equal(again.open(key, "bo").pet.array, SCAN.array * 2)
    assert again.open(key, "bo").sha256 != first.sha256
    assert np.array_equal(first.pet.array, SCAN.array)  # who had it open still has what it was
    assert len(reads) == 2


def test_what_is_written_into_a_scan_does_not_reach_the_disk(folder: Path, tmp_path: Path) -> None:
    scans = library(tmp_path, folder)
    key = scans.entries("anna")[0].id
    scans.open(key, "anna").pet.array[:] = 99
    assert np.array_equal(library(tmp_path, folder).open(key, "anna").pet.array, SCAN.array)


def test_a_unit_has_to_be_said_where_the_file_does_not(tmp_path: Path) -> None:
    import nibabel as nib

    (tmp_path / "scans").mkdir()
    nib.save(nib.Nifti1Image(SCAN.array, SCAN.affine), tmp_path / "scans" / "pet.nii.gz")
    scans = library(tmp_path, tmp_path / "scans")
    key = scans.entries("anna")[0].id
    with pytest.raises(ReadError, match="unit=") as caught:
        scans.open(key, "anna")
    assert str(tmp_path) not in str(caught.value)
    assert scans.open(key, "anna", Reading("SUVbw")).pet.unit == "SUVbw"
    assert scans.open(key, "anna").pet.unit == "SUVbw"  # it is remembered
    assert library(tmp_path, tmp_path / "scans").open(key, "anna").pet.unit == "SUVbw"
    with pytest.raises(AnyPETError, match="CT"):
        scans.open(key, "anna", Reading("HU"))
    assert library(tmp_path / "b", tmp_path / "scans", unit="SUVbw").open(key, "anna").pet.unit == "SUVbw"


def upload(scans: ScanLibrary, owner: str, name: str = "my scan.nii.gz") -> str:
    path = scans.root.parent / "sent.nii.gz"
    write(SCAN, path)
    return scans.upload([(name, io.BytesIO(path.read_bytes()))], owner).id


def test_uploads_belong_to_who_sent_them(tmp_path: Path) -> None:
    scans = library(tmp_path)
    key = upload(scans, "anna", "../<b>scan</b>.nii.gz")
    assert [e.name for e in scans.entries("anna")] == ["b>.nii.gz"]
    assert scans.entries("bo") == []
    for call in (scans.entry, scans.open, scans.remove):
        with pytest.raises(NotFoundError):
            call(key, "bo")
    assert np.array_equal(library(tmp_path).open(key, "anna").pet.array, SCAN.array)
    scans.remove(key, "anna")
    assert scans.entries("anna") == []
    assert not (scans.root / key).exists()


def test_an_upload_that_fails_leaves_nothing(tmp_path: Path) -> None:
    scans = library(tmp_path)
    with pytest.raises(ReadError):
        scans.upload([("a.txt", io.BytesIO(b"x"))], "anna")
    assert list(scans.root.iterdir()) == []
    (scans.root / ".uabc.part").mkdir()  # a server that was killed while a file came in
    assert list(library(tmp_path).root.iterdir()) == []


@pytest.mark.parametrize("key", ["../../etc", "u" + "0" * 16, "", "u/../x", "a" * 5000, "%2e%2e"])
def test_ids_are_no_paths(tmp_path: Path, key: str) -> None:
    with pytest.raises(NotFoundError):
        library(tmp_path).open(key, "anna")


def test_volumes_that_programs_hand_over_are_kept_once(tmp_path: Path) -> None:
    scans = library(tmp_path)
    one, two = scans.add(SCAN, "anna", "one"), scans.add(SCAN, "anna", "two")
    assert one.entry.id == two.entry.id
    assert scans.add(SCAN, "bo", "one").entry.id != one.entry.id
    moved = Volume(
        SCAN.array, SCAN.affine + np.eye(4)[:, [3, 0, 1, 2]] * 0 + np.diag([0.5, 0, 0, 0]), "SUVbw"
    )
    assert scans.add(moved, "anna", "one").entry.id != one.entry.id
    assert np.array_equal(library(tmp_path).open(one.entry.id, "anna").pet.array, SCAN.array)
    with pytest.raises(AnyPETError, match="SUVbw"):
        scans.add(Volume(SCAN.array, SCAN.affine, "Bq/mL"), "anna", "three")


def test_a_damaged_copy_is_made_again(folder: Path, tmp_path: Path) -> None:
    scans = library(tmp_path, folder)
    key = scans.entries("anna")[0].id
    scans.open(key, "anna")
    (scans.root / key / "scan.json").write_text(json.dumps({"reading": {}}))
    assert np.array_equal(library(tmp_path, folder).open(key, "anna").pet.array, SCAN.array)
    (scans.root / key / "pet.npy").write_bytes(b"x")
    assert np.array_equal(library(tmp_path, folder).open(key, "anna").pet.array, SCAN.array)
