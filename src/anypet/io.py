"""The front door: `read` a scan, a study or labels from whatever they are stored in, and `write` volumes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from anypet.dicom.reader import all_series, ct_volume, read_dicom, volume_from
from anypet.dicom.series import Series, choose
from anypet.errors import ReadError
from anypet.formats import load, save, suffix_of
from anypet.grids import resample
from anypet.units import UNITS, check_unit, check_values, finite, warn
from anypet.volume import Volume

log = logging.getLogger(__name__)

AIR_HU = -1024.0


@dataclass(frozen=True, eq=False)
class Study:
    """What a reader looks at together.

    Args:
        pet: SUVbw (or the unit asked for), float32.
        ct: HU on the grid of the PET, -1024 where the CT does not reach; None without a CT.
        meta: the series found and how the CT was chosen.
    """

    pet: Volume
    ct: Volume | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


def read(
    path: str | Path,
    *,
    unit: str | None = None,
    series: str | int | None = None,
    frame: int | None = None,
    allow_uncorrected: bool = False,
) -> Volume:
    """Reads a scan.

    Args:
        path: a DICOM folder (searched to any depth, any file names), a DICOM file, a zip archive of a folder,
            or a NIfTI, NRRD or MetaImage file.
        unit: for DICOM the unit wanted: "SUVbw" (the default), "SUVlbm" (Janmahasatian), "SUVlbm-james",
            "SUVibw", "SUVbsa", "Bq/mL", or "HU" for a CT. For other files the unit their values are in, which
            must be said unless `write` stored it.
        series: Series Instance UID or Series Number where a folder holds several; None takes the
            attenuation-corrected PET with the longest field of view and says so in `meta["series"]`.
        frame: which frame of a dynamic or 4D scan.
        allow_uncorrected: accept a PET that is not marked as attenuation-corrected.

    Returns:
        (i, j, k) float32 (integers for "label") in the file's own voxel order, for DICOM i = column, j = row,
        k = slice along the normal; the affine maps to RAS mm. `meta` holds the series, the SUV factor with
        its rules and tags, and the warnings, which are logged too.

    Raises:
        ReadError: the path, the file or the unit is not what is needed; the message says what is.
        SUVError: the PET is readable, but its SUV cannot be had; the message names the tag.
    """
    path = _existing(path)
    wanted = None if unit is None else check_unit(unit)
    if path.is_dir() or not suffix_of(path):
        _refuse_image_folder(path)
        return read_dicom(path, wanted or "SUVbw", series, frame, allow_uncorrected)
    if series is not None:
        raise ReadError(f"{path}: series= is for DICOM; a {suffix_of(path)} file holds one image")
    return _read_file(path, wanted, frame)


def read_study(
    path: str | Path,
    *,
    ct: str | Path | None = None,
    unit: str | None = None,
    series: str | int | None = None,
    frame: int | None = None,
    allow_uncorrected: bool = False,
) -> Study:
    """Reads a PET and the CT that belongs to it.

    Args:
        path: as for `read`; from DICOM the CT in the PET's frame of reference is taken along.
        ct: a CT to use instead, as a DICOM folder or an image file in HU.
        unit, series, frame, allow_uncorrected: of the PET, as for `read`.

    Returns:
        The PET, and the CT resampled to its grid (linear; -1024 HU outside).

    Raises:
        ReadError, SUVError: as `read`. A CT of the same study that makes no volume is only warned of.
    """
    path = _existing(path)
    if ct is not None:
        pet = read(path, unit=unit, series=series, frame=frame, allow_uncorrected=allow_uncorrected)
        other = resample(read(ct, unit="HU"), pet, outside=AIR_HU)
        return Study(pet, other, {"ct": {"source": str(ct)}})
    if suffix_of(path):
        return Study(_read_file(path, None if unit is None else check_unit(unit), frame))
    wanted = "SUVbw" if unit is None else check_unit(unit)
    with all_series(path) as found:
        pet = volume_from(found, path, wanted, series, frame, allow_uncorrected)
        volume, told = _ct_for(pet, found, str(path))
        if volume is not None:
            volume = resample(volume, pet, outside=AIR_HU)
        return Study(pet, volume, {"series": [s.describe() for s in found], "ct": told})


def read_labels(
    path: str | Path, reference: Volume | None = None, *, series: str | int | None = None
) -> Volume:
    """Reads a label map, contours or a segmentation as one label volume.

    Args:
        path: a NIfTI, NRRD or MetaImage label map; an RTSTRUCT or DICOM SEG file, or a folder or zip that
            holds one of them.
        reference: the scan whose grid is wanted. RTSTRUCT needs it; others keep their own grid without it and
            are resampled (nearest voxel) with it.
        series: Series Instance UID or Number, where a folder holds several.

    Returns:
        Integers on the grid, unit "label"; `meta["names"]` maps each label to its name. Where regions of an
        RTSTRUCT or SEG overlap, the smaller one wins and a warning says so: `read_masks` keeps both whole.

    Raises:
        ReadError: not labels, or no reference where one is needed.
    """
    path = _existing(path)
    if suffix_of(path):
        labels = _read_file(path, "label", None)
        names = labels.meta.get("names") or {int(n): f"label {n}" for n in np.unique(labels.array) if n}
        labels = labels.with_array(labels.array, names=names)
        return labels if reference is None else resample(labels, reference, linear=False)
    grid, masks, warnings = _dicom_masks(path, reference, series)
    array = np.zeros(grid.shape, np.uint8 if len(masks) < 256 else np.uint16)
    # large regions first, so that a tumour drawn inside an oedema stays visible
    for value, name in sorted(enumerate(masks, start=1), key=lambda item: -int(masks[item[1]].sum())):
        shared = int(np.count_nonzero(array[masks[name]]))
        if shared:
            warn(
                warnings, str(path), f"{name!r} shares {shared} voxels with larger regions and was put on top"
            )
        array[masks[name]] = value
    meta = {"source": str(path), "names": dict(enumerate(masks, start=1)), "warnings": warnings}
    return Volume(array, grid.affine, "label", meta)


def read_masks(
    path: str | Path, reference: Volume | None = None, *, series: str | int | None = None
) -> dict[str, npt.NDArray[np.bool_]]:
    """Reads the regions of a label map, an RTSTRUCT or a DICOM SEG as one mask each, overlaps kept.

    Args:
        path, reference, series: as for `read_labels`.

    Returns:
        Name -> boolean array on the reference's grid (without a reference on the file's own grid). Names that
        occur twice get a number appended.

    Raises:
        ReadError: as `read_labels`.
    """
    path = _existing(path)
    if suffix_of(path):
        labels = read_labels(path, reference)
        return {name: labels.array == value for value, name in labels.meta["names"].items()}
    return _dicom_masks(path, reference, series)[1]


def write(volume: Volume, path: str | Path) -> None:
    """Writes a volume as NIfTI, NRRD or MetaImage, by the suffix; see `formats.save`.

    `read` finds the unit in the file again. A file under this name is replaced once the new one is whole.

    Raises:
        AnyPETError: unknown suffix, no such folder, or the disk refuses.
    """
    save(volume, Path(path))


def _existing(path: str | Path) -> Path:
    path = Path(path).expanduser()
    if not path.exists():
        raise ReadError(f"{path}: no such file or folder")
    return path


def _read_file(path: Path, unit: str | None, frame: int | None) -> Volume:
    volume = load(path, frame)
    warnings: list[str] = list(volume.meta["warnings"])
    if unit is None and not volume.unit:
        raise ReadError(
            f"{path}: the file does not say what unit its values are in; give unit= one of {', '.join(UNITS)}"
        )
    if unit is not None and volume.unit and unit != volume.unit:
        warn(warnings, str(path), f"the file says its unit is {volume.unit}, but it is read as {unit}")
    unit = unit or volume.unit
    array = finite(volume.array, str(path), warnings)
    if unit == "label":
        array = _as_labels(array, path)
    else:
        array = array.astype(np.float32, copy=False)
        check_values(array, unit, str(path), warnings)
    return volume.with_array(array, unit, warnings=warnings)


def _as_labels(array: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > np.iinfo(np.int32).max or (array.dtype.kind == "f" and np.any(array % 1)):
        raise ReadError(
            f"{path}: values from {low:g} to {high:g} are no labels; expected whole numbers from 0 up"
        )
    return array.astype(np.uint8 if high < 256 else np.uint16 if high < 65536 else np.int32)


def _refuse_image_folder(path: Path) -> None:
    """A folder of NIfTI files is no DICOM study: says which file to give."""
    if not path.is_dir():
        return
    inside = sorted(p for p in path.iterdir() if p.is_file())
    images = [p.name for p in inside if suffix_of(p)]
    if images and len(images) == len(
        [p for p in inside if p.suffix.lower() not in (".json", ".txt", ".csv")]
    ):
        if any(p.is_dir() for p in path.iterdir()):
            return
        raise ReadError(f"{path}: no DICOM in this folder; give one of its images: {', '.join(images[:8])}")


def _ct_for(pet: Volume, found: list[Series], source: str) -> tuple[Volume | None, dict[str, Any]]:
    """The CT in the frame of reference of the PET, or None and the reason."""
    place = pet.meta.get("frame_of_reference")
    all_ct = [s for s in found if s.modality == "CT" and s.is_image]
    same = [s for s in all_ct if not place or str(s.first.get("FrameOfReferenceUID") or place) == place]
    if not same:
        reason = "another frame of reference" if all_ct else "no CT series"
        if all_ct:
            log.warning("%s: the CT has %s than the PET and was left out", source, reason)
        return None, {"why": reason}
    chosen, why = choose(same, "CT", None, source)
    try:
        return ct_volume(chosen), {**chosen.describe(), "why": why}
    except ReadError as error:
        log.warning("%s: the CT was left out: %s", source, error)
        return None, {**chosen.describe(), "why": str(error)}


def _dicom_masks(
    path: Path, reference: Volume | None, series: str | int | None
) -> tuple[Volume, dict[str, npt.NDArray[np.bool_]], list[str]]:
    from anypet.dicom.rtstruct import rtstruct_masks  # these two import matplotlib and highdicom, which takes
    from anypet.dicom.seg import seg_masks  # longer than reading a scan does

    warnings: list[str] = []
    with all_series(path) as found:
        marked = [s for s in found if s.modality in ("RTSTRUCT", "SEG")]
        if series is not None:
            marked = [s for s in marked if str(series) in (s.uid, str(s.number))]
        files = [(s.modality, file) for s in marked for file in s.paths]
        if len(files) != 1:
            what = "several RTSTRUCT or SEG objects" if files else "no RTSTRUCT or SEG"
            listing = "; ".join(s.label() for s in found)
            raise ReadError(f"{path}: {what}; give the file or series=; found {listing}")
        modality, file = files[0]
        if modality == "RTSTRUCT":
            if reference is None:
                raise ReadError(f"{path}: contours (RTSTRUCT) need reference=, the scan whose grid is wanted")
            return reference, rtstruct_masks(file, reference, warnings), warnings
        grid, masks = seg_masks(file, reference, warnings)
        return grid, masks, warnings


__all__ = ["Study", "read", "read_labels", "read_masks", "read_study", "write"]
