"""Makes small synthetic DICOM series on disk, for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    CTImageStorage,
    EnhancedPETImageStorage,
    ExplicitVRLittleEndian,
    PositronEmissionTomographyImageStorage,
    RTStructureSetStorage,
    generate_uid,
)

Edit = Callable[[Dataset, int], None]

DOSE, WEIGHT, HALF_LIFE = 370e6, 70.0, 6586.2
# injected at 10:00, scanned and corrected to 11:00
FACTOR = WEIGHT * 1000 / (DOSE * 2 ** (-3600 / HALF_LIFE))
FRAME_UID = "1.2.826.0.1.3680043.8.498.1"
STUDY_UID = "1.2.826.0.1.3680043.8.498.2"


def new_dataset(sop_class: str, modality: str, series_uid: str | None = None) -> FileDataset:
    """A dataset with patient, study and series, and nothing else."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Test^Case", "T1", "", "F"
    ds.StudyInstanceUID, ds.StudyDate, ds.StudyTime = STUDY_UID, "20240305", "095500"
    ds.StudyID, ds.AccessionNumber, ds.ReferringPhysicianName = "1", "", ""
    ds.SeriesInstanceUID = series_uid or generate_uid()
    ds.SeriesNumber, ds.SeriesDescription = 1, "test"
    ds.Modality, ds.Manufacturer, ds.FrameOfReferenceUID = modality, "Synthetic", FRAME_UID
    ds.PositionReferenceIndicator = ""
    return ds


def add_pet(ds: Dataset) -> None:
    """The attributes on which the SUV depends: F-18, Bq/mL, decay-corrected to the start of the series."""
    ds.PatientWeight, ds.PatientSize = WEIGHT, 1.65
    ds.SeriesDate = ds.AcquisitionDate = "20240305"
    ds.SeriesTime = ds.AcquisitionTime = "110000"
    ds.Units, ds.DecayCorrection = "BQML", "START"
    ds.CorrectedImage = ["NORM", "ATTN", "SCAT", "DECY"]
    drug, nuclide = Dataset(), Dataset()
    nuclide.CodeValue, nuclide.CodingSchemeDesignator, nuclide.CodeMeaning = "C-111A1", "SRT", "^18^Fluorine"
    drug.RadiopharmaceuticalStartTime = "100000"
    drug.RadionuclideTotalDose, drug.RadionuclideHalfLife = DOSE, HALF_LIFE
    drug.RadionuclideCodeSequence = Items([nuclide])
    ds.RadiopharmaceuticalInformationSequence = Items([drug])


def add_pixels(ds: Dataset, stored: npt.NDArray[np.int16]) -> None:
    """Pixel data of one slice, (rows, columns)."""
    ds.Rows, ds.Columns = stored.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.PixelData = np.ascontiguousarray(stored, dtype="<i2").tobytes()


def values(shape: tuple[int, int, int] = (6, 5, 4), seed: int = 0) -> npt.NDArray[np.int16]:
    """Stored values (columns, rows, slices): a few kBq/mL, every voxel its own."""
    rng = np.random.default_rng(seed)
    return rng.permutation(np.prod(shape)).reshape(shape).astype(np.int16) * 20 + 1000


def make_series(
    folder: Path,
    stored: npt.NDArray[np.int16] | None = None,
    *,
    modality: str = "PT",
    spacing: tuple[float, float, float] = (4.0, 5.0, 3.0),
    origin: Sequence[float] = (-20.0, -30.0, -40.0),
    orientation: Sequence[float] = (1, 0, 0, 0, 1, 0),
    slopes: Sequence[float] | float = 1.0,
    intercept: float = 0.0,
    series_uid: str | None = None,
    number: int = 1,
    edit: Edit | None = None,
    suffix: str = ".dcm",
) -> list[Path]:
    """Writes a PET or CT series, one file a slice.

    Args:
        stored: (columns, rows, slices).
        spacing: mm between columns, rows and slices.
        origin: LPS mm of the first voxel.
        orientation: Image Orientation (Patient).
        edit: called with each dataset and its slice index before it is written.

    Returns:
        The paths in the order of the slices.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored = values() if stored is None else stored
    uid = series_uid or generate_uid()
    row, column = np.array(orientation[:3], float), np.array(orientation[3:], float)
    normal = np.cross(row, column)
    paths = []
    for k in range(stored.shape[2]):
        sop = PositronEmissionTomographyImageStorage if modality == "PT" else CTImageStorage
        ds = new_dataset(sop, modality, uid)
        ds.SeriesNumber, ds.InstanceNumber = number, k + 1
        ds.ImageType = ["ORIGINAL", "PRIMARY"]
        ds.PixelSpacing = [spacing[1], spacing[0]]
        ds.SliceThickness = spacing[2]
        ds.ImageOrientationPatient = list(orientation)
        ds.ImagePositionPatient = (np.array(origin, float) + k * spacing[2] * normal).tolist()
        ds.RescaleSlope = slopes if isinstance(slopes, (int, float)) else slopes[k]
        ds.RescaleIntercept = intercept
        if modality == "PT":
            add_pet(ds)
        add_pixels(ds, stored[:, :, k].T)
        if edit is not None:
            edit(ds, k)
        paths.append(folder / f"{modality.lower()}{number}_{k:03d}{suffix}")
        ds.save_as(paths[-1], enforce_file_format=True)
    return paths


def setting(**attributes: Any) -> Edit:
    """An edit that sets attributes of every slice; None deletes one."""

    def edit(ds: Dataset, _: int) -> None:
        for name, value in attributes.items():
            if value is None:
                delattr(ds, name)
            else:
                setattr(ds, name, value)

    return edit


def drugging(**attributes: Any) -> Edit:
    """The same for the Radiopharmaceutical Information item."""

    def edit(ds: Dataset, k: int) -> None:
        setting(**attributes)(ds.RadiopharmaceuticalInformationSequence[0], k)

    return edit


def make_rtstruct(
    path: Path, regions: dict[str, list[npt.NDArray[np.float64]]], kind: str = "CLOSED_PLANAR"
) -> Path:
    """Writes an RTSTRUCT; contours are (n, 3) LPS mm."""
    ds = new_dataset(RTStructureSetStorage, "RTSTRUCT")
    ds.StructureSetLabel = "test"
    rois, drawn = [], []
    for number, (name, contours) in enumerate(regions.items(), start=1):
        roi, region = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, FRAME_UID
        region.ReferencedROINumber = number
        items = []
        for points in contours:
            item = Dataset()
            item.ContourGeometricType, item.NumberOfContourPoints = kind, len(points)
            item.ContourData = [f"{x:.6f}"[:16] for x in np.asarray(points).ravel()]
            items.append(item)
        region.ContourSequence = Items(items)
        rois.append(roi)
        drawn.append(region)
    ds.StructureSetROISequence, ds.ROIContourSequence = Items(rois), Items(drawn)
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def item(**attributes: object) -> Dataset:
    ds = Dataset()
    for name, value in attributes.items():
        setattr(ds, name, value)
    return ds


def make_enhanced(
    path: Path,
    *,
    unit: str = "Bq/ml",
    decay: str = "YES",
    attenuation: str = "YES",
    reverse: bool = False,
    slope: float = 2.0,
    drop_groups: int = 0,
) -> Path:
    """An Enhanced PET object of `values()`, whose units are in the Real World Value Mapping."""
    stored = values()
    ds = new_dataset(EnhancedPETImageStorage, "PT")
    add_pet(ds)
    for name in ("Units", "DecayCorrection", "CorrectedImage", "AcquisitionDate", "AcquisitionTime"):
        delattr(ds, name)
    ds.SeriesTime = "150000"  # made long after the scan
    drug = ds.RadiopharmaceuticalInformationSequence[0]
    del drug.RadiopharmaceuticalStartTime
    drug.RadiopharmaceuticalStartDateTime = "20240305100000"
    ds.AcquisitionDateTime = "20240305110000"
    ds.AttenuationCorrected, ds.DecayCorrected, ds.ScatterCorrected = attenuation, decay, "YES"
    if decay == "YES":
        ds.DecayCorrectionDateTime = "20240305110000"
    mapping = item(
        RealWorldValueSlope=slope,
        RealWorldValueIntercept=0.0,
        MeasurementUnitsCodeSequence=Items(
            [item(CodeValue=unit, CodingSchemeDesignator="UCUM", CodeMeaning=unit)]
        ),
    )
    shared = item(
        PixelMeasuresSequence=Items([item(PixelSpacing=[5.0, 4.0], SliceThickness=3.0)]),
        PlaneOrientationSequence=Items([item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]),
        RealWorldValueMappingSequence=Items([mapping]),
        PixelValueTransformationSequence=Items([item(RescaleSlope=1, RescaleIntercept=0, RescaleType="US")]),
    )
    order = range(3, -1, -1) if reverse else range(4)
    frames = [
        item(
            PlanePositionSequence=Items([item(ImagePositionPatient=[-20.0, -30.0, -40.0 + 3 * k])]),
            FrameContentSequence=Items(
                [item(FrameAcquisitionDateTime="20240305110000", FrameAcquisitionDuration=120000.0)]
            ),
        )
        for k in order
    ]
    ds.SharedFunctionalGroupsSequence = Items([shared])
    ds.PerFrameFunctionalGroupsSequence = Items(frames[drop_groups:])
    add_pixels(ds, stored[:, :, 0].T)
    ds.NumberOfFrames = 4
    ds.PixelData = np.ascontiguousarray(stored[:, :, list(order)].transpose(2, 1, 0), "<i2").tobytes()
    ds.save_as(path, enforce_file_format=True)
    return path
