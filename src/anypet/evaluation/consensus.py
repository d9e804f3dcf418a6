"""One mask out of many: STAPLE, which weighs every reader by how well they agree with the others.

Warfield, Zou and Wells, IEEE Trans Med Imaging 2004;23:903, as SimpleITK computes it. The truth is unknown;
expectation maximisation finds the probability of every voxel and each reader's sensitivity and specificity
together. How much background there is sways it, so it is always the box around all masks and two voxels more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813

from anypet.clicks import BoolArray, bounding_box
from anypet.errors import AnyPETError

MARGIN = 2  # voxels around the box
MAX_ITERATIONS = 500


@dataclass(frozen=True, eq=False)
class Consensus:
    """What the readers agree on.

    Args:
        mask: (I, J, K) bool, voxels that are more likely inside than not.
        sensitivity, specificity: of every reader against it, in the box; NaN where nobody marked anything.
    """

    mask: BoolArray
    sensitivity: tuple[float, ...]
    specificity: tuple[float, ...]


def staple(masks: Sequence[BoolArray]) -> Consensus:
    """The consensus of two or more masks.

    Args:
        masks: (I, J, K) bool each, on one grid. With two, no reader can be outvoted: what both marked is
            certain, and the rest goes to whoever agrees with more.

    Raises:
        AnyPETError: fewer than two masks, or different shapes.
    """
    shapes = {mask.shape for mask in masks}
    if len(masks) < 2 or len(shapes) != 1:
        raise AnyPETError(f"a consensus needs two or more masks of one shape, got {len(masks)}: {shapes}")
    union = np.logical_or.reduce(list(masks))
    box = bounding_box(union)
    if box is None:
        nothing = (float("nan"),) * len(masks)
        return Consensus(np.zeros(union.shape, dtype=bool), nothing, nothing)
    images = [sitk.GetImageFromArray(np.pad(mask[box], MARGIN).astype(np.uint8)) for mask in masks]
    algorithm = sitk.STAPLEImageFilter()
    algorithm.SetForegroundValue(1)
    algorithm.SetMaximumIterations(MAX_ITERATIONS)
    inner = (slice(MARGIN, -MARGIN),) * 3
    probability = sitk.GetArrayFromImage(algorithm.Execute(images))[inner]
    result = np.zeros(union.shape, dtype=bool)
    result[box] = probability >= 0.5
    return Consensus(result, tuple(algorithm.GetSensitivity()), tuple(algorithm.GetSpecificity()))
