"""TID 1500 reports: values, units and codes as highdicom and dcmqi read them; what does not fit together."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from highdicom import sr

import anypet
from anypet.dicom import (
    Algorithm,
    find_source,
    measurements,
    segmentation,
    write_measurements,
    write_segmentation,
)
from anypet.dicom.codes import MEASURES
from anypet.errors import AnyPETError, ReadError
from anypet.volume import Volume
from dicom_factory import make_enhanced, make_series
from dicom_tools import dciodvfy_errors, dcmqi_report, geometries

VALUES = {key: 1.5 + n for n, key in enumerate(MEASURES)}


@pytest.fixture
def scan(tmp_path: Path) -> Volume:
    make_series(tmp_path / "pet")
    return anypet.read(tmp_path / "pet")


@pytest.fixture
def seg(tmp_path: Path, scan: Volume) -> Path:
    write_segmentation(make_masks(scan), scan, tmp_path / "seg.dcm")
    return tmp_path / "seg.dcm"


def make_masks(scan: Volume) -> dict[str, np.ndarray]:
    masks = {name: np.zeros(scan.shape, bool) for name in ("left kidney", "lesion 1", "lesion 2")}
    masks["left kidney"][1:3, 1:3, 1:3] = masks["lesion 1"][4, 4, 3] = True
    return masks


def groups_of(path: Path) -> list:
    content = sr.srread(path).content
    return content.get_volumetric_roi_measurement_groups()


def referenced(group: sr.VolumetricROIMeasurementsAndQualitativeEvaluations) -> tuple[str, int]:
    """The SEG that a group refers to, and the number of its segment."""
    reference = group.referenced_segment[0].ReferencedSOPSequence[0]
    return reference.ReferencedSOPInstanceUID, int(reference.ReferencedSegmentNumber)


def test_every_measure_with_its_code_and_unit(tmp_path: Path, scan: Volume, seg: Path) -> None:
    path = tmp_path / "sr.dcm"
    write_measurements({"lesion 1": VALUES}, seg, scan, path)
    (group,) = groups_of(path)
    found = group.get_measurements()
    assert [m.value for m in found] == list(VALUES.values())
    written = {(m.name.value, m.derivation.value if m.derivation else None): m for m in found}
    assert len(written) == len(MEASURES)
    assert written["126401", "56851009"].value == VALUES["suv_max"]  # SUVbw, Maximum
    assert written["126401", "126031"].value == VALUES["suv_peak"]  # SUVbw, Peak Value Within ROI
    assert written["126401", "373098007"].unit.value == "g/ml{SUVbw}"
    assert written["126033", None].value == VALUES["tlg"]
    assert written["126032", None].unit.value == "ml"
    assert dciodvfy_errors(path) == []


def test_groups_refer_to_their_segments(tmp_path: Path, scan: Volume, seg: Path) -> None:
    path = tmp_path / "sr.dcm"
    values = {"lesion 1": {"suv_max": 5.0}, "left kidney": {"volume_ml": 0.48}}
    write_measurements(values, seg, scan, path, algorithm=Algorithm("compact", "3"))
    header = pydicom.dcmread(seg)
    lesion, kidney = groups_of(path)
    for group, number in ((lesion, 2), (kidney, 1)):
        segment = header.SegmentSequence[number - 1]
        assert group.tracking_uid == segment.TrackingUID
        assert group.tracking_identifier == segment.SegmentLabel
        assert referenced(group) == (header.SOPInstanceUID, number)
    assert kidney.finding_type.meaning == "Kidney"
    assert kidney.finding_sites[0].laterality.meaning == "Left"
    assert lesion.finding_category.meaning == "Morphologically Abnormal Structure"
    report = pydicom.dcmread(path)
    assert (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    evidence = {
        str(item.ReferencedSOPInstanceUID)
        for sequence in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")
        for study in report.get(sequence, ())
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    instances = {str(pydicom.dcmread(file).SOPInstanceUID) for file in scan.meta["files"]}
    assert evidence == {*instances, str(header.SOPInstanceUID)}


def test_dcmqi_reads_the_same(tmp_path: Path, scan: Volume, seg: Path) -> None:
    path = tmp_path / "sr.dcm"
    write_measurements({"lesion 1": VALUES, "left kidney": {"suv_mean": 2.25}}, seg, scan, path)
    lesion, kidney = dcmqi_report(path, tmp_path)["Measurements"]
    assert [float(m["value"]) for m in lesion["measurementItems"]] == list(VALUES.values())
    (item,) = kidney["measurementItems"]
    assert float(item["value"]) == 2.25
    assert item["quantity"]["CodeMeaning"] == "SUVbw"
    assert item["derivationModifier"]["CodeMeaning"] == "Mean"
    assert kidney["ReferencedSegment"] == 1
    assert lesion["SourceSeriesForImageSegmentation"] == scan.meta["series_uid"]


def test_total_of_all_regions(tmp_path: Path, scan: Volume, seg: Path) -> None:
    path = tmp_path / "sr.dcm"
    total = {"mtv_ml": 7.5, "tlg": 30.0}
    write_measurements({"lesion 1": {"suv_max": 5.0}}, seg, scan, path, total=total)
    assert len(groups_of(path)) == 1
    (group,) = sr.srread(path).content.get_image_measurement_groups()
    assert group.tracking_identifier == "all regions together"
    assert [m.value for m in group.get_measurements()] == [7.5, 30.0]
    assert dciodvfy_errors(path) == []


def test_values_of_an_empty_region_are_left_out(scan: Volume, seg: Path, tmp_path: Path) -> None:
    path = tmp_path / "sr.dcm"
    empty = {"suv_max": float("nan"), "suv_mean": float("inf"), "volume_ml": 0.0}
    write_measurements({"lesion 2": empty}, seg, scan, path)
    (group,) = groups_of(path)
    assert [(m.name.meaning, m.value) for m in group.get_measurements()] == [("Volume", 0.0)]


@pytest.mark.parametrize("kind", ["labelmap", "fractional"])
def test_other_kinds_of_segmentation(scan: Volume, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "sr.dcm"
    made = segmentation(make_masks(scan), scan, kind=kind)  # type: ignore[arg-type]
    write_measurements({"lesion 1": {"suv_max": 5.0}}, made, scan, path)
    (group,) = groups_of(path)
    assert referenced(group) == (made.SOPInstanceUID, 2)
    with pytest.raises(AnyPETError, match="no segment 'Background'"):
        measurements({"Background": {"suv_max": 5.0}}, made, scan)


@pytest.mark.parametrize("geometry", [*geometries(4), "multi-frame"])
def test_every_geometry_is_valid(tmp_path: Path, geometry: str) -> None:
    if geometry == "multi-frame":
        make_enhanced(tmp_path / "pet")
    else:
        make_series(tmp_path / "pet", **geometries(4)[geometry])
    scan, path = anypet.read(tmp_path / "pet"), tmp_path / "sr.dcm"
    made = segmentation(make_masks(scan), scan)
    write_measurements({"lesion 1": {"suv_max": 5.0}}, made, scan, path, suv_unit="SUVlbm")
    assert dciodvfy_errors(path) == []
    (group,) = groups_of(path)
    assert group.get_measurements()[0].name.meaning == "SUVlbm(Janma)"


def test_without_the_patient(scan: Volume, tmp_path: Path) -> None:
    source, path = find_source(scan).anonymised(), tmp_path / "sr.dcm"
    write_measurements({"lesion 1": {"tlg": 5.0}}, segmentation(make_masks(scan), source), source, path)
    assert b"Test^Case" not in path.read_bytes()
    assert pydicom.dcmread(path).PatientID == source.first.PatientID
    assert dciodvfy_errors(path) == []


def test_what_does_not_fit_together(scan: Volume, seg: Path, tmp_path: Path) -> None:
    with pytest.raises(AnyPETError, match=r"no segment 'liver' .*'left kidney', 'lesion 1'"):
        measurements({"liver": {"suv_max": 1.0}}, seg, scan)
    with pytest.raises(AnyPETError, match="no DICOM code for the measure 'voxels'"):
        measurements({"lesion 1": {"voxels": 1.0}}, seg, scan)
    with pytest.raises(AnyPETError, match="no measure"):
        measurements({}, seg, scan)
    with pytest.raises(ReadError, match=r"pt1_000\.dcm: no DICOM SEG"):
        measurements({"lesion 1": {"suv_max": 1.0}}, scan.meta["files"][0], scan)
    (tmp_path / "text").write_text("no DICOM")
    with pytest.raises(ReadError, match="cannot be read as DICOM"):
        measurements({"lesion 1": {"suv_max": 1.0}}, tmp_path / "text", scan)
    make_series(tmp_path / "other", series_uid=hd.UID())
    with pytest.raises(AnyPETError, match=r"was drawn on series .* but the measures are of series"):
        measurements({"lesion 1": {"suv_max": 1.0}}, seg, tmp_path / "other")
