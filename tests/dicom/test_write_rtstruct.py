"""RTSTRUCT: the same voxels in every geometry, by two programs; holes; references; the slices in between."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from matplotlib.path import Path as Polygon
from scipy import ndimage

import anypet
from anypet.dicom import Algorithm, find_source, structures, write_structures
from anypet.errors import AnyPETError
from anypet.io import read_masks
from anypet.volume import Volume
from dicom_factory import make_enhanced, make_series, values
from dicom_tools import Masks, assert_same, dciodvfy_errors, geometries, plastimatch_masks

SHAPE = (24, 20, 9)


@pytest.fixture(params=geometries(SHAPE[2]).values(), ids=geometries(SHAPE[2]))
def scan(request: pytest.FixtureRequest, tmp_path: Path) -> Volume:
    return make_scan(tmp_path / "pet", **request.param)


def make_scan(folder: Path, **geometry: object) -> Volume:
    make_series(folder, values(SHAPE) // 8, **geometry)  # type: ignore[arg-type]
    return anypet.read(folder)


def make_masks() -> Masks:
    """A shell with an island in its hole, ragged parts with many holes, two that touch, one voxel."""
    centre = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1) - [11, 9, 4]
    far = np.linalg.norm(centre * [1, 1, 2], axis=-1)
    noise = ndimage.gaussian_filter(np.random.default_rng(0).random(SHAPE), 1.2)
    masks = {"shell": ((far > 4) & (far < 8)) | (far < 2), "ragged": noise > np.median(noise)}
    masks["lesion 1"], masks["lesion 2"] = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    masks["lesion 1"][2:6, 3:8, 2:5] = True
    masks["lesion 2"][6:9, 3:8, 2:5] = True
    masks["right kidney"] = np.zeros(SHAPE, bool)
    masks["right kidney"][23, 19, 8] = True
    return masks


def test_comes_back_voxel_identical(scan: Volume, tmp_path: Path) -> None:
    masks, path = make_masks(), tmp_path / "rt.dcm"
    write_structures(masks, scan, path)
    assert_same(read_masks(path, scan), masks)
    assert dciodvfy_errors(path) == []


def test_plastimatch_reads_the_same(scan: Volume, tmp_path: Path) -> None:
    masks, path = make_masks(), tmp_path / "rt.dcm"
    write_structures(masks, scan, path)
    found = plastimatch_masks(path, scan, tmp_path / "plastimatch")
    assert len(found) == len(masks)
    for name, mask in masks.items():
        other = found[name]
        assert 2 * (other & mask).sum() / (other.sum() + mask.sum()) >= 0.98


def test_contours_lie_in_the_slice_that_they_name(scan: Volume) -> None:
    """Each polygon alone, in pixels of its own image by PS3.3 C.7.6.2.1.1, encloses its part of the mask."""
    masks = make_masks()
    headers = {str(h.SOPInstanceUID): h for h in map(pydicom.dcmread, scan.meta["files"])}
    order = list(map(str, (h.SOPInstanceUID for h in map(pydicom.dcmread, scan.meta["files"]))))
    centres = np.stack(np.meshgrid(*map(np.arange, SHAPE[:2]), indexing="ij"), -1).reshape(-1, 2)
    for region, (name, mask) in zip(structures(masks, scan).ROIContourSequence, masks.items(), strict=True):
        found = np.zeros(SHAPE, int)
        area = 0.0
        for contour in region.ContourSequence:
            assert contour.ContourGeometricType == "CLOSED_PLANAR"
            uid = str(contour.ContourImageSequence[0].ReferencedSOPInstanceUID)
            own = headers[uid]
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            assert len(points) == contour.NumberOfContourPoints
            row, column = np.array(own.ImageOrientationPatient, float).reshape(2, 3)
            away = points - np.array(own.ImagePositionPatient, float)
            assert np.abs(away @ np.cross(row, column)).max() < 1e-3
            pixels = np.stack([away @ row / own.PixelSpacing[1], away @ column / own.PixelSpacing[0]], -1)
            closed = Polygon(np.vstack([pixels, pixels[:1]]), closed=True)
            found[:, :, order.index(uid)] += closed.contains_points(centres).reshape(SHAPE[:2])
            i, j = pixels.T
            area += abs(float(np.sum(np.roll(i, -1) * j - i * np.roll(j, -1)))) / 2
        np.testing.assert_array_equal(found, mask.astype(int), err_msg=name)
        assert area == pytest.approx(mask.sum(), abs=1e-2)  # so the volume by planimetry is the voxels'


def test_slices_far_apart_stay_apart(tmp_path: Path) -> None:
    """Two parts on single slices: nothing is filled in between, as the file says how far slices lie apart."""
    scan, path = make_scan(tmp_path / "pet"), tmp_path / "rt.dcm"
    mask = np.zeros(SHAPE, bool)
    mask[3:6, 3:6, 1] = mask[3:6, 3:6, 7] = True
    write_structures({"lesion": mask}, scan, path)
    assert_same(read_masks(path, scan), {"lesion": mask})
    fine = scan.affine.copy()
    fine[:3, 2] /= 3
    fine[:3, 3] -= fine[:3, 2]
    on_fine = read_masks(path, Volume(np.zeros((*SHAPE[:2], SHAPE[2] * 3)), fine, "SUVbw"))["lesion"]
    assert np.flatnonzero(on_fine.any(axis=(0, 1))).tolist() == [3, 4, 5, 21, 22, 23]
    dataset = pydicom.dcmread(path)
    for region in dataset.ROIContourSequence:
        del region.SourcePixelPlanesCharacteristicsSequence
    dataset.save_as(path)
    assert read_masks(path, scan)["lesion"].sum() > mask.sum()  # other programs' files: a guess


@pytest.mark.parametrize("reverse", [False, True])
def test_frames_of_a_multi_frame_object(tmp_path: Path, reverse: bool) -> None:
    source = make_enhanced(tmp_path / "enhanced", reverse=reverse)
    scan, path = anypet.read(source), tmp_path / "rt.dcm"
    mask = np.zeros(scan.shape, bool)
    mask[1:4, 1:3, 1], mask[2, 2, 3] = True, True
    write_structures({"lesion": mask}, scan, path)
    assert_same(read_masks(path, scan), {"lesion": mask})
    assert dciodvfy_errors(path) == []
    whole = pydicom.dcmread(source)
    for contour in pydicom.dcmread(path).ROIContourSequence[0].ContourSequence:
        image = contour.ContourImageSequence[0]
        assert image.ReferencedSOPInstanceUID == whole.SOPInstanceUID
        own = whole.PerFrameFunctionalGroupsSequence[image.ReferencedFrameNumber - 1]
        height = own.PlanePositionSequence[0].ImagePositionPatient[2]
        assert {float(z) for z in contour.ContourData[2::3]} == {float(height)}


def test_names_codes_and_who_made_it(tmp_path: Path) -> None:
    scan, path = make_scan(tmp_path / "pet"), tmp_path / "rt.dcm"
    write_structures(make_masks(), scan, path, algorithm=Algorithm("compact", "3", "AUTOMATIC"))
    dataset = pydicom.dcmread(path)
    first = pydicom.dcmread(scan.meta["files"][0])
    assert [roi.ROIName for roi in dataset.StructureSetROISequence] == list(make_masks())
    assert dataset.StructureSetROISequence[0].ROIGenerationAlgorithm == "AUTOMATIC"
    assert dataset.StructureSetROISequence[0].ROIGenerationDescription == "compact 3"
    kinds = [o.RTROIInterpretedType for o in dataset.RTROIObservationsSequence]
    assert kinds == ["", "", "", "", "ORGAN"]
    kidney = dataset.RTROIObservationsSequence[4].RTROIIdentificationCodeSequence[0]
    assert kidney.CodeMeaning == "Kidney"
    assert kidney.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Right"
    study = dataset.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
    series = study.RTReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == first.SeriesInstanceUID
    assert len(series.ContourImageSequence) == SHAPE[2]
    assert (dataset.PatientID, dataset.StudyInstanceUID) == (first.PatientID, first.StudyInstanceUID)


def test_probabilities_are_cut_at_one_half(tmp_path: Path) -> None:
    scan, path = make_scan(tmp_path / "pet"), tmp_path / "rt.dcm"
    probability = np.linspace(0, 1, scan.array.size).reshape(SHAPE)
    write_structures(Volume(probability, scan.affine, "probability"), scan, path)
    assert_same(read_masks(path, scan), {"region 1": probability >= 0.5})


def test_without_the_patient_and_without_a_voxel(tmp_path: Path) -> None:
    scan, path = make_scan(tmp_path / "pet"), tmp_path / "rt.dcm"
    masks = {"lesion": make_masks()["lesion 1"], "spleen": np.zeros(SHAPE, bool)}
    write_structures(masks, find_source(scan).anonymised(), path)
    assert b"Test^Case" not in path.read_bytes()
    assert dciodvfy_errors(path) == []
    assert_same(read_masks(path, scan), {"lesion": masks["lesion"]})
    assert [roi.ROIName for roi in pydicom.dcmread(path).StructureSetROISequence] == ["lesion", "spleen"]


def test_another_grid_is_refused(tmp_path: Path) -> None:
    scan = make_scan(tmp_path / "pet")
    other = Volume(np.ones(SHAPE, np.uint8), np.diag([1.0, 1, 1, 1]), "label")
    with pytest.raises(AnyPETError, match="another grid"):
        structures(other, scan)
