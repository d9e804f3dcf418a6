"""The probability above which a voxel is called lesion, chosen on simulated validation scans.

Each scan is looked at with no click and with the challenge's first ten of either kind; Dice after clean-up is
averaged over scans for each threshold. The highest one whose mean over both is within `AS_GOOD` of the best
is told, and with -o written into a copy of the weights: Dice hardly says where between 0.3 and 0.6, false
volume does. Scans without lesions have no Dice; how many millilitres are found in them is told.

    python benchmarks/lesion_threshold.py --weights runs/les/weights.safetensors -o new.safetensors
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from anypet.lesions.clean_up import DEFAULT_RULE, clean_up
from anypet.lesions.pipeline import find_lesions, load_nets
from anypet.models.weights import copy_with_metadata
from lesion_protocol import Job, jobs_of, simulated_case

LEVELS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
CLICKS = (0, 10)
AS_GOOD = 0.005  # of Dice; far below what scans so few can tell apart


def one_scan(job: Job) -> tuple[str, np.ndarray, np.ndarray]:
    """Name, Dice (clicks, levels) and millilitres found (clicks, levels)."""
    anatomy, seed, tracer, options = job
    torch.set_num_threads(options.threads)
    case = simulated_case(anatomy, seed, tracer)
    pet, truth = case.pet, case.truth.array > 0
    nets = load_nets(options.weights)
    dice, found_ml = np.full((2, len(CLICKS), len(LEVELS)), np.nan)
    for row, count in enumerate(CLICKS):
        clicks = case.clicks.first(count)
        found = find_lesions(pet, case.ct, clicks, nets=nets, mirror=options.mirror, clean=False)
        for column, level in enumerate(LEVELS):
            args = (found.probability > level, pet.array, pet.spacing, clicks.tumour, clicks.background)
            mask = clean_up(*args, rule=DEFAULT_RULE)[0]
            found_ml[row, column] = mask.sum() * pet.voxel_volume_ml
            if truth.any():
                dice[row, column] = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
    return case.name, dice, found_ml


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scans", type=int, default=12)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--data", type=Path, help="folder with anatomy/ (else ANYPET_DATA)")
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="in place of the packaged ones")
    parser.add_argument("--mirror", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    parser.add_argument(
        "-o", "--output", type=Path, help="weights to write, the first ones with the threshold"
    )
    options = parser.parse_args()
    jobs = jobs_of(options, "validation", 80_000)
    rows = []
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        for name, dice, found_ml in pool.map(one_scan, jobs):
            print(name, " ".join(f"{value:.2f}" for value in dice.ravel()), flush=True)
            rows.append((dice, found_ml))
    with_lesions = np.array([dice for dice, _ in rows if np.isfinite(dice).all()])
    without = np.array([found_ml for dice, found_ml in rows if not np.isfinite(dice).all()])
    print(
        f"| {len(with_lesions)} scans with lesions, {len(without)} without | " + " | ".join(map(str, LEVELS))
    )
    print("|---" * (len(LEVELS) + 1) + "|")
    for row, count in enumerate(CLICKS):
        print(f"| Dice, {count} clicks | " + " | ".join(f"{v:.3f}" for v in with_lesions.mean(0)[row]) + " |")
        if len(without):
            print(f"| mL in scans without, {count} clicks | "
                  + " | ".join(f"{v:.1f}" for v in without.mean(0)[row]) + " |")  # fmt: skip
    means = with_lesions.mean((0, 1))
    best = max(level for level, mean in zip(LEVELS, means, strict=True) if mean >= means.max() - AS_GOOD)
    print(f"chosen: {best}")
    if options.output:
        config = {**load_nets(options.weights)[0].config.to_dict(), "threshold": best}
        source = options.weights[0] if options.weights else None
        if source is None:
            parser.error("-o needs --weights, whose copy is written")
        copy_with_metadata(source, options.output, {"config": json.dumps(config)})
        print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
