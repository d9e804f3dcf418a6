"""Training patches: windows around targets, placed as a session places them, coarse and fine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from anypet.clicks import bounding_box, first_click
from anypet.models.compact.model import SPACINGS
from anypet.models.compact.parts import LESION
from anypet.training.degrade import degrade_mask
from anypet.training.pool import PoolStudy
from anypet.volume import FloatArray, Volume
from anypet.windows import Window, cut

UNKNOWN = 255  # of a part map: nothing is said about the voxel
LEAST_VOXELS = 12  # of a further target in a window


@dataclass(frozen=True)
class Patch:
    """One window with its targets.

    Args:
        image: float32 (N, N, N), SUVbw along (R, A, S).
        targets: bool (N, N, N) each, the one that the window was placed on first.
        spacing: millimetres per voxel.
        kind: "organ", "lesion" or "real", of the first target.
        parts: uint8 (N, N, N), values of `PARTS` or `UNKNOWN`; None where nothing is known.
        high_quality: whether the targets' masks can be trusted (HQ) or are noisy (LQ).
        mirror: whether the targets have no fixed place in the body (lesions), so that mirrors are fair.
    """

    image: torch.Tensor
    targets: tuple[torch.Tensor, ...]
    spacing: float
    kind: str
    parts: torch.Tensor | None = None
    mirror: bool = False
    high_quality: bool = True


def place_window(
    truth: Volume, size: int, rng: np.random.Generator, coarse: bool, spacing: float | None = None
) -> Window:
    """A window on a target as inference would place it.

    Args:
        truth: the target's occupancy (> 0.5 = inside) on any grid.
        size: voxels a side.
        rng: source of the draws.
        coarse: centred on a click, 4.5 to 8 mm; else fitted to the target's extent with some room.
        spacing: the one spacing of a network that has but one.
    """
    mask = np.asarray(truth.array > 0.5)
    if coarse:
        centre = truth.to_mm(first_click(mask, rng, tuple(truth.spacing)))
        return Window(tuple(centre), spacing or float(rng.uniform(4.5, SPACINGS[1])), (size,) * 3)
    box = bounding_box(mask)
    assert box is not None
    lo = truth.to_mm([s.start for s in box])
    hi = truth.to_mm([s.stop - 1 for s in box])
    extent = float(np.abs(hi - lo).max()) + float(truth.spacing.max())
    fitted = float(np.clip(extent * rng.uniform(1.15, 2.4) / size, *SPACINGS))
    side = spacing or fitted
    jitter = rng.uniform(-0.1, 0.1, 3) * size * side
    return Window(tuple((lo + hi) / 2 + jitter), side, (size,) * 3)


def cut_target(truth: Volume, window: Window) -> torch.Tensor:
    """The target in a window, bool (N, N, N)."""
    return cut(truth, window)[0, 0] > 0.5


def organ_truth(study: PoolStudy, part: int, box: tuple[slice, ...]) -> Volume:
    """An organ of the study's parts as an occupancy, one empty voxel around."""
    assert study.parts is not None
    around = tuple(
        slice(max(0, s.start - 1), min(size, s.stop + 1)) for s, size in zip(box, study.shape, strict=True)
    )
    return _placed((study.parts[around] == part).astype(np.float32), around, study.grid)


def object_truth(study: PoolStudy, n: int) -> Volume:
    """The study's object number n as an occupancy."""
    target = study.objects[n]
    return _placed(np.asarray(target.occupancy, dtype=np.float32), target.box, study.grid)


def _placed(array: npt.NDArray[Any], box: tuple[slice, ...], affine: FloatArray) -> Volume:
    """A part of a grid as a volume of its own."""
    moved = affine.copy()
    moved[:3, 3] += moved[:3, :3] @ np.array([s.start for s in box])
    return Volume(array, moved, "label")


@dataclass(frozen=True)
class Draw:
    """What `draw_patch` is to look for.

    Args:
        size: voxels along a side of the window.
        organ_share: chance that the first target is an organ.
        targets: at most so many in one window.
        left_out: parts that are never a target (and of which nothing is said where they lie).
        spacing: of a network that has but one.
        spoil: strength of the faults in the targets' masks, or None for good ones.
    """

    size: int
    organ_share: float = 0.5
    targets: int = 2
    left_out: frozenset[int] = frozenset()
    spacing: float | None = None
    spoil: float | None = None


def draw_patch(study: PoolStudy, rng: np.random.Generator, draw: Draw, number: int = 0) -> Patch | None:
    """A window on a random target of a study, with further targets in it; None if the target is not in it.

    A spoilt target is spoilt the same in every draw, as a bad label in a data set is: `number` is the
    study's.
    """
    organs = {part: box for part, box in study.organs if part not in draw.left_out}
    is_organ = bool(organs) and (not study.objects or rng.random() < draw.organ_share)
    choice = list(organs) if is_organ else [LESION + n for n in range(len(study.objects))]
    if not choice:
        return None
    first = choice[int(rng.integers(len(choice)))]

    def truth_of(value: int) -> Volume:
        is_object = value >= LESION
        truth = object_truth(study, value - LESION) if is_object else organ_truth(study, value, organs[value])
        return truth if draw.spoil is None else spoilt(truth, (number, value), draw.spoil)

    truth = truth_of(first)
    window = place_window(truth, draw.size, rng, coarse=rng.random() < 0.4, spacing=draw.spacing)
    masks = [cut_target(truth, window)]
    if not bool(masks[0].any()):
        return None
    seen = _instances(study, window)
    large = np.flatnonzero(np.bincount(seen.numpy().ravel()) >= LEAST_VOXELS)
    others = [int(v) for v in large if v != first and (v >= LESION or v in organs)]
    chosen = [first]
    while len(masks) < draw.targets and others:
        value = others.pop(int(rng.integers(len(others))))
        mask = cut_target(truth_of(value), window)
        if int(mask.sum()) >= LEAST_VOXELS:
            masks.append(mask)
            chosen.append(value)
    bad = draw.spoil is not None
    parts = None
    if study.parts is not None and not bad:
        parts = seen.clamp_max(LESION)
        for part in draw.left_out:
            parts = parts.masked_fill(parts == part, UNKNOWN)
    return Patch(
        cut(study.pet, window)[0, 0],
        tuple(masks),
        window.spacing,
        study.kind if study.kind == "real" else "organ" if is_organ else "lesion",
        parts,
        mirror=all(v >= LESION and study.objects[v - LESION].mirror for v in chosen),
        high_quality=study.high_quality and not bad,
    )


def spoilt(truth: Volume, seed: tuple[int, int], strength: float) -> Volume:
    """A target with one fault, the same for the same seed."""
    roomy = _padded(truth, 6)
    mask = degrade_mask(roomy.array > 0.5, roomy.spacing, np.random.default_rng(seed), strength)
    return roomy.with_array(mask.astype(np.float32))


def _padded(volume: Volume, voxels: int) -> Volume:
    """The volume with so many empty voxels around it."""
    moved = volume.affine.copy()
    moved[:3, 3] -= moved[:3, :3] @ np.full(3, voxels)
    return Volume(np.pad(volume.array, voxels), moved, volume.unit)


def _instances(study: PoolStudy, window: Window) -> torch.Tensor:
    """Parts of the window's voxels (air where none are known), uint8; object n has the value LESION + n."""
    grid = Volume(np.broadcast_to(np.uint8(0), study.shape), study.grid, "label")
    box = window.box_in(grid)
    labels = np.array(grid.array[box] if study.parts is None else study.parts[box])
    if labels.size == 0:
        return torch.zeros(window.shape, dtype=torch.uint8)
    for n, target in enumerate(study.objects[: UNKNOWN - LESION]):
        common = [(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(box, target.box, strict=True)]
        if all(hi > lo for lo, hi in common):
            here = tuple(slice(lo - b.start, hi - b.start) for (lo, hi), b in zip(common, box, strict=True))
            there = tuple(
                slice(lo - b.start, hi - b.start) for (lo, hi), b in zip(common, target.box, strict=True)
            )
            labels[here][target.occupancy[there] > 0.5] = LESION + n
    return cut(_placed(labels, box, study.grid), window, "nearest")[0, 0].round().to(torch.uint8)
