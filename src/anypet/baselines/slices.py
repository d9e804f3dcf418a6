"""The papers' protocol for 2D models: points in every axial slice that shows the object, slice by slice.

With N such slices, "N points" is one point in each, "3N" and "5N" are three and five. In a slice, points are
placed as the 3D protocol places clicks: the first inside the object, each further one at the deepest point of
the largest error of the mask so far, positive or negative. Slices are independent of each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from anypet.clicks import BoolArray, first_click, next_click
from anypet.volume import Volume

# a slice is an array of depth one; so far apart, its two faces are no border of the object
_FACES_MM = 1e4


class SliceModel(Protocol):
    """A 2D network that takes points."""

    def scale(self, suv: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """A whole scan as the network wants its intensities."""

    def begin(self, plane: npt.NDArray[np.float32]) -> SliceObject:
        """One slice (rows, columns) of a scaled scan, looked at once for all its points."""


class SliceObject(Protocol):
    """One object in one slice."""

    def add_point(self, row: int, column: int, positive: bool) -> BoolArray:
        """Adds a point; gives the (rows, columns) mask of all points so far."""


@dataclass(frozen=True)
class SliceBySlice:
    """A 2D model told the object; what `System.told` takes.

    Args:
        model: the network.
        each: points in a slice: 1, 3 or 5 for N, 3N and 5N.
        seed: of the first point in each slice.
    """

    model: SliceModel
    each: int
    seed: int = 0

    def __call__(self, pet: Volume, truth: BoolArray) -> BoolArray:
        """The (I, J, K) mask of an object in a scan, of its true mask on the scan's grid."""
        axis = axial_axis(pet)
        scaled = np.moveaxis(self.model.scale(pet.array), axis, 2)
        target = np.moveaxis(truth, axis, 2)
        spacing = (*np.delete(pet.spacing, axis).tolist(), _FACES_MM)
        found = np.zeros(target.shape, dtype=bool)
        for n in shown(target):
            found[:, :, n] = self._slice(scaled[:, :, n], target[:, :, n], spacing, n)
        return np.ascontiguousarray(np.moveaxis(found, 2, axis))

    def points(self, pet: Volume, truth: BoolArray) -> int:
        """How many points `__call__` gives at most: N, 3N or 5N."""
        return self.each * len(shown(np.moveaxis(truth, axial_axis(pet), 2)))

    def _slice(
        self,
        plane: npt.NDArray[np.float32],
        target: BoolArray,
        spacing: tuple[float, ...],
        number: int,
    ) -> BoolArray:
        deep = target[:, :, None]
        click = first_click(deep, np.random.default_rng([self.seed, number]), spacing), True
        begun = self.model.begin(np.ascontiguousarray(plane))
        mask = np.zeros(target.shape, dtype=bool)
        for _ in range(self.each):
            (row, column, _), positive = click
            mask = begun.add_point(row, column, positive)
            following = next_click(deep, mask[:, :, None], spacing)
            if following is None:
                break
            click = following
        return mask


def axial_axis(volume: Volume) -> int:
    """Which of (i, j, k) runs along the patient's length."""
    return int(np.argmax(np.abs(volume.affine[2, :3] / volume.spacing)))


def shown(target: BoolArray) -> list[int]:
    """The slices along the last axis that show the object: N is how many."""
    return [int(n) for n in np.flatnonzero(target.any(axis=(0, 1)))]
