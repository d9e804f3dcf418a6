"""What a model has to beat: thresholds as readers use them, and the random walker.

A threshold is a share of the SUV of a hottest point, or a fixed SUV; the region is what lies at or above it
and is 26-connected to that point. Where the hottest point comes from decides how fair the baseline is:

- *clicked*: the hottest voxel within 10 mm of a click. Anyone can do this. Each further positive click adds
  its own region; a negative click removes what lies nearer to it than to any positive click.
- *told*: the hottest voxel of the true object. This knows the truth, in the threshold's favour, and is how
  published comparisons are made. Clicks change nothing.
- *best fixed*: the one SUV, of a grid, that does best over all evaluated patients, told. Chosen on the
  evaluated patients, so it is optimistic.
- *oracle*: the best level for each object, told, with the truth in hand: no threshold can do better.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from anypet.clicks import BoolArray, Spacing, Voxel, bounding_box
from anypet.components import connected_components
from anypet.errors import PromptError
from anypet.evaluation.protocol import System
from anypet.volume import Volume

NEIGHBOURHOOD_MM = 10.0
SUV_GRID: tuple[float, ...] = tuple(round(0.5 + 0.25 * step, 2) for step in range(39))  # 0.5 to 10
_SHARES: tuple[float, ...] = tuple(round(0.02 * step, 2) for step in range(1, 50))

FloatVoxels = npt.NDArray[np.floating[Any]]


def joined_region(suv: FloatVoxels, level: float, seed: Voxel) -> BoolArray:
    """Voxels at or above a level, 26-connected to the seed; the seed itself is always in.

    Args:
        suv: (I, J, K) SUVbw.
        level: SUV.
        seed: voxel (i, j, k).

    Returns:
        (I, J, K) bool.
    """
    above = suv >= level
    above[seed] = True
    labels = connected_components(above)
    region: BoolArray = labels == labels[seed]
    return region


def hottest_near(
    suv: FloatVoxels, voxel: Voxel, spacing: Spacing, radius_mm: float = NEIGHBOURHOOD_MM
) -> Voxel:
    """The hottest voxel whose centre is within a radius of a voxel's centre; the first of several.

    Args:
        suv: (I, J, K) SUVbw.
        voxel: (i, j, k) in the array.
        spacing: millimetres along (i, j, k).
        radius_mm: radius.
    """
    step = np.asarray(spacing, dtype=float)
    reach = np.floor(radius_mm / step + 1e-9).astype(int)
    low = np.maximum(np.subtract(voxel, reach), 0)
    high = np.minimum(np.add(voxel, reach) + 1, suv.shape)
    axes = [(np.arange(a, b) - v) * s for a, b, v, s in zip(low, high, voxel, step, strict=True)]
    distance = np.sqrt(axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2)
    near = np.where(
        distance <= radius_mm + 1e-6, suv[tuple(slice(a, b) for a, b in zip(low, high, strict=True))], -np.inf
    )
    i, j, k = np.unravel_index(int(np.argmax(near)), near.shape)
    return int(i + low[0]), int(j + low[1]), int(k + low[2])


def hottest_of(suv: FloatVoxels, target: BoolArray) -> Voxel:
    """The hottest voxel of a target that is not empty; the first of several."""
    box = bounding_box(target)
    if box is None:
        raise PromptError("an empty target has no hottest voxel; leave empty targets out")
    inside = np.where(target[box], suv[box], -np.inf)
    i, j, k = np.unravel_index(int(np.argmax(inside)), inside.shape)
    return int(i) + box[0].start, int(j) + box[1].start, int(k) + box[2].start


class ClickedThreshold:
    """A threshold joined to the hottest voxel near each click.

    Args:
        volume: SUVbw.
        level: SUV, or with `relative` the share of the SUV of the hottest voxel near the click.
        relative: how `level` is meant.
    """

    def __init__(self, volume: Volume, level: float, relative: bool) -> None:
        self._suv, self._spacing = volume.array, volume.spacing
        self._level, self._relative = level, relative
        self._grown: BoolArray = np.zeros(volume.shape, dtype=bool)
        self._clicks: dict[bool, list[Voxel]] = {True: [], False: []}

    def add_point(self, ijk: Voxel, positive: bool = True) -> BoolArray:
        """Adds a click at a voxel (i, j, k) and gives the (I, J, K) mask."""
        self._clicks[positive].append(ijk)
        if positive:
            seed = hottest_near(self._suv, ijk, self._spacing)
            level = self._level * float(self._suv[seed]) if self._relative else self._level
            self._grown |= joined_region(self._suv, level, seed)
        if not self._clicks[False] or not self._clicks[True]:
            return self._grown.copy()
        voxels = np.argwhere(self._grown)
        nearest = {sign: self._distance(voxels, clicks) for sign, clicks in self._clicks.items()}
        mask = np.zeros_like(self._grown)
        mask[tuple(voxels[nearest[True] <= nearest[False]].T)] = True
        return mask

    def _distance(self, voxels: npt.NDArray[np.int64], clicks: Sequence[Voxel]) -> npt.NDArray[np.float64]:
        """Millimetres from each voxel (N, 3) to the nearest click."""
        distances = [np.linalg.norm((voxels - np.array(click)) * self._spacing, axis=1) for click in clicks]
        return np.min(distances, axis=0)


def _told_threshold(volume: Volume, target: BoolArray, *, level: float, relative: bool) -> BoolArray:
    seed = hottest_of(volume.array, target)
    peak = float(volume.array[seed])
    return joined_region(volume.array, level * peak if relative else level, seed)


def _oracle(volume: Volume, target: BoolArray) -> BoolArray:
    seed = hottest_of(volume.array, target)
    levels = oracle_levels(float(volume.array[seed]))
    scores = threshold_sweep(volume.array, target, levels)
    return joined_region(volume.array, levels[int(np.argmax(scores))], seed)


def oracle_levels(peak: float) -> tuple[float, ...]:
    """The SUVs that the oracle tries for an object whose hottest voxel is at `peak`, rising."""
    return tuple(sorted({*SUV_GRID, *(share * peak for share in _SHARES)}))


def threshold_sweep(suv: FloatVoxels, target: BoolArray, levels: Sequence[float]) -> npt.NDArray[np.float64]:
    """Dice of the region joined to the target's hottest voxel, at each of several rising levels.

    Args:
        suv: (I, J, K) SUVbw.
        target: (I, J, K) bool, not empty.
        levels: SUVs, rising.

    Returns:
        Dice at each level.
    """
    seed = hottest_of(suv, target)
    truth = int(np.count_nonzero(target))
    scores = np.zeros(len(levels))
    for n, level in enumerate(levels):
        region = joined_region(suv, level, seed)
        box = bounding_box(region)
        assert box is not None  # the seed is in it
        region, target = region[box], target[box]
        shared, size = int(np.count_nonzero(region & target)), int(np.count_nonzero(region))
        scores[n] = 2.0 * shared / (size + truth)
        # every higher region lies within this one: from here on, only its box is looked at
        suv = suv[box]
        seed = (seed[0] - box[0].start, seed[1] - box[1].start, seed[2] - box[2].start)
    return scores


class RandomWalker:
    """Grady's random walker (doi:10.1109/TPAMI.2006.233, scikit-image's) from the clicks of the protocol.

    It works in the box of all positive clicks, widened on each side, whose faces count as background.

    Args:
        volume: SUVbw.
        margin_mm: the box's width around the positive clicks, which bounds both time and the object.
        beta: how strongly uptake's gradient stops the walk. scikit-image's own default, 130, leaves next to
            nothing of an object; this one was chosen on the training patients of `sts_split`.
        radius_mm: every click seeds a ball of this radius.
    """

    def __init__(
        self, volume: Volume, margin_mm: float = 60.0, beta: float = 3e4, radius_mm: float = 8.0
    ) -> None:
        self._volume, self._margin, self._beta, self._radius = volume, margin_mm, beta, radius_mm
        self._clicks: dict[bool, list[Voxel]] = {True: [], False: []}

    def add_point(self, ijk: Voxel, positive: bool = True) -> BoolArray:
        """Adds a click at a voxel (i, j, k) and gives the (I, J, K) mask."""
        self._clicks[positive].append(ijk)
        mask = np.zeros(self._volume.shape, dtype=bool)
        if not self._clicks[True]:
            return mask
        clicked = np.array(self._clicks[True])
        reach = np.ceil(self._margin / self._volume.spacing).astype(int)
        low = np.maximum(clicked.min(0) - reach, 0)
        high = np.minimum(clicked.max(0) + reach + 1, self._volume.shape)
        box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        mask[box] = self._walk(self._volume.array[box], low)
        return mask

    def _walk(self, suv: FloatVoxels, low: npt.NDArray[np.int64]) -> BoolArray:
        from skimage.segmentation import random_walker

        seeds = np.full(suv.shape, 2, dtype=np.int8)
        seeds[tuple(slice(1, -1) if n > 2 else slice(None) for n in suv.shape)] = 0
        for sign, value in ((False, 2), (True, 1)):
            for click in self._clicks[sign]:
                seeds[self._ball(np.subtract(click, low), suv.shape)] = value
        # uptake spans decades; the walk looks at contrast relative to the object, not at absolute peaks
        typical = max(float(np.median([self._volume.array[c] for c in self._clicks[True]])), 0.1)
        image = np.arcsinh(np.clip(suv, 0, None) / typical).astype(np.float64)
        with warnings.catch_warnings():
            # the solver stops a little short of 0 and 1; the label is the larger of two probabilities anyway
            warnings.filterwarnings(
                "ignore", message="The probability range is outside", category=UserWarning
            )
            labels = random_walker(
                image, seeds, beta=self._beta, mode="cg_j", tol=1e-3, spacing=self._volume.spacing
            )
        walked: BoolArray = labels == 1
        return walked

    def _ball(self, centre: npt.NDArray[np.int64], shape: tuple[int, ...]) -> BoolArray:
        """(I, J, K) bool: voxels within the seed radius of a voxel, which may lie outside."""
        steps = self._volume.spacing
        i, j, k = ((np.arange(n) - c) * step for n, c, step in zip(shape, centre, steps, strict=True))
        inside: BoolArray = i[:, None, None] ** 2 + j[:, None] ** 2 + k**2 <= self._radius**2
        return inside


def baselines(random_walker: bool = True) -> list[System]:
    """The baselines of every comparison; the best fixed threshold comes from `threshold_sweep` afterwards."""
    levels = (
        ("41 %", 0.41, True),
        ("50 %", 0.5, True),
        ("SUV 2.5", 2.5, False),
        ("SUV 4.0", 4.0, False),
    )
    systems = [
        System(f"{name}, clicked", partial(ClickedThreshold, level=level, relative=relative))
        for name, level, relative in levels
    ]
    systems += [
        System(f"{name}, told", told=partial(_told_threshold, level=level, relative=relative))
        for name, level, relative in levels
    ]
    systems.append(System("oracle, told", told=_oracle))
    if random_walker:
        systems.append(System("random walker", RandomWalker))
    return systems
