"""Images that programs send without a unit: taken for SUVbw, but only if they can be that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from anypet.errors import ReadError
from anypet.units import HIGHEST_SUV
from anypet.volume import Volume

HU_BELOW = -100.0
SPACING_MM = 4.0  # of a PET whose client does not say
_FIX = "send the PET in SUV by body weight (in 3D Slicer: the PET DICOM Extension, or AnyPET's own `convert`)"


def check_plausible(array: npt.NDArray[Any]) -> None:
    """Refuses what is surely no PET in SUVbw.

    Raises:
        ReadError: the values are those of a CT or of an activity, or nothing is there; the message says
        what to send.
    """
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        raise ReadError(f"the image holds values that are not finite; {_FIX}")
    if low < HU_BELOW:
        raise ReadError(f"values down to {low:g} look like a CT (HU); {_FIX}")
    if high > HIGHEST_SUV:
        raise ReadError(f"values up to {high:g} look like an activity (Bq/mL), not like SUV; {_FIX}")
    if high <= 0:
        raise ReadError(f"no value is above 0: the image is empty; {_FIX}")


def volume_of(array: npt.NDArray[Any], properties: Mapping[str, Any], unit: str = "SUVbw") -> Volume:
    """An image from nnInteractive's `set_image` as a volume on its own voxels.

    The protocol tells no orientation. Viewers send arrays as (slice, row, column), and PET is stored in axial
    slices from feet to head, rows towards the back, columns towards the left: that is what is taken here,
        with "spacing" in the same order. A client may send the whole truth as "affine" (4 x 4, array index
        -> RAS mm).

    Args:
        array: (C, X, Y, Z); the first channel is the PET.
        properties: "spacing" (3 numbers, mm) and "affine", both optional.
        unit: what the values are.

    Raises:
        ReadError: not such an array, not numbers, or not a PET in SUVbw.
    """
    if array.ndim != 4 or 0 in array.shape:
        raise ReadError(f"the image has shape {array.shape}; (channels, x, y, z) is expected")
    if array.dtype.kind not in "iuf":
        raise ReadError(f"the image holds {array.dtype}; numbers are expected")
    pet = array[0].astype(np.float32)
    check_plausible(pet)
    try:
        if properties.get("affine") is not None:
            affine = np.asarray(properties["affine"], dtype=np.float64)
        else:
            given = properties.get("spacing")
            spacing = np.asarray([SPACING_MM] * 3 if given is None else given, dtype=np.float64)
            if spacing.shape != (3,) or not (np.isfinite(spacing).all() and (spacing > 0).all()):
                raise ValueError(f"spacing is {given!r}; three numbers above 0 are expected")
            affine = np.eye(4)
            affine[:3, :3] = np.array([[0, 0, -1], [0, -1, 0], [1, 0, 0]]) * spacing
        return Volume(pet, affine, unit, {"source": "nnInteractive's protocol"})
    except (ValueError, TypeError) as error:
        raise ReadError(f"the image's geometry: {error}") from error
