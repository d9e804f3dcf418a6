"""Measures of the segments of a DICOM SEG as a structured report of template TID 1500."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import highdicom as hd
import pydicom
from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from anypet._version import __version__
from anypet.dicom.codes import measure
from anypet.dicom.files import write_file
from anypet.dicom.maker import Algorithm, instance, lenient_names
from anypet.dicom.source import Source, find_source
from anypet.errors import AnyPETError, ReadError
from anypet.volume import Volume

Measures = Mapping[str, float]
Group = sr.VolumetricROIMeasurementsAndQualitativeEvaluations | sr.MeasurementsAndQualitativeEvaluations

_TITLE = Code("126003", "DCM", "PET Measurement Report")
_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
_DEVICE = sr.CodedConcept("121007", "DCM", "Device")


def write_measurements(
    measures: Mapping[str, Measures],
    seg: str | Path | Dataset,
    scan: Volume | str | Path | Source,
    path: str | Path,
    *,
    suv_unit: str = "SUVbw",
    total: Measures | None = None,
    algorithm: Algorithm | None = None,
) -> None:
    """Writes `measurements` to a file; one under this name is replaced once the new one is whole.

    Args:
        measures, seg, scan, suv_unit, total, algorithm: as for `measurements`.
        path: file to write, in a folder that exists.

    Raises:
        AnyPETError: as `measurements`, or the file cannot be written.
    """
    made = measurements(measures, seg, scan, suv_unit=suv_unit, total=total, algorithm=algorithm)
    write_file(made, Path(path))


def measurements(
    measures: Mapping[str, Measures],
    seg: str | Path | Dataset,
    scan: Volume | str | Path | Source,
    *,
    suv_unit: str = "SUVbw",
    total: Measures | None = None,
    algorithm: Algorithm | None = None,
) -> sr.Comprehensive3DSR:
    """A structured report with one group of measurements a segment.

    Args:
        measures: segment label -> measure -> value; the measures are those of `codes.MEASURES`, values that
            are not finite (of an empty region) are left out. Segments that are not named get no group.
        seg: the DICOM SEG that holds the regions, as `write_segmentation` writes it.
        scan: the scan that it was drawn and measured on, see `find_source`; a `Source` may be anonymised.
        suv_unit: the SUV that the values are in, as a `Volume` names it.
        total: measures of all regions together, as a group that refers to no segment.
        algorithm: what measured; AnyPET by default.

    Returns:
        A report that is complete, preliminary and unverified: it proposes, a physician signs.

    Raises:
        AnyPETError: as `find_source`; no measure; a label that the SEG does not have, a measure without a
            code, or a SEG of another series.

    Source: DICOM PS3.16 TID 1500, 1411, 1501.
    """
    source, algorithm = find_source(scan), algorithm or Algorithm()
    segmentation = _segmentation(seg, source)
    segments = {str(s.SegmentLabel): s for s in segmentation.SegmentSequence if int(s.SegmentNumber) > 0}
    unknown = [name for name in measures if name not in segments]
    if unknown:
        raise AnyPETError(
            f"no segment {unknown[0]!r} in the DICOM SEG: it has {', '.join(map(repr, segments))}"
        )
    if not measures and not total:
        raise AnyPETError("there is no measure to write")
    groups: list[Group] = [
        _group(segments[name], numbers, segmentation, source, suv_unit, algorithm)
        for name, numbers in measures.items()
    ]
    if total:
        groups.append(_total(total, suv_unit, algorithm))
    report = sr.MeasurementReport(
        observation_context=_observer(),
        procedure_reported=_PROCEDURE,
        imaging_measurements=groups,
        title=_TITLE,
    )
    instances = {str(h.SOPInstanceUID): h for h in (*source.headers, segmentation)}
    with lenient_names():
        return sr.Comprehensive3DSR(
            evidence=list(instances.values()),
            content=report,
            is_complete=True,
            **instance("AnyPET measures", source, 3000),
        )


def _segmentation(seg: str | Path | Dataset, source: Source) -> Dataset:
    """The SEG's header, after checking that it is one and belongs to the series."""
    if isinstance(seg, Dataset):
        header, where = seg, "the DICOM SEG"
    else:
        where = str(seg)
        try:
            header = pydicom.dcmread(seg, stop_before_pixels=True)
        except Exception as error:  # pydicom raises many kinds on damaged files
            raise ReadError(f"{where}: cannot be read as DICOM: {error}") from error
    if "SegmentSequence" not in header:
        raise ReadError(f"{where}: no DICOM SEG: Segment Sequence (0062,0002) is missing")
    wanted = str(source.first.SeriesInstanceUID)
    drawn_on = [str(item.SeriesInstanceUID) for item in header.get("ReferencedSeriesSequence") or ()]
    if wanted not in drawn_on:
        raise AnyPETError(
            f"{where}: was drawn on series {', '.join(drawn_on) or 'unknown'}, but the measures are of "
            f"series {wanted}"
        )
    return header


def _group(
    segment: Dataset,
    numbers: Measures,
    segmentation: Dataset,
    source: Source,
    suv_unit: str,
    algorithm: Algorithm,
) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    """TID 1411 for one segment."""
    kind = segment.SegmentedPropertyTypeCodeSequence[0]
    category = segment.SegmentedPropertyCategoryCodeSequence[0]
    side = kind.get("SegmentedPropertyTypeModifierCodeSequence")
    site = sr.FindingSite(_concept(kind), laterality=_concept(side[0])) if side else None
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            segment.get("TrackingUID") or hd.UID(), segment.get("TrackingID") or str(segment.SegmentLabel)
        ),
        referenced_segment=sr.ReferencedSegment(
            segmentation.SOPClassUID,
            segmentation.SOPInstanceUID,
            int(segment.SegmentNumber),
            source_series=sr.SourceSeriesForSegmentation(source.first.SeriesInstanceUID),
        ),
        finding_type=_concept(kind),
        finding_category=_concept(category),
        finding_sites=None if site is None else [site],
        algorithm_id=sr.AlgorithmIdentification(algorithm.name, algorithm.version),
        measurements=_numbers(numbers, suv_unit),
    )


def _total(
    numbers: Measures, suv_unit: str, algorithm: Algorithm
) -> sr.MeasurementsAndQualitativeEvaluations:
    """TID 1501: a group that refers to no segment."""
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(hd.UID(), "all regions together"),
        algorithm_id=sr.AlgorithmIdentification(algorithm.name, algorithm.version),
        measurements=_numbers(numbers, suv_unit),
    )


def _numbers(numbers: Measures, suv_unit: str) -> list[sr.Measurement]:
    coded = [(measure(key, suv_unit), float(value)) for key, value in numbers.items()]
    return [
        sr.Measurement(what.concept, value, what.unit, derivation=what.derivation)
        for what, value in coded
        if math.isfinite(value)
    ]


def _concept(item: Dataset) -> sr.CodedConcept:
    return sr.CodedConcept(item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning)


def _observer() -> sr.ObservationContext:
    """The program, under a UID that every report of this version names."""
    device = sr.DeviceObserverIdentifyingAttributes(
        generate_uid(entropy_srcs=["AnyPET", __version__]), name="AnyPET", model_name=f"AnyPET {__version__}"
    )
    return sr.ObservationContext(observer_device_context=sr.ObserverContext(_DEVICE, device))
