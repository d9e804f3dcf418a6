"""How much of each voxel lies in a ball that is centred anywhere in a voxel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from anypet.volume import FloatArray

Offset = tuple[float, float, float]

_RAY_MM = 0.25


class BallWeights:
    """The parts of voxels in a ball, for a grid and a radius; computed once for every place of the centre.

    Voxels are cut by rays along k, at most 0.25 mm apart, whose length in the ball is exact. The grid may be
    oblique or sheared.

    Args:
        affine: 4 x 4, voxel -> mm.
        radius_mm: of the ball.
    """

    def __init__(self, affine: FloatArray, radius_mm: float) -> None:
        directions = affine[:3, :3]
        self._metric = directions.T @ directions
        self._radius = radius_mm
        half = radius_mm * np.sqrt(np.diag(np.linalg.inv(self._metric)))
        self.reach: npt.NDArray[np.intp] = np.ceil(half + 0.5).astype(np.intp)
        self._rays = np.maximum(4, np.ceil(np.linalg.norm(directions, axis=0) / _RAY_MM)).astype(int)[:2]
        axes = [np.arange(-r, r + 1) for r in self.reach]
        self.steps: npt.NDArray[np.intp] = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        self._known: dict[Offset, FloatArray] = {}

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (i, j, k) of the box that holds the ball wherever its centre is."""
        i, j, k = (2 * int(r) + 1 for r in self.reach)
        return i, j, k

    def weights(self, offset: Offset) -> FloatArray:
        """The part, 0 to 1, of the voxels at `steps` (M, 3) that lies in the ball.

        Args:
            offset: the centre's place from the middle voxel's centre, in voxels, within half a voxel.

        Returns:
            (M,) float64.
        """
        if offset not in self._known:
            self._known[offset] = self._cut(offset)
        return self._known[offset]

    def _cut(self, offset: Offset) -> FloatArray:
        x, y = (_rays(int(self.reach[a]), int(self._rays[a])) - offset[a] for a in (0, 1))
        g = self._metric
        half_b = g[0, 2] * x[:, None] + g[1, 2] * y
        c = g[0, 0] * x[:, None] ** 2 + 2 * g[0, 1] * x[:, None] * y + g[1, 1] * y**2 - self._radius**2
        root = half_b**2 - g[2, 2] * c
        hit = np.nonzero(root > 0)
        middle, reach = -half_b[hit] / g[2, 2], np.sqrt(root[hit]) / g[2, 2]
        k = np.arange(-self.reach[2], self.reach[2] + 1) - offset[2]
        upper, lower = (middle + reach)[:, None], (middle - reach)[:, None]
        lengths = np.clip(np.minimum(upper, k + 0.5) - np.maximum(lower, k - 0.5), 0, 1)
        column = (hit[0] // self._rays[0]) * self.shape[1] + hit[1] // self._rays[1]
        voxel = column[:, None] * self.shape[2] + np.arange(self.shape[2])
        sums = np.bincount(voxel.ravel(), lengths.ravel(), len(self.steps))
        return np.asarray(sums / np.prod(self._rays))


def _rays(reach: int, count: int) -> FloatArray:
    """Places of `count` rays in each of the voxels -reach..reach, in voxels."""
    within = (np.arange(count) + 0.5) / count - 0.5
    return (np.arange(-reach, reach + 1)[:, None] + within).ravel()
