"""A scan's planes on a page: turned to the patient, drawn to scale, with sides written and masks outlined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from nibabel.orientations import apply_orientation, io_orientation

from anypet.volume import FloatArray, Volume


@dataclass(frozen=True)
class View:
    """A plane: which RAS axes run to the right and up the page, and along which one looks."""

    name: str
    across: int
    up: int
    along: int
    flip: bool  # the axis across runs to the left
    sides: tuple[str, str, str, str]  # left, right, top, bottom


# radiological: the patient's right is on the left of the page, the nose of a sagittal slice too
CORONAL = View("Coronal", 0, 2, 1, True, ("R", "L", "S", "I"))
SAGITTAL = View("Sagittal", 1, 2, 0, True, ("A", "P", "S", "I"))
AXIAL = View("Axial", 0, 1, 2, True, ("R", "L", "A", "P"))


class Upright:
    """A scan turned to the RAS axes nearest to its own; a view of the array, not a copy."""

    def __init__(self, scan: Volume) -> None:
        self._orientation = io_orientation(scan.affine)
        axes = self._orientation[:, 0].astype(int)
        self.array = self.turn(scan.array)
        self.spacing = np.zeros(3)
        self.spacing[axes] = scan.spacing
        self._scan = scan

    def turn(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """An array on the scan's grid -> (R, A, S) order, each axis growing towards R, A, S."""
        return np.asarray(apply_orientation(array, self._orientation))

    def index(self, mm: Sequence[float]) -> FloatArray:
        """RAS mm -> continuous index of the turned array."""
        voxel = self._scan.to_voxel(mm)
        out = np.zeros(3)
        for n, (axis, direction) in enumerate(self._orientation):
            out[int(axis)] = voxel[n] if direction > 0 else self._scan.shape[n] - 1 - voxel[n]
        return out

    def extent(self, view: View) -> tuple[float, float, float, float]:
        """Edges of the plane, mm from its first voxel's outer corner: left, right, bottom, top."""
        width = self.array.shape[view.across] * self.spacing[view.across]
        height = self.array.shape[view.up] * self.spacing[view.up]
        return (width, 0.0, 0.0, height) if view.flip else (0.0, width, 0.0, height)

    def place(self, view: View, index: FloatArray) -> tuple[float, float]:
        """A voxel index -> (across, up) in the plane's mm."""
        mm = (index + 0.5) * self.spacing
        return float(mm[view.across]), float(mm[view.up])


def on_page(plane: npt.NDArray[Any], view: View) -> npt.NDArray[Any]:
    """A plane (its two axes in RAS order) -> rows bottom to top, columns left to right before any flip."""
    return plane.T if view.across < view.up else plane


def draw_plane(axes: Axes, upright: Upright, view: View, plane: npt.NDArray[Any], vmax: float) -> Any:
    """One plane in inverted grey, with the patient's sides written at its edges."""
    left, right, bottom, top = upright.extent(view)
    page = on_page(plane, view)
    if view.flip:  # imshow wants columns from left to right; the axis itself runs from right to left
        page = page[:, ::-1]
    image = axes.imshow(
        page,
        cmap="gray_r",
        vmin=0,
        vmax=vmax,
        origin="lower",
        extent=(left, right, bottom, top),
        interpolation="bilinear",
        aspect="equal",
    )
    axes.set_facecolor("white")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color="#c9ced6", linewidth=0.8)
    places = ((0.02, 0.5, "left"), (0.98, 0.5, "right"), (0.5, 0.985, "center"), (0.5, 0.015, "center"))
    heights = ("center", "center", "top", "bottom")
    for side, (x, y, across), up in zip(view.sides, places, heights, strict=True):
        axes.text(x, y, side, transform=axes.transAxes, ha=across, va=up, fontsize=8, color="#6b7480")
    return image


def draw_outline(axes: Axes, upright: Upright, view: View, plane: npt.NDArray[np.bool_], colour: str) -> None:
    """The rim of a mask in a plane, halfway between voxel centres."""
    if not plane.any():
        return
    page = np.pad(on_page(plane, view).astype(np.float32), 1)  # objects at the scan's edge have a rim too
    x = (np.arange(page.shape[1]) - 0.5) * upright.spacing[view.across]
    y = (np.arange(page.shape[0]) - 0.5) * upright.spacing[view.up]
    axes.contour(x, y, page, levels=[0.5], colors=[colour], linewidths=1.4)


def grey_limit(projection: npt.NDArray[Any]) -> float:
    """The SUV to draw black: 10, or less where the whole scan is faint."""
    bright = float(np.percentile(projection, 99.8))
    return 10.0 if bright > 4 else max(2.5 * bright, 1.0)


def body_extent(
    upright: Upright,
    projections: Sequence[npt.NDArray[Any]],
    vmax: float,
    indices: Sequence[FloatArray] = (),
) -> FloatArray:
    """(2, 2): from where to where along R and A (mm) there is more than air, with a rim of a centimetre.

    Args:
        upright: the scan.
        projections: along A and along R, as arrays (R, S) and (A, S).
        vmax: SUV drawn black.
        indices: places (voxel indices of `upright`) to take in besides.
    """
    spans = []
    for axis, projection in enumerate(projections):
        size = upright.array.shape[axis]
        warm = np.flatnonzero((projection > 0.02 * vmax).sum(1) > 0.02 * projection.shape[1])
        ends = [*(warm[[0, -1]] if warm.size else (0, size - 1)), *(index[axis] for index in indices)]
        low, high = min(ends) * upright.spacing[axis] - 10, (max(ends) + 1) * upright.spacing[axis] + 10
        spans.append((max(low, 0.0), min(high, size * upright.spacing[axis])))
    return np.array(spans)
