"""How long a click takes: median time of first and further clicks on a whole-body PET.

    python benchmarks/clicks.py [--scan PATH] [--model NAME] [--weights FILE] [--threads 2] [--clicks 10]

Without a scan, a synthetic whole body of 200 x 200 x 350 voxels of 4 x 4 x 3 mm is made, with spheres of 8 to
80 mm. Every object gets one click and three corrections at random places near it; a seed repeats the clicks.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anypet.io import read
from anypet.models.registry import load_model
from anypet.session import Session
from anypet.volume import Volume


def synthetic(rng: np.random.Generator, shape: tuple[int, int, int] = (200, 200, 350)) -> Volume:
    """A body of SUV 1 with noise and 24 spheres of SUV 3 to 15."""
    array = rng.normal(0.02, 0.02, shape).astype(np.float32)
    grid = np.ogrid[tuple(slice(n) for n in shape)]
    body = (
        sum(((g - n / 2) / (n * f)) ** 2 for g, n, f in zip(grid, shape, (0.25, 0.17, 0.49), strict=True)) < 1
    )
    array[body] += rng.normal(1.0, 0.15, int(body.sum())).astype(np.float32)
    spacing = np.array([4.0, 4.0, 3.0])
    for _ in range(24):
        centre = np.array(shape) * (0.5 + rng.uniform(-1, 1, 3) * (0.14, 0.08, 0.4))
        radius = rng.uniform(4, 40)
        distance = sum(((g - c) * s) ** 2 for g, c, s in zip(grid, centre, spacing, strict=True))
        array[distance < radius**2] = rng.uniform(3, 15)
    return Volume(np.clip(array, 0, None), np.diag([*spacing, 1.0]), "SUVbw")


def places(scan: Volume, rng: np.random.Generator, count: int) -> list[tuple[int, int, int]]:
    """Voxels in the body, half of them on hot places."""
    warm, hot = (np.argwhere(scan.array[::2, ::2, ::2] > level) * 2 for level in (0.5, 2.5))
    pools = [pool for pool in (hot, warm) if len(pool)]
    picks = [pools[n % len(pools)] for n in range(count)]
    return [tuple(int(x) for x in pool[rng.integers(len(pool))]) for pool in picks]  # type: ignore[misc]


def measure(session: Session, scan: Volume, rng: np.random.Generator, count: int) -> dict[str, Any]:
    first, further, windows = [], [], []
    limit = np.array(scan.shape) - 1
    for n, voxel in enumerate(places(scan, rng, count + 1)):
        session.new_object(f"object {n}")
        started = time.perf_counter()
        session.add_point(voxel)
        took = time.perf_counter() - started
        if n == 0:
            continue  # the first call pays for warming up
        first.append(took)
        for _ in range(3):
            near = np.clip(np.array(voxel) + rng.integers(-6, 7, 3), 0, limit)
            started = time.perf_counter()
            session.add_point(near, positive=False)
            further.append(time.perf_counter() - started)
        windows.append(sum(len(group.tiles) for group in session.selected.current.groups))
        session.remove(f"object {n}")
    return {
        "first_click_s": round(statistics.median(first), 3),
        "first_click_worst_s": round(max(first), 3),
        "further_click_s": round(statistics.median(further), 3),
        "further_click_worst_s": round(max(further), 3),
        "windows": statistics.mean(windows),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scan", type=Path)
    parser.add_argument("--unit")
    parser.add_argument("--model", default="default")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clicks", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rng = np.random.default_rng(options.seed)
    scan = read(options.scan, unit=options.unit) if options.scan else synthetic(rng)
    model = load_model(options.model, weights=options.weights, device=options.device)
    result = measure(Session(scan, model), scan, rng, options.clicks)
    head = {"scan": str(options.scan or "synthetic"), "shape": scan.shape, "model": options.model}
    print(json.dumps({**head, "device": options.device, "threads": options.threads, **result}, indent=2))


if __name__ == "__main__":
    main()
