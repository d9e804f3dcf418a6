"""Low-quality labels made from high-quality ones: what hurried readers and automatic tools get wrong.

Every fault is a function of a mask, its spacing, a generator and a strength between 0 (nearly none) and 1
(severe). `degrade_mask` picks one for an object, `degrade_labels` goes through a whole label map and also
leaves objects out and swaps sides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import edt
import numpy as np
import numpy.typing as npt

from anypet.clicks import BoolArray, bounding_box
from anypet.errors import AnyPETError

Image = npt.NDArray[np.floating[Any]]
Spacing = npt.NDArray[np.floating[Any]] | tuple[float, ...]


def _signed_distance(mask: BoolArray, spacing: Spacing) -> npt.NDArray[np.float32]:
    """Millimetres to the surface, halfway between voxels, positive inside; beyond the array is outside."""
    steps = tuple(float(s) for s in spacing)
    padded = np.pad(mask, 1).astype(np.uint8)
    inside, outside = edt.edt(padded, anisotropy=steps), edt.edt(1 - padded, anisotropy=steps)
    half = 0.5 * float(np.mean(steps))
    distance = np.where(padded > 0, inside - half, half - outside)
    return np.asarray(distance[1:-1, 1:-1, 1:-1], dtype=np.float32)


def _move(mask: BoolArray, spacing: Spacing, rng: np.random.Generator, strength: float) -> float:
    """How far in mm a surface moves: up to 40 % of the object's radius, and at least past one voxel."""
    least = 0.55 * float(np.mean(spacing))
    return max(least, rng.uniform(0.5, 1.0) * 0.4 * strength * _radius(mask, spacing))


def _radius(mask: BoolArray, spacing: Spacing) -> float:
    """Radius in mm of a ball of the mask's volume."""
    return float((mask.sum() * np.prod(spacing) * 3 / (4 * np.pi)) ** (1 / 3))


def shrink(mask: BoolArray, spacing: Spacing, rng: np.random.Generator, strength: float) -> BoolArray:
    """Under-segmentation: the surface moves in by up to 40 % of the object's radius."""
    distance = _signed_distance(mask, spacing)
    return distance > min(_move(mask, spacing, rng, strength), 0.8 * float(distance.max()))


def grow(mask: BoolArray, spacing: Spacing, rng: np.random.Generator, strength: float) -> BoolArray:
    """Over-segmentation: the surface moves out by up to 40 % of the object's radius."""
    return _signed_distance(mask, spacing) > -_move(mask, spacing, rng, strength)


def shift(mask: BoolArray, spacing: Spacing, rng: np.random.Generator, strength: float) -> BoolArray:
    """Misregistration: the object moves by up to half of its radius."""
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    amount = rng.uniform(0.5, 1.0) * 0.5 * strength * _radius(mask, spacing)
    voxels = np.round(direction * amount / np.asarray(spacing)).astype(int)
    if not voxels.any():  # a small object moves by one voxel
        axis = int(np.abs(direction).argmax())
        voxels[axis] = int(np.sign(direction[axis]))
    voxels = np.clip(voxels, 1 - np.array(mask.shape), np.array(mask.shape) - 1)
    moved = np.zeros_like(mask)
    source = tuple(slice(max(0, -v), min(n, n - v)) for v, n in zip(voxels, mask.shape, strict=True))
    target = tuple(slice(max(0, v), min(n, n + v)) for v, n in zip(voxels, mask.shape, strict=True))
    moved[target] = mask[source]
    return moved


def blocky(mask: BoolArray, spacing: Spacing, rng: np.random.Generator, strength: float) -> BoolArray:
    """Drawn on a grid up to half of the radius coarse, two voxels at least."""
    side = np.maximum(2, np.round(0.5 * strength * _radius(mask, spacing) / np.asarray(spacing))).astype(int)
    offset = [int(rng.integers(s)) for s in side]
    pads = [(o, -(n + o) % s) for o, n, s in zip(offset, mask.shape, side, strict=True)]
    padded = np.pad(mask.astype(np.float32), pads)
    a, b, c = (n // s for n, s in zip(padded.shape, side, strict=True))
    mean = padded.reshape(a, side[0], b, side[1], c, side[2]).mean(axis=(1, 3, 5)) >= 0.5
    for axis, s in enumerate(side):
        mean = mean.repeat(s, axis=axis)
    return mean[tuple(slice(o, o + n) for o, n in zip(offset, mask.shape, strict=True))]


def lose_part(mask: BoolArray, spacing: Spacing, rng: np.random.Generator, strength: float) -> BoolArray:
    """A part is missing: up to 60 % of the object beyond a random plane."""
    where = np.argwhere(mask) * np.asarray(spacing)
    direction = rng.normal(size=3)
    along = where @ (direction / np.linalg.norm(direction))
    kept = np.zeros_like(mask)
    chosen = along >= np.quantile(along, rng.uniform(0.5, 1.0) * 0.6 * strength)
    kept[tuple(np.argwhere(mask)[chosen].T)] = True
    return kept


def by_threshold(
    mask: BoolArray, spacing: Spacing, rng: np.random.Generator, strength: float, image: Image
) -> BoolArray:
    """What a fixed share of the maximum gives near the object, as half-automatic tools do."""
    near = _signed_distance(mask, spacing) > -0.5 * strength * _radius(mask, spacing)
    level = rng.uniform(0.25, 0.6) * float(image[mask].max())
    return near & (image >= level)


Fault = Callable[[BoolArray, Spacing, np.random.Generator, float], BoolArray]
FAULTS: dict[str, Fault] = {
    "shrink": shrink, "grow": grow, "shift": shift, "blocky": blocky, "lose_part": lose_part
}  # fmt: skip


def degrade_mask(
    mask: BoolArray,
    spacing: Spacing,
    rng: np.random.Generator,
    strength: float = 0.5,
    image: Image | None = None,
) -> BoolArray:
    """One object with one random fault; never empty where it was not.

    Args:
        mask: (I, J, K) bool, with some empty voxels around it if the object may grow.
        spacing: millimetres along (i, j, k).
        rng: of the choice and of the fault.
        strength: above 0, at most 1.
        image: PET of the same shape; with it, a threshold is among the faults.

    Raises:
        AnyPETError: the strength is out of range.
    """
    _check(strength)
    if not mask.any():
        return mask
    faults = list(FAULTS.values())
    chosen = int(rng.integers(len(faults) + (image is not None)))
    if chosen == len(faults) and image is not None:
        spoilt = by_threshold(mask, spacing, rng, strength, image)
    else:
        spoilt = faults[min(chosen, len(faults) - 1)](mask, spacing, rng, strength)
    return spoilt if spoilt.any() else mask


def degrade_labels(
    labels: npt.NDArray[np.integer[Any]],
    spacing: Spacing,
    rng: np.random.Generator,
    strength: float = 0.5,
    image: Image | None = None,
    names: Mapping[int, str] | None = None,
) -> npt.NDArray[np.integer[Any]]:
    """A whole label map made worse.

    Each label is left out with a chance of 0.2 strength, else it gets a fault with a chance of `strength`.
    Pairs whose `names` differ in "left" and "right" only are swapped with a chance of 0.3 strength. Smaller
    objects overwrite larger ones where they come to overlap.
    """
    _check(strength)
    sizes = {int(v): int(n) for v, n in zip(*np.unique(labels, return_counts=True), strict=True) if v > 0}
    spoilt = np.zeros_like(labels)
    written = _swapped(dict.fromkeys(sizes), names or {}, rng, strength)
    for value in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if rng.random() < 0.2 * strength:
            continue
        mask = labels == value
        # room for the worst fault
        box = bounding_box(mask, margin=3 + math.ceil(_radius(mask, spacing) / float(np.min(spacing))))
        assert box is not None
        part = mask[box]
        if rng.random() < strength:
            part = degrade_mask(part, spacing, rng, strength, None if image is None else image[box])
        spoilt[box][part] = written[value]
    return spoilt


def _check(strength: float) -> None:
    if not 0 < strength <= 1:
        raise AnyPETError(f"strength must be above 0 and at most 1, got {strength}")


def _swapped(
    values: Iterable[int], names: Mapping[int, str], rng: np.random.Generator, strength: float
) -> dict[int, int]:
    """Label -> the label that it is written as: itself, or the other side's."""
    written = {v: v for v in values}
    by_name = {name.lower(): value for value, name in names.items() if value in written}
    for name, left in by_name.items():
        right = by_name.get(name.replace("left", "right"))
        if "left" in name and right is not None and rng.random() < 0.3 * strength:
            written[left], written[right] = right, left
    return written
