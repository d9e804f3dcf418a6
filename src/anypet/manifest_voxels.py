"""What the files of one case hold, against what its row says of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from anypet.errors import AnyPETError
from anypet.formats import load, suffix_of
from anypet.io import read, read_masks
from anypet.manifest import Row
from anypet.units import MAX_NONFINITE, check_values
from anypet.volume import Volume

Fault = tuple[str, Literal["error", "warning"], str]

GRID_MM = 0.5  # as evaluation allows
LEAST_CT_SHARE = 0.5


def voxel_faults(row: Row, bad: frozenset[str] = frozenset()) -> Iterator[Fault]:
    """Faults of a case as (field, severity, message), the image's first.

    Args:
        row: a case of a list.
        bad: fields that are known to be at fault, whose files are not read.
    """
    pet = None
    if "image" not in bad:
        pet, faults = _open(row.image, "image", row.unit or "SUVbw")
        yield from faults
    if pet is not None:
        yield from _image(pet, row, "unit" in bad)
    if row.label is not None:
        yield from _label(row.label, pet, {} if "names" in bad else row.names)
    if row.ct is not None:
        ct, faults = _open(row.ct, "ct", "HU")
        yield from faults
        if ct is not None:
            yield from _ct(ct, pet)


def _open(path: Path, field: str, unit: str) -> tuple[Volume | None, list[Fault]]:
    """A file as it is, or a DICOM series in the unit wanted; None and the fault if it cannot be read."""
    try:
        return (load(path) if suffix_of(path) else read(path, unit=unit)), []
    except (AnyPETError, OSError) as error:
        advice = "store one 3D frame of it" if "4D" in str(error) else "replace the file"
        return None, [(field, "error", f"the {field} cannot be read: {error}; {advice}")]
    except Exception as error:  # one damaged file must not hide the faults of the others
        what = f"{type(error).__name__}: {error}"
        return None, [(field, "error", f"the {field} {path.name} cannot be read ({what}); replace the file")]


def _image(pet: Volume, row: Row, unit_is_bad: bool) -> Iterator[Fault]:
    unit = row.unit or pet.unit
    if not unit_is_bad:
        yield from _unit(pet, row, unit)
    yield from _nonfinite(pet.array, "image")
    array = _finite(pet.array)
    if array.min() == array.max():
        yield "image", "error", f"the image is constant ({array.min():g} everywhere); export it again"
    elif unit in ("SUVbw", ""):
        odd = _odd_values(array, "SUVbw")
        if odd:
            yield "image", "error", f"values implausible as SUV: {odd} Convert the image to SUVbw first"


def _unit(pet: Volume, row: Row, unit: str) -> Iterator[Fault]:
    if not unit:
        yield (
            "unit", "error",
            f"the file {row.image.name} does not say its unit; give unit SUVbw if it holds that, "
            "else convert it with `anypet convert`",
        )  # fmt: skip
    elif unit != "SUVbw":
        yield "unit", "error", f"the image is in {unit}; only SUVbw can be used: convert it first"
    elif pet.unit not in ("", unit):
        yield "unit", "warning", f"the row says {unit}, the file says {pet.unit}; correct one of them"


def _label(path: Path, pet: Volume | None, names: dict[int, str]) -> Iterator[Fault]:
    if not suffix_of(path):  # DICOM SEG or RTSTRUCT: put on the image's grid when it is read
        if pet is not None:
            yield from _regions(path, pet)
        return
    label, faults = _open(path, "label", "label")
    yield from faults
    if label is None:
        return
    if pet is not None:
        yield from _grid(label, pet)
    array = label.array
    if array.dtype.kind == "f" and not np.array_equal(array, np.round(array)):  # NaN is not equal to itself
        yield (
            "label", "error",
            f"the label {path.name} holds values that are not integers; resample with nearest neighbour",
        )  # fmt: skip
        return
    values = [int(v) for v in np.unique(array)] if np.isfinite(array).all() else [-1]
    if values[0] < 0:
        yield (
            "label",
            "error",
            f"the label {path.name} holds negative values ({values[0]}); use 0 as background",
        )
    yield from _named([v for v in values if v > 0], names, path)


def _grid(label: Volume, pet: Volume) -> Iterator[Fault]:
    if label.shape != pet.shape:
        yield (
            "label", "error",
            f"the label has shape {label.shape}, the image {pet.shape}; resample it to the image's grid",
        )  # fmt: skip
    elif not pet.same_grid(label, tolerance_mm=GRID_MM):
        yield (
            "label", "error",
            f"label and image have one shape but lie apart in space: their affines are "
            f"{label.affine.round(3).tolist()} and {pet.affine.round(3).tolist()}; correct the label's "
            "header or resample it to the image's grid",
        )  # fmt: skip


def _named(values: list[int], names: dict[int, str], path: Path) -> Iterator[Fault]:
    if not values:
        yield (
            "label", "warning",
            f"the label {path.name} is empty; right for a scan without findings, else replace it, or leave "
            "the field empty if nobody has labelled the scan",
        )  # fmt: skip
        return
    unlisted = sorted(set(values) - set(names)) if names else []
    if unlisted:
        yield "names", "error", f"the label holds {unlisted}, which names does not list; add them to names"
    absent = sorted(set(names) - set(values))
    if absent:
        listed = ", ".join(f"{v} ({names[v]})" for v in absent)
        yield (
            "names",
            "warning",
            f"names lists {listed}, absent from the label; drop them if nobody drew them",
        )


def _regions(path: Path, pet: Volume) -> Iterator[Fault]:
    try:
        masks = read_masks(path, pet)
    except Exception as error:  # as in `_open`
        yield "label", "error", f"the label cannot be read: {error}; replace the file"
        return
    if not any(mask.any() for mask in masks.values()):
        yield (
            "label",
            "warning",
            f"the label {path.name} is empty on the image's grid; check that they belong",
        )


def _ct(ct: Volume, pet: Volume | None) -> Iterator[Fault]:
    yield from _nonfinite(ct.array, "ct")
    odd = _odd_values(_finite(ct.array), "HU")
    if odd:
        yield "ct", "warning", f"{odd} Give the CT in HU"
    if pet is None:
        return
    share = _covered(pet, ct)
    if share == 0:
        yield "ct", "error", "the CT does not overlap the PET; give the CT of the same study"
    elif share < LEAST_CT_SHARE:
        yield "ct", "warning", f"the CT covers only {share:.0%} of the PET; check that it is the study's"


def _covered(pet: Volume, ct: Volume) -> float:
    """Share of the PET's bounding box along R, A and S that the CT's covers."""
    (low, high), (ct_low, ct_high) = _extent(pet), _extent(ct)
    common = np.clip(np.minimum(high, ct_high) - np.maximum(low, ct_low), 0, None)
    return float(np.prod(common / (high - low)))


def _extent(volume: Volume) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Lowest and highest RAS mm of the corners of a volume, half a voxel of rim included."""
    corners = np.stack(np.meshgrid(*[(-0.5, n - 0.5) for n in volume.shape]), axis=-1).reshape(-1, 3)
    mm = volume.to_mm(corners)
    return mm.min(axis=0), mm.max(axis=0)


def _nonfinite(array: npt.NDArray[Any], field: str) -> Iterator[Fault]:
    count = int(array.size - np.isfinite(array).sum())
    if count:
        share = count / array.size
        few = share < MAX_NONFINITE
        text = "they would be read as 0" if few else "too many to be read as 0"
        yield (
            field, "warning" if few else "error",
            f"{count} voxels ({share:.2%}) of the {field} are not finite (NaN or infinite), {text}; "
            "export it again",
        )  # fmt: skip


def _finite(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.nan_to_num(array, nan=0.0, posinf=0.0, neginf=0.0) if array.dtype.kind == "f" else array


def _odd_values(array: npt.NDArray[Any], unit: str) -> str:
    found: list[str] = []
    check_values(array, unit, "check", found)
    return " ".join(found)
