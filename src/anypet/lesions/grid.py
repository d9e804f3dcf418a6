"""A scan on the grid of the lesion network, and the way back to its own voxels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from anypet.grids import resample
from anypet.volume import Volume
from anypet.windows import Window, cut, lay

Array = npt.NDArray[Any]
Box = tuple[slice, slice, slice]
BODY_SUV, MARGIN_MM = 0.05, 20.0
SLAB = 48  # planes that are resampled at a time


@dataclass(frozen=True)
class NetGrid:
    """A box of voxels along R, A, S.

    Args:
        affine: 4 x 4, voxel to RAS millimetres.
        shape: voxels along R, A, S.
    """

    affine: npt.NDArray[np.float64]
    shape: tuple[int, int, int]

    @property
    def spacing(self) -> tuple[float, float, float]:
        r, a, s = np.diag(self.affine)[:3]
        return float(r), float(a), float(s)

    def voxels(self, mm: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """RAS millimetres (n, 3) -> the nearest voxels, those of the border where it lies beyond."""
        found = (np.asarray(mm, dtype=float).reshape(-1, 3) - self.affine[:3, 3]) / self.spacing
        return np.clip(np.round(found), 0, np.array(self.shape) - 1).astype(np.int64)

    def take(self, volume: Volume) -> Array:
        """The volume's values on this grid, float32; 0 where it does not reach (-1000 for HU)."""
        outside = -1000.0 if volume.unit == "HU" else 0.0
        if len(set(self.spacing)) > 1:
            target = Volume(np.zeros(self.shape, np.uint8), self.affine, "label")
            return np.asarray(resample(volume, target, outside=outside).array, dtype=np.float32)
        shifted = volume if outside == 0 else volume.with_array(volume.array - np.float32(outside))
        found = np.empty(self.shape, dtype=np.float32)
        for start, window in self._slabs():
            found[:, :, start : start + window.shape[2]] = cut(shifted, window)[0, 0].numpy() + outside
        return found

    def box_of(self, box: Box, volume: Volume) -> Box:
        """The volume's voxels that a box of this grid covers."""
        low = self.affine[:3, 3] + (np.array([s.start for s in box]) - 0.5) * self.spacing
        high = self.affine[:3, 3] + (np.array([s.stop for s in box]) - 0.5) * self.spacing
        corners = np.array(np.meshgrid(*zip(low, high, strict=True), indexing="ij")).reshape(3, -1).T
        voxels = volume.to_voxel(corners)
        first = np.clip(np.floor(voxels.min(0)), 0, volume.shape).astype(int)
        last = np.clip(np.ceil(voxels.max(0)) + 1, first, volume.shape).astype(int)
        i, j, k = (slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
        return i, j, k

    def give_back(self, values: Array, volume: Volume, box: Box | None = None) -> Array:
        """Values on this grid, (R, A, S) -> float16 on the volume's own voxels, 0 beyond the grid.

        Args:
            values: of all of this grid.
            volume: whose voxels are wanted.
            box: only those of it.
        """
        if box is not None:
            part = _part(volume, box)
            if part is None:
                return np.zeros(tuple(s.stop - s.start for s in box), dtype=np.float16)
            return self.give_back(values, part)
        if len(set(self.spacing)) > 1:
            return np.asarray(resample(Volume(values, self.affine, "map"), volume).array, dtype=np.float16)
        whole = Window(self._centre(0, self.shape[2]), self.spacing[0], self.shape)
        tensor = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None, None]
        found = np.zeros(volume.shape, dtype=np.float16)
        for start in range(0, volume.shape[2], SLAB):
            stop = min(start + SLAB, volume.shape[2])
            part = _part(volume, (slice(0, volume.shape[0]), slice(0, volume.shape[1]), slice(start, stop)))
            assert part is not None
            laid, inside = lay(tensor, whole, part)
            found[:, :, start:stop][inside] = laid[0, 0].numpy()
        return found

    def _slabs(self) -> list[tuple[int, Window]]:
        r, a, s = self.shape
        return [
            (
                start,
                Window(
                    self._centre(start, min(start + SLAB, s)), self.spacing[0], (r, a, min(SLAB, s - start))
                ),
            )
            for start in range(0, s, SLAB)
        ]

    def _centre(self, start: int, stop: int) -> tuple[float, float, float]:
        middle = np.array([(self.shape[0] - 1) / 2, (self.shape[1] - 1) / 2, (start + stop - 1) / 2])
        r, a, s = self.affine[:3, 3] + middle * self.spacing
        return float(r), float(a), float(s)


def _part(volume: Volume, box: Box) -> Volume | None:
    """A box of a volume, without its values; None where it is empty."""
    affine = volume.affine.copy()
    affine[:3, 3] = volume.to_mm([s.start for s in box])
    shape = tuple(s.stop - s.start for s in box)
    return Volume(np.broadcast_to(np.zeros((), np.uint8), shape), affine, "label") if all(shape) else None


def body_grid(pet: Volume, spacing: tuple[float, float, float]) -> NetGrid:
    """The grid that holds the body, from where the PET shows any uptake, with a margin.

    Args:
        pet: SUVbw; a scan without any uptake is taken whole.
        spacing: millimetres along R, A, S.
    """
    low: Array = np.zeros(3)
    high: Array = np.array(pet.shape) - 1.0
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        seen = np.flatnonzero(pet.array.max(axis=others) > BODY_SUV)
        if seen.size:
            low[axis], high[axis] = seen[0], seen[-1]
    margin = MARGIN_MM / pet.spacing
    low, high = np.maximum(low - margin, -0.5), np.minimum(high + margin, np.array(pet.shape) - 0.5)
    corners = np.array(np.meshgrid(*zip(low, high, strict=True), indexing="ij")).reshape(3, -1).T
    ends = pet.to_mm(corners)
    step = np.array(spacing)
    count = np.maximum(1, np.ceil((ends.max(0) - ends.min(0)) / step)).astype(int)
    affine = np.diag([*step, 1.0])
    affine[:3, 3] = (ends.max(0) + ends.min(0)) / 2 - step * (count - 1) / 2
    r, a, s = (int(v) for v in count)
    return NetGrid(affine, (r, a, s))
