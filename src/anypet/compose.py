"""From blended windows to the mask that the user sees: on the scan's grid, obeying every click."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cc3d
import numpy as np
import numpy.typing as npt

from anypet.canvas import Canvas, on_scan
from anypet.components import connected_components
from anypet.locate import box_slices, nearest_voxel
from anypet.objects import Patch, Slices
from anypet.prompts import Prompts
from anypet.volume import Volume

SURE = 0.9  # probability written where a user's own mask or click decides


def compose(
    volume: Volume,
    canvases: Sequence[Canvas],
    prompts: Prompts,
    prior: Patch | None,
    floor: float,
    clip_to_box: bool,
    temperature: float = 1.0,
) -> tuple[Patch, Patch]:
    """Groups of windows -> (mask, probability) on the scan's grid.

    The probability is the highest of all groups; where no window looked, a user's mask stays as it is. With
    `clip_to_box` (the model itself takes no boxes) nothing is left outside of the boxes, save around clicks.
    Then clicks are obeyed (`_obey`), and of the 26-connected parts above 0.5 those stay that hold a positive
    click or overlap the user's mask; with neither (a box alone) the largest stays.
    """
    parts = [on_scan(canvas, volume, floor, temperature) for canvas in canvases]
    if prior is not None:
        parts.append(_unseen_part(volume, canvases, prior))
    probability, start = _union(volume, parts, prompts, margin=max(c.window.spacing for c in canvases))
    if clip_to_box and prompts.boxes:
        _clip(volume, probability, start, prompts)
    _obey(volume, probability, start, prompts, canvases)
    mask = _connected(volume, probability > 0.5, start, prompts, prior)
    return Patch.tight(mask, mask, start), Patch.tight(probability, probability > 0, start)


def _unseen_part(volume: Volume, canvases: Sequence[Canvas], prior: Patch) -> Patch:
    """The voxels of the user's mask that no window saw, with probability SURE."""
    voxels = np.argwhere(prior.values)
    seen = np.zeros(len(voxels), bool)
    mm = volume.to_mm(voxels + np.array(prior.start))
    for canvas in canvases:
        index = np.round(canvas.window.to_index(mm)).astype(int)
        inside = ((index >= 0) & (index < np.array(canvas.known.shape))).all(1)
        seen[inside] |= canvas.known[tuple(index[inside].T)]
    values = np.zeros(prior.values.shape, np.float16)
    values[tuple(voxels[~seen].T)] = SURE
    return Patch.tight(values, values > 0, prior.start)


def _union(
    volume: Volume, parts: Sequence[Patch], prompts: Prompts, margin: float
) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.int64]]:
    """The highest probability of all parts, in a box (and its start) with room for positive clicks."""
    reach = np.ceil(margin / volume.spacing).astype(int) + 1
    lows, highs = [], []
    for part in parts:
        if part.values.size:
            lows.append(np.array(part.start))
            highs.append(np.array(part.start) + part.values.shape)
    for point in prompts.points:
        if point.positive:
            voxel = np.array(nearest_voxel(volume, point.mm))
            lows.append(voxel - reach)
            highs.append(voxel + reach + 1)
    if not lows:
        return np.zeros((0, 0, 0), np.float16), np.zeros(3, np.int64)
    low = np.clip(np.min(lows, axis=0), 0, volume.shape)
    high = np.clip(np.max(highs, axis=0), low, volume.shape)
    out = np.zeros(tuple(high - low), np.float16)
    for part in parts:
        region = out[_within(part.slices, low)]
        np.maximum(region, part.values, out=region)
    return out, low


def _within(slices: Slices, start: npt.NDArray[np.int64]) -> Slices:
    """Slices of the scan as slices of a box that begins at `start`."""
    return _region(np.array([s.start for s in slices]) - start, np.array([s.stop for s in slices]) - start)


def _region(low: npt.NDArray[Any], high: npt.NDArray[Any]) -> Slices:
    """Corners of a box as slices."""
    i, j, k = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return i, j, k


def _clip(
    volume: Volume, probability: npt.NDArray[np.float16], start: npt.NDArray[np.int64], prompts: Prompts
) -> None:
    """Nothing outside of the boxes (a voxel of rim is left), unless a positive click lies outside."""
    keep = np.zeros(probability.shape, bool)
    stop = start + np.array(probability.shape)
    boxes = [box_slices(volume, box, margin=1) for box in prompts.boxes]
    for point in prompts.points:
        voxel = nearest_voxel(volume, point.mm)
        if point.positive and not any(
            all(s.start <= v < s.stop for s, v in zip(b, voxel, strict=True)) for b in boxes
        ):
            return
    for box in boxes:
        low = np.clip([s.start for s in box], start, stop) - start
        high = np.clip([s.stop for s in box], start, stop) - start
        keep[_region(low, high)] = True
    probability[~keep] = 0


def _obey(
    volume: Volume,
    probability: npt.NDArray[np.float16],
    start: npt.NDArray[np.int64],
    prompts: Prompts,
    canvases: Sequence[Canvas],
) -> None:
    """Where the model contradicts a click, a ball of one window voxel around it is set to what it says.

    A click always decides its own voxel, the newest of two clicks in one voxel. A ball never takes the voxel
    of another click.
    """
    newest: dict[tuple[int, ...], bool] = {}
    for point in prompts.points:
        local = np.array(nearest_voxel(volume, point.mm)) - start
        if np.all(local >= 0) and np.all(local < probability.shape):
            newest.pop(tuple(local), None)
            newest[tuple(int(x) for x in local)] = point.positive
    wrong = [(voxel, wish) for voxel, wish in newest.items() if (probability[voxel] > 0.5) != wish]
    for voxel, wish in wrong:
        _ball(volume, probability, voxel, wish, _radius(volume, canvases, np.array(voxel) + start))
    for voxel, wish in newest.items():
        if (probability[voxel] > 0.5) != wish:
            probability[voxel] = SURE if wish else 1 - SURE


def _radius(volume: Volume, canvases: Sequence[Canvas], voxel: npt.NDArray[np.int64]) -> float:
    """Spacing of the finest window that holds the voxel."""
    mm = volume.to_mm(voxel)
    spacings = [c.window.spacing for c in canvases]
    holding = []
    for canvas in canvases:
        index = canvas.window.to_index(mm)
        if np.all(index >= -0.5) and np.all(index <= np.array(canvas.window.shape) - 0.5):
            holding.append(canvas.window.spacing)
    return min(holding or spacings)


def _ball(
    volume: Volume, probability: npt.NDArray[np.float16], voxel: tuple[int, ...], wish: bool, radius: float
) -> None:
    centre = np.array(voxel)
    reach = np.ceil(radius / volume.spacing).astype(int)
    low = np.maximum(centre - reach, 0)
    high = np.minimum(centre + reach + 1, probability.shape)
    region = probability[_region(low, high)]
    offset = np.stack(
        np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), -1
    )
    distance = np.linalg.norm((offset - centre) @ volume.affine[:3, :3].T, axis=-1)
    near = distance <= radius + 1e-6
    if wish:
        region[near] = np.maximum(region[near], np.float16(SURE))
    else:
        region[near] = np.minimum(region[near], np.float16(1 - SURE))


def _connected(
    volume: Volume,
    mask: npt.NDArray[np.bool_],
    start: npt.NDArray[np.int64],
    prompts: Prompts,
    prior: Patch | None,
) -> npt.NDArray[np.bool_]:
    """The parts of a mask that the prompts ask for."""
    if not mask.any():
        return mask
    labels = connected_components(mask)
    clicks = [np.array(nearest_voxel(volume, p.mm)) - start for p in prompts.points if p.positive]
    wanted = {int(labels[tuple(c)]) for c in clicks}
    if prior is not None:
        stop = np.array(prior.start) + prior.values.shape
        low, high = np.maximum(prior.start, start), np.minimum(stop, start + np.array(mask.shape))
        if np.all(high > low):
            ours = _region(low - start, high - start)
            its = _region(low - prior.start, high - prior.start)
            wanted.update(np.unique(labels[ours][prior.values[its]]).tolist())
    if not clicks and prior is None:
        wanted = {int(cc3d.statistics(labels)["voxel_counts"][1:].argmax()) + 1}
    table = np.zeros(int(labels.max()) + 1, bool)  # a table spares the copies of np.isin
    table[sorted(wanted - {0})] = True
    return table[labels]
