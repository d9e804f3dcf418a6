"""From the slices of a series to one array with an affine: sorting, checking, decoding."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset

from anypet.dicom.files import is_dicom
from anypet.dicom.header import number, tag_name
from anypet.dicom.times import acquisition_datetime
from anypet.errors import ReadError

log = logging.getLogger(__name__)

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
SAME_PLACE_MM = 0.01
# Where two bed positions meet, scanners leave gaps a few per cent off; a missing slice is 100 % off.
MAX_UNEVEN = 0.1
Float = npt.NDArray[np.float64]


def vector(header: Dataset, keyword: str, length: int) -> Float:
    """A numeric attribute of a fixed length.

    Raises:
        ReadError: missing, of another length, or not finite.
    """
    value = header.get(keyword)
    try:
        result = np.array([float(v) for v in value], dtype=np.float64)  # type: ignore[union-attr]
    except (TypeError, ValueError):
        result = np.zeros(0)
    if result.shape != (length,) or not np.isfinite(result).all():
        raise ReadError(
            f"{tag_name(keyword)} is {'missing' if value is None else value}: expected {length} numbers; "
            "without it the slice has no place in the patient"
        )
    return result


def sort_slices(headers: Sequence[Dataset], frame: int | None = None) -> tuple[list[int], Float]:
    """Orders slices along their normal and gives the affine of the stack.

    Args:
        headers: one per slice, in any order.
        frame: which time frame or gate to take when each position occurs more than once.

    Returns:
        Indices into `headers` by ascending position along the normal (row direction x column direction), and
        the 4 x 4 affine from (column i, row j, slice k, 1) to RAS mm.

    Raises:
        ReadError: orientation, pixel spacing or size differ; positions are missing, double or uneven; several
            frames and none chosen; one slice only.

    Source: DICOM PS3.3 C.7.6.2.1.1.
    """
    first = headers[0]
    orientation = _orientation(first)
    spacing = vector(first, "PixelSpacing", 2)
    if not (spacing > 0).all():
        raise ReadError(f"{tag_name('PixelSpacing')} is {spacing.tolist()}: expected positive millimetres")
    for header in headers[1:]:
        if np.abs(_orientation(header) - orientation).max() > 1e-3:
            raise ReadError(
                f"{tag_name('ImageOrientationPatient')} differs within the series: {orientation.tolist()} "
                f"and {_orientation(header).tolist()}; split the series by orientation"
            )
        if np.abs(vector(header, "PixelSpacing", 2) - spacing).max() > 1e-3:
            raise ReadError(f"{tag_name('PixelSpacing')} differs within the series; split the series")
        if (header.get("Rows"), header.get("Columns")) != (first.get("Rows"), first.get("Columns")):
            raise ReadError(
                f"{tag_name('Rows')} or {tag_name('Columns')} differs within the series; split it"
            )
    normal = np.cross(orientation[:3], orientation[3:])
    places = np.array([vector(h, "ImagePositionPatient", 3) for h in headers])
    order = _one_frame(headers, places @ normal, frame)
    step = _step(places[order], np.asarray(normal, dtype=np.float64))
    affine = np.eye(4)
    affine[:3, 0] = orientation[:3] * spacing[1]  # Pixel Spacing is (between rows, between columns)
    affine[:3, 1] = orientation[3:] * spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = places[order[0]]
    return order, LPS_TO_RAS @ affine


def _orientation(header: Dataset) -> Float:
    """(6,) unit direction of the rows, then of the columns, in LPS."""
    raw = vector(header, "ImageOrientationPatient", 6)
    row, column = raw[:3], raw[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if min(lengths) < 0.9 or max(lengths) > 1.1 or abs(row @ column) > 0.01:
        raise ReadError(
            f"{tag_name('ImageOrientationPatient')} is {raw.tolist()}: not two perpendicular unit vectors"
        )
    return np.concatenate([row / lengths[0], column / lengths[1]])


def _one_frame(headers: Sequence[Dataset], along: Float, frame: int | None) -> list[int]:
    """Indices by position, one a position; of series with several frames only the one asked for."""
    by_place: list[list[int]] = []
    for index in np.argsort(along, kind="stable").tolist():
        if by_place and along[index] - along[by_place[-1][0]] < SAME_PLACE_MM:
            by_place[-1].append(index)
        else:
            by_place.append([index])
    counts = {len(p) for p in by_place}
    if counts == {1}:
        if frame not in (None, 0):
            raise ReadError(f"frame={frame} is wanted, but the series has one frame")
        return [p[0] for p in by_place]
    most = max(counts)
    moments = {_moment(h) for h in headers}
    if len(counts) > 1 or len(moments) < most:
        double = next(p for p in by_place if len(p) > 1)
        raise ReadError(
            f"duplicate slices: {len(double)} at {tag_name('ImagePositionPatient')} "
            f"{list(headers[double[0]].ImagePositionPatient)} in one series; remove the ones not wanted"
        )
    if frame is None:
        raise ReadError(
            f"dynamic or gated series with {most} frames: choose one with frame=0 to frame={most - 1}, "
            "or sum the frames first"
        )
    if not 0 <= frame < most:
        raise ReadError(f"frame={frame} is wanted, but the series has frames 0 to {most - 1}")
    return [sorted(p, key=lambda n: _moment(headers[n]))[frame] for p in by_place]


def _moment(header: Dataset) -> tuple[float, ...]:
    """What orders the frames of a dynamic or gated series."""
    start = acquisition_datetime(header)
    return (
        start.timestamp() if start else 0.0,
        number(header, "FrameReferenceTime") or 0.0,
        number(header, "TriggerTime") or 0.0,
        number(header, "TemporalPositionIndex") or 0.0,
    )


def _step(places: Float, normal: Float) -> Float:
    """(3,) mm from one slice to the next, LPS, after checking that it is the same everywhere."""
    if len(places) < 2:
        raise ReadError("one slice only: a volume needs two or more; give the folder with the whole series")
    step = (places[-1] - places[0]) / (len(places) - 1)
    gaps = np.diff(places @ normal)
    usual = float(np.sort(gaps)[(len(gaps) - 1) // 2])  # a median that is one of the gaps
    off = np.abs(gaps - usual)
    if off.max() > max(0.05, MAX_UNEVEN * usual):
        worst = int(off.argmax())
        times = gaps[worst] / usual
        missing = round(times) - 1
        what = (
            f"{missing} slice(s) missing"
            if missing > 0 and abs(times - round(times)) < 0.05
            else "uneven spacing"
        )
        raise ReadError(
            f"{what}: slices lie {usual:.3f} mm apart, but {gaps[worst]:.3f} mm between "
            f"{tag_name('ImagePositionPatient')} {places[worst].tolist()} and {places[worst + 1].tolist()}; "
            "complete or re-export the series"
        )
    expected = places[0] + np.arange(len(places))[:, None] * step
    away = float(np.linalg.norm(expected - places, axis=1).max())
    if away > 0.5 * usual:
        raise ReadError(
            f"{tag_name('ImagePositionPatient')}: slices lie up to {away:.2f} mm from where an even "
            "stack has them; re-export the series"
        )
    if away > 0.1:
        log.info("slices lie up to %.2f mm from where an even stack has them", away)
    return step


def slope_intercept(header: Dataset) -> tuple[float, float]:
    """Rescale Slope (0028,1053) and Intercept (0028,1052); 1 and 0 where absent."""
    slope, intercept = number(header, "RescaleSlope"), number(header, "RescaleIntercept")
    return (1.0 if slope is None else slope), (0.0 if intercept is None else intercept)


def load_slices(
    sources: Sequence[tuple[Path, int]], headers: Sequence[Dataset], scale: Float
) -> npt.NDArray[np.float32]:
    """Decodes slices in the order given: (stored x slope + intercept) x scale.

    Args:
        sources: file and frame in the file (0 for single-frame files) of each slice.
        headers: their headers.
        scale: (N,) one factor a slice.

    Returns:
        (columns, rows, slices) float32.

    Raises:
        ReadError: the pixel data is missing, truncated, or in a transfer syntax that cannot be decoded.
    """
    first = headers[0]
    stack = np.empty((len(sources), int(first.Rows), int(first.Columns)), dtype=np.float32)
    opened: Path | None = None
    frames: npt.NDArray[Any] = np.zeros(0)
    for n, ((path, frame), header) in enumerate(zip(sources, headers, strict=True)):
        if path != opened:  # the frames of a multi-frame file follow one another
            opened, frames = path, decode(path)
            frames = frames[None] if frames.ndim == 2 else frames
        if frame >= len(frames) or frames.shape[1:] != stack.shape[1:]:
            raise ReadError(
                f"{path}: pixel data of shape {frames.shape}, expected frame {frame} of {stack.shape[1:]}"
            )
        slope, intercept = slope_intercept(header)
        stack[n] = (frames[frame].astype(np.float64) * slope + intercept) * scale[n]
    return stack.transpose(2, 1, 0)


def decode(path: Path) -> npt.NDArray[Any]:
    """The stored pixel values of a file, (rows, columns) or (frames, rows, columns).

    Raises:
        ReadError: as in `load_slices`.
    """
    try:
        dataset = pydicom.dcmread(path, force=not is_dicom(path))
        syntax = dataset.file_meta.get("TransferSyntaxUID")
    except Exception as error:  # damaged files fail in many ways
        raise ReadError(f"{path}: the file cannot be read as DICOM: {error}") from error
    if syntax is None:  # files without a preamble are implicit little endian by the standard's default
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    if "PixelData" not in dataset and "FloatPixelData" not in dataset:
        raise ReadError(f"{path}: no pixel data (7FE0,0010): the file is truncated or holds a header only")
    try:
        return np.asarray(dataset.pixel_array)
    except Exception as error:  # pydicom and its decoders raise many kinds
        name = getattr(syntax, "name", None) or "unknown"
        raise ReadError(
            f"{path}: the pixel data (transfer syntax {name}) cannot be decoded: {_short(error)}; "
            "it may be truncated, or needs re-export as Explicit VR Little Endian"
        ) from error


def _short(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:300]
