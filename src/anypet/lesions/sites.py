"""Where a lesion lies, in words: in the organ that surrounds it, or so many millimetres from the nearest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import edt
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from anypet.clicks import Spacing

SURROUNDED = 0.3  # share of the shell around a lesion that an organ must hold for "in"
REACH_MM = 60.0


@dataclass(frozen=True)
class Site:
    """One lesion's place.

    Args:
        organ: name, "" where no organ is within `REACH_MM`.
        distance_mm: from the lesion's surface to the organ's; 0 where it surrounds the lesion.
    """

    organ: str
    distance_mm: float

    def __str__(self) -> str:
        if not self.organ:
            return f"no organ within {REACH_MM:.0f} mm"
        return self.organ if self.distance_mm == 0 else f"{self.distance_mm:.0f} mm from {self.organ}"


def sites(
    instances: npt.NDArray[Any], organs: npt.NDArray[Any], names: Sequence[str], spacing: Spacing
) -> dict[int, Site]:
    """The place of every lesion, by its number.

    Args:
        instances: (I, J, K), 0 or the number of the lesion.
        organs: (I, J, K), 0 or 1 + the index of the organ in `names`.
        names: of the organs.
        spacing: millimetres along (i, j, k).
    """
    steps = np.asarray(spacing, dtype=float)
    reach = np.ceil(REACH_MM / steps).astype(int)
    found = {}
    for number, box in enumerate(ndimage.find_objects(instances.astype(np.int32, copy=False)), start=1):
        if box is None:
            continue
        wide = tuple(
            slice(max(0, s.start - r), min(n, s.stop + r))
            for s, r, n in zip(box, reach, instances.shape, strict=True)
        )
        found[number] = _site(instances[wide] == number, organs[wide], names, steps)
    return found


def _site(
    lesion: npt.NDArray[np.bool_], organs: npt.NDArray[Any], names: Sequence[str], steps: npt.NDArray[Any]
) -> Site:
    around = np.where(lesion, 0, organs)
    shell = ndimage.binary_dilation(lesion, iterations=2) & ~lesion
    counts = np.bincount(around[shell], minlength=len(names) + 1)
    best = int(counts[1:].argmax()) + 1 if len(names) else 0
    if shell.any() and best and counts[best] >= SURROUNDED * shell.sum():
        return Site(names[best - 1], 0.0)
    distance = edt.edt(np.ascontiguousarray(~lesion), anisotropy=tuple(float(s) for s in steps))
    near = (around > 0) & (distance <= REACH_MM)
    if not near.any():
        return Site("", float("inf"))
    nearest = float(distance[near].min())
    organ = int(around[near & (distance <= nearest)][0])
    return Site(names[organ - 1], nearest)
