"""Masks as named regions on the grid of the series that they are written for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from anypet.errors import AnyPETError
from anypet.grids import resample as resampled
from anypet.volume import Volume

log = logging.getLogger(__name__)

_SAME_LATTICE = 0.1  # of a voxel: what rounding in a file's header may move a corner
_LONGEST_NAME = 64  # characters in a DICOM LO
_LARGEST_LABEL = 65535


@dataclass(frozen=True, eq=False)
class Regions:
    """Named regions on one grid.

    Args:
        names: of region 1, 2, ...; each occurs once, fits DICOM's 64 characters and holds no backslash.
        array: (I, J, K) integers where regions cannot overlap, 0 outside and else the region's number; or
            (I, J, K, regions), bool, or float probabilities in 0..1.
    """

    names: tuple[str, ...]
    array: npt.NDArray[Any]

    def mask(self, number: int) -> npt.NDArray[np.bool_]:
        """(I, J, K) bool of region `number` (from 1); a probability of one half or more is inside."""
        if self.array.ndim == 3:
            return np.asarray(self.array == number)
        channel = self.array[..., number - 1]
        return np.asarray(channel >= 0.5 if channel.dtype.kind == "f" else channel > 0)

    @property
    def fractional(self) -> bool:
        """Whether the regions are probabilities."""
        return self.array.dtype.kind == "f"


Labels = Volume | Mapping[str, npt.NDArray[Any] | Volume] | Regions


def regions_on(
    grid: Volume, labels: Labels, names: Mapping[int, str] | None = None, *, resample: bool = False
) -> Regions:
    """Named regions on a grid.

    Masks whose voxels are the grid's own are moved without loss whatever their voxel order (mirrored, axes
    exchanged) and extent (a box of the grid). On any other grid they are refused, since what is written would
    not be what was drawn, unless resampling is asked for.

    Args:
        grid: of the series that the regions are written for.
        labels: a label volume; or name -> mask as a volume, or as an array on the grid; or what an earlier
            call for the same grid returned. Masks are bool or 0 and 1, probabilities are floats in 0..1. One
            volume with the unit "probability" is one region.
        names: label -> name; without it those in `labels.meta["names"]`, else "region 1", ... A named label
            without voxels is kept, so that "looked for and not found" can be said.
        resample: take the nearest voxel where the grids differ.

    Raises:
        AnyPETError: no region, values that are neither labels nor probabilities, another grid, or voxels
            outside of the series.
    """
    if isinstance(labels, Regions):
        return labels
    if isinstance(labels, Volume):
        if labels.array.dtype.kind == "f" and labels.unit == "probability":
            labels = {next(iter((names or labels.meta.get("names") or {1: "region 1"}).values())): labels}
        else:
            return _from_labels(_on_grid(labels, grid, resample, "the mask"), labels, names)
    if not labels:
        raise AnyPETError("there is no region to write")
    masks = [_channel(name, mask, grid, resample) for name, mask in labels.items()]
    _warn_of_empty(labels, [not m.any() for m in masks])
    return Regions(_clean(labels), np.stack(masks, axis=-1))


def _from_labels(array: npt.NDArray[Any], labels: Volume, names: Mapping[int, str] | None) -> Regions:
    """Labels renumbered from 1 in ascending order."""
    if array.dtype.kind not in "bui" or int(array.min()) < 0:
        raise AnyPETError(
            f"a label volume of type {array.dtype} with values from {array.min():g}: expected whole numbers "
            'from 0 up; probabilities need the unit "probability"'
        )
    array = array.astype(np.uint8) if array.dtype == bool else array
    known = {int(value): str(name) for value, name in (names or labels.meta.get("names") or {}).items()}
    present = [int(value) for value in np.unique(array) if value]
    values = sorted({*present, *known})
    if not values:
        raise AnyPETError("the mask is empty and names no region: there is nothing to write")
    if values[-1] > _LARGEST_LABEL:
        raise AnyPETError(f"label {values[-1]} is too large: DICOM numbers regions up to {_LARGEST_LABEL}")
    called = [known.get(value, f"region {value}") for value in values]
    _warn_of_empty(called, [value not in present for value in values])
    renumbered = np.zeros(values[-1] + 1, np.uint8 if len(values) < 256 else np.uint16)
    renumbered[values] = np.arange(1, len(values) + 1)
    return Regions(_clean(called), renumbered[array])


def _channel(name: str, mask: npt.NDArray[Any] | Volume, grid: Volume, resample: bool) -> npt.NDArray[Any]:
    """One mask of several, bool or float32 in 0..1, on the grid."""
    if not isinstance(mask, Volume):
        if mask.shape != grid.shape:
            raise AnyPETError(
                f"region {name!r}: an array of shape {mask.shape}, but the series has {grid.shape} columns, "
                "rows and slices; give it as a Volume, which knows where it is"
            )
        mask = grid.with_array(mask)
    array = _on_grid(mask, grid, resample, f"region {name!r}")
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 1:
        raise AnyPETError(f"region {name!r}: values from {low:g} to {high:g}, expected a mask or 0 to 1")
    return array.astype(np.float32 if array.dtype.kind == "f" else bool)


def _on_grid(mask: Volume, grid: Volume, resample: bool, what: str) -> npt.NDArray[Any]:
    """(I, J, K) voxels of a mask on the grid."""
    if mask.same_grid(grid):
        return mask.array
    to_grid = np.linalg.inv(grid.affine) @ mask.affine
    corners = np.array([[a, b, c, 1] for a in (0, 1) for b in (0, 1) for c in (0, 1)], dtype=float)
    corners[:, :3] *= np.array(mask.shape) - 1.0
    off = float(np.abs(corners @ (to_grid - np.round(to_grid)).T).max())
    step = np.round(to_grid[:3, :3]).astype(int)
    if off <= _SAME_LATTICE and np.array_equal(np.abs(step).sum(axis=0), [1, 1, 1]):
        inside = np.argwhere(mask.array)
        there = inside @ step.T + np.round(to_grid[:3, 3]).astype(int)
        if there.size and (there.min() < 0 or (there >= grid.shape).any()):
            raise AnyPETError(f"{what} has voxels outside of the series: cut it to the field of view first")
        array = np.zeros(grid.shape, mask.array.dtype)
        array[tuple(there.T)] = mask.array[tuple(inside.T)]
        return array
    if not resample:
        raise AnyPETError(
            f"{what} is on another grid than the series: {_described(mask)}, expected {_described(grid)}; "
            "draw it on the series' own grid, or ask for resampling (nearest voxel), which changes it"
        )
    array = resampled(mask, grid, linear=False).array
    before, after = (
        float(np.count_nonzero(v.array)) * v.voxel_volume_ml for v in (mask, grid.with_array(array))
    )
    log.warning("%s was resampled to the grid of the series: %.2f mL became %.2f mL", what, before, after)
    return np.asarray(array)


def _described(volume: Volume) -> str:
    spacing = " x ".join(f"{s:.4g}" for s in volume.spacing)
    origin = ", ".join(f"{x:.1f}" for x in volume.affine[:3, 3])
    return f"{' x '.join(map(str, volume.shape))} voxels of {spacing} mm from RAS ({origin})"


def _clean(names: Mapping[str, Any] | list[str]) -> tuple[str, ...]:
    """Names that DICOM can hold, each once."""
    cleaned: list[str] = []
    for number, name in enumerate(names, start=1):
        text = " ".join(str(name).replace("\\", "/").split()) or f"region {number}"
        short, again = text[:_LONGEST_NAME], 2
        while short in cleaned:
            tail = f" ({again})"
            short, again = text[: _LONGEST_NAME - len(tail)] + tail, again + 1
        cleaned.append(short)
    return tuple(cleaned)


def _warn_of_empty(names: Mapping[str, Any] | list[str], empty: list[bool]) -> None:
    for name, nothing in zip(names, empty, strict=True):
        if nothing:
            log.warning("region %r has no voxel", name)
