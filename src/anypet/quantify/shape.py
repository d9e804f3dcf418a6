"""The form of an object: its surface as a mesh in millimetres, its longest diameters, its sphericity.

The mesh is that of marching cubes around voxel centres at half (Zwanenburg A et al., IBSI reference manual,
morphological features). On masks it has steps, so the surface of a ball comes out some 8 % too large at any
voxel size, and its sphericity near 0.92.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist
from skimage.measure import marching_cubes

from anypet.errors import AnyPETError
from anypet.objects import Patch
from anypet.volume import FloatArray

_PLANE_MM = 1.0  # between the axial planes looked at, where the slices are not axial
_SAME_MM = 1e-3


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles around an object.

    Args:
        vertices: (V, 3) RAS mm.
        triangles: (T, 3) indices of vertices.
    """

    vertices: FloatArray
    triangles: npt.NDArray[np.intp]

    @classmethod
    def around(cls, patch: Patch, affine: FloatArray) -> Mesh:
        """The mesh of a mask.

        Args:
            patch: the mask in its box (bool).
            affine: 4 x 4, voxel of the scan -> RAS mm.

        Raises:
            AnyPETError: the mask is empty.
        """
        if not patch.values.any():
            raise AnyPETError("a mesh needs an object with at least one voxel")
        padded = np.pad(patch.values, 1).astype(np.float32)
        vertices, triangles, _, _ = marching_cubes(padded, 0.5)
        voxels = vertices.astype(np.float64) - 1 + np.array(patch.start)
        return cls(voxels @ affine[:3, :3].T + affine[:3, 3], triangles.astype(np.intp))

    @classmethod
    def joined(cls, meshes: Sequence[Mesh]) -> Mesh:
        """Several meshes as one."""
        starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])[:-1]
        triangles = [mesh.triangles + start for mesh, start in zip(meshes, starts, strict=True)]
        return cls(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(triangles))

    @property
    def area_mm2(self) -> float:
        """Surface in mm2."""
        a, b, c = (self.vertices[self.triangles[:, n]] for n in range(3))
        return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)

    @property
    def volume_mm3(self) -> float:
        """Volume enclosed in mm3, from the tetrahedra between the triangles and one point."""
        a, b, c = (self.vertices[self.triangles[:, n]] - self.vertices[0] for n in range(3))
        return float(abs(np.einsum("ij,ij->", a, np.cross(b, c)))) / 6

    @property
    def sphericity(self) -> float:
        """Surface of the ball of the same volume, divided by the surface: 1 for a ball, else less."""
        return (36 * math.pi * self.volume_mm3**2) ** (1 / 3) / self.area_mm2

    @property
    def longest_mm(self) -> float:
        """Largest distance between two vertices in mm."""
        return _widest(self.vertices)

    @property
    def longest_axial_mm(self) -> float:
        """Largest distance in mm between two points of the mesh in one axial plane of the patient.

        Axial is perpendicular to the head-foot axis (S), however the scan is stored. Parts of an object that
        are apart in the plane count together.
        """
        corners = self.vertices[self.triangles]
        z = corners[..., 2]
        levels = np.unique(np.round(self.vertices[:, 2], 3))
        regular = np.arange(levels[0], levels[-1] + _PLANE_MM, _PLANE_MM)
        if len(levels) > 4 * len(regular):  # the scan's slices are not axial: no plane is better than another
            levels = regular
        lowest, highest = z.min(axis=1), z.max(axis=1)
        longest = 0.0
        for level in levels:
            cut = corners[(lowest <= level + _SAME_MM) & (highest >= level - _SAME_MM)]
            points = _section(cut, float(level))
            if len(points) > 1 and np.linalg.norm(np.ptp(points, axis=0)) > longest:
                longest = max(longest, _widest(points))
        return longest


def _section(corners: FloatArray, level: float) -> FloatArray:
    """(P, 2) points in which the edges of triangles (T, 3, 3) meet the plane z = level."""
    on = np.abs(corners[..., 2] - level) <= _SAME_MM
    points = [corners[on][:, :2]]
    for a, b in ((0, 1), (1, 2), (2, 0)):
        start, end = corners[:, a], corners[:, b]
        crosses = (start[:, 2] - level) * (end[:, 2] - level) < 0
        start, end = start[crosses], end[crosses]
        share = ((level - start[:, 2]) / (end[:, 2] - start[:, 2]))[:, None]
        points.append((start + share * (end - start))[:, :2])
    return np.concatenate(points)


def _widest(points: FloatArray) -> float:
    """Largest distance between two of the points (N, D)."""
    if len(points) > 12:
        with contextlib.suppress(QhullError):  # all in one line or plane
            points = points[ConvexHull(points).vertices]
    return float(pdist(points).max()) if len(points) > 1 else 0.0
