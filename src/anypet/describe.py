"""What a scan is, in plain values: for `anypet info`, sidecar files and anyone who asks before reading."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from anypet._version import __version__
from anypet.dicom.reader import all_series, ordered_slices
from anypet.dicom.series import choose
from anypet.errors import AnyPETError, ReadError, SUVError
from anypet.formats import load, suffix_of
from anypet.io import read
from anypet.volume import Volume

# what `Volume.meta` holds about one machine and not about the scan
_LOCAL = {"files", "source"}


def describe(
    path: str | Path, *, series: str | int | None = None, frame: int | None = None
) -> dict[str, Any]:
    """Describes a scan without demanding that it can be converted to SUV.

    Args:
        path, series, frame: as for `read`.

    Returns:
        "path", "modality", "unit", "geometry", "values", "series" (the one taken, with "why" and "others"),
        "suv" (factor, rules, tags), "warnings", and "error" where the scan is there but cannot be read as
        what it should be.

    Raises:
        ReadError: there is no scan at the path.
    """
    path = Path(path)
    if path.is_file() and suffix_of(path):
        return _describe_file(path, frame)
    try:
        volume = read(path, series=series, frame=frame)
    except SUVError as error:
        return _without_suv(path, series, frame, str(error))
    except ReadError as error:
        return _other_modality(path, series, frame, error)
    return {"path": str(path), **summary(volume)}


def summary(volume: Volume) -> dict[str, Any]:
    """Unit, geometry, values and provenance of a volume that has been read, without paths of the machine."""
    meta = {k: v for k, v in volume.meta.items() if k not in _LOCAL}
    return {
        "unit": volume.unit,
        "geometry": geometry(volume.affine, volume.shape),
        "values": _values(volume),
        **meta,
    }


def geometry(affine: np.ndarray, shape: tuple[int, ...]) -> dict[str, Any]:
    """Shape, spacing, orientation code and affine (index -> RAS mm) of a grid."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return {
        "shape": [int(n) for n in shape],
        "spacing_mm": [round(float(s), 5) for s in spacing],
        "orientation": "".join(str(c) for c in nib.aff2axcodes(affine)),
        "affine": [[round(float(x), 6) for x in row] for row in affine],
    }


def write_sidecar(volume: Volume, path: Path) -> Path:
    """Writes what is known of a volume as JSON next to its image file: suv.nii.gz -> suv.json.

    Returns:
        The path of the JSON file.

    Raises:
        AnyPETError: it cannot be written.
    """
    target = path.with_name(path.name[: len(path.name) - len(suffix_of(path))] + ".json")
    text = json.dumps(
        {"anypet_version": __version__, "image": path.name, **summary(volume)}, indent=2, default=str
    )
    try:
        handle, scratch = tempfile.mkstemp(prefix=".anypet-", dir=target.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        os.replace(scratch, target)
    except OSError as error:
        raise AnyPETError(f"{target}: cannot be written: {error}") from error
    return target


def _describe_file(path: Path, frame: int | None) -> dict[str, Any]:
    volume = load(path, frame)
    told: dict[str, Any] = {"path": str(path), **summary(volume)}
    if not volume.unit:
        told["unit"] = None
        told["error"] = "the file does not say what unit its values are in: give unit= when reading it"
    return told


def _without_suv(path: Path, series: str | int | None, frame: int | None, error: str) -> dict[str, Any]:
    """What can be said of a PET whose SUV cannot be had."""
    with all_series(path) as found:
        chosen, why = choose(found, "PT", series, str(path))
        others = [s.describe() for s in found if s.uid != chosen.uid]
        told: dict[str, Any] = {
            "path": str(path),
            "modality": chosen.modality,
            "unit": None,
            "series": {**chosen.describe(), "why": why, "others": others},
            "error": error,
            "warnings": [],
        }
        try:
            slices = ordered_slices(chosen, frame)
        except ReadError:
            return told
        first = slices.headers[0]
        shape = (int(first.Columns), int(first.Rows), len(slices.headers))
        return {**told, "geometry": geometry(slices.affine, shape)}


def _other_modality(
    path: Path, series: str | int | None, frame: int | None, error: ReadError
) -> dict[str, Any]:
    """A folder without a readable PET: its series, and its CT in HU if it has one."""
    if not path.exists():
        raise error
    with all_series(path) as found:
        told: dict[str, Any] = {
            "path": str(path),
            "modality": "/".join(sorted({s.modality for s in found})),
            "unit": None,
            "series": {"others": [s.describe() for s in found]},
            "error": str(error),
            "warnings": [],
        }
        if {s.modality for s in found} >= {"PT"}:
            return told
    try:
        volume = read(path, unit="HU", series=series, frame=frame)
    except ReadError:
        return told
    return {"path": str(path), **summary(volume)}


def _values(volume: Volume) -> dict[str, float]:
    array = volume.array[np.isfinite(volume.array)]
    if not array.size:
        return {}
    return {"min": float(array.min()), "mean": float(array.mean(dtype=np.float64)), "max": float(array.max())}
