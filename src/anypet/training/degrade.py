"""Low-quality labels made from high-quality ones: what hurried readers and automatic tools get wrong.

Every fault is a function of a mask, its spacing, a generator and a strength between 0 (nearly none) and 1
(severe). `degrade_mask` picks one for an object, `degrade_labels` goes through a whole label map and also
leaves objects out and swaps sides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import edt
import numpy as np
import numpy.typing as npt

from anypet.clicks import BoolArray, bounding_box
from anypet.errors import AnyPETError

Image = npt.NDArray[np.floating[Any]]
Spacing = npt.NDArray[np.floating[Any]] | tuple[float, ...]


def _signed_distance(mask: BoolArray, spacing: Spacing) -> npt.NDArray[np.float32]:
    """Millimetres to the surface, positive inside."""
    steps = tuple(float(s) for s in spacing)
    inside = edt.edt(mask.astype(np.uint8), anisotropy=steps)
    return np.asarray(inside - edt.edt((~mask).astype(np.uint8), anisotropy=steps), dtype=np.float32)


def _radius(mask: BoolArray, spacing: Spacing) -> float:
    """Radius in mm of a ball of the mask's volume."""
    return float((mask.sum() * np.prod(spacing) * 3 / (4 * np.pi)) ** (1 / 3))


def shrink(mask: BoolArray, spacing: Spacing, rng: np.random.Generator, strength: float) -> BoolArray:
    """Under-segmentation: the surface moves in by up to 40 % of the object's radius."""
    distance = _signed_distance(mask, spacing)
    amount = rng.uniform(0.5, 1.0) * 0.4 * strength * _radius(mask, spacing)
    return distance > min(amount, 0.8 * float(distance.max()))


def grow(mask: BoolArray, spacing: Spacing, rng: np.random.Generator, strength: float) -> BoolArray:
    """Over-segmentation: the surface moves out by up to 40 % of the object's radius."""
    amount = rng.uniform(0.5, 1.0) * 0.4 * strength * _radius(mask, spacing)
    return _signed_distance(mask, spacing) > -amount


def shift(mask: BoolArray, spacing: Spacing, rng: np.random.Generator, strength: float) -> BoolArray:
    """Misregistration: the object moves by up to half of its radius."""
    direction = rng.normal(size=3)
    amount = rng.uniform(0.5, 1.0) * 0.5 * strength * _radius(mask, spacing)
    voxels = np.round(direction / np.linalg.norm(direction) * amount / np.asarray(spacing)).astype(int)
    moved = np.zeros_like(mask)
    source = tuple(slice(max(0, -v), min(n, n - v)) for v, n in zip(voxels, mask.shape, strict=True))
    target = tuple(slice(max(0, v), min(n, n + v)) for v, n in zip(voxels, mask.shape, strict=True))
    moved[target] = mask[source]
    return moved


def blocky(mask: BoolArray, spacing: Spacing, rng: np.random.Generator, strength: float) -> BoolArray:
    """Drawn on a grid up to half of the radius coarse."""
    side = np.maximum(1, np.round(0.5 * strength * _radius(mask, spacing) / np.asarray(spacing))).astype(int)
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
    if not 0 < strength <= 1:
        raise AnyPETError(f"strength must be above 0 and at most 1, got {strength}")
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
    Pairs that `names` calls "left ..." and "right ..." are swapped with a chance of 0.3 strength. Later
    labels overwrite earlier ones where they come to overlap.
    """
    values = [int(v) for v in np.unique(labels) if v > 0]
    spoilt = np.zeros_like(labels)
    written = {v: v for v in values}
    by_name = {name: value for value, name in (names or {}).items()}
    for name, left in by_name.items():
        right = by_name.get(name.replace("left", "right", 1))
        if name.startswith("left") and right in written and left in written and rng.random() < 0.3 * strength:
            written[left], written[right] = right, left
    for value in values:
        if rng.random() < 0.2 * strength:
            continue
        mask = labels == value
        box = bounding_box(mask, margin=12)
        assert box is not None
        part = mask[box]
        if rng.random() < strength:
            part = degrade_mask(part, spacing, rng, strength, None if image is None else image[box])
        spoilt[box][part] = written[value]
    return spoilt
