"""Click maps: the channel that tells a lesion network where a reader clicked, and whether on tumour.

`gaussian_map` is the paper's (QuantIF, autoPET IV): each tumour click is a Gaussian of its own, set to zero
where the SUV is below the lower of 3 and the SUV at the click; these are summed and clipped to [0, 1].
Background clicks are one map of deltas under one Gaussian filter, zero where the tumour map is positive. The
channel is the first minus the second. `distance_map` is the alternative, a Euclidean distance transform.

What the paper leaves open:

- *Height of the Gaussian.* A delta under a filter whose kernel sums to 1 keeps a peak of 0.0024 at a sigma of
  3 voxels, so that nothing is ever clipped and the network sees next to nothing. The clip to [0, 1] has a
  meaning only where a lone click reaches 1 and two near ones go beyond. Hence `peak="one"`: the kernel is
  exp(-d^2 / 2 sigma^2), 1 at the click. `peak="filter"` keeps the kernel that sums to 1.
- *Widths.* The text names none. The released code has 3 voxels for tumour and 6 for background clicks; on the
  challenge's median grid (2.04 x 2.04 x 3 mm) these are 7 and 14 mm, the defaults. In voxels a click would be
  a third longer along the body than across it, and another one on another scanner.
- *Bounds.* Only the tumour map is clipped in the paper. With peaks of 1, near background clicks then sum to
  less than -1; `clip_background=True` keeps the channel within [-1, 1].
- *Border.* Nothing is beyond the scan: a Gaussian is cut there, not mirrored back into it.

A click costs a box of 4 sigma around it, not a pass over the scan. Voxels that are not finite count as SUV 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from anypet.clicks import Spacing
from anypet.errors import AnyPETError, PromptError

FloatMap = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.intp]
Box = tuple[slice, slice, slice]
Peak = Literal["one", "filter"]

TRUNCATE = 4.0  # sigmas, as in scipy.ndimage
SUV_CEILING = 3.0


def checked_clicks(clicks: npt.ArrayLike, shape: tuple[int, ...], kind: str) -> IntArray:
    """Clicks as an (n, 3) array of voxel indices (i, j, k).

    Args:
        clicks: (n, 3) whole numbers, or nothing.
        shape: of the scan.
        kind: what they are, for messages.

    Raises:
        PromptError: not (n, 3), not whole numbers, or outside the scan.
    """
    given = np.asarray(clicks, dtype=np.float64)
    if given.size == 0:
        return np.zeros((0, 3), dtype=np.intp)
    if given.ndim != 2 or given.shape[1] != 3:
        raise PromptError(f"{kind} clicks must be (n, 3) voxel indices, got an array of shape {given.shape}")
    broken = ~np.all(np.isfinite(given) & (given == np.round(given)), axis=1)
    if broken.any():
        odd = given[broken][0].tolist()
        raise PromptError(f"{kind} clicks must be whole voxel indices, got {odd}; round them first")
    outside = np.any((given < 0) | (given >= np.asarray(shape)), axis=1)
    if outside.any():
        raise PromptError(
            f"the {kind} click at voxel {given[outside][0].tolist()} is outside the scan of shape "
            f"{tuple(shape)}; clicks are indices (i, j, k) in the file's order, counted from 0"
        )
    return given.astype(np.intp)


def gaussian_map(
    suv: npt.NDArray[Any],
    spacing: Spacing,
    tumour: npt.ArrayLike = (),
    background: npt.ArrayLike = (),
    *,
    sigma: float = 7.0,
    background_sigma: float = 14.0,
    unit: Literal["mm", "voxel"] = "mm",
    peak: Peak = "one",
    suv_ceiling: float = SUV_CEILING,
    clip_background: bool = False,
) -> FloatMap:
    """The paper's click map; see the module for what it leaves open.

    Args:
        suv: (I, J, K) SUVbw of the PET.
        spacing: millimetres along (i, j, k).
        tumour, background: (n, 3) and (m, 3) voxel indices (i, j, k); either may be empty.
        sigma, background_sigma: standard deviations of the Gaussians, in `unit`.
        unit: "mm", the same on every grid; "voxel", as in the paper.
        peak: "one", a lone click reaches 1; "filter", the kernel sums to 1, as scipy's and the paper's words.
        suv_ceiling: a tumour click's map is zero where the SUV is below the lower of this and its own SUV.
        clip_background: whether the map ends at -1.

    Returns:
        (I, J, K) float32: at most 1; zeros without clicks; nowhere positive without tumour clicks.

    Raises:
        PromptError: a click is not in the scan.
        AnyPETError: the scan is not 3D, or a spacing or a sigma is not positive.
    """
    steps = checked_grid(suv, spacing)
    if unit not in ("mm", "voxel") or peak not in ("one", "filter"):
        raise AnyPETError(f"`unit` is 'mm' or 'voxel' and `peak` 'one' or 'filter', got {unit!r}, {peak!r}")
    if not (sigma > 0 and background_sigma > 0):
        raise AnyPETError(f"the sigmas must be positive, got {sigma} and {background_sigma} {unit}")
    if unit == "voxel":
        steps = np.ones(3)

    def gaussian(width: float) -> Callable[[IntArray], tuple[Box, FloatMap]]:
        return lambda click: _gaussian(click, suv.shape, width / steps, peak)

    positive = np.zeros(suv.shape, dtype=np.float32)
    boxes = []
    for box, values in _uptake_cut(
        suv, checked_clicks(tumour, suv.shape, "tumour"), gaussian(sigma), suv_ceiling
    ):
        positive[box] += values
        boxes.append(box)
    for box in boxes:
        np.minimum(positive[box], 1, out=positive[box])

    negative = np.zeros(suv.shape, dtype=np.float32)
    boxes = []
    # a voxel clicked twice is one delta
    for click in np.unique(checked_clicks(background, suv.shape, "background"), axis=0):
        box, values = gaussian(background_sigma)(click)
        negative[box] += values
        boxes.append(box)
    for box in boxes:
        if clip_background:
            np.minimum(negative[box], 1, out=negative[box])
        # what another box has already written is negative, so it is written again, the same
        np.copyto(positive[box], -negative[box], where=positive[box] <= 0)
    return positive


def distance_map(
    suv: npt.NDArray[Any],
    spacing: Spacing,
    tumour: npt.ArrayLike = (),
    background: npt.ArrayLike = (),
    *,
    reach_mm: float = 30.0,
    suv_ceiling: float | None = SUV_CEILING,
) -> FloatMap:
    """How near the nearest click is: 1 at a tumour click, -1 at a background click, 0 from `reach_mm` on.

    With d millimetres to the nearest click, its value is 1 - d / reach_mm with the click's sign: a signed
    Euclidean distance transform that saturates. A voxel as near to both kinds is positive. Unlike Gaussians,
    near clicks neither add up nor hide one another, and the slope is the same at every distance.

    Args:
        suv: (I, J, K) SUVbw of the PET.
        spacing: millimetres along (i, j, k).
        tumour, background: (n, 3) and (m, 3) voxel indices (i, j, k); either may be empty.
        reach_mm: distance from which on a click is not felt.
        suv_ceiling: a tumour click is not felt where the SUV is below the lower of this and its own SUV;
            None leaves it whole.

    Returns:
        (I, J, K) float32 in [-1, 1].

    Raises:
        PromptError: a click is not in the scan.
        AnyPETError: the scan is not 3D, or a spacing or the reach is not positive.
    """
    steps = checked_grid(suv, spacing)
    if not reach_mm > 0:
        raise AnyPETError(f"the reach must be positive, got {reach_mm} mm")

    def nearness(click: IntArray) -> tuple[Box, FloatMap]:
        box, offsets = around(click, suv.shape, reach_mm / steps)
        i, j, k = ((o * s) ** 2 for o, s in zip(offsets, steps, strict=True))
        d = np.sqrt(i[:, None, None] + j[:, None] + k)
        return box, np.maximum(1 - d / reach_mm, 0).astype(np.float32)

    nearest = np.zeros(suv.shape, dtype=np.float32)
    for box, values in _uptake_cut(suv, checked_clicks(tumour, suv.shape, "tumour"), nearness, suv_ceiling):
        np.maximum(nearest[box], values, out=nearest[box])
    for click in checked_clicks(background, suv.shape, "background"):
        box, values = nearness(click)
        np.copyto(nearest[box], -values, where=values > np.abs(nearest[box]))
    return nearest


def _uptake_cut(
    suv: npt.NDArray[Any],
    clicks: IntArray,
    kernel: Callable[[IntArray], tuple[Box, FloatMap]],
    suv_ceiling: float | None,
) -> Iterator[tuple[Box, FloatMap]]:
    """The kernel of each tumour click, zero where the SUV is below the lower of ceiling and click."""
    for click in clicks:
        box, values = kernel(click)
        if suv_ceiling is not None:
            near = np.nan_to_num(suv[box], nan=0.0, posinf=0.0, neginf=0.0)
            at_click = near[tuple(c - s.start for c, s in zip(click, box, strict=True))]
            values[near < min(float(at_click), suv_ceiling)] = 0
        yield box, values


def _gaussian(
    click: IntArray, shape: tuple[int, ...], sigma: npt.NDArray[np.float64], peak: Peak
) -> tuple[Box, FloatMap]:
    """A Gaussian around a click in the box that holds it, as scipy.ndimage samples and truncates it."""
    radius = np.floor(TRUNCATE * sigma + 0.5)
    box, offsets = around(click, shape, radius)
    axes = [np.exp(-0.5 * (o / s) ** 2) for o, s in zip(offsets, sigma, strict=True)]
    if peak == "filter":
        whole = [np.arange(-r, r + 1) / s for r, s in zip(radius, sigma, strict=True)]
        axes = [a / np.exp(-0.5 * w**2).sum() for a, w in zip(axes, whole, strict=True)]
    i, j, k = (a.astype(np.float32) for a in axes)
    return box, i[:, None, None] * j[:, None] * k


def around(
    click: IntArray, shape: tuple[int, ...], radius: npt.NDArray[np.float64]
) -> tuple[Box, list[npt.NDArray[np.float64]]]:
    """The box of a scan within a radius of a click, both in voxels along each axis, and the offsets to it."""
    r = np.floor(radius).astype(np.intp)
    low, high = np.maximum(click - r, 0), np.minimum(click + r + 1, shape)
    offsets = [np.arange(a, b) - float(c) for a, b, c in zip(low, high, click, strict=True)]
    i, j, k = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return (i, j, k), offsets


def checked_grid(suv: npt.NDArray[Any], spacing: Spacing) -> npt.NDArray[np.float64]:
    """The spacing as an array, if it and the scan make sense."""
    steps = np.asarray(spacing, dtype=np.float64)
    if suv.ndim != 3:
        raise AnyPETError(f"the PET must be a 3D array (I, J, K), got shape {suv.shape}")
    if steps.shape != (3,) or not np.all(steps > 0):
        raise AnyPETError(f"the spacing must be three positive millimetres, got {steps.tolist()}")
    return steps
