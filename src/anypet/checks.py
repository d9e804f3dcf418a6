"""What a caller gives -> prompts, or a `PromptError` that says what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from anypet.errors import AnyPETError, PromptError
from anypet.objects import Patch
from anypet.prompts import Box, Point
from anypet.volume import FloatArray, Volume

Space = Literal["voxel", "mm"]


def check_scan(scan: Volume) -> None:
    """Raises AnyPETError unless the scan is a PET in SUVbw."""
    if scan.unit == "HU":
        raise AnyPETError("the scan is a CT (unit 'HU'); a session segments PET: give the PET of the study")
    if scan.unit != "SUVbw":
        raise AnyPETError(
            f"the scan's unit is {scan.unit!r}, a session needs 'SUVbw'; "
            "if its values are SUV by body weight, read it with unit='SUVbw', else convert it to SUV first"
        )


def point_prompt(scan: Volume, point: Sequence[float], positive: bool, space: Space) -> Point:
    """A click in `space` ("voxel": index, "mm": RAS) -> Point in RAS mm.

    Raises:
        PromptError: not three finite numbers, or outside of the scan.
    """
    voxel = _voxel(scan, point, space, "point")
    if not scan.contains(voxel):
        given = f" ({_text(point)} mm)" if space == "mm" else ""
        raise PromptError(
            f"the point at voxel {_text(voxel)}{given} lies outside of the scan, whose shape is {scan.shape}"
        )
    return Point(_triple(scan.to_mm(voxel)), bool(positive))


def box_prompt(scan: Volume, lo: Sequence[float], hi: Sequence[float], space: Space) -> Box:
    """Two opposite corners in `space`, in any order -> Box in RAS mm, clipped to the scan.

    Raises:
        PromptError: not three finite numbers each, outside of the scan, or flat along an axis of the scan
            that has more than one voxel.
    """
    corners = np.stack([_voxel(scan, lo, space, "lo"), _voxel(scan, hi, space, "hi")])
    low, high = corners.min(0), corners.max(0)
    last = np.array(scan.shape) - 1.0
    where = f"the box from voxel {_text(low)} to {_text(high)}"
    if np.any(high < -0.5) or np.any(low > last + 0.5):
        raise PromptError(f"{where} lies outside of the scan, whose shape is {scan.shape}")
    flat = np.flatnonzero((high - low < 1e-6) & (last > 0))
    if flat.size:
        raise PromptError(f"{where} is flat along axis {int(flat[0])}; its corners must differ there")
    return Box(_triple(scan.to_mm(np.clip(low, 0, last))), _triple(scan.to_mm(np.clip(high, 0, last))))


def mask_prompt(scan: Volume, mask: npt.ArrayLike | Volume) -> Patch:
    """A bool or 0/1 mask on the scan's grid -> the part of it that holds all its voxels.

    Raises:
        PromptError: another shape or grid, values other than 0 and 1, or no voxel set.
    """
    if isinstance(mask, Volume):
        if not mask.same_grid(scan):
            raise PromptError(
                f"the mask's grid (shape {mask.shape}) is not the scan's (shape {scan.shape}); "
                "resample the mask to the scan"
            )
        mask = mask.array
    array = np.asarray(mask)
    if array.shape != scan.shape:
        raise PromptError(f"the mask has shape {array.shape}, the scan {scan.shape}; they must be the same")
    if array.dtype != bool:
        if array.dtype.kind not in "iuf" or not np.isin(array, (0, 1)).all():
            raise PromptError("the mask must be bool or hold 0 and 1 only; pick one label: labels == value")
        array = array.astype(bool)
    if not array.any():
        raise PromptError("the mask is empty: no voxel is set")
    return Patch.tight(array, array)


def _voxel(scan: Volume, values: Sequence[float], space: Space, what: str) -> FloatArray:
    """Three numbers in `space` -> continuous voxel index."""
    if space not in ("voxel", "mm"):
        raise PromptError(f"space must be 'voxel' or 'mm', got {space!r}")
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise PromptError(f"{what} must be three numbers, got {values!r}") from error
    if numbers.shape != (3,):
        raise PromptError(f"{what} must be three numbers, got {values!r}")
    if not np.isfinite(numbers).all():
        raise PromptError(f"{what} must be three finite numbers, got {values!r}")
    return scan.to_voxel(numbers) if space == "mm" else numbers


def _triple(mm: FloatArray) -> tuple[float, float, float]:
    r, a, s = (float(x) for x in mm)
    return r, a, s


def _text(voxel: Iterable[float]) -> str:
    return "(" + ", ".join(f"{x:.6g}" for x in voxel) + ")"
