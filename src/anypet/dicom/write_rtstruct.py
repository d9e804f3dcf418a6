"""Regions as an RTSTRUCT: closed planar contours in the planes of the slices, holes kept by keyholes.

Contours follow the edges of the voxels (`outlines`). Holes are cut by keyhole contours of the type
CLOSED_PLANAR rather than by inner contours of the type CLOSEDPLANAR_XOR: planning systems, plastimatch and
3D Slicer read the former, while several programs do not know the latter, or fill inner contours.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage

from anypet.dicom.codes import Structure, structure
from anypet.dicom.files import write_file
from anypet.dicom.header import item
from anypet.dicom.maker import COLOURS, Algorithm, instance, lenient_names
from anypet.dicom.outlines import outlines
from anypet.dicom.regions import Labels, regions_on
from anypet.dicom.source import Source, find_source
from anypet.volume import Volume

# the class by which a study is named here: retired, still required (PS3.3 C.8.8.5)
_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"


def write_structures(
    labels: Labels,
    scan: Volume | str | Path | Source,
    path: str | Path,
    *,
    names: Mapping[int, str] | None = None,
    algorithm: Algorithm | None = None,
    resample: bool = False,
) -> None:
    """Writes `structures` to a file; one under this name is replaced once the new one is whole.

    Args:
        labels, scan, names, algorithm, resample: as for `structures`.
        path: file to write, in a folder that exists.

    Raises:
        AnyPETError: as `structures`, or the file cannot be written.
    """
    made = structures(labels, scan, names=names, algorithm=algorithm, resample=resample)
    write_file(made, Path(path))


def structures(
    labels: Labels,
    scan: Volume | str | Path | Source,
    *,
    names: Mapping[int, str] | None = None,
    algorithm: Algorithm | None = None,
    resample: bool = False,
) -> Dataset:
    """An RTSTRUCT with one ROI a region.

    Args:
        labels: see `regions_on`; probabilities are cut at one half.
        scan: the scan that they were drawn on, see `find_source`; a `Source` may be anonymised.
        names, algorithm, resample: as for `segmentation`.

    Returns:
        Every contour lies in the plane of one slice and names its instance (and frame). A region without a
        voxel is an ROI without contours. Coordinates are rounded to 0.1 micrometre.

    Raises:
        AnyPETError: as `find_source` and `regions_on`.

    Source: DICOM PS3.3 A.19, C.8.8.5, C.8.8.6, C.8.8.8.
    """
    source, algorithm = find_source(scan), algorithm or Algorithm()
    regions = regions_on(source.grid, labels, names, resample=resample)
    made = _header(source)
    planes = _planes(source)
    made.StructureSetROISequence, made.ROIContourSequence, made.RTROIObservationsSequence = [], [], []
    for number, name in enumerate(regions.names, start=1):
        coded = structure(name)
        made.StructureSetROISequence.append(_roi(number, name, source, algorithm))
        contours = _contours(regions.mask(number), source)
        drawn = item(
            ROIDisplayColor=list(COLOURS[(number - 1) % len(COLOURS)]),
            ReferencedROINumber=number,
            SourcePixelPlanesCharacteristicsSequence=[planes],
        )
        if contours:
            drawn.ContourSequence = contours
        made.ROIContourSequence.append(drawn)
        made.RTROIObservationsSequence.append(_observation(number, coded))
    return made


def _header(source: Source) -> Dataset:
    """Patient, study, series, equipment, and what is referred to."""
    first = source.first
    with lenient_names():
        made = hd.SOPClass(
            study_instance_uid=first.StudyInstanceUID,
            sop_class_uid=RTStructureSetStorage,
            modality="RTSTRUCT",
            # the length of a contour in text does not fit the 16 bits that explicit encoding has for it
            transfer_syntax_uid=ImplicitVRLittleEndian,
            patient_id=first.PatientID,
            patient_name=first.PatientName,
            patient_birth_date=first.PatientBirthDate,
            patient_sex=first.PatientSex,
            study_id=first.StudyID,
            accession_number=first.AccessionNumber,
            study_date=first.StudyDate,
            study_time=first.StudyTime,
            referring_physician_name=first.ReferringPhysicianName,
            **instance("AnyPET structures", source, 2000),
        )
    made.copy_patient_and_study_information(first)
    made.OperatorsName = ""
    made.StructureSetLabel = "AnyPET"
    made.StructureSetDate, made.StructureSetTime = made.InstanceCreationDate, made.InstanceCreationTime
    images = [_image(source, k) for k in range(len(source.headers))]
    series = item(SeriesInstanceUID=first.SeriesInstanceUID, ContourImageSequence=images)
    study = item(
        ReferencedSOPClassUID=_STUDY_CLASS,
        ReferencedSOPInstanceUID=first.StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    made.ReferencedFrameOfReferenceSequence = [
        item(FrameOfReferenceUID=first.FrameOfReferenceUID, RTReferencedStudySequence=[study])
    ]
    made.FrameOfReferenceUID = first.FrameOfReferenceUID
    made.PositionReferenceIndicator = first.get("PositionReferenceIndicator") or ""
    return made


def _roi(number: int, name: str, source: Source, algorithm: Algorithm) -> Dataset:
    return item(
        ROINumber=number,
        ReferencedFrameOfReferenceUID=source.first.FrameOfReferenceUID,
        ROIName=name,
        ROIGenerationAlgorithm=algorithm.how,
        ROIGenerationDescription=f"{algorithm.name} {algorithm.version}"[:64],
        ROIDerivationAlgorithmIdentificationSequence=list(algorithm.identification),
    )


def _observation(number: int, coded: Structure) -> Dataset:
    """What the ROI is. No interpreted type is claimed but ORGAN: GTV and its like are a physician's word."""
    kind = hd.sr.CodedConcept.from_code(coded.type)
    if coded.side is not None:
        kind.SegmentedPropertyTypeModifierCodeSequence = [hd.sr.CodedConcept.from_code(coded.side)]
    return item(
        ObservationNumber=number,
        ReferencedROINumber=number,
        RTROIIdentificationCodeSequence=[kind],
        RTROIInterpretedType="ORGAN" if coded.organ else "",
        ROIInterpreter="",
    )


def _contours(mask: npt.NDArray[np.bool_], source: Source) -> list[Dataset]:
    contours = []
    for k in np.flatnonzero(mask.any(axis=(0, 1))).tolist():
        header = source.headers[k]
        along = np.array(header.ImageOrientationPatient, dtype=np.float64).reshape(2, 3)
        spacing = np.array(header.PixelSpacing, dtype=np.float64)[::-1]  # of columns, of rows
        corner = np.array(header.ImagePositionPatient, dtype=np.float64)
        for polygon in outlines(mask[:, :, k]):
            points = corner + polygon * spacing @ along  # LPS mm: PS3.3 C.7.6.2.1.1
            contours.append(
                item(
                    ContourImageSequence=[_image(source, k)],
                    ContourGeometricType="CLOSED_PLANAR",
                    NumberOfContourPoints=len(points),
                    ContourData=[f"{value:.4f}" for value in points.ravel()],
                )
            )
    for number, contour in enumerate(contours, start=1):
        contour.ContourNumber = number
    return contours


def _image(source: Source, k: int) -> Dataset:
    """A reference to slice k."""
    header = source.headers[k]
    reference = item(ReferencedSOPClassUID=header.SOPClassUID, ReferencedSOPInstanceUID=header.SOPInstanceUID)
    if source.frames is not None:
        reference.ReferencedFrameNumber = source.frames[k]
    return reference


def _planes(source: Source) -> Dataset:
    """The stack of slices that was drawn on, so that a reader knows how far a contour reaches."""
    first, step = source.first, float(np.linalg.norm(source.affine[:3, 2]))
    return item(
        PixelSpacing=first.PixelSpacing,
        SpacingBetweenSlices=f"{step:.6g}",
        ImageOrientationPatient=first.ImageOrientationPatient,
        ImagePositionPatient=first.ImagePositionPatient,
        NumberOfFrames=len(source.headers),
        Rows=first.Rows,
        Columns=first.Columns,
    )
