"""DICOM series as volumes: PET in SUV or Bq/mL, CT in HU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from anypet.dicom import body, header
from anypet.dicom.files import find_headers, read_header, unzipped
from anypet.dicom.header import Notes, tag_name
from anypet.dicom.multiframe import frame_headers, is_multiframe
from anypet.dicom.series import Series, choose, group
from anypet.dicom.stack import load_slices, slope_intercept, sort_slices
from anypet.dicom.suv import SUVConversion, suv_factor
from anypet.errors import ReadError, SUVError
from anypet.units import check_values, finite, warn
from anypet.volume import Volume

PET_UNITS = ("SUVbw", "SUVlbm", "SUVlbm-james", "SUVibw", "SUVbsa", "Bq/mL")


@dataclass(frozen=True, eq=False)
class Slices:
    """The slices of a series in the order of k, and where they lie.

    Args:
        sources: file and frame in the file of each slice.
        headers: one classic header a slice.
        affine: (column i, row j, slice k, 1) -> RAS mm.
    """

    sources: tuple[tuple[Path, int], ...]
    headers: tuple[Dataset, ...]
    affine: npt.NDArray[np.float64]


@contextmanager
def all_series(path: Path) -> Iterator[list[Series]]:
    """Every DICOM series at a path; of a zip archive only while the context lasts.

    Args:
        path: a folder, searched to any depth; a zip archive of one; or a DICOM file, which stands for its
            series in the same folder.

    Raises:
        ReadError: there is no DICOM.
    """
    if path.is_dir():
        yield _need(group(find_headers(path)), path)
    elif path.suffix.lower() == ".zip":
        with unzipped(path) as folder:
            yield _need(group(find_headers(folder)), path)
    else:
        yield _need(_series_of_file(path), path)


def _series_of_file(path: Path) -> list[Series]:
    own = read_header(path)
    if own is None:
        return []
    found = [(path, own)]
    if not is_multiframe(own) and "ImagePositionPatient" in own:
        uid = own.get("SeriesInstanceUID")
        for other in sorted(p for p in path.parent.iterdir() if p.is_file() and p != path):
            sibling = read_header(other)
            if sibling is not None and sibling.get("SeriesInstanceUID") == uid:
                found.append((other, sibling))
    return group(found)


def _need(series: list[Series], path: Path) -> list[Series]:
    if not series:
        raise ReadError(
            f"{path}: no DICOM found; expected a DICOM folder, file or zip, or a .nii, .nii.gz, .nrrd, .mha "
            "or .mhd file"
        )
    return series


def ordered_slices(series: Series, frame: int | None = None) -> Slices:
    """The slices of a series along their normal; multi-frame objects are taken apart.

    Raises:
        ReadError: see `sort_slices`; the message names the series.
    """
    sources: list[tuple[Path, int]] = []
    headers: list[Dataset] = []
    try:
        for path, head in zip(series.paths, series.headers, strict=True):
            frames = frame_headers(head) if is_multiframe(head) else [head]
            headers += frames
            sources += [(path, n) for n in range(len(frames))]
        order, affine = sort_slices(headers, frame)
    except ReadError as error:
        raise ReadError(f"{series.label()}: {error}") from error
    return Slices(tuple(sources[n] for n in order), tuple(headers[n] for n in order), affine)


def read_dicom(
    path: Path,
    unit: str = "SUVbw",
    series: str | int | None = None,
    frame: int | None = None,
    allow_uncorrected: bool = False,
) -> Volume:
    """Reads the PET (or, with unit "HU", the CT) series at a path.

    Args:
        path: folder, file or zip archive.
        unit: "SUVbw", another SUV, "Bq/mL" or "HU".
        series: Series Instance UID or Series Number; None chooses, see `series.choose`.
        frame: frame of a dynamic or gated series.
        allow_uncorrected: accept a PET that is not marked as attenuation-corrected.

    Raises:
        ReadError: no such series, or its slices make no volume.
        SUVError: the SUV cannot be had; the message names the tag.
    """
    with all_series(path) as found:
        return volume_from(found, path, unit, series, frame, allow_uncorrected)


def volume_from(
    found: Sequence[Series],
    path: Path,
    unit: str = "SUVbw",
    series: str | int | None = None,
    frame: int | None = None,
    allow_uncorrected: bool = False,
) -> Volume:
    """`read_dicom` for series that have been found already; `path` is where, for messages and `meta`."""
    if unit not in (*PET_UNITS, "HU"):
        raise ReadError(f"{path}: DICOM is read as {', '.join(PET_UNITS)} or HU, not as {unit!r}")
    chosen, why = choose(found, "CT" if unit == "HU" else "PT", series, str(path))
    pet = unit != "HU"
    volume = pet_volume(chosen, unit, frame, allow_uncorrected) if pet else ct_volume(chosen, frame)
    return volume.with_array(
        volume.array, source=str(path), series=_series_meta(chosen, why, found), **_files(path, volume)
    )


def pet_volume(
    series: Series, unit: str = "SUVbw", frame: int | None = None, allow_uncorrected: bool = False
) -> Volume:
    """A PET series as a float32 volume in a SUV or in Bq/mL.

    Raises:
        ReadError, SUVError: as `read_dicom`.
    """
    slices = ordered_slices(series, frame)
    name, warnings = series.label(), list[str]()
    _check_rescale(slices.headers, name)
    meta: dict[str, Any] = {"modality": "PT"}
    try:
        if unit == "Bq/mL":
            scale, meta["activity"] = _to_activity(slices.headers)
        else:
            conversion = suv_factor(slices.headers, allow_uncorrected=allow_uncorrected)
            scale, meta["suv"] = _to_suv(conversion, slices.headers[0], unit)
            for text in conversion.warnings:
                warn(warnings, name, text)
    except SUVError as error:
        raise SUVError(f"{name}: {error}") from error
    array = finite(load_slices(slices.sources, slices.headers, scale), name, warnings)
    check_values(array, unit, name, warnings)
    return Volume(array, slices.affine, unit, {**meta, **_common_meta(slices), "warnings": warnings})


def ct_volume(series: Series, frame: int | None = None) -> Volume:
    """A CT series as a float32 volume in HU.

    Raises:
        ReadError: as `read_dicom`.
    """
    slices = ordered_slices(series, frame)
    warnings: list[str] = []
    array = load_slices(slices.sources, slices.headers, np.ones(len(slices.headers)))
    array = finite(array, series.label(), warnings)
    check_values(array, "HU", series.label(), warnings)
    return Volume(
        array, slices.affine, "HU", {"modality": "CT", **_common_meta(slices), "warnings": warnings}
    )


def _check_rescale(headers: Sequence[Dataset], name: str) -> None:
    for head in headers:
        slope, intercept = slope_intercept(head)
        if not head.get("RescaleSlope") or slope <= 0:
            raise SUVError(
                f"{name}: {tag_name('RescaleSlope')} is {head.get('RescaleSlope')}: expected above 0"
            )
        if abs(intercept) > 1e-6 * slope:
            raise SUVError(
                f"{name}: {tag_name('RescaleIntercept')} is {intercept:g}: for PET it must be 0 "
                "(DICOM PS3.3 C.8.9.4); re-export the series from the scanner's archive"
            )


def _to_activity(headers: Sequence[Dataset]) -> tuple[npt.NDArray[np.float64], str]:
    units = str(headers[0].get("Units") or "").strip().upper()
    if units != "BQML":
        raise SUVError(f"{tag_name('Units')} is {units or 'missing'}: only BQML can be read as Bq/mL")
    return np.ones(len(headers)), "BQML"


def _to_suv(
    conversion: SUVConversion, first: Dataset, unit: str
) -> tuple[npt.NDArray[np.float64], dict[str, Any]]:
    """Factors to the SUV wanted, and what is kept of how they came about."""
    kept, notes = conversion.as_dict(), Notes()
    if unit == "SUVbw":
        return conversion.factors, kept
    weight, height = header.weight_kg(first, notes), header.height_m(first, notes)
    sex = header.sex(first, notes)
    normalise = {
        "SUVlbm": lambda: body.suvlbm_factor(weight, height, sex),
        "SUVlbm-james": lambda: body.suvlbm_factor(weight, height, sex, "james"),
        "SUVibw": lambda: body.suvibw_factor(weight, height, sex),
        "SUVbsa": lambda: body.suvbsa_factor(weight, height, sex),
    }
    factor = normalise[unit]()
    kept["tags"] = {**kept["tags"], **notes.tags}
    kept["normalisation"] = {"unit": unit, "times_SUVbw": factor}
    return conversion.factors * factor, kept


def _common_meta(slices: Slices) -> dict[str, Any]:
    first = slices.headers[0]
    patient = {
        "weight_kg": header.number(first, "PatientWeight"),
        "height_m": header.number(first, "PatientSize"),
        "sex": str(first.get("PatientSex") or "") or None,
    }
    return {
        "format": "DICOM",
        "study_uid": str(first.get("StudyInstanceUID") or ""),
        "series_uid": str(first.get("SeriesInstanceUID") or ""),
        "frame_of_reference": str(first.get("FrameOfReferenceUID") or ""),
        "patient": patient,
        "files": [str(path) for path, _ in slices.sources],
    }


def _files(path: Path, volume: Volume) -> dict[str, Any]:
    """The slices' files in the order of k; none for an archive, whose files are gone after reading."""
    return {"files": [] if path.suffix.lower() == ".zip" and path.is_file() else volume.meta["files"]}


def _series_meta(chosen: Series, why: str, found: Sequence[Series]) -> dict[str, Any]:
    others = [s.describe() for s in found if s.uid != chosen.uid]
    return {**chosen.describe(), "why": why, "others": others}
