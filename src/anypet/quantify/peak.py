"""SUVpeak: the highest mean of a 1 mL sphere, placed between voxels too and counting parts of voxels.

A voxel counts by the part of its volume that lies in the sphere, so the mean changes smoothly as the sphere
moves and does not depend on how the voxels happen to lie (Wahl RL et al., J Nucl Med 2009;50 Suppl 1:122S: 1
mL sphere; Lodge MA et al., J Nucl Med 2012;53:1041: placed where its mean is highest).

The search is a lattice of at most 1.5 mm over all places allowed, one of half the step around the best of
them, and parabolas through the last steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import edt
import numpy as np
import numpy.typing as npt

from anypet.errors import AnyPETError
from anypet.objects import Patch, Triple
from anypet.quantify.ball import BallWeights, Offset
from anypet.volume import FloatArray, Volume

RADIUS_MM = (3 * 1000.0 / (4 * math.pi)) ** (1 / 3)  # 6.2035 mm: 1 mL, 12.4 mm across
Centre = Literal["inside", "near", "hottest"]
CENTRES: dict[str, str] = {
    "inside": "the centre lies in a voxel of the object",
    "near": "the sphere touches the object: its centre lies in a voxel at most a radius away from one of it",
    "hottest": "the centre is that of the object's hottest voxel (IBSI's local intensity peak)",
}

_STEP_MM = 1.5
_BEAM = 24  # voxels around whose best place is looked at more closely
_AT_ONCE = 4_000_000  # values gathered at a time, to bound memory
_FFT_FROM = 30  # values to gather for each voxel of the crop, above which a Fourier transform is quicker
_AROUND = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)


@dataclass(frozen=True)
class Peak:
    """Where the mean is highest, and the mean there.

    Args:
        value: in the unit of the volume.
        centre_mm: of the sphere, RAS mm.
    """

    value: float
    centre_mm: Triple


class PeakFinder:
    """Finds SUVpeak of the objects of one scan; what is known of the sphere is kept between objects.

    The sphere's mean takes all voxels of the scan that it touches, also those outside of the object; what
    would lie beyond the scan's edge is left out.

    Args:
        volume: (i, j, k) in SUV.
        centre: where the centre may lie, see `CENTRES`.
        radius_mm: of the sphere.

    Raises:
        AnyPETError: `centre` is none of `CENTRES`.
    """

    def __init__(self, volume: Volume, centre: Centre = "inside", radius_mm: float = RADIUS_MM) -> None:
        if centre not in get_args(Centre):
            raise AnyPETError(f"the sphere's centre is one of {', '.join(CENTRES)}, got {centre!r}")
        self._volume, self._centre, self._radius = volume, centre, radius_mm
        self._ball = BallWeights(volume.affine, radius_mm)
        self._divisions = np.ceil(volume.spacing / _STEP_MM).astype(int)

    def find(self, patch: Patch) -> Peak:
        """SUVpeak of an object.

        Args:
            patch: the object's mask in its box (bool).

        Raises:
            AnyPETError: the mask is empty.
        """
        if not patch.values.any():
            raise AnyPETError("SUVpeak needs an object with at least one voxel")
        allowed = self._allowed(patch)
        crop = _Crop.around(self._volume.array, allowed, self._ball.reach)
        voxels = np.argwhere(allowed.values) + allowed.start
        if self._centre == "hottest":
            return self._peak(voxels, np.zeros((1, 3)), crop)
        offsets, means = self._lattice(voxels, crop)
        best = np.argsort(-means, kind="stable")[:_BEAM]
        step = 0.5 / self._divisions
        nearer = np.clip(offsets[best][:, None] + _AROUND * step, -0.5, 0.5).reshape(-1, 3)
        voxels = np.repeat(voxels[best], len(_AROUND), axis=0)
        top = int(np.argmax(self._means(voxels, nearer, crop)))
        voxel, offset = voxels[top : top + 1], nearer[top]
        for shrunk in (step, step / 2):
            both = np.stack([offset, self._summit(voxel, offset, shrunk, crop)])
            offset = both[int(np.argmax(self._means(np.repeat(voxel, 2, axis=0), both, crop)))]
        return self._peak(voxel, offset[None], crop)

    def mean_at(self, centre_mm: npt.ArrayLike) -> float:
        """Mean of the sphere at a place (RAS mm).

        Raises:
            AnyPETError: the place is outside of the scan.
        """
        place = self._volume.to_voxel(centre_mm)
        voxel = np.clip(np.rint(place), 0, np.array(self._volume.shape) - 1)
        if float(np.abs(place - voxel).max()) > 0.5 + 1e-6:
            raise AnyPETError(f"the place {np.round(np.asarray(centre_mm), 1)} mm is outside of the scan")
        i, j, k = (int(v) for v in voxel)
        here = Patch((i, j, k), np.ones((1, 1, 1), bool))
        crop = _Crop.around(self._volume.array, here, self._ball.reach)
        offset = np.clip(place - voxel, -0.5, 0.5)
        return float(self._means(np.array([[i, j, k]]), offset[None], crop)[0])

    def _peak(self, voxel: npt.NDArray[Any], offset: FloatArray, crop: _Crop) -> Peak:
        mean = float(self._means(voxel, offset, crop)[0])
        x, y, z = (float(v) for v in self._volume.to_mm(voxel[0] + offset[0]))
        return Peak(mean, (x, y, z))

    def _allowed(self, patch: Patch) -> Patch:
        """The voxels in which the centre may lie."""
        if self._centre == "inside":
            return patch
        if self._centre == "hottest":
            values = np.where(patch.values, self._volume.array[patch.slices], -np.inf)
            hottest = np.array(np.unravel_index(int(np.argmax(values)), values.shape)) + patch.start
            return Patch((int(hottest[0]), int(hottest[1]), int(hottest[2])), np.ones((1, 1, 1), bool))
        reach = self._ball.reach
        low = np.maximum(np.array(patch.start) - reach, 0)
        high = np.minimum(np.array(patch.start) + patch.values.shape + reach, self._volume.shape)
        away = np.ones(tuple(high - low), bool)
        away[tuple(np.argwhere(patch.values).T + (np.array(patch.start) - low)[:, None])] = False
        distance: FloatArray = edt.edt(away, anisotropy=tuple(self._volume.spacing.tolist()))
        return Patch((int(low[0]), int(low[1]), int(low[2])), np.asarray(distance <= self._radius))

    def _lattice(self, voxels: npt.NDArray[np.intp], crop: _Crop) -> tuple[FloatArray, FloatArray]:
        """The best place of the first lattice in each of the voxels (N, 3): offsets (N, 3), means (N,)."""
        axes = [(np.arange(n) + 0.5) / n - 0.5 for n in self._divisions]
        best, found = np.full(len(voxels), -np.inf), np.zeros((len(voxels), 3))
        for a, b, c in np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3).tolist():
            means = self._shifted(voxels, (a, b, c), crop)
            better = means > best
            best[better], found[better] = means[better], (a, b, c)
        return found, best

    def _shifted(self, voxels: npt.NDArray[np.intp], offset: Offset, crop: _Crop) -> FloatArray:
        """(N,) means of spheres at the same place of every voxel (N, 3)."""
        weights = self._ball.weights(offset)
        used = np.flatnonzero(weights)
        if len(voxels) * len(used) > _FFT_FROM * crop.values.size:
            return crop.correlated(voxels, weights.reshape(self._ball.shape))
        parts = np.array_split(voxels, len(voxels) * len(used) // _AT_ONCE + 1)
        return np.concatenate([crop.weighted(part, self._ball.steps[used], weights[used]) for part in parts])

    def _means(self, voxels: npt.NDArray[Any], offsets: FloatArray, crop: _Crop) -> FloatArray:
        """(N,) means of spheres at any offsets (N, 3) from the centres of voxels (N, 3); N is small."""
        distinct, which = np.unique(np.round(offsets, 9), axis=0, return_inverse=True)
        weights = np.stack([self._ball.weights((a, b, c)) for a, b, c in distinct.tolist()])
        return crop.weighted(voxels, self._ball.steps, weights[which.ravel()])

    def _summit(
        self, voxel: npt.NDArray[Any], offset: FloatArray, step: FloatArray, crop: _Crop
    ) -> FloatArray:
        """Where parabolas along the axes put the maximum, at most half a step away and in the voxel."""
        sides = np.clip(offset + np.concatenate([-np.diag(step), np.diag(step)]), -0.5, 0.5)
        before, after = np.split(self._means(np.repeat(voxel, 6, axis=0), sides, crop), 2)
        here = self._means(voxel, offset[None], crop)[0]
        bend = before - 2 * here + after
        shift = np.where(bend < 0, (before - after) / (2 * np.where(bend < 0, bend, -1.0)), 0.0)
        return np.clip(offset + np.clip(shift, -0.5, 0.5) * step, -0.5, 0.5)


@dataclass(frozen=True, eq=False)
class _Crop:
    """The part of a scan that spheres around an object can reach, with a rim of 0 where the scan ends.

    Args:
        values: (i, j, k) float64.
        known: 1 where a voxel is one of the scan; None where all are.
        start: voxel of the scan at the crop's first voxel; may be negative.
    """

    values: FloatArray
    known: FloatArray | None
    start: npt.NDArray[Any]

    @classmethod
    def around(cls, array: npt.NDArray[Any], patch: Patch, reach: npt.NDArray[Any]) -> _Crop:
        start = np.array(patch.start) - reach
        stop = np.array(patch.start) + patch.values.shape + reach
        low, high = np.maximum(start, 0), np.minimum(stop, array.shape)
        i, j, k = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        pad = list(zip(low - start, stop - high, strict=True))
        values = np.ascontiguousarray(np.pad(array[i, j, k].astype(np.float64), pad))
        cut = bool((low > start).any() or (high < stop).any())
        return cls(values, np.pad(np.ones(tuple(high - low)), pad) if cut else None, start)

    def weighted(self, voxels: npt.NDArray[Any], steps: npt.NDArray[Any], weights: FloatArray) -> FloatArray:
        """(N,) weighted means of the voxels (N, 3) + steps (M, 3); weights (M,) or (N, M), each its own."""
        strides = np.array([self.values.shape[1] * self.values.shape[2], self.values.shape[2], 1])
        flat = ((voxels - self.start) @ strides)[:, None] + steps @ strides
        each = "nm,nm->n" if weights.ndim == 2 else "nm,m->n"
        sums = np.einsum(each, self.values.ravel()[flat], weights)
        total = weights.sum(-1) if self.known is None else np.einsum(each, self.known.ravel()[flat], weights)
        return np.asarray(sums / total)

    def correlated(self, voxels: npt.NDArray[Any], kernel: FloatArray) -> FloatArray:
        """What `weighted` gives, for so many voxels that a Fourier transform of the whole crop is quicker."""
        from scipy.signal import correlate  # takes half a second to import, and few objects are so large

        at = tuple((voxels - self.start).T)
        sums = correlate(self.values, kernel, mode="same", method="fft")[at]
        if self.known is None:
            return np.asarray(sums / kernel.sum())
        return np.asarray(sums / correlate(self.known, kernel, mode="same", method="fft")[at])
