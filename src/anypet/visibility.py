"""Whether a PET shows a lesion: what cannot be told from its surroundings, no reader outlines."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from anypet.clicks import bounding_box

BoolArray = npt.NDArray[np.bool_]
CONTRAST, NOISE = 1.33, 2.0


def shows(pet: npt.NDArray[Any], lesion: BoolArray, others: BoolArray, *, cold: bool = False) -> bool:
    """Whether a lesion can be told from the shell around it.

    Its upper quartile must exceed the median of the shell, two voxels wide, one voxel away and without
    `others`, by a third and by two standard deviations (from the median absolute deviation) of that shell.

    Args:
        pet: (I, J, K) SUV.
        lesion: (I, J, K), not empty.
        others: (I, J, K), other lesions.
        cold: whether one that is as clearly colder than its shell counts too.
    """
    box = bounding_box(lesion, margin=4)
    assert box is not None
    inside, values = lesion[box], np.asarray(pet[box], dtype=np.float32)
    near = ndimage.binary_dilation(inside)
    shell = ndimage.binary_dilation(near, iterations=2) & ~near & ~others[box]
    if not shell.any():
        return False
    middle = float(np.median(values[shell]))
    spread = 1.4826 * float(np.median(np.abs(values[shell] - middle)))
    low, high = np.quantile(values[inside], (0.25, 0.75))
    hot = high > CONTRAST * middle and high > middle + NOISE * spread
    hollow = low < middle / CONTRAST and low < middle - NOISE * spread
    return bool(hot or (cold and hollow))
