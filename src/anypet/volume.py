"""`Volume`: voxels that are never without their place in the patient and their unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from anypet.errors import AnyPETError

FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3D image on a regular grid.

    Args:
        array: voxels indexed (i, j, k) in the file's own order, as nibabel and SimpleITK's index give it.
        affine: 4 x 4; maps (i, j, k, 1) to RAS millimetres.
        unit: "SUVbw", "HU", "Bq/mL", "label", ...
        meta: where the voxels come from (file, series, SUV factor and its rule, warnings).

    Raises:
        AnyPETError: the array is not 3D or empty, or the affine cannot be inverted.
    """

    array: npt.NDArray[Any]
    affine: FloatArray
    unit: str
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.array.ndim != 3 or self.array.size == 0:
            raise AnyPETError(f"a Volume needs a non-empty 3D array, got shape {self.array.shape}")
        affine = np.asarray(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise AnyPETError(f"the affine must be a finite 4 x 4 matrix, got {affine!r}")
        if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise AnyPETError("the affine is singular: a voxel has no volume; check the header's spacing")
        object.__setattr__(self, "affine", affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (i, j, k)."""
        i, j, k = self.array.shape
        return i, j, k

    @property
    def spacing(self) -> FloatArray:
        """Millimetres between voxel centres along (i, j, k)."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of a voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    def to_mm(self, voxel: npt.ArrayLike) -> FloatArray:
        """Voxel indices (..., 3) -> RAS millimetres (..., 3)."""
        return np.asarray(voxel, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_voxel(self, mm: npt.ArrayLike) -> FloatArray:
        """RAS millimetres (..., 3) -> continuous voxel indices (..., 3)."""
        return (np.asarray(mm, dtype=np.float64) - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T

    def contains(self, voxel: Sequence[float] | FloatArray) -> bool:
        """Whether a (continuous) voxel index lies in the grid, half a voxel of rim included."""
        v = np.asarray(voxel, dtype=np.float64)
        return bool(np.all(v >= -0.5) and np.all(v <= np.array(self.shape) - 0.5))

    def same_grid(self, other: Volume, tolerance_mm: float = 1e-2) -> bool:
        """Whether both volumes have the same shape and, to the tolerance, the same ends of all three axes."""
        if self.shape != other.shape:
            return False
        corners = np.vstack([np.zeros(3), np.diag(np.array(self.shape, dtype=float) - 1)])
        return bool(np.abs(self.to_mm(corners) - other.to_mm(corners)).max() <= tolerance_mm)

    def with_array(self, array: npt.NDArray[Any], unit: str | None = None, **meta: Any) -> Volume:
        """Other voxels on the same grid."""
        return replace(self, array=array, unit=unit or self.unit, meta={**self.meta, **meta})
