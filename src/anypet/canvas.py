"""Several windows of one spacing seen as one image: blending without seams, borders, earlier logits.

Windows of a `Group` stand on a lattice whose step is half a window, so their voxels coincide and they are
blended on their own grid (the canvas); the scan's finer grid is visited once, at the very end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import edt
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from anypet.components import connected_components
from anypet.objects import Group, Patch, Triple, bounds
from anypet.volume import Volume
from anypet.windows import Window, cut, lay

BoolArray = npt.NDArray[np.bool_]
Cell = tuple[int, int, int]

UNSEEN = -5.0  # logit of voxels that no window has seen: background, but not for certain
LIMIT = 30.0  # logits are kept within +-LIMIT, so that float16 holds them
_SLAB = 4_000_000  # scan voxels laid at once; lay() needs about 60 bytes for each


@dataclass(frozen=True, eq=False)
class Canvas:
    """The windows of a group, blended.

    Args:
        window: the canvas's own grid.
        logits: (D, H, W) float32; UNSEEN where no window lies.
        known: (D, H, W), whether a window lies there.
        corners: first voxel of each tile's window on the canvas, in the order of the group's tiles.
        shape: voxels of one window.
    """

    window: Window
    logits: npt.NDArray[np.float32]
    known: BoolArray
    corners: tuple[Cell, ...]
    shape: Cell


def tile_window(centre_mm: Triple, spacing: float, shape: Cell, cell: Cell) -> Window:
    """The window at `cell` of the lattice around `centre_mm`."""
    half = np.array(shape) // 2
    r, a, s = (float(x) for x in np.asarray(centre_mm) + spacing * half * np.asarray(cell))
    return Window((r, a, s), spacing, shape)


def _weight(shape: Cell) -> npt.NDArray[np.float32]:
    """A smooth hill over a window: sin^2 along every axis, never quite 0."""
    axes = [np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 + 1e-3 for n in shape]
    return (axes[0][:, None, None] * axes[1][:, None] * axes[2]).astype(np.float32)


def blend(group: Group, shape: Cell) -> Canvas:
    """Weighted mean of the logits of a group's tiles (windows of `shape` voxels) on their common grid."""
    cells = np.array([tile.cell for tile in group.tiles])
    half = np.array(shape) // 2
    low, high = cells.min(0), cells.max(0)
    size = tuple(int(n) for n in np.array(shape) + half * (high - low))
    total = np.zeros(size, np.float32)
    weights = np.zeros(size, np.float32)
    hill = _weight(shape)
    corners = []
    for tile in group.tiles:
        d, h, w = (int(x) for x in half * (np.array(tile.cell) - low))
        corners.append((d, h, w))
        region = (slice(d, d + shape[0]), slice(h, h + shape[1]), slice(w, w + shape[2]))
        total[region] += hill * _upsampled(tile.logits, shape)
        weights[region] += hill
    known = weights > 0
    np.divide(total, weights, out=total, where=known)
    total[~known] = UNSEEN
    centre = np.asarray(group.centre_mm) + group.spacing * half * (low + high) / 2
    r, a, s = (float(x) for x in centre)
    window = Window((r, a, s), group.spacing, size)  # type: ignore[arg-type]
    return Canvas(window, total, known, tuple(corners), shape)


def _upsampled(logits: npt.NDArray[np.float16], shape: Cell) -> npt.NDArray[np.float32]:
    values = logits.astype(np.float32)
    if values.shape == shape:
        return values
    return F.interpolate(torch.from_numpy(values)[None, None], size=shape, mode="trilinear")[0, 0].numpy()


def component(canvas: Canvas, points_mm: Sequence[Triple]) -> BoolArray:
    """The object on the canvas: 26-connected parts above 0.5 next to a point; without points the largest."""
    labels = connected_components(canvas.logits > 0)
    shape = np.array(labels.shape)
    inside = []
    for mm in points_mm:
        index = np.round(canvas.window.to_index(mm)).astype(int)
        if np.all(index >= -1) and np.all(index <= shape):
            inside.append(index)
    if not inside:
        counts = np.bincount(labels.ravel())[1:]
        return labels == int(counts.argmax()) + 1 if counts.size else np.zeros(labels.shape, bool)
    wanted: set[int] = set()
    for index in inside:
        around = tuple(slice(max(0, i - 1), i + 2) for i in index)
        wanted.update(np.unique(labels[around]).tolist())
    return np.isin(labels, sorted(wanted - {0}))


def extent_mm(
    canvas: Canvas, part: BoolArray
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
    """Corners (RAS mm) of the box around `part`, its voxels' rims included; None where it is empty."""
    box = bounds(part)
    if box is None:
        return None
    low = canvas.window.to_mm([s.start - 0.5 for s in box])
    high = canvas.window.to_mm([s.stop - 0.5 for s in box])
    return low, high


def open_cells(canvas: Canvas, group: Group, part: BoolArray, volume: Volume) -> list[Cell]:
    """Cells of the windows still missing: where `part` reaches a border of the known region inside the scan.

    The cell past the border that most voxels touch comes first.
    """
    votes: dict[Cell, int] = {}
    corners = np.array(canvas.corners)
    shape = np.array(canvas.shape)
    for axis in range(3):
        for sign in (-1, 1):
            edge = np.argwhere(part & canvas.known & ~_shifted(canvas.known, axis, sign))
            if edge.size == 0:
                continue
            step = np.eye(3)[axis] * sign
            beyond = volume.to_voxel(canvas.window.to_mm(edge + step))
            edge = edge[((beyond >= -0.5) & (beyond <= np.array(volume.shape) - 0.5)).all(1)]
            if edge.size == 0:
                continue
            face = corners[:, axis] + (shape[axis] - 1 if sign > 0 else 0)
            offset = edge[:, None] - corners[None]  # (voxels, tiles, 3)
            fits = ((offset >= 0) & (offset < shape)).all(2) & (edge[:, None, axis] == face)
            lateral = np.abs(offset - (shape - 1) / 2) / shape
            lateral[..., axis] = 0
            cost = np.where(fits, lateral.max(2), np.inf)
            owners = cost.argmin(1)[np.isfinite(cost.min(1))]
            for owner, count in zip(*np.unique(owners, return_counts=True), strict=True):
                d, h, w = (int(x) for x in np.array(group.tiles[owner].cell) + step.astype(int))
                votes[d, h, w] = votes.get((d, h, w), 0) + int(count)
    taken = {tile.cell for tile in group.tiles}
    return sorted((c for c in votes if c not in taken), key=lambda c: (-votes[c], c))


def _shifted(known: BoolArray, axis: int, sign: int) -> BoolArray:
    """known[x + sign] at every x along an axis; False beyond the end."""
    out = np.zeros_like(known)
    source: list[slice] = [slice(None)] * 3
    target: list[slice] = [slice(None)] * 3
    source[axis], target[axis] = (
        (slice(1, None), slice(None, -1)) if sign > 0 else (slice(None, -1), slice(1, None))
    )
    out[tuple(target)] = known[tuple(source)]
    return out


def deepest_in(canvas: Canvas, part: BoolArray, window: Window) -> Triple | None:
    """The voxel of `part` inside `window` farthest from its rim, in RAS mm; None if none is inside."""
    start = np.round(canvas.window.to_index(window.to_mm([0, 0, 0]))).astype(int)
    low = np.clip(start, 0, part.shape)
    high = np.clip(start + np.array(window.shape), low, part.shape)
    inside = np.ascontiguousarray(part[tuple(slice(a, b) for a, b in zip(low, high, strict=True))])
    if not inside.any():
        return None
    depth = edt.edt(inside, black_border=True)
    r, a, s = canvas.window.to_mm(np.array(np.unravel_index(int(depth.argmax()), depth.shape)) + low)
    return float(r), float(a), float(s)


def grid_volume(window: Window) -> Volume:
    """A volume of zeros with a window's grid that takes no memory."""
    return Volume(np.broadcast_to(np.float32(0), window.shape), window.affine, "logit")


def earlier_logits(
    canvases: Sequence[Canvas], prior: Patch | None, volume: Volume, window: Window
) -> torch.Tensor | None:
    """What is known already, as logits (1, 1, D, H, W) on a window; None where nothing is.

    A user's mask (`prior`) comes first; where a canvas has seen more, the canvas counts.
    """
    result: torch.Tensor | None = None
    if prior is not None:
        affine = volume.affine.copy()
        affine[:3, 3] = volume.to_mm(prior.start)
        values = cut(Volume(prior.values.astype(np.float32), affine, "label"), window)
        result = (2 * values - 1) * -UNSEEN
    target = grid_volume(window)
    for canvas in canvases:
        logits = torch.from_numpy(canvas.logits)[None, None]
        known = torch.from_numpy(canvas.known.astype(np.float32))[None, None]
        laid, box = lay(logits, canvas.window, target, outside=UNSEEN)
        seen = lay(known, canvas.window, target)[0] > 0.5
        if not bool(seen.any()):
            continue
        if result is None:
            result = torch.full((1, 1, *window.shape), UNSEEN)
        region = (slice(None), slice(None), *box)
        result[region] = torch.where(seen, laid, result[region])
    return result


def on_scan(canvas: Canvas, volume: Volume, floor: float, temperature: float = 1.0) -> Patch:
    """Probability (float16) on the scan's voxels where it is above `floor`; laid in slabs to spare memory."""
    box = bounds(canvas.logits > temperature * np.log(floor / (1 - floor)))
    if box is None:
        return Patch.empty(np.float16)
    # two voxels of rim, so that interpolation sees the same neighbours as in the whole canvas
    region = tuple(
        slice(max(0, s.start - 2), min(n, s.stop + 2)) for s, n in zip(box, canvas.logits.shape, strict=True)
    )
    shape = tuple(s.stop - s.start for s in region)
    middle = canvas.window.to_mm([(s.start + s.stop - 1) / 2 for s in region])
    r, a, z = (float(x) for x in middle)
    window = Window((r, a, z), canvas.window.spacing, shape)  # type: ignore[arg-type]
    logits = torch.from_numpy(np.ascontiguousarray(canvas.logits[region]))[None, None]
    whole = window.box_in(volume)
    start = tuple(s.start for s in whole)
    out = np.zeros(tuple(s.stop - s.start for s in whole), np.float16)
    for part, offset in _slabs(out.shape, start):
        slab = out[part]
        affine = volume.affine.copy()
        affine[:3, 3] = volume.to_mm(offset)
        view = Volume(np.broadcast_to(np.float32(0), slab.shape), affine, "logit")
        laid, inner = lay(logits, window, view, outside=-LIMIT)
        slab[inner] = torch.sigmoid(laid / temperature)[0, 0].numpy()
    return Patch.tight(out, out > floor, start)


def _slabs(shape: tuple[int, ...], start: tuple[int, ...]) -> Iterator[tuple[slice, tuple[int, int, int]]]:
    """Runs along the first axis of about _SLAB voxels: the slice, and the scan voxel where it begins."""
    if 0 in shape:
        return
    step = max(1, _SLAB // (shape[1] * shape[2]))
    for i in range(0, shape[0], step):
        yield slice(i, min(i + step, shape[0])), (start[0] + i, start[1], start[2])
