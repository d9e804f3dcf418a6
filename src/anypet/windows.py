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


def cut(volume: Volume, window: Window, mode: str = "bilinear") -> torch.Tensor:
    """Samples a window from a scan -> float32 tensor (1, 1, D, H, W); 0 outside the scan.

    Where the window is coarser than the scan, each of its voxels is the mean of several samples, so that
    noise is averaged as a coarser scanner would, not picked. `mode` "nearest" is for labels.
    """
    box = window.box_in(volume)
    crop = np.ascontiguousarray(volume.array[box], dtype=np.float32)
    if crop.size == 0:
        return torch.zeros(1, 1, *window.shape)
    image = torch.from_numpy(crop)[None, None]
    fine = 1 if mode == "nearest" else max(1, min(3, math.ceil(window.spacing / volume.spacing.min() - 0.25)))
    affine = window.affine
    affine[:3, 3] -= window.spacing * (fine - 1) / (2 * fine)
    affine[:3, :3] /= fine
    offset = np.eye(4)
    offset[:3, 3] = [-s.start for s in box]
    index_affine = offset @ np.linalg.inv(volume.affine) @ affine
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
    return _gather(padded, index_affine, shape, "bilinear") + outside, box  # type: ignore[arg-type]
