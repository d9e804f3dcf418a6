"""Balls of known activity on grids of any voxel size and orientation, for tests."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from anypet.volume import Volume

# voxel sizes of real scanners, and grids that are flipped, turned to coronal, and oblique
GRIDS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "GE 4.7 mm": ((4.6875, 4.6875, 3.27), (0, 0, 0)),
    "Siemens 4.07 mm": ((4.07, 4.07, 3.0), (180, 0, 0)),
    "isotropic 2 mm": ((2.0, 2.0, 2.0), (0, 0, 90)),
    "coronal": ((2.6, 3.4, 4.0), (90, 0, 0)),
    "oblique": ((3.0, 3.0, 3.0), (20, 35, 10)),
}


def grid(name: str, extent_mm: float = 160.0) -> Volume:
    """An empty scan of some extent around (0, 0, 0), on one of `GRIDS`; no voxel centre lies at 0."""
    spacing, angles = GRIDS[name]
    return empty(spacing, extent_mm, angles)


def empty(
    spacing: tuple[float, float, float],
    extent_mm: float = 160.0,
    angles: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Volume:
    """An empty scan around (0, 0, 0), turned by angles (degrees) about x, y, z."""
    shape = tuple(int(np.ceil(extent_mm / s)) for s in spacing)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ np.diag(spacing)
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) / 2 - 0.37)
    return Volume(np.zeros(shape, np.float32), affine, "SUVbw")


def places(scan: Volume) -> np.ndarray:
    """(I, J, K, 3) RAS mm of all voxel centres."""
    return scan.to_mm(np.stack(np.meshgrid(*(np.arange(n) for n in scan.shape), indexing="ij"), -1))


def ball(scan: Volume, centre: tuple[float, float, float], radius_mm: float) -> np.ndarray:
    """The voxels whose centre lies in a ball."""
    return np.asarray(((places(scan) - np.array(centre)) ** 2).sum(-1) <= radius_mm**2)


def painted(scan: Volume, *spheres: tuple[tuple[float, float, float], float, float]) -> Volume:
    """The scan with balls (centre, radius, SUV) painted over a background of SUV 0.5, one after another."""
    array = np.full(scan.shape, 0.5, np.float32)
    for centre, radius, suv in spheres:
        array[ball(scan, centre, radius)] = suv
    return scan.with_array(array)
