"""DICOM SEG: the same voxels in every geometry, by four readers; references; what cannot be written."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import highdicom as hd
import numpy as np
import numpy.typing as npt
import pydicom
import pytest

import anypet
from anypet.dicom import Algorithm, find_source, segmentation, write_segmentation
from anypet.errors import AnyPETError
from anypet.io import read_masks
from anypet.volume import Volume
from dicom_factory import Edit, make_enhanced, make_series, values
from dicom_tools import assert_same, dciodvfy_errors, dcmqi_masks, geometries, seg_by_hand

SHAPE = (12, 10, 9)
Masks = dict[str, npt.NDArray[np.bool_]]


@pytest.fixture(params=geometries(SHAPE[2]).values(), ids=geometries(SHAPE[2]))
def scan(request: pytest.FixtureRequest, tmp_path: Path) -> Volume:
    return make_scan(tmp_path / "pet", **request.param)


def make_scan(folder: Path, **geometry: object) -> Volume:
    make_series(folder, values(SHAPE) // 4, **geometry)  # type: ignore[arg-type]
    return anypet.read(folder)


def make_masks() -> Masks:
    """Regions that overlap, touch, have a hole, lie far apart, or are one voxel; and one without any."""
    masks = {
        name: np.zeros(SHAPE, bool) for name in ("left kidney", "lesion 1", "lesion 2", "liver", "spleen")
    }
    masks["left kidney"][1:6, 2:7, 1:4] = True
    masks["left kidney"][3, 4, 2] = False
    masks["left kidney"][8, 8, 7] = True
    masks["lesion 1"][4:8, 4:9, 2:4] = True
    masks["lesion 2"][8, 4, 2] = True
    masks["liver"][0, 0, 0] = masks["liver"][11, 9, 8] = True
    return masks


def test_binary_is_voxel_identical(scan: Volume, tmp_path: Path) -> None:
    masks, path = make_masks(), tmp_path / "seg.dcm"
    write_segmentation(masks, scan, path)
    assert_same(read_masks(path, scan), masks)
    assert_same(seg_by_hand(path, scan), masks)
    assert dciodvfy_errors(path) == []


def test_binary_by_dcmqi(scan: Volume, tmp_path: Path) -> None:
    masks, path = make_masks(), tmp_path / "seg.dcm"
    del masks["spleen"]  # dcmqi leaves out what has no voxel
    write_segmentation(masks, scan, path)
    assert_same(dcmqi_masks(path, scan, tmp_path / "dcmqi"), masks)


def test_fractional_keeps_probabilities(scan: Volume, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    probability = {"a": rng.random(SHAPE), "lesion": np.where(make_masks()["lesion 1"], 0.7, 0.0)}
    path = tmp_path / "seg.dcm"
    write_segmentation(probability, scan, path, kind="fractional")
    seg = hd.seg.segread(path)
    assert seg.segmentation_fractional_type.value == "PROBABILITY"
    read = seg.get_volume(segment_numbers=[1]).array[..., 0]  # (slice, row, column) along highdicom's axes
    expected = np.sort(probability["a"].ravel())
    assert np.abs(np.sort(read.ravel()) - expected).max() <= 0.5 / 255 + 1e-6
    assert_same(read_masks(path, scan), {name: array >= 0.5 for name, array in probability.items()})
    assert dciodvfy_errors(path) == []


def test_one_probability_volume(tmp_path: Path) -> None:
    scan = make_scan(tmp_path / "pet")
    probability = np.linspace(0, 1, scan.array.size).reshape(SHAPE)
    path = tmp_path / "seg.dcm"
    write_segmentation(
        Volume(probability, scan.affine, "probability"), scan, path, kind="fractional", names={1: "x"}
    )
    assert_same(read_masks(path, scan), {"x": probability >= 0.5})
    write_segmentation({"a": probability >= 0.3}, scan, path, kind="fractional")  # a mask is 0 and 1
    assert_same(read_masks(path, scan), {"a": probability >= 0.3})
    with pytest.raises(AnyPETError, match="take kind='fractional'"):
        write_segmentation({"x": probability}, scan, path)


def test_label_map(scan: Volume, tmp_path: Path) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    for value, mask in enumerate(make_masks().values(), start=1):
        labels[mask] = value
    named = scan.with_array(labels, unit="label", names=dict(enumerate(make_masks(), start=1)))
    path = tmp_path / "seg.dcm"
    write_segmentation(named, scan, path, kind="labelmap")
    assert_same(read_masks(path, scan), {name: labels == n for n, name in named.meta["names"].items()})
    seg = hd.seg.segread(path)
    assert seg.segmentation_type.value == "LABELMAP"
    assert seg.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.7"


def test_label_map_cannot_overlap(tmp_path: Path) -> None:
    scan = make_scan(tmp_path / "pet")
    masks = make_masks()
    shared = int((sum(mask.astype(int) for mask in masks.values()) > 1).sum())
    with pytest.raises(AnyPETError, match=f"overlap in {shared} voxels"):
        segmentation(masks, scan, kind="labelmap")
    with pytest.raises(AnyPETError, match="unknown kind 'bits'"):
        segmentation(make_masks(), scan, kind="bits")  # type: ignore[arg-type]


def test_frames_name_the_slices_that_they_lie_on(scan: Volume) -> None:
    seg = segmentation(make_masks(), scan)
    headers = {str(h.SOPInstanceUID): h for h in map(pydicom.dcmread, scan.meta["files"])}
    assert {str(r.ReferencedSOPInstanceUID) for r in seg.SourceImageSequence} == set(headers)
    assert str(seg.ReferencedSeriesSequence[0].SeriesInstanceUID) == scan.meta["series_uid"]
    for group in seg.PerFrameFunctionalGroupsSequence:
        (image,) = group.DerivationImageSequence[0].SourceImageSequence
        own = headers[str(image.ReferencedSOPInstanceUID)]
        assert group.PlanePositionSequence[0].ImagePositionPatient == own.ImagePositionPatient
        assert image.SpatialLocationsPreserved == "YES"


def test_header_is_the_patients(tmp_path: Path) -> None:
    scan = make_scan(tmp_path / "pet")
    first = pydicom.dcmread(scan.meta["files"][0])
    seg = segmentation(make_masks(), scan, algorithm=Algorithm("compact", "3", "AUTOMATIC"))
    for keyword in ("PatientName", "PatientID", "PatientSex", "PatientWeight", "StudyInstanceUID"):
        assert seg[keyword].value == first[keyword].value
    assert seg.FrameOfReferenceUID == first.FrameOfReferenceUID
    assert seg.SeriesInstanceUID != first.SeriesInstanceUID
    kidney, lesion = seg.SegmentSequence[0], seg.SegmentSequence[1]
    assert kidney.SegmentAlgorithmType == "AUTOMATIC"
    algorithm = kidney.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("compact", "3")
    kind = kidney.SegmentedPropertyTypeCodeSequence[0]
    assert kind.CodeMeaning == "Kidney"
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    assert lesion.SegmentedPropertyTypeCodeSequence[0].CodeValue == "52988006"
    assert len({s.TrackingUID for s in seg.SegmentSequence}) == 5


def test_without_the_patient(tmp_path: Path) -> None:
    scan, path = make_scan(tmp_path / "pet"), tmp_path / "seg.dcm"
    write_segmentation(make_masks(), find_source(scan).anonymised(), path)
    assert b"Test^Case" not in path.read_bytes()
    assert_same(read_masks(path, scan), make_masks())
    assert dciodvfy_errors(path) == []


def test_names_in_any_script(tmp_path: Path) -> None:
    scan, path = make_scan(tmp_path / "pet"), tmp_path / "seg.dcm"
    masks = {name: make_masks()["liver"] for name in ("Läsion α", "病变", "[x]")}
    write_segmentation(masks, scan, path)
    assert list(read_masks(path, scan)) == list(masks)
    assert dciodvfy_errors(path) == []


def test_nothing_found_is_written_too(tmp_path: Path) -> None:
    scan, path = make_scan(tmp_path / "pet"), tmp_path / "seg.dcm"
    write_segmentation({"lesion": np.zeros(SHAPE, bool), "liver": np.zeros(SHAPE, bool)}, scan, path)
    found = read_masks(path, scan)
    assert list(found) == ["lesion", "liver"]
    assert not any(mask.any() for mask in found.values())
    assert dciodvfy_errors(path) == []


@pytest.mark.parametrize("reverse", [False, True])
def test_frames_of_a_multi_frame_object(tmp_path: Path, reverse: bool) -> None:
    source = make_enhanced(tmp_path / "enhanced", reverse=reverse)
    scan = anypet.read(source)
    mask = np.zeros(scan.shape, bool)
    mask[1:4, 1:3, 1], mask[2, 2, 3] = True, True
    path = tmp_path / "seg.dcm"
    write_segmentation({"lesion": mask}, scan, path)
    assert_same(read_masks(path, scan), {"lesion": mask})
    assert_same(seg_by_hand(path, scan), {"lesion": mask})
    assert dciodvfy_errors(path) == []
    seg, whole = pydicom.dcmread(path), pydicom.dcmread(source)
    for group in seg.PerFrameFunctionalGroupsSequence:
        (image,) = group.DerivationImageSequence[0].SourceImageSequence
        assert image.ReferencedSOPInstanceUID == whole.SOPInstanceUID
        own = whole.PerFrameFunctionalGroupsSequence[image.ReferencedFrameNumber - 1]
        place = own.PlanePositionSequence[0].ImagePositionPatient
        assert group.PlanePositionSequence[0].ImagePositionPatient == place


def test_one_time_of_a_dynamic_multi_frame_object(tmp_path: Path) -> None:
    path = make_enhanced(tmp_path / "enhanced")
    dataset = pydicom.dcmread(path)
    later = [deepcopy(group) for group in dataset.PerFrameFunctionalGroupsSequence]
    for group in later:
        group.FrameContentSequence[0].FrameAcquisitionDateTime = "20240305111000"
    dataset.PerFrameFunctionalGroupsSequence.extend(later)
    dataset.NumberOfFrames, dataset.PixelData = 8, dataset.PixelData * 2
    dataset.save_as(path)
    scan = anypet.read(path, frame=1)
    mask = np.ones(scan.shape, bool)
    seg = segmentation({"lesion": mask}, find_source(path, frame=1))
    heights = {
        int(g.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber): float(
            g.PlanePositionSequence[0].ImagePositionPatient[2]
        )
        for g in seg.PerFrameFunctionalGroupsSequence
    }
    assert heights == {5: -40, 6: -37, 7: -34, 8: -31}  # the second time's frames
    with pytest.raises(AnyPETError, match="choose one with frame=0"):
        segmentation({"lesion": mask}, scan)


def test_unevenly_spaced_slices(tmp_path: Path) -> None:
    """Where two beds meet a gap is a few per cent off; the frames then lie on the even stack that is read."""

    def moved(ds: pydicom.Dataset, k: int) -> None:
        ds.ImagePositionPatient = [-20, -30, -40 + 3 * k + (0.25 if k >= 5 else 0)]

    edit: Edit = moved
    scan, path = make_scan(tmp_path / "pet", edit=edit), tmp_path / "seg.dcm"
    write_segmentation(make_masks(), scan, path)
    assert_same(read_masks(path, scan), make_masks())
    places = [
        g.PlanePositionSequence[0].ImagePositionPatient[2]
        for g in pydicom.dcmread(path).PerFrameFunctionalGroupsSequence
    ]
    gaps = np.diff(np.unique(places)) / scan.spacing[2]
    np.testing.assert_allclose(gaps, np.rint(gaps), atol=1e-4)
    seg = segmentation(make_masks(), scan)
    assert all(len(g.DerivationImageSequence) == 1 for g in seg.PerFrameFunctionalGroupsSequence)


def test_a_mask_in_another_voxel_order(tmp_path: Path) -> None:
    """As other programs store it: along R, A, S."""
    scan = make_scan(tmp_path / "pet", orientation=(1, 0, 0, 0, 0, -1))
    masks, path = make_masks(), tmp_path / "seg.dcm"
    affine = scan.affine[:, [0, 2, 1, 3]].copy()
    turned = Volume(masks["lesion 1"].transpose(0, 2, 1)[::-1], affine, "label")
    turned.affine[:3, 3] += affine[:3, 0] * (SHAPE[0] - 1)
    turned.affine[:3, 0] *= -1
    write_segmentation(turned, scan, path, names={1: "lesion 1"})
    assert_same(read_masks(path, scan), {"lesion 1": masks["lesion 1"]})


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    scan, path = make_scan(tmp_path / "pet"), tmp_path / "seg.dcm"
    path.write_text("old")
    with pytest.raises(AnyPETError, match=r"absent does not exist"):
        write_segmentation(make_masks(), scan, tmp_path / "absent" / "seg.dcm")
    with pytest.raises(AnyPETError, match="another grid"):
        write_segmentation(Volume(np.ones(SHAPE, np.uint8), np.diag([1.0, 1, 1, 1]), "label"), scan, path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(AnyPETError, match="folder: cannot be written"):
        write_segmentation(make_masks(), scan, tmp_path / "folder")
    (tmp_path / "folder").rmdir()
    assert path.read_text() == "old"
    write_segmentation(make_masks(), scan, path)
    assert_same(read_masks(path, scan), make_masks())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pet", "seg.dcm"]
