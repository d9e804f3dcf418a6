"""The pictures of a report: projections with numbered lesions, and slices through a lesion, fused with CT."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from scipy import ndimage

from anypet.objects import Patch
from anypet.planes import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    Upright,
    View,
    body_extent,
    draw_outline,
    draw_plane,
    grey_limit,
)
from anypet.volume import FloatArray, Volume

MM_PER_INCH = 25.4
DPI = 220
_RIM_MM = 46.0  # beside a projection, for the numbers
_PIXEL_MM = 0.8
_LEAST_MM, _MOST_MM = 150.0, 420.0  # width of a slice
_CT_WINDOW = (-160.0, 240.0)
_FONT: dict[Any, Any] = {"font.family": "sans-serif", "font.size": 8}


@dataclass(frozen=True, eq=False)
class Marked:
    """An object in the pictures.

    Args:
        number: as in the table.
        colour: of its outline.
        patch: its mask (bool) in its box of the PET's voxels.
        hottest_mm: RAS mm of its hottest voxel, which the slices go through.
    """

    number: int
    colour: str
    patch: Patch
    hottest_mm: tuple[float, float, float]


def projections(pet: Volume, objects: Sequence[Marked], width_mm: float, numbered: int = 24) -> bytes:
    """Maximum intensity projections from the front and from the right, with outlines and numbers beside.

    Args:
        pet: (i, j, k) in a SUV, any orientation.
        objects: outlined in their colours; the first `numbered` have their number written.
        width_mm: of the picture on paper.

    Returns:
        PNG.
    """
    upright = Upright(pet)
    views = (CORONAL, SAGITTAL)
    planes = [np.nan_to_num(upright.array.max(axis=view.along).astype(np.float32)) for view in views]
    vmax = grey_limit(planes[0])
    places = [upright.index(each.hottest_mm) for each in objects]
    body = body_extent(upright, planes, vmax, places)
    tall = upright.array.shape[2] * upright.spacing[2]
    wide = [float(high - low) + 2 * _RIM_MM for low, high in body]
    page = width_mm / MM_PER_INCH
    bar = 0.32  # inches below, for the grey scale
    height = min(page * tall / sum(wide), 5.3)
    scale = height / tall
    shadows = [_shadows(upright, pet, each.patch, views) for each in objects]
    with matplotlib.rc_context(_FONT):
        figure = _figure(page, height + bar)
        left = (page - scale * sum(wide)) / 2
        for n, (view, plane, (low, high), extent) in enumerate(zip(views, planes, body, wide, strict=True)):
            share = height / (height + bar)
            axes = figure.add_axes((left / page, 1 - share, scale * extent / page, share))
            image = draw_plane(axes, upright, view, plane, vmax)
            for each, shadow in zip(objects, shadows, strict=True):
                draw_outline(axes, upright, view, shadow[n], each.colour)
            axes.set_xlim(high + _RIM_MM, low - _RIM_MM)
            axes.set_ylim(0, tall)
            for spine in axes.spines.values():
                spine.set_visible(False)
            points = [upright.place(view, place) for place in places[:numbered]]
            _number(axes, objects[:numbered], points, (low - 0.45 * _RIM_MM, high + 0.45 * _RIM_MM), tall)
            left += scale * extent
        scale_bar = figure.add_axes((0.5 - 0.9 / page, 0.6 * bar / (height + bar), 1.8 / page, 0.006))
        figure.colorbar(image, cax=scale_bar, orientation="horizontal").outline.set_visible(False)  # type: ignore[operator]
        scale_bar.tick_params(labelsize=7, length=2, pad=1.5)
        scale_bar.text(
            -0.03, 0.5, pet.unit, transform=scale_bar.transAxes, ha="right", va="center", fontsize=7
        )
        return _png(figure)


def _shadows(
    upright: Upright, pet: Volume, patch: Patch, views: Sequence[View]
) -> list[npt.NDArray[np.bool_]]:
    """The projection of a mask along each view, as planes of the turned scan."""
    small = upright.turn(patch.values)
    ends = [upright.index(pet.to_mm([getattr(s, end) - rim for s in patch.slices]).tolist())
            for end, rim in (("start", 0), ("stop", 1))]  # fmt: skip
    low = np.round(np.minimum(*ends)).astype(int)
    shadows = []
    for view in views:
        kept = [axis for axis in range(3) if axis != view.along]
        plane = np.zeros([upright.array.shape[axis] for axis in kept], bool)
        plane[tuple(slice(low[axis], low[axis] + small.shape[axis]) for axis in kept)] = small.any(view.along)
        shadows.append(plane)
    return shadows


def _number(
    axes: Axes,
    objects: Sequence[Marked],
    points: Sequence[tuple[float, float]],
    columns: tuple[float, float],
    tall: float,
) -> None:
    """Writes numbers in two columns beside the body, near the height of their objects and tied to them."""
    middle = sum(columns) / 2
    for column, chosen in (
        (columns[0], [n for n, (x, _) in enumerate(points) if x < middle]),
        (columns[1], [n for n, (x, _) in enumerate(points) if x >= middle]),
    ):
        heights = spread_out([points[n][1] for n in chosen], 0.032 * tall, 0.02 * tall, 0.98 * tall)
        for n, y in zip(chosen, heights, strict=True):
            each = objects[n]
            axes.plot(
                [points[n][0], column], [points[n][1], y], color=each.colour, lw=0.7, alpha=0.8, zorder=4
            )
            style = {"boxstyle": "circle,pad=0.22", "fc": each.colour, "ec": "white", "lw": 0.8}
            axes.text(
                column, y, str(each.number), color="white", fontsize=7, fontweight="bold", ha="center",
                va="center", bbox=style, zorder=6,
            )  # fmt: skip


def spread_out(heights: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Heights moved as little as needed to be a gap apart and inside; the gap shrinks where there is no room.

    Args:
        heights: wanted, any order.
        gap: least distance between two.
        low, high: ends.
    """
    if not heights:
        return []
    gap = min(gap, (high - low) / max(len(heights) - 1, 1))
    order = np.argsort(heights)
    steps = gap * np.arange(len(heights))
    # the least-squares solution: without the steps the heights must not fall (pool adjacent violators)
    blocks: list[list[float]] = []
    for value in np.asarray(heights, float)[order] - steps:
        blocks.append([float(value), 1.0])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            value, count = blocks.pop()
            total = blocks[-1][1] + count
            blocks[-1] = [(blocks[-1][0] * blocks[-1][1] + value * count) / total, total]
    level = np.repeat([b[0] for b in blocks], [int(b[1]) for b in blocks])
    placed = np.clip(level, low, high - steps[-1]) + steps
    result = np.empty(len(heights))
    result[order] = placed
    return [float(v) for v in result]


def slices(
    pet: Volume, ct: Volume | None, shown: Marked, others: Sequence[Marked], vmax: float, width_mm: float
) -> bytes:
    """Axial and coronal slices through an object's hottest voxel: PET over CT, or the PET alone in grey.

    Args:
        pet: (i, j, k) in a SUV.
        ct: HU on any grid, or None.
        shown: the object; its outline is drawn thick, others thin.
        others: every object.
        vmax: SUV at the end of the colours.
        width_mm: of the picture on paper.

    Returns:
        PNG.
    """
    width = slice_width(pet, shown.patch)
    page = width_mm / MM_PER_INCH
    with matplotlib.rc_context(_FONT):
        figure = _figure(page, (page - 0.04) / 2)
        for n, view in enumerate((AXIAL, CORONAL)):
            axes = figure.add_axes((n * (0.5 + 0.02 / page), 0, 0.5 - 0.02 / page, 1))
            _slice(axes, pet, ct, view, shown, others, vmax, width)
        return _png(figure)


def slice_width(pet: Volume, patch: Patch) -> float:
    """How much of the body a slice shows, in mm: the object and as much around it."""
    corners = np.array([(s.start, s.stop) for s in patch.slices], float) - 0.5
    places = pet.to_mm(np.array(np.meshgrid(*corners)).reshape(3, -1).T)
    return float(np.clip(2.0 * np.ptp(places, axis=0).max(), _LEAST_MM, _MOST_MM))


def _slice(
    axes: Axes,
    pet: Volume,
    ct: Volume | None,
    view: View,
    shown: Marked,
    others: Sequence[Marked],
    vmax: float,
    width: float,
) -> None:
    half = width / 2
    extent = (half, -half, -half, half)  # radiological: the patient's right on the left of the page
    uptake = sampled(pet, view, shown.hottest_mm, width)
    style: Mapping[str, Any] = {"origin": "lower", "extent": extent, "interpolation": "bilinear"}
    if ct is None:
        axes.imshow(uptake[:, ::-1], cmap="gray_r", vmin=0, vmax=vmax, **style)
        ink = "#3d444c"
    else:
        below = sampled(ct, view, shown.hottest_mm, width, outside=-1024.0)
        axes.imshow(below[:, ::-1], cmap="gray", vmin=_CT_WINDOW[0], vmax=_CT_WINDOW[1], **style)
        share = np.clip(uptake / vmax, 0, 1)
        axes.imshow(
            share[:, ::-1],
            cmap="inferno",
            vmin=0,
            vmax=1,
            alpha=np.clip(1.6 * share, 0, 0.8)[:, ::-1],
            **style,
        )
        ink = "#ffffff"
    steps = np.linspace(-half, half, uptake.shape[0])
    for each in (*(o for o in others if o.number != shown.number), shown):
        inside = sampled(_as_volume(pet, each.patch), view, shown.hottest_mm, width)
        if inside.max() > 0.5:
            thick = 1.5 if each.number == shown.number else 0.8
            line = axes.contour(steps, steps, inside, levels=[0.5], colors=[each.colour], linewidths=thick)
            if ct is not None:
                line.set_path_effects([withStroke(linewidth=thick + 1.1, foreground="white", alpha=0.75)])
    axes.set_xlim(half, -half)
    axes.set_axis_off()
    for side, (x, y, across, up) in zip(
        view.sides,
        ((0.02, 0.5, "left", "center"), (0.98, 0.5, "right", "center"), (0.5, 0.98, "center", "top"),
         (0.5, 0.02, "center", "bottom")),
        strict=True,
    ):  # fmt: skip
        axes.text(x, y, side, transform=axes.transAxes, ha=across, va=up, fontsize=6.5, color=ink)
    long = 50.0
    axes.plot([half - 8 - long, half - 8], [-half + 8] * 2, color=ink, lw=1.4, solid_capstyle="butt")
    axes.text(half - 8, -half + 11, "5 cm", fontsize=5.5, color=ink, ha="left", va="bottom")


def _as_volume(pet: Volume, patch: Patch) -> Volume:
    """A mask in its box as a volume of its own, with a rim of nothing."""
    affine = pet.affine.copy()
    affine[:3, 3] = pet.to_mm(np.array(patch.start) - 1.0)
    return Volume(np.pad(patch.values.astype(np.float32), 1), affine, "label")


def sampled(
    scan: Volume, view: View, centre_mm: Sequence[float], width_mm: float, outside: float = 0.0
) -> FloatArray:
    """(N, N) values of a plane of the patient, linear between voxels, whatever the scan's orientation.

    Args:
        scan: any grid.
        view: which plane; rows run up it, columns along R (or A) as it grows.
        centre_mm: RAS mm of the middle.
        width_mm: of the square.
        outside: value where the scan does not reach.
    """
    steps = np.linspace(-width_mm / 2, width_mm / 2, round(width_mm / _PIXEL_MM) + 1)
    places = np.empty((len(steps), len(steps), 3))
    places[...] = centre_mm
    places[..., view.across] += steps[None, :]
    places[..., view.up] += steps[:, None]
    at = np.moveaxis(scan.to_voxel(places), -1, 0)
    values = ndimage.map_coordinates(scan.array, at, np.float32, order=1, cval=outside)
    return np.asarray(np.nan_to_num(values))


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Figure) -> bytes:
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    return image.getvalue()
