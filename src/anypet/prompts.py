"""Prompts: what a user says of the object that is wanted, in RAS millimetres."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Point:
    """A click: RAS millimetres, and whether it lies on the object or beside it."""

    mm: tuple[float, float, float]
    positive: bool = True


@dataclass(frozen=True)
class Box:
    """A box that holds the object, aligned with the scan's axes: its eight corners span lo..hi (RAS mm).

    `lo_mm` and `hi_mm` are opposite corners; on an oblique grid they are mapped through the grid first.
    """

    lo_mm: tuple[float, float, float]
    hi_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Prompts:
    """All prompts on one object, in the order they were given; the last point is the newest."""

    points: tuple[Point, ...] = ()
    boxes: tuple[Box, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not self.points and not self.boxes


@dataclass(frozen=True)
class WindowPrompts:
    """Prompts in a model's window, in its voxel units; what `decode` of every model takes.

    Args:
        points: (N, 3) continuous indices along the window's (D, H, W); may lie outside the window.
        labels: (N,) 1 = positive, 0 = negative.
        boxes: (M, 2, 3) lower and upper corner of each box, continuous indices.
    """

    points: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))
    labels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    boxes: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2, 3)))
