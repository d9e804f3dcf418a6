"""What is evaluated and put into a container: anything that takes a scan and clicks and gives a mask."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from anypet.errors import AnyPETError
from anypet.lesions.click_files import LesionClicks
from anypet.volume import Volume

# PET (SUVbw), CT (HU on the PET's grid) or None, the clicks so far -> (I, J, K) bool, True in lesions
Segmenter = Callable[[Volume, Volume | None, LesionClicks], npt.NDArray[np.bool_]]


def segment(segmenter: Segmenter, pet: Volume, ct: Volume | None, clicks: LesionClicks) -> Volume:
    """The segmenter's mask as a volume on the grid of the PET.

    Raises:
        AnyPETError: what it gave is no bool array of the PET's shape; or an error of its own.
    """
    mask = np.asarray(segmenter(pet, ct, clicks))
    if mask.shape != pet.shape or mask.dtype != bool:
        raise AnyPETError(
            f"the segmenter gave {mask.dtype} of shape {mask.shape}, expected bool of {pet.shape}"
        )
    return Volume(mask, pet.affine, "label")
