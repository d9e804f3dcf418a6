"""Regions as a DICOM SEG (binary, fractional or label map) that refers to the slices they were drawn on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds
from skimage.color import rgb2lab

from anypet.dicom.codes import structure
from anypet.dicom.files import write_file
from anypet.dicom.header import changed, item
from anypet.dicom.maker import COLOURS, Algorithm, instance, lenient_names
from anypet.dicom.regions import Labels, Regions, regions_on
from anypet.dicom.source import Source, find_source
from anypet.dicom.stack import LPS_TO_RAS
from anypet.errors import AnyPETError
from anypet.volume import Volume

Kind = Literal["binary", "fractional", "labelmap"]
KINDS = ("binary", "fractional", "labelmap")


def write_segmentation(
    labels: Labels,
    scan: Volume | str | Path | Source,
    path: str | Path,
    *,
    kind: Kind = "binary",
    names: Mapping[int, str] | None = None,
    algorithm: Algorithm | None = None,
    resample: bool = False,
) -> None:
    """Writes `segmentation` to a file; one under this name is replaced once the new one is whole.

    Args:
        labels, scan, kind, names, algorithm, resample: as for `segmentation`.
        path: file to write, in a folder that exists.

    Raises:
        AnyPETError: as `segmentation`, or the file cannot be written.
    """
    made = segmentation(labels, scan, kind=kind, names=names, algorithm=algorithm, resample=resample)
    write_file(made, Path(path))


def segmentation(
    labels: Labels,
    scan: Volume | str | Path | Source,
    *,
    kind: Kind = "binary",
    names: Mapping[int, str] | None = None,
    algorithm: Algorithm | None = None,
    resample: bool = False,
) -> hd.seg.Segmentation:
    """A DICOM SEG with one segment a region.

    Args:
        labels: see `regions_on`.
        scan: the scan that they were drawn on, see `find_source`; a `Source` may be anonymised.
        kind: "binary", one bit a voxel and segment, which every reader knows; "fractional", probabilities in
            steps of 1/255; "labelmap", one number a voxel, small and quick with many segments, but known only
            to recent readers.
        names: label -> name.
        algorithm: what outlined them; AnyPET with a person by default.
        resample: see `regions_on`.

    Returns:
        Its frames are in the planes of the scan's slices, each naming the instance (and frame) it belongs to;
        planes without any voxel are left out. Segment labels are the names, types their codes (`codes`), and
        each segment has a tracking UID of its own.

    Raises:
        AnyPETError: as `find_source` and `regions_on`; probabilities without "fractional"; regions that
            overlap in a label map.

    Source: DICOM PS3.3 A.51, C.8.20; written by highdicom (Bridge et al., J Digit Imaging 2022;35:1719).
    """
    if kind not in KINDS:
        raise AnyPETError(f"unknown kind {kind!r} of segmentation: give one of {', '.join(KINDS)}")
    source = find_source(scan)
    regions = regions_on(source.grid, labels, names, resample=resample)
    _check_kind(regions, kind)
    with lenient_names():
        made = hd.seg.Segmentation(
            source_images=_images(source),
            pixel_array=_planes(regions, kind),
            segmentation_type=kind.upper(),
            segment_descriptions=_descriptions(regions, algorithm or Algorithm()),
            fractional_type="PROBABILITY",
            **instance("AnyPET segmentation", source, 1000),
        )
    if source.frames is not None:
        _number_frames(made, source.frames)
    return made


def _check_kind(regions: Regions, kind: Kind) -> None:
    if regions.fractional and kind != "fractional":
        raise AnyPETError(
            f"probabilities cannot be a {kind} segmentation: cut them, or take kind='fractional'"
        )
    if kind == "labelmap" and regions.array.ndim == 4:
        shared = int(np.count_nonzero(np.count_nonzero(regions.array, axis=-1) > 1))
        if shared:
            raise AnyPETError(
                f"regions overlap in {shared} voxels: a label map cannot hold them, kind='binary' can"
            )


def _planes(regions: Regions, kind: Kind) -> npt.NDArray[Any]:
    """(slices, rows, columns[, segments]) as highdicom takes it."""
    array = np.moveaxis(regions.array, (0, 1, 2), (2, 1, 0))
    if kind == "fractional" and not regions.fractional:
        numbers = np.arange(1, len(regions.names) + 1)
        array = array[..., None] == numbers if array.ndim == 3 else array
        array = array.astype(np.float32)
    if array.dtype == bool:
        array = array.astype(np.uint8)
    return np.ascontiguousarray(array)


def _descriptions(regions: Regions, algorithm: Algorithm) -> list[hd.seg.SegmentDescription]:
    descriptions = []
    for number, name in enumerate(regions.names, start=1):
        coded = structure(name)
        segment = hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=coded.category,
            segmented_property_type=coded.type,
            algorithm_type=algorithm.how,
            algorithm_identification=algorithm.identification,
            tracking_id=name,
            tracking_uid=hd.UID(),
            display_color=hd.color.CIELabColor(
                *rgb2lab(np.array(COLOURS[(number - 1) % len(COLOURS)]) / 255)
            ),
        )
        if coded.side is not None:
            side = [hd.sr.CodedConcept.from_code(coded.side)]
            segment.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = side
        descriptions.append(segment)
    return descriptions


def _images(source: Source) -> list[Dataset]:
    """The source as highdicom takes it: one header a slice, or one of a multi-frame object.

    Of a multi-frame object the frames in the order of the slices, no others: of a dynamic one the other times
    are not what was outlined. `_number_frames` gives them their own numbers again.
    """
    first, places = source.first, _places(source)
    if source.frames is None:
        return [
            changed(h, ImagePositionPatient=place) for h, place in zip(source.headers, places, strict=True)
        ]
    measures = item(PixelSpacing=first.PixelSpacing, SliceThickness=first.SliceThickness)
    orientation = item(ImageOrientationPatient=first.ImageOrientationPatient)
    shared = item(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[orientation])
    frames = [item(PlanePositionSequence=[item(ImagePositionPatient=place)]) for place in places]
    return [
        changed(
            first,
            SharedFunctionalGroupsSequence=[shared],
            PerFrameFunctionalGroupsSequence=frames,
            NumberOfFrames=len(frames),
        )
    ]


def _places(source: Source) -> list[Any]:
    """Image Position (Patient) of every frame: that of its slice.

    Where slices are spaced unevenly, as where two beds meet, the places of an even stack (the one that `read`
    gives): readers refuse a SEG whose frames make no regular volume.
    """
    places = [header.ImagePositionPatient for header in source.headers]
    if hd.spatial.get_volume_positions(places, source.first.ImageOrientationPatient)[0] is not None:
        return places
    affine = LPS_TO_RAS @ source.affine
    even = [(affine[:3, 3] + k * affine[:3, 2]).tolist() for k in range(len(places))]
    return [[format_number_as_ds(x) for x in place] for place in even]


def _number_frames(made: Dataset, frames: tuple[int, ...]) -> None:
    """Refers to the frames by their numbers in the object, in place of those in the order of the slices."""
    for group in made.PerFrameFunctionalGroupsSequence:
        for derivation in group.get("DerivationImageSequence") or ():
            for image in derivation.SourceImageSequence:
                image.ReferencedFrameNumber = frames[int(image.ReferencedFrameNumber) - 1]
