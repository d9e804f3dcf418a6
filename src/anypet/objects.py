"""What a session remembers of an object: every step's prompts, masks and window logits. No torch in here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from anypet.prompts import Prompts
from anypet.volume import Volume

Slices = tuple[slice, slice, slice]
Triple = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Patch:
    """A box of voxels of a scan; everything outside of it is 0.

    Args:
        start: voxel (i, j, k) of the box's first corner.
        values: the box's voxels, (i, j, k) order; it may be empty.
    """

    start: tuple[int, int, int]
    values: npt.NDArray[Any]

    @classmethod
    def empty(cls, dtype: npt.DTypeLike) -> Patch:
        """A patch without voxels."""
        return cls((0, 0, 0), np.zeros((0, 0, 0), dtype))

    @classmethod
    def tight(
        cls, values: npt.NDArray[Any], support: npt.NDArray[np.bool_], start: npt.ArrayLike = (0, 0, 0)
    ) -> Patch:
        """The part of `values` (a box at `start`) that holds all of `support` (bool, same shape)."""
        slices = bounds(support)
        if slices is None:
            return cls.empty(values.dtype)
        i, j, k = (int(s.start) + int(o) for s, o in zip(slices, np.asarray(start), strict=True))
        return cls((i, j, k), np.ascontiguousarray(values[slices]))

    @property
    def slices(self) -> Slices:
        """The box as slices of the scan's array."""
        i, j, k = (slice(a, a + n) for a, n in zip(self.start, self.values.shape, strict=True))
        return i, j, k

    def on_grid(self, shape: tuple[int, int, int], dtype: npt.DTypeLike | None = None) -> npt.NDArray[Any]:
        """The whole grid (i, j, k) with this patch in it and 0 elsewhere."""
        full = np.zeros(shape, dtype or self.values.dtype)
        full[self.slices] = self.values
        return full


def bounds(support: npt.NDArray[np.bool_]) -> Slices | None:
    """The smallest box that holds all true voxels, or None if there are none."""
    slices = []
    for axis in range(3):
        hits = np.flatnonzero(support.any(axis=tuple(a for a in range(3) if a != axis)))
        if hits.size == 0:
            return None
        slices.append(slice(int(hits[0]), int(hits[-1]) + 1))
    i, j, k = slices
    return i, j, k


@dataclass(frozen=True, eq=False)
class Tile:
    """One window's logits.

    Args:
        cell: place of the window in its group's lattice; a step of 1 is half a window.
        logits: (d, h, w) float16, as the model gave them (maybe coarser than the window).
        seed_mm: a point inside of the object that stands in for a click where no positive click is inside.
    """

    cell: tuple[int, int, int]
    logits: npt.NDArray[np.float16]
    seed_mm: Triple | None = None


@dataclass(frozen=True, eq=False)
class Group:
    """Windows of one spacing on one lattice that cover one part of the object.

    Args:
        centre_mm: RAS millimetres of the centre of the window at cell (0, 0, 0).
        spacing: millimetres per window voxel.
        anchor_suv: SUVbw at the first positive prompt of this part.
        anchor_mm: where that was, RAS millimetres.
        tiles: the windows decoded so far.
    """

    centre_mm: Triple
    spacing: float
    anchor_suv: float
    anchor_mm: Triple
    tiles: tuple[Tile, ...] = ()


@dataclass(frozen=True, eq=False)
class Prediction:
    """One step of one object: what was asked, and what came of it.

    Args:
        prompts: all points and boxes so far (RAS mm).
        prior: the user's own mask, if one was given (bool).
        mask: the object (bool).
        probability: the model's probability (float16), before components without a click are left out.
        groups: the windows behind it, for the next step.
    """

    prompts: Prompts = field(default_factory=Prompts)
    prior: Patch | None = None
    mask: Patch = field(default_factory=lambda: Patch.empty(bool))
    probability: Patch = field(default_factory=lambda: Patch.empty(np.float16))
    groups: tuple[Group, ...] = ()


@dataclass(eq=False)
class SegmentedObject:
    """An object of a session: its history of steps, and the measures of its mask.

    Args:
        name: the name given to it.
        scan: the scan (SUVbw) that it lies in.
        steps: every prediction since the object was made; the first one is empty.
        cursor: the step that counts now; steps after it can be redone.
    """

    name: str
    scan: Volume
    steps: list[Prediction] = field(default_factory=lambda: [Prediction()])
    cursor: int = 0

    @property
    def current(self) -> Prediction:
        return self.steps[self.cursor]

    def push(self, step: Prediction) -> None:
        """Adds a step; what could be redone before is gone."""
        self.steps[self.cursor + 1 :] = [step]
        self.cursor += 1

    @property
    def prompts(self) -> Prompts:
        """The points and boxes that count now, in RAS millimetres."""
        return self.current.prompts

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """Bool array on the scan's grid, (i, j, k) order."""
        return self.current.mask.on_grid(self.scan.shape)

    @property
    def probability(self) -> npt.NDArray[np.float32]:
        """Float32 array on the scan's grid, 0..1; 0 where no window looked."""
        return self.current.probability.on_grid(self.scan.shape, np.float32)

    @property
    def entropy(self) -> Patch:
        """Predictive entropy of the mean probability of the steps since the last reset, in nats, float32."""
        steps: list[Prediction] = []
        for step in self.steps[: self.cursor + 1]:
            if step.prompts.is_empty and step.prior is None:
                steps = []  # the beginning, or a reset
            elif step.groups:
                steps.append(step)
        patches = [step.probability for step in steps if step.probability.values.size]
        if not patches:
            return Patch.empty(np.float32)
        low = np.min([p.start for p in patches], axis=0)
        high = np.max([np.array(p.start) + p.values.shape for p in patches], axis=0)
        mean = np.zeros(tuple(high - low), np.float32)
        for patch in patches:
            region = tuple(
                slice(s.start - int(o), s.stop - int(o)) for s, o in zip(patch.slices, low, strict=True)
            )
            mean[region] += patch.values.astype(np.float32) / len(steps)
        np.clip(mean, 1e-6, 1 - 1e-6, out=mean)
        entropy = -(mean * np.log(mean) + (1 - mean) * np.log1p(-mean))
        entropy[entropy < 2e-5] = 0  # what the clip left
        return Patch((int(low[0]), int(low[1]), int(low[2])), entropy)

    @property
    def voxels(self) -> int:
        """Number of voxels in the mask."""
        return int(self.current.mask.values.sum())

    @property
    def volume_ml(self) -> float:
        """Volume of the mask in millilitres (the metabolic tumour volume, where it is a tumour)."""
        return self.voxels * self.scan.voxel_volume_ml

    @property
    def suv(self) -> dict[str, float]:
        """SUVbw statistics of the mask: "max", "mean", "min", "std"; all NaN where the mask is empty."""
        patch = self.current.mask
        values = self.scan.array[patch.slices][patch.values].astype(np.float64)
        if values.size == 0:
            return dict.fromkeys(("max", "mean", "min", "std"), float("nan"))
        return {name: float(getattr(values, name)()) for name in ("max", "mean", "min", "std")}

    @property
    def tlg(self) -> float:
        """Total lesion glycolysis: SUVmean times volume, in SUVbw x mL; 0 for an empty mask."""
        return self.suv["mean"] * self.volume_ml if self.voxels else 0.0

    @property
    def measures(self) -> dict[str, float]:
        """The numbers of a results table: voxels, volume_ml, suv_max, suv_mean, suv_min, suv_std, tlg."""
        suv = {f"suv_{name}": value for name, value in self.suv.items()}
        return {"voxels": self.voxels, "volume_ml": self.volume_ml, **suv, "tlg": self.tlg}


def label_map(scan: Volume, items: Sequence[SegmentedObject]) -> Volume:
    """Objects of a scan as one label volume: 1, 2, ... in their order; 0 is background.

    A voxel that two objects claim stays with the first. `meta["names"]` maps value to name.
    """
    array = np.zeros(scan.shape, np.uint8 if len(items) < 256 else np.uint16)
    for value, item in enumerate(items, start=1):
        patch = item.current.mask
        region = array[patch.slices]
        region[patch.values & (region == 0)] = value
    names = {value: item.name for value, item in enumerate(items, start=1)}
    return Volume(array, scan.affine, "label", {"names": names})
