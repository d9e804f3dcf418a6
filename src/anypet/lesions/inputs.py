"""What the lesion network sees: PET, CT, clicks and tracer as channels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

TRACERS = {"FDG": 1.0, "PSMA": -1.0, "": 0.0}  # value of the tracer's channel
HU_RANGE = (-1000.0, 1000.0)


def channels(
    suv: npt.NDArray[Any], hu: npt.NDArray[Any] | None, clicks: npt.NDArray[Any], tracer: str = ""
) -> Tensor:
    """The channels of a tile, float32 (4, d, h, w).

    PET is asinh(SUV), which is linear at background level and logarithmic above; CT is HU / 500 between -1000
    and 1000; without a CT that channel is 0 throughout. The click map comes as it is. The tracer is 1 for
    FDG, -1 for PSMA, 0 where it is not known.

    Args:
        suv: (d, h, w) SUVbw.
        hu: (d, h, w) HU, or None.
        clicks: (d, h, w) from `anypet.lesions.click_maps`.
        tracer: a key of `TRACERS`.
    """
    pet = np.arcsinh(np.nan_to_num(np.asarray(suv, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0))
    ct = np.zeros_like(pet)
    if hu is not None:
        ct = np.nan_to_num(np.asarray(hu, dtype=np.float32), nan=HU_RANGE[0]).clip(*HU_RANGE) / 500.0
    told = np.full_like(pet, TRACERS[tracer])
    return torch.from_numpy(np.stack([pet, ct, np.asarray(clicks, dtype=np.float32), told]))
