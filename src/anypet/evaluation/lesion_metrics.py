"""Lesion by lesion: which components of truth and prediction share voxels, and what follows from that.

Each mask is labelled once (18-connected, as autoPET does), and a table of the voxels that every two of the
components share holds everything else; so the cost is that of the box that holds all lesions, however many
they are.

| figure | rule | empty truth |
|---|---|---|
| `dice` | 2 shared / (true + predicted voxels) | NaN |
| `false_positive_volume` | mL of the predicted components that share no voxel with the truth | all of them |
| `false_negative_volume` | mL of the true components that share no voxel with the prediction | NaN |
| `detection(iou)` | counts of true and predicted components with a partner of at least that IoU | F1 is NaN |
| `dmm` | F1 of `detection(0.1)` | NaN |

The first three are autoPET IV's (lab-midas/autoPETCTIV). DMM, the detection-matching metric, is autoPET V's
(https://autopet-v.grand-challenge.org/evaluation): its evaluator matches 18-connected components at IoU 0.1
and lets one match several.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import sparse

from anypet.clicks import bounding_box
from anypet.components import connected_components
from anypet.errors import AnyPETError
from anypet.volume import Volume

Connectivity = Literal[6, 18, 26]
Slices = tuple[slice, slice, slice]
IntArray = npt.NDArray[np.int64]

DMM_IOU = 0.1


@dataclass(frozen=True, eq=False)
class Lesions:
    """The connected components of a mask, labelled once and for all comparisons.

    Args:
        mask: what was labelled; gives the grid.
        box: the smallest box of voxels that holds them all.
        labels: (box) unsigned integers, from 1; 0 outside.
        sizes: (n,) voxels of components 1 to n.
    """

    mask: Volume
    box: Slices
    labels: npt.NDArray[Any]
    sizes: IntArray

    @classmethod
    def of(cls, mask: Volume, connectivity: Connectivity = 18) -> Lesions:
        """Labels what is not 0 in a mask (i, j, k)."""
        inside = mask.array if mask.array.dtype == bool else mask.array != 0
        box = bounding_box(inside)
        if box is None:
            return cls(mask, (slice(0, 0),) * 3, np.zeros((0, 0, 0), np.uint8), np.zeros(0, np.int64))
        labels = connected_components(inside[box], connectivity)
        return cls(mask, box, labels, np.bincount(labels[labels > 0])[1:].astype(np.int64))


@dataclass(frozen=True)
class Detection:
    """How many lesions were found, and how many findings were none.

    A true component counts as found, and a predicted one as right, if some component of the other mask shares
    voxels with it and has the IoU asked for. One may match several: a lesion predicted in two halves is found
    once, and neither half is a false positive.

    Args:
        lesions: true components.
        found: those of them that match a predicted one.
        predicted: predicted components.
        right: those of them that match a true one.
    """

    lesions: int
    found: int
    predicted: int
    right: int

    @property
    def missed(self) -> int:
        """True lesions that nothing matches (false negatives)."""
        return self.lesions - self.found

    @property
    def false(self) -> int:
        """Predicted components that match no lesion (false positives)."""
        return self.predicted - self.right

    @property
    def sensitivity(self) -> float:
        """Share of the lesions found; NaN without a lesion."""
        return self.found / self.lesions if self.lesions else math.nan

    @property
    def precision(self) -> float:
        """Share of the predicted components that match a lesion; NaN without any."""
        return self.right / self.predicted if self.predicted else math.nan

    @property
    def f1(self) -> float:
        """2 found / (2 found + false + missed); NaN without a lesion, as autoPET V has it."""
        return 2 * self.found / (2 * self.found + self.false + self.missed) if self.lesions else math.nan


@dataclass(frozen=True, eq=False)
class Overlap:
    """What true and predicted components share; every figure of this module is read from it.

    Args:
        true_voxels: (n,) sizes of the true components.
        predicted_voxels: (m,) sizes of the predicted components.
        pairs: (p, 2) a true (0 to n - 1) and a predicted (0 to m - 1) component that share voxels.
        shared: (p,) how many.
        voxel_ml: volume of a voxel in mL.
    """

    true_voxels: IntArray
    predicted_voxels: IntArray
    pairs: IntArray
    shared: IntArray
    voxel_ml: float

    @property
    def dice(self) -> float:
        """Dice similarity coefficient of the whole masks; NaN for an empty truth."""
        if not self.true_voxels.size:
            return math.nan
        total = int(self.true_voxels.sum()) + int(self.predicted_voxels.sum())
        return 2.0 * int(self.shared.sum()) / total

    @property
    def false_positive_volume(self) -> float:
        """FPV: mL of the predicted components that share no voxel with the truth."""
        return self._untouched_ml(self.predicted_voxels, 1)

    @property
    def false_negative_volume(self) -> float:
        """FNV: mL of the true components that share no voxel with the prediction; NaN for an empty truth."""
        return self._untouched_ml(self.true_voxels, 0) if self.true_voxels.size else math.nan

    def _untouched_ml(self, voxels: IntArray, side: int) -> float:
        return int(np.delete(voxels, self.pairs[:, side]).sum()) * self.voxel_ml

    @cached_property
    def iou(self) -> npt.NDArray[np.float64]:
        """(p,) intersection over union of each pair."""
        union = self.true_voxels[self.pairs[:, 0]] + self.predicted_voxels[self.pairs[:, 1]] - self.shared
        return self.shared / union

    def detection(self, iou: float = 0.0) -> Detection:
        """Counts of found lesions.

        Args:
            iou: least intersection over union of a match, 0 to 1; 0 asks for one shared voxel.

        Raises:
            AnyPETError: an IoU outside 0 to 1.
        """
        if not 0 <= iou <= 1:
            raise AnyPETError(f"the IoU of a match lies between 0 and 1, got {iou}")
        matched = self.pairs[self.iou >= iou]
        found, right = (np.unique(matched[:, side]).size for side in (0, 1))
        return Detection(self.true_voxels.size, found, self.predicted_voxels.size, right)

    @property
    def dmm(self) -> float:
        """Detection-matching metric of autoPET V: F1 over lesions at IoU 0.1; NaN for an empty truth."""
        return self.detection(DMM_IOU).f1


def overlap_of(true: Lesions, predicted: Lesions) -> Overlap:
    """The table of what two sets of lesions share.

    Raises:
        AnyPETError: the masks lie on different grids.
    """
    _check_grid(true.mask, predicted.mask)
    pairs: IntArray = np.zeros((0, 2), np.int64)
    shared: IntArray = np.zeros(0, np.int64)
    common = [
        slice(max(a.start, b.start), min(a.stop, b.stop))
        for a, b in zip(true.box, predicted.box, strict=True)
    ]
    if all(s.start < s.stop for s in common):
        one, other = _within(true, common), _within(predicted, common)
        both = (one > 0) & (other > 0)
        table = sparse.coo_matrix(
            (np.ones(np.count_nonzero(both), np.int64), (one[both] - 1, other[both] - 1)),
            shape=(true.sizes.size, predicted.sizes.size),
        )
        counted = table.tocsr().tocoo()  # the way through CSR adds the ones up
        pairs = np.stack([counted.row, counted.col], axis=1).astype(np.int64)
        shared = counted.data.astype(np.int64)
    return Overlap(true.sizes, predicted.sizes, pairs, shared, true.mask.voxel_volume_ml)


def lesion_overlap(true: Volume, predicted: Volume, connectivity: Connectivity = 18) -> Overlap:
    """The table of what the components of two masks share.

    Args:
        true, predicted: masks on one grid; what is not 0 is inside.
        connectivity: 6 (faces), 18 (and edges; autoPET) or 26 (and corners).

    Raises:
        AnyPETError: the masks lie on different grids.
    """
    _check_grid(true, predicted)
    return overlap_of(Lesions.of(true, connectivity), Lesions.of(predicted, connectivity))


def _within(lesions: Lesions, part: list[slice]) -> npt.NDArray[Any]:
    """The labels in a part of the lesions' box, given as slices of the whole grid."""
    view = tuple(slice(s.start - b.start, s.stop - b.start) for s, b in zip(part, lesions.box, strict=True))
    return lesions.labels[view]


def _check_grid(true: Volume, predicted: Volume) -> None:
    if true.same_grid(predicted):
        return
    label, prediction = true.meta.get("source", "the truth"), predicted.meta.get("source", "the prediction")
    raise AnyPETError(
        f"{prediction} does not lie on the grid of {label}: {_grid(predicted)}, expected {_grid(true)}; "
        "resample the prediction onto the grid of the label first"
    )


def _grid(volume: Volume) -> str:
    rows = np.round(volume.affine[:3], 4).tolist()
    return f"{' x '.join(map(str, volume.shape))} voxels with affine {rows}"
