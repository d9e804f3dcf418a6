"""Where a model's windows are placed: around the first prompt, as close as the object allows, and onwards.

Models with a range of spacings look coarsely first, then as closely as the object allows. What a window of
the coarsest spacing (or the only one) cannot hold is followed with windows that overlap by half. A positive
click far from everything else begins a group of windows of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from anypet import canvas as cv
from anypet.locate import anchor_of, inside_scan
from anypet.objects import Group, Patch, Tile, Triple
from anypet.prompts import Point, Prompts
from anypet.volume import FloatArray
from anypet.windows import Window

if TYPE_CHECKING:
    from anypet.predict import Predictor


@dataclass(frozen=True)
class Policy:
    """The numbers behind where windows are placed.

    Args:
        coarse_mm: spacing of the first look of a model with a range of spacings.
        fill: a window is this many times the object's extent.
        change: a closer look is taken if its spacing is smaller by more than this fraction.
        rim: a click nearer to a window's face than this fraction of it counts as outside (unless the scan
            ends).
        max_windows: windows of one part of an object, at most.
        cache_bytes: memory for embeddings.
        floor: probabilities below are stored as 0.
        anatomy: whether the first look at a click asks the organ head, for models that go with one.
    """

    coarse_mm: float = 6.5
    fill: float = 1.4
    change: float = 0.2
    rim: float = 0.125
    max_windows: int = 24
    cache_bytes: int = 512 * 2**20
    floor: float = 0.02
    anatomy: bool = True


def inside(index: FloatArray, shape: Sequence[int], rim: float = 0.0) -> bool:
    """Whether a window index lies in a window, `rim` (a fraction of it) away from every face."""
    size = np.array(shape)
    return bool(np.all(index >= -0.5 + rim * size) and np.all(index <= size - 0.5 - rim * size))


class Planner:
    """One call of `predict`: the groups of windows as they grow."""

    def __init__(
        self, predictor: Predictor, prompts: Prompts, prior: Patch | None, groups: list[Group]
    ) -> None:
        self.p = predictor
        self.policy = predictor.policy
        self.volume = predictor.volume
        self.shape = predictor.shape
        self.size = np.array(self.shape)
        self.prompts = prompts
        self.prior = prior
        self.groups = groups
        self.fresh: set[int] = set()  # places in `groups` decoded with all the prompts already

    # -- the first windows -----------------------------------------------------------------------------------

    def start(self, earlier: Sequence[Group]) -> None:
        """The first group: around the box or mask if there is one, else around the first positive click."""
        suv, point, extent = anchor_of(self.volume, self.prompts, self.prior)
        if extent is None:
            self._add(self._from_click(suv, point))
            return
        low, high = extent
        spacing = float(np.clip(self._fit(low, high), self.p.finest, self.p.coarsest))
        # a new mask counts before what was seen earlier; a new box alone means another object
        clicked = any(p.positive for p in self.prompts.points)
        seen = earlier if self.prior is None and clicked else ()
        canvases = [cv.blend(group, self.shape) for group in seen]
        # a mask or box larger than the window is begun near its anchor and followed from there
        centre = self._centre(low, high, point, spacing)
        group = Group(centre, spacing, suv, point)
        self._add(self._grow(self._single(group, canvases, seed=point)))

    def _from_click(self, suv: float, point: Triple) -> Group:
        """Coarse, then as close as the object allows; a model of one spacing looks once."""
        p, policy = self.p, self.policy
        spacing = float(np.clip(policy.coarse_mm, p.finest, p.coarsest))
        if p.finest >= p.coarsest:
            return self._grow(self._single(Group(point, spacing, suv, point), []))
        group = p.first_look(point, suv) or self._single(Group(point, spacing, suv, point), [])
        canvas, part = self._part(group)
        if group.spacing < p.coarsest and cv.open_cells(canvas, group, part, self.volume):
            low, high = self._extent(canvas, part, point)
            centre = self._centre(low, high, point, p.coarsest)
            group = self._single(replace(group, centre_mm=centre, spacing=p.coarsest, tiles=()), [canvas])
            canvas, part = self._part(group)
            if cv.open_cells(canvas, group, part, self.volume):
                return self._grow(group)
        low, high = self._extent(canvas, part, point)
        fine = float(np.clip(self._fit(low, high), p.finest, p.coarsest))
        if fine < (1 - policy.change) * group.spacing:
            centre = self._centre(low, high, point, fine)
            closer = self._single(replace(group, centre_mm=centre, spacing=fine, tiles=()), [canvas])
            # a closer look that loses the object is not to be trusted over one that saw it
            if self._part(closer)[1].any() or not part.any():
                group = closer
        return self._grow(group)

    # -- corrections -----------------------------------------------------------------------------------------

    def include(self, points: Sequence[Point]) -> None:
        """Makes the windows answer to new points: decodes again, moves, adds."""
        for point in points:
            if point.positive and not any(self._holds(group, point.mm) for group in self.groups):
                self._reach(point.mm)
        for n, group in enumerate(self.groups):
            if n in self.fresh:
                continue
            tiles = tuple(
                self.p.decode(
                    group, tile, self.prompts, torch.from_numpy(tile.logits.astype(np.float32))[None, None]
                )
                if any(self._sees(group, tile, point.mm) for point in points)
                else tile
                for tile in group.tiles
            )
            if any(a is not b for a, b in zip(tiles, group.tiles, strict=True)):
                self.groups[n] = self._grow(replace(group, tiles=tiles))

    def _reach(self, mm: Triple) -> None:
        """A positive click outside: a wider window, a further window of a group, or a group of its own."""
        for n, group in enumerate(self.groups):
            canvas, part = self._part(group)
            low, high = self._extent(canvas, part, mm)
            low, high = np.minimum(low, mm), np.maximum(high, mm)
            spacing = self._fit(low, high)
            if self.p.finest < self.p.coarsest and spacing <= self.p.coarsest:
                spacing = max(spacing, self.p.finest)
                moved = replace(group, centre_mm=_triple((low + high) / 2), spacing=spacing, tiles=())
                self.groups[n] = self._grow(self._single(moved, [canvas]))
                self.fresh.add(n)
                return
            cell = self._cell_at(group, mm)
            near = min(max(abs(a - b) for a, b in zip(cell, t.cell, strict=True)) for t in group.tiles) <= 1
            if near and len(group.tiles) < self.policy.max_windows:
                tile = self._new_tile(group, cell, canvas, part)
                self.groups[n] = self._grow(replace(group, tiles=(*group.tiles, tile)))
                return
        point = Point(mm)
        suv, _, _ = anchor_of(self.volume, Prompts((point,)), None)
        self._add(self._from_click(suv, mm))

    def _cell_at(self, group: Group, mm: Triple) -> cv.Cell:
        step = group.spacing * (self.size // 2)
        d, h, w = (int(x) for x in np.round((np.asarray(mm) - group.centre_mm) / step))
        return d, h, w

    def _holds(self, group: Group, mm: Triple) -> bool:
        """Whether a point lies well inside one of the group's windows, or near a face where the scan ends."""
        for tile in group.tiles:
            window = cv.tile_window(group.centre_mm, group.spacing, self.shape, tile.cell)
            index = window.to_index(mm)
            if not inside(index, self.shape):
                continue
            if inside(index, self.shape, self.policy.rim):
                return True
            # near to a face: good enough if the scan ends there anyway
            if not any(inside_scan(self.volume, at) for at in self._past_near_faces(window, index)):
                return True
        return False

    def _past_near_faces(self, window: Window, index: FloatArray) -> Sequence[FloatArray]:
        """Points just outside of the faces that `index` is too near to, straight across from it."""
        out: list[FloatArray] = []
        for axis in range(3):
            rim = self.policy.rim * self.size[axis] - 0.5
            for near, beyond in (
                (index[axis] < rim, -1.0),
                (index[axis] > self.size[axis] - 1 - rim, self.size[axis]),
            ):
                if near:
                    at = index.copy()
                    at[axis] = beyond
                    out.append(window.to_mm(at))
        return out

    def _sees(self, group: Group, tile: Tile, mm: Triple) -> bool:
        window = cv.tile_window(group.centre_mm, group.spacing, self.shape, tile.cell)
        return inside(window.to_index(mm), self.shape)

    # -- windows ---------------------------------------------------------------------------------------------

    def _add(self, group: Group) -> None:
        self.fresh.add(len(self.groups))
        self.groups.append(group)

    def _single(self, group: Group, canvases: Sequence[cv.Canvas], seed: Triple | None = None) -> Group:
        """The group with one window, at its centre."""
        window = cv.tile_window(group.centre_mm, group.spacing, self.shape, (0, 0, 0))
        previous = cv.earlier_logits(canvases, self.prior, self.volume, window)
        tile = Tile((0, 0, 0), np.zeros((0, 0, 0), np.float16), seed)
        return replace(group, tiles=(self.p.decode(group, tile, self.prompts, previous),))

    def _new_tile(self, group: Group, cell: cv.Cell, canvas: cv.Canvas, part: cv.BoolArray) -> Tile:
        """A further window; what its neighbours saw in their overlap leads it."""
        window = cv.tile_window(group.centre_mm, group.spacing, self.shape, cell)
        previous = cv.earlier_logits([canvas], self.prior, self.volume, window)
        tile = Tile(cell, np.zeros((0, 0, 0), np.float16), cv.deepest_in(canvas, part, window))
        return self.p.decode(group, tile, self.prompts, previous)

    def _grow(self, group: Group) -> Group:
        """Widens or adds windows while the object reaches a border of them inside the scan."""
        ranged = self.p.finest < self.p.coarsest
        while len(group.tiles) < self.policy.max_windows:
            canvas, part = self._part(group)
            cells = cv.open_cells(canvas, group, part, self.volume)
            if not cells:
                break
            if ranged and len(group.tiles) == 1 and group.spacing < self.p.coarsest:
                low, high = self._extent(canvas, part, group.anchor_mm)
                spacing = min(max(self._fit(low, high), 1.5 * group.spacing), self.p.coarsest)
                centre = self._centre(low, high, group.anchor_mm, spacing)
                wider = replace(group, centre_mm=centre, spacing=spacing, tiles=())
                group = self._single(wider, [canvas], group.tiles[0].seed_mm)
                continue
            free = self.policy.max_windows - len(group.tiles)
            new = tuple(self._new_tile(group, cell, canvas, part) for cell in cells[:free])
            group = replace(group, tiles=(*group.tiles, *new))
        return group

    def _part(self, group: Group) -> tuple[cv.Canvas, cv.BoolArray]:
        """The group's canvas and the object on it."""
        canvas = cv.blend(group, self.shape)
        clicks = [p.mm for p in self.prompts.points if p.positive]
        return canvas, cv.component(canvas, clicks)

    def _extent(
        self, canvas: cv.Canvas, part: cv.BoolArray, fallback: Triple
    ) -> tuple[FloatArray, FloatArray]:
        """Corners of the object's box in RAS mm; one canvas voxel at `fallback` where nothing was found."""
        found = cv.extent_mm(canvas, part)
        if found is not None:
            return found
        half = canvas.window.spacing / 2
        return np.asarray(fallback) - half, np.asarray(fallback) + half

    def _fit(self, low: FloatArray, high: FloatArray) -> float:
        """Spacing (mm, a multiple of 0.25) at which the box fills its part of a window; not yet clipped."""
        spacing = float(np.max((high - low) * self.policy.fill / self.size))
        # in steps, so that rounding errors and small changes of the mask do not move the grid
        return float(np.ceil(spacing * 4 - 1e-6) / 4)

    def _centre(self, low: FloatArray, high: FloatArray, point: Triple, spacing: float) -> Triple:
        """The box's centre, moved where needed so that `point` stays well inside the window."""
        reach = (0.5 - self.policy.rim) * self.size * spacing
        return _triple(np.clip((low + high) / 2, np.asarray(point) - reach, np.asarray(point) + reach))


def _triple(mm: FloatArray) -> Triple:
    r, a, s = (float(x) for x in mm)
    return r, a, s
