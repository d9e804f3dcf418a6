"""Lesion metrics against a loop over components, on scans of the usual size with 1, 10 and 100 lesions.

    python benchmarks/lesion_metrics.py [--shape 400 400 326] [--lesions 1 10 100] [--repeats 3]

The loop is what challenge scripts do: for every component a mask of the whole scan, compared with the other
mask. Both sides get the same bool arrays in memory, label with the same library and must give the same
figures. CPU seconds, so that other work on the machine does not count; ratios of one run. Ours depends on the
box that holds all lesions, not on their number: one lesion is cheaper than ten because its box is small.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import cc3d
import numpy as np
import numpy.typing as npt

from anypet.evaluation.lesion_metrics import lesion_overlap
from anypet.volume import Volume

AFFINE = np.diag([2.03642, 2.03642, 3.0, 1.0])
Mask = npt.NDArray[np.bool_]


def scene(shape: tuple[int, int, int], lesions: int, rng: np.random.Generator) -> tuple[Mask, Mask]:
    """True and predicted balls of 4 to 9 voxels' radius: one in ten is missed, one in ten is false."""
    true, predicted = np.zeros(shape, bool), np.zeros(shape, bool)
    grid = np.array(np.meshgrid(*(np.arange(-12, 13),) * 3, indexing="ij"))
    cells = np.argwhere(np.ones([n // 30 for n in shape], bool)) * 30 + 15
    for n, cell in enumerate(rng.permutation(cells)[:lesions]):
        box = tuple(slice(c - 12, c + 13) for c in cell)
        radius = rng.uniform(4, 9)
        if n % 10 != 3:
            true[box] |= (grid**2).sum(axis=0) <= radius**2
        if n % 10 != 7:
            moved = grid - rng.integers(-2, 3, 3)[:, None, None, None]
            predicted[box] |= (moved**2).sum(axis=0) <= radius**2
    return true, predicted


def looped(true: Mask, predicted: Mask, ml: float) -> dict[str, float]:
    """Dice, FPV, FNV and DMM, one mask of the whole scan for each component."""
    one, count = cc3d.connected_components(true, connectivity=18, return_N=True)
    other, others = cc3d.connected_components(predicted, connectivity=18, return_N=True)
    missed_voxels = false_voxels = 0
    for n in range(1, count + 1):
        component = np.isin(one, n)
        if not (component & predicted).any():
            missed_voxels += int(component.sum())
    for n in range(1, others + 1):
        component = np.isin(other, n)
        if not (component & true).any():
            false_voxels += int(component.sum())
    found, right = set(), set()
    both = true & predicted
    for n, m in {*zip(one[both].tolist(), other[both].tolist(), strict=True)}:
        a, b = one == n, other == m
        if (a & b).sum() / (a | b).sum() >= 0.1:
            found.add(n)
            right.add(m)
    f1 = 2 * len(found) / (len(found) + count + others - len(right))
    dice = 2 * both.sum() / (true.sum() + predicted.sum())
    return {"dice": float(dice), "fpv": false_voxels * ml, "fnv": missed_voxels * ml, "dmm": f1}


def ours(true: Mask, predicted: Mask, ml: float) -> dict[str, float]:
    overlap = lesion_overlap(Volume(true, AFFINE, "label"), Volume(predicted, AFFINE, "label"))
    return {
        "dice": overlap.dice,
        "fpv": overlap.false_positive_volume,
        "fnv": overlap.false_negative_volume,
        "dmm": overlap.dmm,
    }


def cpu_seconds(call: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """The least of several runs, and the result."""
    taken = []
    for _ in range(repeats):
        began = time.process_time()
        result = call()
        taken.append(time.process_time() - began)
    return min(taken), result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", type=int, nargs=3, default=(400, 400, 326))
    parser.add_argument("--lesions", type=int, nargs="+", default=(1, 10, 100))
    parser.add_argument("--repeats", type=int, default=3, help="of ours; the loop runs once")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    ml = Volume(np.zeros((1, 1, 1)), AFFINE, "label").voxel_volume_ml
    ours(*scene((60, 60, 60), 1, rng), ml)  # the first call pays for imports
    for lesions in options.lesions:
        true, predicted = scene(tuple(options.shape), lesions, rng)
        fast, mine = cpu_seconds(lambda t=true, p=predicted: ours(t, p, ml), options.repeats)
        slow, theirs = cpu_seconds(lambda t=true, p=predicted: looped(t, p, ml), 1)
        assert all(np.isclose(mine[name], theirs[name]) for name in theirs), (mine, theirs)
        line = {"lesions": lesions, "ours_cpu_s": round(fast, 3), "loop_cpu_s": round(slow, 3)}
        figures = {name: round(value, 4) for name, value in mine.items()}
        print(json.dumps({**line, "ratio": round(slow / fast, 1), **figures}), flush=True)


if __name__ == "__main__":
    main()
