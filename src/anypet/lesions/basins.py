"""Basins of uptake: which voxels of a region belong to which of its peaks.

A watershed gives every local maximum its basin, noise included. Two neighbours are one where the way between
them does not dip: where the highest saddle reaches `DISTINCT` of the lower peak. What is left are peaks that
a reader would tell apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt
from skimage.segmentation import watershed

from anypet.clicks import BoolArray

Labels = npt.NDArray[np.int32]

# A dip of 30 % is more than the noise between neighbouring voxels of a PET, less than the gap between lesions
# that a threshold of 41 to 50 % of the peak would part.
DISTINCT = 0.7
# half of the 26 neighbours: the other half are the same pairs
_NEIGHBOURS = [o for o in itertools.product((-1, 0, 1), repeat=3) if o > (0, 0, 0)]


def distinct_basins(suv: npt.NDArray[Any], region: BoolArray, distinct: float = DISTINCT) -> Labels:
    """Parts a region at the saddles between its distinct peaks.

    Args:
        suv: (I, J, K) finite SUVbw; below 0 counts as 0.
        region: (I, J, K) bool.
        distinct: two peaks are one where the saddle between them is at least this share of the lower.

    Returns:
        (I, J, K) numbers of the basins from 1 without gaps, 0 outside of the region.
    """
    height = np.where(region, np.maximum(suv, 0), -1).astype(np.float32)
    # a frame lower than everything makes a maximum of a region that fills its box
    framed = np.pad(height, 1, constant_values=-1)
    labels = watershed(-framed, mask=framed >= 0, connectivity=3)[1:-1, 1:-1, 1:-1]
    peaks = np.zeros(int(labels.max()) + 1, np.float32)
    np.maximum.at(peaks, labels[region], height[region])
    parent = np.arange(len(peaks))

    def root(basin: int) -> int:
        while parent[basin] != basin:
            parent[basin] = parent[parent[basin]]
            basin = int(parent[basin])
        return basin

    for one, other, saddle in _saddles(labels, height):
        a, b = root(one), root(other)
        if a != b and saddle >= distinct * min(peaks[a], peaks[b]):
            low, high = sorted((a, b), key=lambda basin: float(peaks[basin]))
            parent[low] = high
    roots = np.array([root(basin) for basin in range(len(peaks))])
    return np.unique(roots, return_inverse=True)[1].astype(np.int32)[labels]


def nearer(
    shape: tuple[int, ...],
    spacing: Sequence[float],
    these: Sequence[tuple[int, int, int]],
    those: Sequence[tuple[int, int, int]],
    reach_mm: float = np.inf,
) -> BoolArray:
    """Which voxels of a box lie nearer to one of these voxels than to any of those.

    Args:
        shape: (I, J, K) of the box.
        spacing: millimetres along (i, j, k).
        these, those: voxels (i, j, k), at least one of each.
        reach_mm: voxels further than this from `these` do not count.

    Returns:
        (I, J, K) bool; where both are equally near it is False.
    """
    away = []
    for voxels in (these, those):
        free = np.ones(shape, bool)
        free[tuple(np.array(voxels).T)] = False
        away.append(distance_transform_edt(free, sampling=spacing))
    return np.asarray((away[0] < away[1]) & (away[0] <= reach_mm))


def _saddles(labels: Labels, height: npt.NDArray[np.float32]) -> list[tuple[int, int, float]]:
    """The highest saddle between each two basins that touch, from the highest down."""
    keys, heights = [], []
    size = int(labels.max()) + 1
    for offset in _NEIGHBOURS:
        here = tuple(slice(max(0, -o), n - max(0, o)) for o, n in zip(offset, labels.shape, strict=True))
        there = tuple(slice(max(0, o), n - max(0, -o)) for o, n in zip(offset, labels.shape, strict=True))
        one, other = labels[here], labels[there]
        border = (one != other) & (one > 0) & (other > 0)
        a, b = one[border].astype(np.int64), other[border].astype(np.int64)
        keys.append(np.minimum(a, b) * size + np.maximum(a, b))
        heights.append(np.minimum(height[here][border], height[there][border]))
    pairs, which = np.unique(np.concatenate(keys), return_inverse=True)
    highest = np.zeros(len(pairs), np.float32)
    np.maximum.at(highest, which, np.concatenate(heights))
    order = np.argsort(-highest, kind="stable")
    return [(int(pairs[n] // size), int(pairs[n] % size), float(highest[n])) for n in order]
