"""What other viewers draw - scribbles, lassos, flat boxes - as prompts of a session."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from anypet.checks import box_prompt
from anypet.clicks import inside_distance
from anypet.errors import PromptError
from anypet.locate import box_corners_mm
from anypet.objects import Patch, SegmentedObject
from anypet.prompts import Box, Point
from anypet.volume import FloatArray, Volume

BoolArray = npt.NDArray[np.bool_]
Voxel = tuple[int, int, int]
MOST = 8  # clicks of one drawing


def spread(drawing: BoolArray, start: Voxel, spacing: FloatArray, most: int = MOST) -> list[Voxel]:
    """Voxels of a drawing, the deepest one first, each further one as far from the others as can be.

    Args:
        drawing: bool box with what was drawn.
        start: voxel of the scan at the box's first corner.
        spacing: millimetres along (i, j, k).
        most: how many at most; fewer where they would be nearer to each other than two voxels.

    Raises:
        PromptError: nothing is drawn.
    """
    if not drawing.any():
        raise PromptError("nothing is drawn: no voxel is set")
    depth = inside_distance(drawing, spacing)
    voxels = np.argwhere(depth >= 0.5 * depth.max())
    places = voxels * spacing
    picks = [int(np.argmax(depth[tuple(voxels.T)]))]
    distance = np.linalg.norm(places - places[picks[0]], axis=1)
    while len(picks) < most and distance.max() > 2 * spacing.max():
        picks.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(places - places[picks[-1]], axis=1))
    i0, j0, k0 = start
    return [(int(i) + i0, int(j) + j0, int(k) + k0) for i, j, k in voxels[picks]]


def clicks(scan: Volume, voxels: list[Voxel], positive: bool) -> list[Point]:
    """Voxels of a scan as clicks of one step."""
    mm = scan.to_mm(np.array(voxels, dtype=float))
    return [Point((float(r), float(a), float(s)), positive) for r, a, s in mm]


def box_prompts(
    scan: Volume, ends: FloatArray, positive: bool, item: SegmentedObject, region: Patch | None = None
) -> tuple[list[Point], Box | None]:
    """A box as prompts: around an object as a box, around what is wrong as clicks that reject it.

    A positive box grows to hold the object's earlier box too. One that is flat, as boxes drawn in a slice
    are, is taken to be as deep as the longer of its sides. A negative one rejects the part of the mask
    inside.

    Args:
        scan: the grid.
        ends: (3, 2) first voxel and the one after the last, along (i, j, k).
        positive: whether the object is inside.
        item: the object as it is.
        region: what was drawn, where that is less than the box.

    Raises:
        PromptError: the box is empty or lies outside.
    """
    low = np.clip(np.floor(ends.min(1)), 0, None)
    high = np.minimum(np.ceil(ends.max(1)) - 1, np.array(scan.shape) - 1)
    if (high < low).any():
        raise PromptError(f"the box {ends.tolist()} holds no voxel of the image, whose shape is {scan.shape}")
    if not positive:
        return clicks(
            scan, _rejected(low.astype(int), high.astype(int), item, scan.spacing, region), False
        ), None
    for box in item.prompts.boxes:
        corners = scan.to_voxel(box_corners_mm(scan, box))
        low, high = np.minimum(low, corners.min(0)), np.maximum(high, corners.max(0))
    low, high = _deep(low, high, scan)
    return [], box_prompt(scan, low.tolist(), high.tolist(), "voxel")


def _deep(low: FloatArray, high: FloatArray, scan: Volume) -> tuple[FloatArray, FloatArray]:
    """Gives a flat box a depth."""
    flat = (high - low < 0.5) & (np.array(scan.shape) > 1)
    sides = ((high - low + 1) * scan.spacing)[~flat]
    depth = float(sides.max()) if sides.size else float(3 * scan.spacing.max())
    grow = np.where(flat, np.maximum(depth / 2 / scan.spacing, 1), 0)
    return np.maximum(low - grow, 0), np.minimum(high + grow, np.array(scan.shape) - 1)


def _rejected(
    low: npt.NDArray[np.int_],
    high: npt.NDArray[np.int_],
    item: SegmentedObject,
    spacing: FloatArray,
    region: Patch | None,
) -> list[Voxel]:
    """Voxels to click away in a box: of the mask where there is some in it, else of all of it."""
    box = tuple(slice(int(a), int(b) + 1) for a, b in zip(low, high, strict=True))
    drawing = np.ones(tuple(high - low + 1), bool) if region is None else region.on_grid(item.scan.shape)[box]
    inside = item.mask[box] & drawing
    start = (int(low[0]), int(low[1]), int(low[2]))
    return spread(inside if inside.any() else drawing, start, spacing)
