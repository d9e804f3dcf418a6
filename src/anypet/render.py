"""A picture of a segmentation: projections, slices, outlines, clicks and the numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from anypet.errors import AnyPETError
from anypet.objects import bounds
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
from anypet.prompts import Prompts
from anypet.volume import FloatArray, Volume

# set apart from grey and from each other, also for most readers who do not see red and green apart
COLOURS = ("#d1345b", "#0077b6", "#e07a00", "#2a9d5c", "#7b2cbf", "#00a6a6", "#a05a2c", "#c9184a")
_INK = "#22262b"
_VIEW_MM = 140.0  # least width of a slice


def mip_figure(
    scan: Volume,
    masks: Mapping[str, npt.NDArray[np.bool_]],
    path: str | os.PathLike[str],
    prompts: Prompts | Mapping[str, Prompts] | None = None,
    *,
    vmax: float | None = None,
    title: str | None = None,
) -> Path:
    """Draws a PET and the objects found in it on one white page.

    Coronal and sagittal maximum intensity projections in inverted grey with the outlines of all masks;
    beside them three slices through the centre of the first mask that is not empty; below a table of volume,
    SUVmax and SUVmean. Radiological orientation, head up, equal scale in millimetres. An oblique scan is
    drawn along its own axes.

    Args:
        scan: SUVbw, any orientation.
        masks: name -> bool array on the scan's grid.
        path: where to write; the suffix tells the format (.png, .pdf, .svg).
        prompts: clicks to mark (RAS mm), of all objects or by name.
        vmax: SUV drawn black; by default 10, or less where the whole scan is faint.
        title: a line above.

    Returns:
        The path.

    Raises:
        AnyPETError: a mask has another shape, or the suffix is no picture's.
    """
    for name, mask in masks.items():
        if mask.shape != scan.shape:
            raise AnyPETError(
                f"mask {name!r} has shape {mask.shape}, the scan {scan.shape}; they must be the same"
            )
    path = Path(path)
    figure = Figure(figsize=(13.0, 8.0), facecolor="white")
    canvas = FigureCanvasAgg(figure)
    if path.suffix.lstrip(".").lower() not in canvas.get_supported_filetypes():
        raise AnyPETError(
            f"{path}: no picture is written with the suffix {path.suffix!r}; use .png, .pdf or .svg"
        )
    upright = Upright(scan)
    turned = {name: upright.turn(mask) for name, mask in masks.items()}
    clicks = _clicks(upright, prompts)
    with matplotlib.rc_context({"font.family": "sans-serif", "font.size": 10, "text.color": _INK}):
        left = _draw(figure, upright, turned, clicks, vmax)
        _table(figure, scan, masks, left)
        if title:
            figure.text(0.03, 0.965, title, fontsize=13, fontweight="bold", va="center")
        # the whole file or none
        temporary = path.with_name(f".{path.stem}.part{path.suffix}")
        try:
            figure.savefig(temporary, dpi=140, facecolor="white")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


Clicks = list[tuple[FloatArray, bool]]


def _clicks(upright: Upright, prompts: Prompts | Mapping[str, Prompts] | None) -> Clicks:
    every = [prompts] if isinstance(prompts, Prompts) else list((prompts or {}).values())
    return [(upright.index(point.mm), point.positive) for each in every for point in each.points]


def _draw(
    figure: Figure,
    upright: Upright,
    masks: Mapping[str, npt.NDArray[np.bool_]],
    clicks: Clicks,
    vmax: float | None,
) -> float:
    """The two projections, the three slices and the grey scale -> where the right half of the page begins."""
    projections = {}
    for view in (CORONAL, SAGITTAL):
        projections[view.name] = np.nan_to_num(upright.array.max(axis=view.along).astype(np.float32))
    if vmax is None:
        vmax = grey_limit(projections["Coronal"])
    body = body_extent(upright, list(projections.values()), vmax, [index for index, _ in clicks])
    boxes = _columns(upright, body)
    for view, box, (low, high) in zip((CORONAL, SAGITTAL), boxes, body, strict=True):
        axes = figure.add_axes(box)
        image = draw_plane(axes, upright, view, projections[view.name], vmax)
        for colour, mask in zip(_cycle(len(masks)), masks.values(), strict=True):
            draw_outline(axes, upright, view, np.asarray(mask.any(axis=view.along)), colour)
        _mark(axes, upright, view, clicks)
        axes.set_xlim(high, low)
        axes.set_title(f"{view.name} projection", fontsize=10, pad=6)
    left = boxes[1][0] + boxes[1][2] + 0.035
    bar = figure.add_axes((left, 0.055, 0.14, 0.014))
    figure.colorbar(image, cax=bar, orientation="horizontal").outline.set_visible(False)  # type: ignore[operator]
    bar.tick_params(labelsize=8, length=2)
    bar.set_title("SUV", fontsize=8, pad=3)
    _slices(figure, upright, masks, clicks, vmax, left)
    return left


def _columns(upright: Upright, body: FloatArray) -> tuple[tuple[float, float, float, float], ...]:
    """Places of the two projections: as tall as the page allows, at one scale, in about half of its width."""
    size = np.append(body[:, 1] - body[:, 0], upright.array.shape[2] * upright.spacing[2])
    page = np.array([13.0, 8.0])
    scale = min(0.85 * page[1] / size[2], 0.46 * page[0] / (size[0] + size[1]))
    height = size[2] * scale / page[1]
    bottom = 0.90 - height
    first, second = size[0] * scale / page[0], size[1] * scale / page[0]
    return (0.03, bottom, first, height), (0.045 + first, bottom, second, height)


def _slices(
    figure: Figure,
    upright: Upright,
    masks: Mapping[str, npt.NDArray[np.bool_]],
    clicks: Clicks,
    vmax: float,
    left: float,
) -> None:
    """Axial, coronal and sagittal slices in a row, through the first object, close enough to see it."""
    centre, reach = _focus(upright, masks, clicks)
    width = (0.985 - left - 0.03) / 3
    for n, view in enumerate((AXIAL, CORONAL, SAGITTAL)):
        axes = figure.add_axes((left + n * (width + 0.015), 0.90 - width * 13 / 8, width, width * 13 / 8))
        at = int(centre[view.along])
        plane = np.nan_to_num(np.take(upright.array, at, axis=view.along).astype(np.float32))
        draw_plane(axes, upright, view, plane, vmax)
        for colour, mask in zip(_cycle(len(masks)), masks.values(), strict=True):
            draw_outline(axes, upright, view, np.take(mask, at, axis=view.along), colour)
        x, y = upright.place(view, centre)
        style: dict[str, Any] = {"color": _INK, "lw": 0.6, "alpha": 0.45, "dashes": (4, 4)}
        axes.axvline(x, **style)
        axes.axhline(y, **style)
        near = [(i, p) for i, p in clicks if abs(i[view.along] - at) * upright.spacing[view.along] <= 6]
        _mark(axes, upright, view, near)
        half = reach / 2
        axes.set_xlim((x + half, x - half) if view.flip else (x - half, x + half))
        axes.set_ylim(y - half, y + half)
        axes.set_title(view.name, fontsize=10, pad=6)


def _focus(
    upright: Upright, masks: Mapping[str, npt.NDArray[np.bool_]], clicks: Clicks
) -> tuple[FloatArray, float]:
    """The voxel that the slices go through (the object's nearest to its centroid), and their width in mm."""
    for mask in masks.values():
        box = bounds(mask)
        if box is None:
            continue
        voxels = np.argwhere(mask[box])
        centroid = voxels.mean(0)
        nearest = voxels[np.argmin((((voxels - centroid) * upright.spacing) ** 2).sum(1))]
        extent = max((s.stop - s.start) * d for s, d in zip(box, upright.spacing, strict=True))
        return nearest + np.array([s.start for s in box], dtype=float), max(_VIEW_MM, 1.5 * extent)
    if clicks:
        limit = np.array(upright.array.shape) - 1
        return np.clip(np.round(clicks[0][0]), 0, limit), _VIEW_MM
    middle = np.array(upright.array.shape) // 2
    return middle.astype(float), float((np.array(upright.array.shape) * upright.spacing).max())


def _mark(axes: Axes, upright: Upright, view: View, clicks: Clicks) -> None:
    """Clicks: a green plus on the object, a red cross beside it."""
    for index, positive in clicks:
        x, y = upright.place(view, index)
        marker, colour = ("P", "#17c964") if positive else ("X", "#f31260")
        axes.plot(
            x, y, marker, color=colour, markeredgecolor="white", markeredgewidth=0.8, markersize=8, zorder=5
        )


def _cycle(count: int) -> list[str]:
    return [COLOURS[n % len(COLOURS)] for n in range(count)]


def _table(figure: Figure, scan: Volume, masks: Mapping[str, npt.NDArray[np.bool_]], left: float) -> None:
    """Name, volume, SUVmax and SUVmean of every object; the first twelve where there are more."""
    columns = (left + 0.02, left + 0.225, left + 0.3, left + 0.375)
    top = 0.90 - (0.985 - left - 0.03) / 3 * 13 / 8 - 0.075
    heads = ("Object", "mL", "SUVmax", "SUVmean")
    for n, (x, head) in enumerate(zip(columns, heads, strict=True)):
        figure.text(x, top, head, fontsize=9, color="#6b7480", ha="left" if n == 0 else "right")
    line = Line2D([left, columns[-1]], [top - 0.012] * 2, color="#c9ced6", lw=0.8)
    figure.add_artist(line)
    for row, (colour, (name, mask)) in enumerate(zip(_cycle(len(masks)), masks.items(), strict=True)):
        y = top - 0.045 - 0.036 * row
        if row == 12:
            figure.text(columns[0], y, f"and {len(masks) - 12} more", fontsize=9, color="#6b7480")
            break
        box = bounds(mask)
        values = np.zeros(0) if box is None else scan.array[box][mask[box]]
        shown = name if len(name) <= 28 else name[:27] + "…"
        numbers = ["empty", "", ""]
        if values.size:
            volume = values.size * scan.voxel_volume_ml
            numbers = [f"{volume:.3g}" if volume < 100 else f"{volume:.0f}"]
            numbers += [f"{values.max():.2f}", f"{values.mean(dtype=np.float64):.2f}"]
        figure.add_artist(Line2D([left + 0.002, left + 0.014], [y + 0.008] * 2, color=colour, lw=3))
        for n, (x, text) in enumerate(zip(columns, (shown, *numbers), strict=True)):
            figure.text(x, y, text, fontsize=11, ha="left" if n == 0 else "right")
