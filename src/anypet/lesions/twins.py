"""Left and right organs: which is which in a mirror, and of glands by the body's midline.

The organ head finds salivary glands but cannot tell left from right: their neighbourhoods look alike, and a
tile seldom shows both or the middle of the head, so it spreads its belief over both names. Kidneys and lungs
have neighbours that tell the sides apart, and stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

PAIRS = (("left salivary gland", "right salivary gland"),)
# What lies about the midline of a head, and is found with CT and without.
MIDDLE = ("brain", "skeleton")


def twins(names: Sequence[str]) -> list[int]:
    """For each organ the place of the one that it is in a mirror: of "left kidney" that of "right kidney"."""
    other = {"left": "right", "right": "left"}
    mirrored = [" ".join(other.get(word, word) for word in name.split(" ")) for name in names]
    return [names.index(twin) if twin in names else n for n, twin in enumerate(mirrored)]


def told_by_side(p: npt.NDArray[Any], names: Sequence[str]) -> list[npt.NDArray[Any]]:
    """Gives both shares of a pair's probability to the one on whose side of the midline a voxel lies.

    The midline is the median of the voxels of `MIDDLE` in the slices that show the pair; the middle of the
    grid where there are none.

    Args:
        p: (1 + organs, R, A, S) probabilities, background first; R grows to the right. Not changed.
        names: of the organs.

    Returns:
        The classes of `p`, (R, A, S) each, with the pairs told apart.
    """
    classes = list(p)  # not copied: they may be large
    for left, right in PAIRS:
        if left not in names or right not in names:
            continue
        at_left, at_right = 1 + names.index(left), 1 + names.index(right)
        both = p[at_left] + p[at_right]
        is_right = np.arange(both.shape[0])[:, None, None] > _midline(p, both, names)
        classes[at_left], classes[at_right] = np.where(is_right, 0, both), np.where(is_right, both, 0)
    return classes


def _midline(p: npt.NDArray[Any], both: npt.NDArray[Any], names: Sequence[str]) -> float:
    """Index along R, in the slices where most of the pair is."""
    shown = both.astype(np.float32).sum((0, 1))
    slices = np.flatnonzero(shown > 0.1 * shown.max())
    middle = [1 + names.index(name) for name in MIDDLE if name in names]
    if slices.size and middle:
        about = p[middle, :, :, slices[0] : slices[-1] + 1].astype(np.float32).sum(0) > 0.5
        if about.any():
            return float(np.median(np.nonzero(about)[0]))
    return (both.shape[0] - 1) / 2
