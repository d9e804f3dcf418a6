"""Simulated prompts beside those of `anypet.clicks`: other ways to click, boxes, scribbles.

Arrays are indexed (i, j, k), spacings are millimetres along (i, j, k). Everything draws from a generator that
is passed in, runs on the CPU, and gives the same for the same seed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from anypet.clicks import (
    BoolArray,
    Spacing,
    Voxel,
    bounding_box,
    first_click,
    inside_distance,
    next_click,
)
from anypet.errors import PromptError

Click = tuple[Voxel, bool]
Corrector = Callable[[BoolArray, BoolArray, Spacing, np.random.Generator], "Click | None"]


def random_error(
    target: BoolArray, mask: BoolArray, spacing: Spacing, rng: np.random.Generator
) -> Click | None:
    """Any wrong voxel, each as likely as the other: SAM-Med3D's and SegAnyPET's training."""
    wrong = np.argwhere(target != mask)
    if len(wrong) == 0:
        return None
    i, j, k = (int(v) for v in wrong[rng.integers(len(wrong))])
    return (i, j, k), bool(target[i, j, k])


def deepest_error(
    target: BoolArray, mask: BoolArray, spacing: Spacing, rng: np.random.Generator
) -> Click | None:
    """The deepest point of the largest error: the evaluation's rule, which draws nothing."""
    return next_click(target, mask, spacing)


def ritm_error(
    target: BoolArray, mask: BoolArray, spacing: Spacing, rng: np.random.Generator
) -> Click | None:
    """A random voxel of the inner half of the larger kind of error, as RITM trains (Sofiiuk et al. 2022).

    The larger kind is the one whose deepest voxel is deeper; its inner half are the voxels at least half as
    deep.
    """
    missed, surplus = inside_distance(target & ~mask, spacing), inside_distance(mask & ~target, spacing)
    if max(missed.max(), surplus.max()) == 0:
        return None
    positive = bool(missed.max() >= surplus.max())
    depth = missed if positive else surplus
    inner = np.argwhere(depth > depth.max() / 2)
    i, j, k = (int(v) for v in inner[rng.integers(len(inner))])
    return (i, j, k), positive


def perturbed_centre(
    target: BoolArray, mask: BoolArray, spacing: Spacing, rng: np.random.Generator, offset_mm: float = 8.0
) -> Click | None:
    """The deepest point of the largest error, moved by up to `offset_mm` but never out of that error."""
    found = next_click(target, mask, spacing)
    if found is None:
        return None
    voxel, positive = found
    region = (target & ~mask) if positive else (mask & ~target)
    reach = np.round(offset_mm / np.asarray(spacing)).astype(int)
    for _ in range(10):
        moved = np.array(voxel) + [int(rng.integers(-r, r + 1)) for r in reach]
        inside = np.all(moved >= 0) and np.all(moved < region.shape)
        if inside and region[tuple(moved)]:
            i, j, k = (int(v) for v in moved)
            return (i, j, k), positive
    return found


CORRECTORS: dict[str, Corrector] = {
    "random": random_error, "deepest": deepest_error, "ritm": ritm_error, "perturbed": perturbed_centre
}  # fmt: skip


def jittered_box(
    target: BoolArray,
    spacing: Spacing,
    rng: np.random.Generator,
    jitter_mm: float = 10.0,
    least_mm: float = 0.0,
    clip: bool = True,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Corners (lo, hi) in voxels of a box around the object, each face too far out by a random distance.

    Args:
        target: (I, J, K) bool, the object.
        spacing: millimetres along (i, j, k).
        rng: source of the six distances.
        jitter_mm, least_mm: the most and the least of them; below 0 cuts into the object.
        clip: keep the corners in the array.

    Raises:
        PromptError: the object is empty.
    """
    box = bounding_box(target)
    if box is None:
        raise PromptError("no box can be drawn: the target has no voxel; leave empty targets out")
    out = rng.uniform(least_mm, jitter_mm, (2, 3)) / np.asarray(spacing)
    lo = np.array([s.start for s in box]) - out[0]
    hi = np.array([s.stop - 1 for s in box]) + out[1]
    if not clip:
        return lo, hi
    last = np.array(target.shape) - 1.0
    return np.clip(lo, 0, last), np.clip(hi, 0, last)


def scribble(
    target: BoolArray, spacing: Spacing, rng: np.random.Generator, length_mm: float = 60.0
) -> npt.NDArray[np.int64]:
    """A hand's line inside the object: voxels (N, 3), connected, from one inner point towards another.

    It follows the straight line between two points of the inner half, cut at `length_mm` and at the first
    voxel outside of the object.
    """
    start = np.array(first_click(target, rng, spacing), dtype=np.float64)
    end = np.array(first_click(target, rng, spacing), dtype=np.float64)
    mm = float(np.linalg.norm((end - start) * np.asarray(spacing)))
    share = min(1.0, length_mm / mm) if mm else 0.0
    steps = 1 + int(np.ceil(np.abs((end - start) * share).max() * 2))
    line = np.round(start + (end - start) * np.linspace(0, share, steps)[:, None]).astype(np.int64)
    inside = target[tuple(line.T)]
    kept = line[: len(line) if inside.all() else int(np.argmin(inside))]
    _, order = np.unique(kept, axis=0, return_index=True)
    return kept[np.sort(order)]
