"""Click simulators: where a reader who knows the truth would click first, and next.

The protocol is that of interactive segmentation (Xu et al. 2016; Mahadevan et al. 2018; RITM, Sofiiuk et al.
2022) in three dimensions and millimetres: the first click lies well inside the object, each further click at
the deepest point of the largest error. A click outside the inner half is rare in practice, and a click on the
very deepest voxel would make every run of the protocol the same; hence the draw for the first click only.

All arrays are indexed (i, j, k), all spacings are millimetres along (i, j, k).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import edt
import numpy as np
import numpy.typing as npt

from anypet.components import connected_components
from anypet.errors import PromptError

BoolArray = npt.NDArray[np.bool_]
Voxel = tuple[int, int, int]
Spacing = Sequence[float] | npt.NDArray[np.floating[Any]]

# Two depths this close count as equal: far below any voxel, far above the rounding of a float32 distance.
_TIE_MM = 1e-3


def bounding_box(mask: BoolArray, margin: int = 0) -> tuple[slice, slice, slice] | None:
    """The smallest box that holds every true voxel, widened by a margin and clipped to the array.

    Args:
        mask: (I, J, K) bool.
        margin: voxels added on each side.

    Returns:
        Slices along (i, j, k), or None when no voxel is true.
    """
    slices = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        hits = np.flatnonzero(mask.any(axis=others))
        if hits.size == 0:
            return None
        slices.append(slice(max(int(hits[0]) - margin, 0), min(int(hits[-1]) + 1 + margin, mask.shape[axis])))
    return slices[0], slices[1], slices[2]


def inside_distance(mask: BoolArray, spacing: Spacing) -> npt.NDArray[np.float32]:
    """Distance of each true voxel to the nearest voxel outside, in mm; 0 outside.

    What lies beyond the array counts as outside, so an object cut by the scan's border is not deep there.

    Args:
        mask: (I, J, K) bool.
        spacing: millimetres along (i, j, k).

    Returns:
        (I, J, K) float32.
    """
    depth = np.zeros(mask.shape, dtype=np.float32)
    box = bounding_box(mask)
    if box is not None:
        crop = np.ascontiguousarray(mask[box], dtype=np.uint8)
        depth[box] = edt.edt(crop, anisotropy=tuple(float(s) for s in spacing), black_border=True)
    return depth


def first_click(target: BoolArray, rng: np.random.Generator, spacing: Spacing) -> Voxel:
    """A positive click drawn uniformly from the inner half of the object.

    The inner half are the voxels at least half as deep (`inside_distance`) as the deepest.

    Args:
        target: (I, J, K) bool, the object.
        rng: source of the draw; the same state gives the same click.
        spacing: millimetres along (i, j, k).

    Raises:
        PromptError: the object is empty.
    """
    box = bounding_box(target)
    if box is None:
        raise PromptError("no click can be placed: the target has no voxel; leave empty targets out")
    depth = inside_distance(target[box], spacing)
    inner = np.argwhere(depth >= depth.max() / 2)
    i, j, k = (int(v) for v in inner[rng.integers(len(inner))])
    return i + box[0].start, j + box[1].start, k + box[2].start


def next_click(target: BoolArray, mask: BoolArray, spacing: Spacing) -> tuple[Voxel, bool] | None:
    """A click at the deepest point of the largest error region.

    Error regions are the 26-connected components of the missed and, apart from them, of the surplus voxels;
    the largest has the most voxels (a missed one before a surplus one of the same size). Of equally deep
    voxels the one nearest to their common centre is taken, then the first in (i, j, k) order: no chance.

    Args:
        target: (I, J, K) bool, the object.
        mask: (I, J, K) bool, the segmentation so far.
        spacing: millimetres along (i, j, k).

    Returns:
        The voxel, and True if it lies in a missed region (a positive click) or False if in a surplus one;
        None when mask and target are the same.

    Raises:
        PromptError: the shapes differ.
    """
    if target.shape != mask.shape:
        raise PromptError(f"the mask has shape {mask.shape}, the target {target.shape}: they need one grid")
    box = bounding_box(np.not_equal(target, mask))
    if box is None:
        return None
    truth, guess = target[box].astype(bool, copy=False), mask[box].astype(bool, copy=False)
    missed, surplus = _largest_component(truth & ~guess), _largest_component(guess & ~truth)
    positive = missed[1] >= surplus[1]
    region = (missed if positive else surplus)[0]
    i, j, k = _deepest(region, spacing)
    return (i + box[0].start, j + box[1].start, k + box[2].start), positive


def _largest_component(errors: BoolArray) -> tuple[BoolArray, int]:
    """The largest 26-connected component (the first of several equal ones) and its voxel count."""
    labels = connected_components(errors)
    sizes = np.bincount(labels.ravel())
    if sizes.size < 2:
        return np.zeros(errors.shape, dtype=bool), 0
    largest = 1 + int(np.argmax(sizes[1:]))
    return labels == largest, int(sizes[largest])


def _deepest(region: BoolArray, spacing: Spacing) -> Voxel:
    """The deepest voxel of a region that is not empty; ties as `next_click` says."""
    depth = inside_distance(region, spacing)
    candidates = np.argwhere(depth >= depth.max() - _TIE_MM)
    mm = candidates * np.asarray(spacing, dtype=np.float64)
    to_centre = np.linalg.norm(mm - mm.mean(axis=0), axis=1)
    i, j, k = candidates[np.argmax(to_centre <= to_centre.min() + _TIE_MM)]
    return int(i), int(j), int(k)
