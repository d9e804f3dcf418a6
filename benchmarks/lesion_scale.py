"""Whole-body lesions on scans of 1 to 100 million voxels: time, peak memory, and that nothing is NaN.

Each size runs in a process of its own, with PET and CT in memory (8 bytes a voxel of the figure), with twenty
clicks, tracer and organs asked for, and without mirroring.

    python benchmarks/lesion_scale.py [--shape 400 400 326] [--weights FILE]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from anypet.lesions.click_files import LesionClicks
from anypet.lesions.pipeline import find_lesions, load_nets
from anypet.volume import Volume

SHAPES = ((100, 100, 100), (200, 200, 250), (400, 400, 326), (464, 464, 464))
BODY_MM = (700.0, 700.0, 1100.0)  # field of view of every size: bigger scans are finer


def body(shape: tuple[int, int, int]) -> tuple[Volume, Volume, LesionClicks]:
    """A body of SUV 1 with ten hot balls, its CT, and a click in each ball and ten beside them."""
    spacing = np.array(BODY_MM) / shape
    affine = np.diag([*spacing, 1.0])
    x, y, z = (s * np.arange(n) - m / 2 for s, n, m in zip(spacing, shape, BODY_MM, strict=True))
    pet, ct = np.zeros(shape, np.float32), np.full(shape, -1000, np.float32)
    outline = (x[:, None] / 200) ** 2 + (y[None, :] / 130) ** 2 < 1
    inside = np.flatnonzero(np.abs(z) < 500)
    noise = np.random.default_rng(0).gamma(20, 1 / 20, shape[:2]).astype(np.float32)
    for k in inside:
        pet[:, :, k][outline], ct[:, :, k][outline] = noise[outline], 40
    balls = [((-1) ** n * 80.0, 20.0, -400.0 + 85 * n) for n in range(10)]
    tumour, background = [], []
    for ball in balls:
        at = [int(np.argmin(np.abs(axis - c))) for axis, c in zip((x, y, z), ball, strict=True)]
        reach = [int(12 / s) + 1 for s in spacing]
        box = tuple(slice(max(0, a - r), a + r + 1) for a, r in zip(at, reach, strict=True))
        far = sum(
            (axis[s].reshape([-1 if n == d else 1 for n in range(3)]) - c) ** 2
            for d, (axis, s, c) in enumerate(zip((x, y, z), box, ball, strict=True))
        )
        pet[box][far < 12**2] = 9.0
        tumour.append((at[0], at[1], at[2]))
        background.append((at[0], at[1] - int(60 / spacing[1]), at[2]))
    scan = Volume(pet, affine, "SUVbw"), Volume(ct, affine, "HU")
    return *scan, LesionClicks(tuple(tumour), tuple(background))


def one(shape: tuple[int, int, int], weights: list[Path]) -> None:
    """Prints a line of the table for one size."""
    pet, ct, clicks = body(shape)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    found = find_lesions(pet, ct, clicks, organs=True, mirror=0, nets=load_nets(weights))
    seconds = time.perf_counter() - started
    assert np.isfinite(found.probability).all(), "probabilities that are not finite"
    hit = sum(bool(found.mask[c]) for c in clicks.tumour)
    gib = [v / 2**20 for v in (before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)]
    size = " x ".join(map(str, shape))
    print(
        f"| {size} | {np.prod(shape) / 1e6:.0f} | {seconds:.1f} | {gib[1]:.1f} ({gib[0]:.1f} before) "
        f"| {hit} of 10 |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", type=int, nargs=3, help="one size alone, in this process")
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="in place of the packaged ones")
    options = parser.parse_args()
    if options.shape:
        one(tuple(options.shape), options.weights)
        return
    print("| voxels | million | seconds | peak memory (GiB) | clicked balls found |", flush=True)
    print("|---|---|---|---|---|", flush=True)
    for shape in SHAPES:
        words = ["--shape", *map(str, shape)]
        if options.weights:
            words += ["--weights", *map(str, options.weights)]
        subprocess.run([sys.executable, __file__, *words], check=True)


if __name__ == "__main__":
    main()
