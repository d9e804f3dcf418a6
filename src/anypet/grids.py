"""Volumes as SimpleITK images and back, and resampling one volume onto the grid of another."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk  # noqa: N813

from anypet.volume import Volume

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def to_sitk(volume: Volume) -> sitk.Image:
    """The volume as a SimpleITK image: index (i, j, k) is the same, the world is LPS."""
    array = volume.array
    if array.dtype == bool:
        array = array.astype(np.uint8)
    elif array.dtype == np.float16:
        array = array.astype(np.float32)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    affine = RAS_TO_LPS @ volume.affine
    spacing = volume.spacing
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    return image


def affine_of(image: sitk.Image) -> np.ndarray:
    """The 4 x 4 affine of a 3D SimpleITK image from index (i, j, k, 1) to RAS mm."""
    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    affine[:3, :3] = direction * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return RAS_TO_LPS @ affine


def from_sitk(image: sitk.Image, unit: str) -> Volume:
    """A 3D SimpleITK image as a volume; the array is (i, j, k)."""
    return Volume(sitk.GetArrayFromImage(image).transpose(2, 1, 0), affine_of(image), unit)


def same_corners(one: Volume, other: Volume, tolerance_mm: float) -> bool:
    """Whether the first voxels and the ends of all three axes lie at the same places, to the tolerance."""
    ends = np.vstack([np.zeros(3), np.diag(np.array(one.shape) - 1.0)])
    return bool(np.abs(one.to_mm(ends) - other.to_mm(ends)).max() <= tolerance_mm)


def resample(volume: Volume, reference: Volume, *, linear: bool = True, outside: float = 0.0) -> Volume:
    """The volume on the grid of the reference.

    Args:
        volume: any grid, same world.
        reference: gives shape and affine.
        linear: linear interpolation; False takes the nearest voxel, as labels need.
        outside: value where the volume does not reach.

    Returns:
        Same unit and meta; the dtype of `volume` (float32 for bool when linear).
    """
    if volume.shape == reference.shape and same_corners(volume, reference, 1e-3):
        return volume
    grid = to_sitk(Volume(np.zeros(reference.shape, np.uint8), reference.affine, "label"))
    how = sitk.sitkLinear if linear else sitk.sitkNearestNeighbor
    moved = sitk.Resample(to_sitk(volume), grid, sitk.Transform(), how, outside)
    array = sitk.GetArrayFromImage(moved).transpose(2, 1, 0)
    if volume.array.dtype == bool and not linear:
        array = array.astype(bool)
    return Volume(array, reference.affine, volume.unit, dict(volume.meta))
