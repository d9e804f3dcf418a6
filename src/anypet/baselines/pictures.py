"""Systems side by side: one slice of one object, a panel for each system, the truth outlined in all."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from anypet.clicks import BoolArray
from anypet.plots import GREY, new_figure, png, style
from anypet.volume import Volume

TRUTH, FOUND = "#17c964", "#d1345b"
COLUMNS = 5
_LEAST_MM = 120.0  # width of a panel


def side_by_side(pet: Volume, truth: BoolArray, masks: Mapping[str, BoolArray]) -> bytes:
    """A PNG: the axial slice with most of the object, once for each mask.

    Args:
        pet: SUVbw.
        truth: (I, J, K) bool, not empty; green outline.
        masks: system -> (I, J, K) bool; red outline. A panel's title has the DSC of the whole object.
    """
    from anypet.planes import AXIAL, Upright, draw_outline, draw_plane, grey_limit

    upright = Upright(pet)
    turned = upright.turn(truth)
    at = int(np.argmax(turned.sum(axis=(0, 1))))
    plane = np.nan_to_num(upright.array[:, :, at].astype(np.float32))
    low, high = _frame(turned[:, :, at], upright.spacing[:2])
    limit = grey_limit(plane)
    rows = math.ceil(len(masks) / COLUMNS)
    with style():
        figure = new_figure(2.5 * COLUMNS, 2.75 * rows)
        axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
        for panel, (name, mask) in zip(axes, masks.items(), strict=False):
            draw_plane(panel, upright, AXIAL, plane, limit)
            draw_outline(panel, upright, AXIAL, turned[:, :, at], TRUTH)
            draw_outline(panel, upright, AXIAL, upright.turn(mask)[:, :, at], FOUND)
            panel.set_xlim(high[0], low[0])
            panel.set_ylim(low[1], high[1])
            panel.set_title(f"{name}\nDSC {dice(truth, mask):.2f}", fontsize=8, color=GREY)
        for panel in axes[len(masks) :]:
            panel.set_axis_off()
        return png(figure)


def dice(truth: BoolArray, mask: BoolArray) -> float:
    """Twice the shared voxels over those of both."""
    both = int(truth.sum()) + int(mask.sum())
    return 2 * int((truth & mask).sum()) / both if both else math.nan


def _frame(
    plane: BoolArray, spacing: npt.NDArray[np.floating]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Corners, in mm of the plane, of a square around the object in it, half as wide again."""
    voxels = np.argwhere(plane)
    low, high = voxels.min(0) * spacing, (voxels.max(0) + 1) * spacing
    half = max(_LEAST_MM, 1.5 * float((high - low).max())) / 2
    middle = (low + high) / 2
    return middle - half, middle + half
