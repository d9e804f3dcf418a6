"""Windows: cubes along the patient's axes, cut from a scan for a network and laid back on the scan's grid.

A window's tensor is indexed (D, H, W) = (R, A, S): it follows the patient, not the file, so that a scan
stored in another orientation gives the same tensor and the same mask.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from anypet.volume import Volume

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Window:
    """A grid of isotropic voxels along R, A and S.

    Args:
        centre_mm: RAS millimetres of the window's centre.
        spacing: millimetres per voxel.
        shape: voxels along (R, A, S).
    """

    centre_mm: tuple[float, float, float]
    spacing: float
    shape: tuple[int, int, int]

    @property
    def affine(self) -> npt.NDArray[np.float64]:
        """4 x 4; window index (d, h, w, 1) -> RAS millimetres."""
        affine = np.diag([self.spacing, self.spacing, self.spacing, 1.0])
        affine[:3, 3] = np.asarray(self.centre_mm) - self.spacing * (np.asarray(self.shape) - 1) / 2
        return affine

    def to_mm(self, index: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Window indices (..., 3) -> RAS millimetres (..., 3)."""
        return np.asarray(index, dtype=float) * self.spacing + self.affine[:3, 3]

    def to_index(self, mm: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """RAS millimetres (..., 3) -> continuous window indices (..., 3)."""
        return (np.asarray(mm, dtype=float) - self.affine[:3, 3]) / self.spacing

    def box_in(self, volume: Volume) -> Box:
        """The smallest box of voxels that holds the window, clipped to the grid (maybe empty)."""
        ends = np.array([-0.5, 0.5])[:, None] + np.array([[0, 0, 0], np.array(self.shape) - 1])
        corners = np.array(np.meshgrid(*ends.T, indexing="ij")).reshape(3, -1).T
        voxels = volume.to_voxel(self.to_mm(corners))
        lo = np.clip(np.floor(voxels.min(0)).astype(int), 0, volume.shape)
        hi = np.clip(np.ceil(voxels.max(0)).astype(int) + 1, lo, volume.shape)
        return tuple(slice(int(a), int(b)) for a, b in zip(lo, hi, strict=True))  # type: ignore[return-value]


def _gather(
    image: torch.Tensor, index_affine: npt.NDArray[np.float64], shape: tuple[int, int, int], mode: str
) -> torch.Tensor:
    """Values of `image` (1, C, D, H, W) at index_affine @ (d, h, w, 1) for every (d, h, w) of `shape`."""
    size = np.array(image.shape[2:], dtype=float)
    # grid_sample (align_corners) wants -1..1 along each axis, in reversed axis order; an axis of one voxel
    # has no extent there, so it gets a neighbour of zeros on both sides, as padding_mode gives the others
    single = size == 1
    if single.any():
        image = F.pad(image, [p for one in reversed(single) for p in ((1, 1) if one else (0, 0))])
        size = np.array(image.shape[2:], dtype=float)
        index_affine = index_affine.copy()
        index_affine[:3, 3] += single
    scale = 2.0 / (size - 1)
    matrix = index_affine[:3].copy()
    matrix[:, 3] = matrix[:, 3] * scale - 1.0
    matrix[:, :3] *= scale[:, None]
    axes = [torch.arange(n, dtype=torch.float32, device=image.device) for n in shape]
    m = torch.as_tensor(matrix, dtype=torch.float32, device=image.device)
    grid = (
        axes[0][:, None, None, None] * m[:, 0]
        + axes[1][None, :, None, None] * m[:, 1]
        + axes[2][None, None, :, None] * m[:, 2]
        + m[:, 3]
    ).flip(-1)
    return F.grid_sample(image, grid[None], mode=mode, padding_mode="zeros", align_corners=True)


def _weights(positions: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.float32]:
    """(n, size) linear interpolation at `positions` (n, samples), the mean of the samples; 0 outside."""
    weights = np.zeros((len(positions), size + 2))
    below = np.clip(np.floor(positions), -1, size - 1).astype(int)
    fraction = np.clip(positions - below, 0, 1)
    rows = np.broadcast_to(np.arange(len(positions))[:, None], positions.shape)
    inside = (positions > -1) & (positions < size)
    np.add.at(weights, (rows, below + 1), np.where(inside, 1 - fraction, 0))
    np.add.at(weights, (rows, below + 2), np.where(inside, fraction, 0))
    return (weights[:, 1:-1] / positions.shape[1]).astype(np.float32)


def _separable(
    image: torch.Tensor, index_affine: npt.NDArray[np.float64], shape: tuple[int, int, int], samples: int = 1
) -> torch.Tensor | None:
    """As `_gather` with the mean of samples^3 places a voxel, one axis at a time; None if grids are oblique.

    Nearly all scans lie along the patient's axes, and then this is 3 matrix products in place of up to
    8 x 27 values fetched for every voxel.
    """
    matrix = index_affine[:3, :3]
    axes = np.abs(matrix).argmax(0)
    rest = np.abs(matrix) * np.array(shape)
    rest[axes, range(3)] = 0
    if sorted(axes) != [0, 1, 2] or rest.sum(1).max() > 1e-3:
        return None
    steps = (np.arange(samples) + 0.5) / samples - 0.5
    # the axis that shrinks most comes first
    for out in sorted(range(3), key=lambda d: shape[d] / image.shape[2 + axes[d]]):
        axis = int(axes[out])
        positions = (np.arange(shape[out])[:, None] + steps) * matrix[axis, out] + index_affine[axis, 3]
        weights = torch.from_numpy(_weights(positions, image.shape[2 + axis])).to(image)
        image = torch.tensordot(image, weights, dims=([2 + axis], [1])).movedim(-1, 2 + axis)
    return image.permute(0, 1, *(2 + int(a) for a in axes)).contiguous()


def cut(volume: Volume, window: Window, mode: str = "bilinear") -> torch.Tensor:
    """Samples a window from a scan -> float32 tensor (1, 1, D, H, W); 0 outside the scan.

    Where the window is coarser than the scan, each of its voxels is the mean of several samples, so that
    noise is averaged as a coarser scanner would, not picked. `mode` "nearest" is for labels. Voxels that are
    not finite count as 0: interpolation would spread one of them over the whole window.
    """
    box = window.box_in(volume)
    crop = np.ascontiguousarray(volume.array[box], dtype=np.float32)
    if crop.size == 0:
        return torch.zeros(1, 1, *window.shape)
    if not np.isfinite(crop).all():
        crop = np.nan_to_num(crop, nan=0.0, posinf=0.0, neginf=0.0)
    image = torch.from_numpy(crop)[None, None]
    fine = 1 if mode == "nearest" else max(1, min(3, math.ceil(window.spacing / volume.spacing.min() - 0.25)))
    offset = np.eye(4)
    offset[:3, 3] = [-s.start for s in box]
    to_crop = offset @ np.linalg.inv(volume.affine)
    affine = window.affine
    if mode == "bilinear":
        values = _separable(image, to_crop @ affine, window.shape, fine)
        if values is not None:
            return values
    affine[:3, 3] -= window.spacing * (fine - 1) / (2 * fine)
    affine[:3, :3] /= fine
    index_affine = to_crop @ affine
    shape = tuple(n * fine for n in window.shape)
    values = _gather(image, index_affine, shape, mode)  # type: ignore[arg-type]
    return F.avg_pool3d(values, fine) if fine > 1 else values


def lay(
    values: torch.Tensor, window: Window, volume: Volume, outside: float = 0.0
) -> tuple[torch.Tensor, Box]:
    """Values (1, C, d, h, w) of a window -> (values (1, C, i, j, k) on the scan's voxels, their box).

    Values coarser than the window are interpolated first. Voxels whose centre lies outside of the window get
    `outside`.
    """
    box = window.box_in(volume)
    shape = tuple(s.stop - s.start for s in box)
    if 0 in shape:
        return values.new_zeros(1, values.shape[1], *shape), box
    if tuple(values.shape[2:]) != window.shape:
        values = F.interpolate(values, size=window.shape, mode="trilinear", align_corners=False)
    offset = np.eye(4)
    offset[:3, 3] = [s.start for s in box]
    index_affine = np.linalg.inv(window.affine) @ volume.affine @ offset
    # the rim of half a voxel around the outermost centres belongs to the window too
    padded = F.pad(values - outside, (1,) * 6, mode="replicate")
    index_affine[:3, 3] += 1.0
    laid = _separable(padded, index_affine, shape)  # type: ignore[arg-type]
    if laid is None:
        laid = _gather(padded, index_affine, shape, "bilinear")  # type: ignore[arg-type]
    return laid + outside, box
