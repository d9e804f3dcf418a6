"""Where prompts lie on a scan's grid, and what the scan says there."""

from __future__ import annotations

import itertools

import edt
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from anypet.objects import Patch, Slices, Triple
from anypet.prompts import Box, Prompts
from anypet.volume import FloatArray, Volume


def inside_scan(volume: Volume, mm: npt.ArrayLike) -> bool:
    """Whether a point (RAS mm) lies on the scan's grid."""
    return volume.contains(volume.to_voxel(mm))


def nearest_voxel(volume: Volume, mm: npt.ArrayLike) -> tuple[int, int, int]:
    """The voxel of the grid nearest to a point (RAS mm)."""
    voxel = np.clip(np.round(volume.to_voxel(mm)), 0, np.array(volume.shape) - 1)
    return int(voxel[0]), int(voxel[1]), int(voxel[2])


def suv_at(volume: Volume, mm: npt.ArrayLike) -> float:
    """SUV at a point (RAS mm), trilinear, outermost voxels continued; not a number counts as 0."""
    voxel = np.clip(volume.to_voxel(mm), 0, np.array(volume.shape) - 1)
    start = np.floor(voxel).astype(int)
    crop = volume.array[tuple(slice(s, s + 2) for s in start)].astype(np.float64)
    crop = np.nan_to_num(crop, nan=0.0, posinf=0.0, neginf=0.0)
    return float(ndimage.map_coordinates(crop, (voxel - start)[:, None], order=1, mode="nearest")[0])


def box_voxels(volume: Volume, box: Box) -> tuple[FloatArray, FloatArray]:
    """Lower and upper corner of a box as continuous voxel indices."""
    corners = volume.to_voxel(np.array([box.lo_mm, box.hi_mm]))
    return corners.min(0), corners.max(0)


def box_slices(volume: Volume, box: Box, margin: int = 0) -> Slices:
    """The voxels whose centres lie in a box, `margin` more on each side, never less than one."""
    low, high = box_voxels(volume, box)
    start = np.clip(np.round(low).astype(int) - margin, 0, np.array(volume.shape) - 1)
    stop = np.clip(np.round(high).astype(int) + 1 + margin, start + 1, volume.shape)
    i, j, k = (slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
    return i, j, k


def box_corners_mm(volume: Volume, box: Box) -> FloatArray:
    """The eight corners (8, 3) of a box in RAS mm: it is aligned with the scan's axes, not the patient's."""
    low, high = box_voxels(volume, box)
    return volume.to_mm(np.array(list(itertools.product(*zip(low, high, strict=True)))))


def anchor_of(
    volume: Volume, prompts: Prompts, prior: Patch | None
) -> tuple[float, Triple, tuple[FloatArray, FloatArray] | None]:
    """The first positive prompt as (SUV, RAS mm), and the object's corners (RAS mm) if they are known.

    A positive click counts before a box, a box before a mask: SUV at the click; the 75th percentile of the
    central half of the box, at its centre; the SUV at the mask's deepest voxel. The extent is that of the
    boxes and the mask, and of all positive clicks with them; None if there are clicks only.
    """
    clicks = [p.mm for p in prompts.points if p.positive]
    corners = [box_corners_mm(volume, box) for box in prompts.boxes]
    if prior is not None:
        ends = [(s.start - 0.5, s.stop - 0.5) for s in prior.slices]
        corners.append(volume.to_mm(np.array(list(itertools.product(*ends)))))
    extent = None
    if corners:
        every = np.concatenate([*corners, *(np.array([mm]) for mm in clicks)])
        extent = every.min(0), every.max(0)
    if clicks:
        return suv_at(volume, clicks[0]), clicks[0], extent
    if prompts.boxes:
        low, high = box_voxels(volume, prompts.boxes[0])
        quarter = (high - low) / 4
        half = Box(*(_triple(volume.to_mm(v)) for v in (low + quarter, high - quarter)))
        values = volume.array[box_slices(volume, half)]
        suv = float(np.nan_to_num(np.percentile(np.nan_to_num(values), 75)))
        return suv, _triple(volume.to_mm((low + high) / 2)), extent
    assert prior is not None
    depth = edt.edt(np.ascontiguousarray(prior.values), anisotropy=tuple(volume.spacing), black_border=True)
    deepest = np.array(np.unravel_index(int(depth.argmax()), depth.shape)) + prior.start
    value = float(volume.array[tuple(deepest)])
    return (value if np.isfinite(value) else 0.0), _triple(volume.to_mm(deepest)), extent


def _triple(mm: FloatArray) -> Triple:
    r, a, s = (float(x) for x in mm)
    return r, a, s
