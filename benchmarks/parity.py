"""How far our SegAnyPET is from outputs of the released code: the embedding, and masks after its own clicks.

    python benchmarks/parity.py FOLDER [--json]

FOLDER holds `vit_b_ori_outputs.npz` and `fill.py`, which makes its weights and image again. The weights are
drawn by chance, and make attention so sharp that rounding of 1e-5 in the embedding moves a logit by up to
0.1, in the released code as in ours. So the encoder is run twice: in the released order of operations, with
the kernels that the outputs were made with (AVX2, two threads), where nothing is rounded otherwise; and
folded, as it is used. Each mask is decoded from the stored mask of the step before. It exits with 1 where the
released order differs by more than 0.001.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

# read once, when torch and its libraries are loaded
KERNELS = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
THREADS = 2
TOLERANCE = 1e-3
# mask -> the clicks shown, and the mask of the step before
MASKS: dict[str, tuple[slice, str]] = {
    "mask_1_click": (slice(0, 1), ""),
    "mask_2_clicks_prev": (slice(0, 2), "mask_1_click"),
    "mask_3_clicks_prev": (slice(0, 3), "mask_2_clicks_prev"),
    "mask_prompt_only": (slice(0, 0), "mask_3_clicks_prev"),
    "mask_last_click_only": (slice(2, 3), ""),
}


def differences(folder: Path) -> dict[str, dict[str, float]]:
    """Way of encoding -> output -> largest absolute difference, by the kernels of this process."""
    import numpy as np
    import torch

    from anypet.models.segany import SegAnyNetwork
    from anypet.models.weights import load_strictly

    torch.set_num_threads(THREADS)
    spec = importlib.util.spec_from_file_location("parity_fill", folder / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    fill = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fill)
    network = SegAnyNetwork().eval()
    weights = fill.fill(network.state_dict())
    load_strictly(network, {key: torch.from_numpy(value) for key, value in weights.items()}, "segany")
    with np.load(folder / "vit_b_ori_outputs.npz") as stored:
        wanted = {key: torch.from_numpy(stored[key]) for key in stored}
    points, labels = wanted["points"].float()[None], wanted["labels"].long()[None]
    found: dict[str, dict[str, float]] = {}
    for way in ("released order", "folded"):
        network.image_encoder.fast = way == "folded"
        with torch.inference_mode():
            embedding = network.encode(torch.from_numpy(fill.image()))
            outputs = {"image_embedding": embedding}
            for key, (shown, before) in MASKS.items():
                previous = wanted[before] if before else torch.zeros(1, 1, 32, 32, 32)
                outputs[key] = network.decode(embedding, points[:, shown], labels[:, shown], previous)
        found[way] = {key: float((out - wanted[key]).abs().max()) for key, out in outputs.items()}
    return found


def in_kernels_of_the_reference(folder: Path) -> dict[str, dict[str, float]]:
    """`differences` in a process of its own, with the kernels that the outputs were made with."""
    words = [sys.executable, str(Path(__file__).resolve()), str(folder), "--inside"]
    done = subprocess.run(words, env={**os.environ, **KERNELS}, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        print(json.dumps(differences(options.folder)))
        return
    found = in_kernels_of_the_reference(options.folder)
    if options.json:
        print(json.dumps(found))
    else:
        print("| largest difference | " + " | ".join(found) + " |\n|---|" + "---|" * len(found))
        for key in next(iter(found.values())):
            print(f"| {key} | " + " | ".join(f"{found[way][key]:.1e}" for way in found) + " |")
    sys.exit(max(found["released order"].values()) > TOLERANCE)


if __name__ == "__main__":
    main()
