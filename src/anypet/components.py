"""Connected components of masks, through connected-components-3d."""

from __future__ import annotations

from typing import Any, Literal

import cc3d
import numpy as np
import numpy.typing as npt


def connected_components(
    mask: npt.NDArray[np.bool_], connectivity: Literal[6, 18, 26] = 26
) -> npt.NDArray[Any]:
    """Numbers the components of a mask from 1, in (i, j, k) order of their first voxel.

    Args:
        mask: (I, J, K) bool.
        connectivity: 6 (faces), 18 (and edges) or 26 (and corners).

    Returns:
        (I, J, K) unsigned integers, 0 outside.
    """
    if sum(n == 1 for n in mask.shape) < 2:
        return np.asarray(cc3d.connected_components(np.ascontiguousarray(mask), connectivity=connectivity))
    # release 4.1 reserves too few labels for arrays that are one line of voxels, and raises
    padded = cc3d.connected_components(np.pad(mask, 1), connectivity=connectivity)
    return np.asarray(padded[1:-1, 1:-1, 1:-1])
