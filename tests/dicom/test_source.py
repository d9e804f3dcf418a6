"""The series that masks were drawn on, found again from a volume or a folder; and without its patient."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest

import anypet
from anypet.dicom import find_source
from anypet.dicom.source import Source
from anypet.errors import AnyPETError, ReadError
from dicom_factory import FRAME_UID, Edit, make_enhanced, make_series, setting, values
from dicom_tools import geometries


def instances(source: Source) -> list[str]:
    return [str(header.SOPInstanceUID) for header in source.headers]


@pytest.mark.parametrize("geometry", geometries(4).values(), ids=geometries(4))
def test_slices_are_in_the_order_of_the_voxels(tmp_path: Path, geometry: dict) -> None:
    make_series(tmp_path, **geometry)
    scan = anypet.read(tmp_path)
    for given in (scan, tmp_path, str(tmp_path), find_source(scan)):
        source = find_source(given)
        np.testing.assert_array_equal(source.affine, scan.affine)
        assert source.grid.same_grid(scan)
        assert source.frames is None
        for k, header in enumerate(source.headers):
            place = np.array(header.ImagePositionPatient, float) * [-1, -1, 1]
            np.testing.assert_allclose(scan.to_mm((0, 0, k)), place, atol=1e-4)
        assert "PixelData" not in source.first


def test_zip_archive_and_volume_of_one(tmp_path: Path) -> None:
    paths = make_series(tmp_path / "pet")
    with zipfile.ZipFile(tmp_path / "pet.zip", "w") as bundle:
        for path in paths:
            bundle.write(path, path.name)
    archive = tmp_path / "pet.zip"
    assert instances(find_source(archive)) == instances(find_source(tmp_path / "pet"))
    with pytest.raises(AnyPETError, match=r"pet\.zip does not come from a DICOM folder"):
        find_source(anypet.read(archive))


def test_pet_before_ct_unless_asked_for(tmp_path: Path) -> None:
    make_series(tmp_path / "ct", modality="CT", number=2)
    assert find_source(tmp_path).first.Modality == "CT"
    make_series(tmp_path / "pet", number=5)
    assert find_source(tmp_path).first.Modality == "PT"
    assert find_source(tmp_path, series=2).first.Modality == "CT"
    uid = str(find_source(tmp_path, series="2").first.SeriesInstanceUID)
    assert str(find_source(tmp_path, series=uid).first.SeriesInstanceUID) == uid
    with pytest.raises(ReadError, match="no series 9"):
        find_source(tmp_path, series=9)


def test_one_frame_of_a_dynamic_series(tmp_path: Path) -> None:
    def minute(n: int) -> Edit:
        return setting(AcquisitionTime=f"11{n:02d}00")

    for n in range(3):
        make_series(tmp_path / str(n), series_uid="1.2.3", edit=minute(n))
    scan = anypet.read(tmp_path, frame=1)
    expected = [str(pydicom.dcmread(p).SOPInstanceUID) for p in sorted((tmp_path / "1").iterdir())]
    assert instances(find_source(scan)) == expected
    assert instances(find_source(tmp_path, frame=1)) == expected
    with pytest.raises(ReadError, match="choose one with frame=0"):
        find_source(tmp_path)


def test_frames_of_a_multi_frame_object(tmp_path: Path) -> None:
    path = make_enhanced(tmp_path / "enhanced", reverse=True)
    source = find_source(anypet.read(path))
    assert source.frames == (4, 3, 2, 1)
    assert len({*instances(source)}) == 1
    second = make_enhanced(tmp_path / "other")
    dataset = pydicom.dcmread(second)
    dataset.SeriesInstanceUID = source.first.SeriesInstanceUID
    for group in dataset.PerFrameFunctionalGroupsSequence:
        group.PlanePositionSequence[0].ImagePositionPatient[2] += 12
    dataset.save_as(second)
    with pytest.raises(AnyPETError, match="several multi-frame objects"):
        find_source(tmp_path)


def test_what_headers_lack_is_filled_in(tmp_path: Path) -> None:
    edit = setting(StudyID=None, AccessionNumber=None, PatientSex="U", SliceThickness=None)
    make_series(tmp_path, edit=edit)
    first = find_source(tmp_path).first
    assert (first.StudyID, first.AccessionNumber, first.PatientSex) == ("", "", "")
    assert float(first.SliceThickness) == 3
    assert first.PatientName == "Test^Case"


def test_what_cannot_be_referred_to(tmp_path: Path) -> None:
    make_series(tmp_path / "a", edit=setting(FrameOfReferenceUID=None))
    with pytest.raises(AnyPETError, match="FrameOfReferenceUID is missing"):
        find_source(tmp_path / "a")
    paths = make_series(tmp_path / "b")
    scan = anypet.read(tmp_path / "b")
    paths[2].unlink()
    with pytest.raises(AnyPETError, match=r"pt1_002\.dcm: the DICOM file .* is gone"):
        find_source(scan)
    with pytest.raises(ReadError, match="no such file"):
        find_source(tmp_path / "c")
    anypet.write(scan, tmp_path / "scan.nii.gz")
    with pytest.raises(AnyPETError, match=r"scan\.nii\.gz does not come from a DICOM folder"):
        find_source(anypet.read(tmp_path / "scan.nii.gz"))


def test_without_the_patient(tmp_path: Path) -> None:
    secret = {
        "PatientName": "Secret^Name",
        "PatientID": "SECRET-1",
        "PatientBirthDate": "19400102",
        "PatientAge": "084Y",
        "PatientComments": "secret",
        "OtherPatientIDs": "SECRET-2",
        "AccessionNumber": "SECRET-3",
        "StudyID": "SECRET-4",
        "ReferringPhysicianName": "Secret^Doctor",
        "InstitutionName": "Secret Hospital",
        "StudyDescription": "secret",
        "SeriesDescription": "secret",
        "StationName": "SECRET",
        "DeviceSerialNumber": "SECRET-5",
        "OperatorsName": "Secret^Nurse",
    }
    make_series(tmp_path, edit=setting(**secret))
    source = find_source(tmp_path)
    bare = source.anonymised()
    assert "secret" not in "\n".join(str(header) for header in bare.headers).lower()
    for keyword in (
        "SOPInstanceUID",
        "StudyInstanceUID",
        "StudyDate",
        "PatientSex",
        "PatientWeight",
        "PatientSize",
    ):
        assert bare.first[keyword].value == source.first[keyword].value
    assert bare.first.FrameOfReferenceUID == FRAME_UID
    assert bare.first.PatientIdentityRemoved == "YES"
    assert str(bare.first.PatientID).startswith("ANON-")
    assert bare.first.PatientID == find_source(tmp_path).anonymised().first.PatientID
    np.testing.assert_array_equal(bare.affine, source.affine)
    assert values().shape == bare.grid.shape
