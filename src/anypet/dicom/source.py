"""The DICOM series that masks were drawn on, found again: its instances in the order of the voxels."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from anypet.dicom.deidentify import deidentified
from anypet.dicom.files import read_header
from anypet.dicom.header import changed
from anypet.dicom.multiframe import is_multiframe
from anypet.dicom.reader import Slices, all_series, ordered_slices
from anypet.dicom.series import Series, choose, group
from anypet.errors import AnyPETError, ReadError
from anypet.volume import Volume

log = logging.getLogger(__name__)

# what every derived object must carry, and many archives leave out (type 2: may be empty, not absent)
_MAY_BE_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")


@dataclass(frozen=True, eq=False)
class Source:
    """A series in the patient.

    Args:
        headers: one header a slice in the order of k, without pixels; of a multi-frame object one a frame,
            with the attributes of its functional groups.
        frames: the number (from 1) of each slice's frame in its object; None for single-frame objects.
        affine: 4 x 4; (column i, row j, slice k, 1) -> RAS mm.
    """

    headers: tuple[Dataset, ...]
    frames: tuple[int, ...] | None
    affine: npt.NDArray[np.float64]

    @property
    def first(self) -> Dataset:
        """A header for what all slices share."""
        return self.headers[0]

    @property
    def grid(self) -> Volume:
        """An empty label volume on the grid of the series."""
        shape = (int(self.first.Columns), int(self.first.Rows), len(self.headers))
        return Volume(np.zeros(shape, np.uint8), self.affine, "label", self.place)

    @property
    def place(self) -> dict[str, str]:
        """The UIDs by which a volume read from the series is known to be of it."""
        return {
            "series_uid": str(self.first.SeriesInstanceUID),
            "frame_of_reference": str(self.first.FrameOfReferenceUID),
        }

    def anonymised(self) -> Source:
        """The same series under a header without identity; see `deidentify`."""
        return replace(self, headers=tuple(deidentified(header) for header in self.headers))


def find_source(
    scan: Volume | str | Path | Source, *, series: str | int | None = None, frame: int | None = None
) -> Source:
    """Finds the series that masks refer to.

    Args:
        scan: a volume as `read` gave it from a DICOM folder (its files must still be there), or the folder,
            file or zip archive itself: its PET, chosen as `read` chooses it, or its CT where there is no PET.
        series: Series Instance UID or Number, where a folder holds several.
        frame: which frame of a dynamic or gated series.

    Raises:
        AnyPETError: the volume does not come from DICOM, its files are gone, there is no such series, or it
            lacks a UID without which nothing can refer to it.
    """
    if isinstance(scan, Source):
        return scan
    if isinstance(scan, Volume):
        return _source(_series_of(scan), frame)
    path = Path(scan).expanduser()
    if not path.exists():
        raise ReadError(f"{path}: no such file or folder")
    with all_series(path) as found:
        chosen, why = choose(found, _modality(found, series), series, str(path))
        log.info("%s: took %s: %s", path, chosen.label(), why)
        return _source(chosen, frame)


def _series_of(scan: Volume) -> Series:
    """The series of a volume's own files."""
    files = list(dict.fromkeys(scan.meta.get("files") or ()))
    if not files:
        raise AnyPETError(
            f"the scan {scan.meta.get('source', '')} does not come from a DICOM folder: give the folder "
            "(or zip) of its series"
        )
    found = [(Path(file), read_header(Path(file))) for file in files]
    gone = [str(path) for path, header in found if header is None]
    if gone:
        raise AnyPETError(
            f"{gone[0]}: the DICOM file that the scan was read from is gone: give the series' folder"
        )
    return group([(path, header) for path, header in found if header is not None])[0]


def _modality(found: Sequence[Series], wanted: str | int | None) -> str:
    named = [s.modality for s in found if wanted is not None and str(wanted) in (s.uid, str(s.number))]
    there = {s.modality for s in found if s.is_image}
    return named[0] if named else "CT" if "CT" in there and "PT" not in there else "PT"


def _source(series: Series, frame: int | None) -> Source:
    missing = [keyword for keyword in _NEEDED if not series.first.get(keyword)]
    if missing:
        raise AnyPETError(
            f"{series.label()}: {', '.join(missing)} is missing: nothing can refer to this series"
        )
    slices = ordered_slices(series, frame)
    multiframe = is_multiframe(series.first)
    if multiframe and len({path for path, _ in slices.sources}) > 1:
        raise AnyPETError(
            f"{series.label()}: several multi-frame objects in one series cannot be referred to"
        )
    frames = tuple(number + 1 for _, number in slices.sources) if multiframe else None
    return Source(tuple(_completed(h, slices) for h in slices.headers), frames, slices.affine)


def _completed(header: Dataset, slices: Slices) -> Dataset:
    """A copy of the header with what derived objects need, where the scanner or an archive left it out."""
    sex = str(header.get("PatientSex") or "").strip().upper()
    # equal but for rounding, as `sort_slices` has checked
    first = slices.headers[0]
    attributes: dict[str, Any] = {
        "PatientSex": sex if sex in ("M", "F", "O") else "",
        "ImageOrientationPatient": first.ImageOrientationPatient,
        "PixelSpacing": first.PixelSpacing,
    }
    for keyword in _MAY_BE_EMPTY:
        if header.get(keyword) is None:
            attributes.setdefault(keyword, "")
    if not header.get("SliceThickness"):
        attributes["SliceThickness"] = f"{float(np.linalg.norm(slices.affine[:3, 2])):.6g}"
    return changed(header, **attributes)
