"""What is added to the logits of each organ before the likeliest one is taken, chosen on simulated scans.

In training rare classes count more than their voxels, so that they are learned at all; taken as they come,
the likeliest classes are then too large for some organs, and glands are never the likeliest. One number a
class (left and right share it) is chosen for the highest mean DSC over organs, with and without the CT, by
going through the classes and keeping every step that helps. Half of the scans choose and the other half tell
what that is worth; then all choose, and with -o the numbers are added to the biases of the organ head's last
layer in a copy of the weights. Do this after every training.

    python benchmarks/organ_bias.py --weights runs/les/weights.safetensors -o new.safetensors
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from anypet.lesions.click_files import LesionClicks
from anypet.lesions.depth import Depth
from anypet.lesions.network import load_net
from anypet.lesions.pipeline import load_nets, prepare
from anypet.lesions.twins import told_by_side
from anypet.models.weights import load_weights, save_safetensors
from anypet.training.lesions.scans import simulated_scan
from anypet.volume import Volume
from lesion_protocol import Job, jobs_of
from words import LEAST_ML

STEPS = ((-2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 3.0), (-0.5, -0.25, 0.25, 0.5), (-0.25, 0.25))
FLOOR = 0.02  # voxels where no organ is likelier than this, and none is, stay background


@dataclass(frozen=True, eq=False)
class Sweep:
    """One look at one scan, of its voxels that may be an organ.

    Args:
        log_p: float16 (1 + organs, n).
        truth: uint8 (n,).
        voxel_ml: of the grid.
    """

    log_p: np.ndarray
    truth: np.ndarray
    voxel_ml: float


def one_scan(job: Job) -> list[Sweep]:
    """With the CT, and from the PET alone."""
    anatomy, seed, tracer, options = job
    torch.set_num_threads(max(1, options.threads))
    scan = simulated_scan(anatomy, seed, (tracer,), empty_share=0.1)
    pet = Volume(np.asarray(scan.pet, np.float32), scan.affine, "SUVbw")
    ct = Volume(np.asarray(scan.ct, np.float32), scan.affine, "HU")
    nets, sweeps = load_nets(options.weights), []
    for hu in (ct, None):
        finder = prepare(pet, hu, tracer=tracer, organs=True, nets=nets)
        finder.sweep(LesionClicks(), Depth(3600, 0))
        truth = np.zeros(finder.grid.shape, np.uint8)
        for number in range(1, len(scan.names) + 1):
            organ = pet.with_array((np.asarray(scan.organs) == number).astype(np.float32))
            truth[finder.grid.take(organ) >= 0.5] = number
        p = np.stack(told_by_side(finder._maps[1:], finder.config.organs)).astype(np.float32)
        near = (p[1:].max(0) > FLOOR) | (truth > 0)
        log_p = np.log(np.maximum(p[:, near], 1e-6)).astype(np.float16)
        sweeps.append(Sweep(log_p, truth[near], float(np.prod(finder.grid.spacing)) / 1000))
    return sweeps


def dice(bias: np.ndarray, sweeps: list[Sweep]) -> dict[int, list[float]]:
    """Organ -> DSC in each sweep that holds more than a rest of it."""
    found: dict[int, list[float]] = {}
    k = len(bias)
    for sweep in sweeps:
        label = (sweep.log_p.astype(np.float32) + bias[:, None]).argmax(0)
        counts = np.bincount(sweep.truth.astype(np.int64) * k + label, minlength=k * k).reshape(k, k)
        for organ in range(1, k):
            true = counts[organ].sum()
            if true * sweep.voxel_ml >= LEAST_ML:
                value = 2 * counts[organ, organ] / (true + counts[:, organ].sum())
                found.setdefault(organ, []).append(float(value))
    return found


def mean(found: dict[int, list[float]]) -> float:
    """Over organs, each counting once."""
    return float(np.mean([np.mean(values) for values in found.values()]))


def choose(sweeps: list[Sweep], groups: list[list[int]]) -> np.ndarray:
    """The number of each class; classes of a group share it."""
    bias = np.zeros(len(sweeps[0].log_p))
    best = mean(dice(bias, sweeps))
    for steps in STEPS:
        for group in groups:
            start = bias
            for step in steps:
                tried = start.copy()
                tried[group] += step
                if (value := mean(dice(tried, sweeps))) > best:
                    best, bias = value, tried
    return bias


def write(source: Path, target: Path, bias: np.ndarray) -> None:
    """A copy of weights with the numbers added to the last layer of the organ head."""
    tensors, metadata = load_weights(source)
    key = f"organ_layers.{len(load_net(weights=source).organ_layers) - 1}.bias"
    tensors[key] = tensors[key] + torch.from_numpy(bias).to(tensors[key].dtype)
    save_safetensors(tensors, target, metadata, half=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scans", type=int, default=12)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--data", type=Path, help="folder with anatomy/ (else ANYPET_DATA)")
    parser.add_argument("--weights", type=Path, nargs=1, required=True)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    parser.add_argument("-o", "--output", type=Path, help="weights to write")
    options = parser.parse_args()
    jobs = jobs_of(options, "validation", 80_000)
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        scans = list(pool.map(one_scan, jobs))
    names = ("background", *load_net(weights=options.weights[0]).config.organs)
    kinds = [name.removeprefix("left ").removeprefix("right ") for name in names]
    groups = [[n for n, other in enumerate(kinds) if other == kind] for kind in dict.fromkeys(kinds)]
    none = np.zeros(len(names))
    every = [sweep for scan in scans for sweep in scan]
    half, other = ([sweep for scan in scans[n::2] for sweep in scan] for n in (0, 1))
    before, after = (mean(dice(bias, other)) for bias in (none, choose(half, groups)))
    print(f"scans that did not choose: {before:.3f} to {after:.3f}")
    chosen = choose(every, groups)
    found = [dice(bias, every) for bias in (none, chosen)]
    print(
        f"| {len(scans)} validation scans, CT or none | added | DSC before | DSC after |\n|---|---|---|---|"
    )
    for n, name in enumerate(names):
        cells = [f"{np.mean(values[n]):.3f}" if n in values else "" for values in found]
        print(f"| {name} | {chosen[n]:+.2f} | {' | '.join(cells)} |")
    print(f"| mean over organs | | {mean(found[0]):.3f} | {mean(found[1]):.3f} |")
    if options.output:
        write(options.weights[0], options.output, chosen)
        print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
