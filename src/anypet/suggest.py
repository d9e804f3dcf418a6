"""Where the next click would tell most."""

from __future__ import annotations

from collections.abc import Sequence

import edt
import numpy as np

from anypet.components import connected_components
from anypet.objects import Patch
from anypet.volume import FloatArray, Volume

NEAR_MM = 15.0  # farther from the mask's border, doubt is about something else


def most_uncertain(
    entropy: Patch, mask: Patch, scan: Volume, clicked: Sequence[FloatArray]
) -> tuple[int, int, int] | None:
    """The deepest voxel (i, j, k) of the region of most doubt near the mask's border; None without one.

    A region is a 26-connected set of voxels above half of the highest entropy, at most 15 mm from the border
    and not next to a click; it weighs the sum of its entropies.

    Args:
        entropy: predictive entropy (nats).
        mask: the object.
        scan: the grid.
        clicked: voxel indices of the clicks so far.
    """
    if not mask.values.any() or not entropy.values.any():
        return None
    start = np.array(entropy.start)
    spacing = tuple(float(x) for x in scan.spacing)
    inside = np.zeros(entropy.values.shape, bool)
    low = np.maximum(start, mask.start)
    high = np.minimum(start + inside.shape, np.array(mask.start) + mask.values.shape)
    if np.all(high > low):
        ours = tuple(slice(a, b) for a, b in zip(low - start, high - start, strict=True))
        its = tuple(slice(a, b) for a, b in zip(low - mask.start, high - mask.start, strict=True))
        inside[ours] = mask.values[its]
    border = np.where(inside, edt.edt(inside, anisotropy=spacing), edt.edt(~inside, anisotropy=spacing))
    doubtful = (entropy.values > 0.5 * float(entropy.values.max())) & (border <= NEAR_MM)
    for voxel in clicked:
        local = np.round(voxel).astype(int) - start
        doubtful[tuple(slice(max(0, v - 1), max(0, v + 2)) for v in local)] = False
    if not doubtful.any():
        return None
    labels = connected_components(doubtful)
    weights = np.bincount(labels.ravel(), entropy.values.ravel())
    weights[0] = 0
    region = labels == int(weights.argmax())
    depth = edt.edt(region, anisotropy=spacing, black_border=True)
    i, j, k = (int(x) for x in np.array(np.unravel_index(int(depth.argmax()), depth.shape)) + start)
    return i, j, k
