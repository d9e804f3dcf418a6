"""How much memory a session takes: peak resident memory of three clicks on a total-body scan.

    python benchmarks/memory.py [--shape 400 400 1000] [--model NAME | --no-model]

The scan is float32 (640 MB at 400 x 400 x 1000), 1.65 x 1.65 x 2 mm. With --no-model a threshold takes the
network's place, so that what the session itself needs is seen: lesions, an object over many windows, a save.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anypet.models.base import Anchor, Embedding, ModelSpec, PromptableModel
from anypet.prompts import WindowPrompts
from anypet.session import Session
from anypet.volume import Volume


class Threshold(PromptableModel):
    """Stands in for a network: voxels of at least 70 % of the anchor's SUV."""

    spec = ModelSpec("threshold", (64, 64, 64), (2.0, 8.0), True, frozenset({"point", "mask"}))

    def encode(self, image: torch.Tensor, spacing: float, anchor: Anchor | None = None) -> Embedding:
        assert anchor is not None
        return Embedding((8 * (image / max(anchor.suv, 1e-3) - 0.7),))

    def decode(
        self, embedding: Embedding, prompts: WindowPrompts, previous_logits: torch.Tensor | None = None
    ) -> torch.Tensor:
        return embedding.tensors[0]


def peak_mb() -> float:
    """Peak resident memory of this process in MB (Linux counts in KiB)."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def total_body(shape: tuple[int, int, int]) -> Volume:
    """A body of SUV 1 with two lesions of SUV 8; made plane by plane."""
    array = np.zeros(shape, np.float32)
    x, y = np.ogrid[: shape[0], : shape[1]]
    outline = ((x - shape[0] / 2) / (0.3 * shape[0])) ** 2 + ((y - shape[1] / 2) / (0.2 * shape[1])) ** 2 < 1
    for k in range(int(0.02 * shape[2]), int(0.98 * shape[2])):
        array[:, :, k][outline] = 1.0
    i, j, k = (n // 2 for n in shape)
    array[i - 6 : i + 6, j - 6 : j + 6, k - 6 : k + 6] = 8.0
    array[i - 6 : i + 6, j - 6 : j + 6, k // 2 - 6 : k // 2 + 6] = 8.0
    return Volume(array, np.diag([1.65, 1.65, 2.0, 1.0]), "SUVbw")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", type=int, nargs=3, default=(400, 400, 1000))
    parser.add_argument("--model", default="default")
    parser.add_argument("--no-model", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shape = tuple(options.shape)
    told: dict[str, Any] = {"shape": shape, "start_mb": peak_mb()}
    scan = total_body(shape)
    told["scan_mb"] = peak_mb()
    session = Session(scan, Threshold() if options.no_model else options.model)
    i, j, k = (n // 2 for n in shape)
    steps = {"lesion": (i, j, k), "far_lesion": (i, j, k // 2), "body": (i, j - shape[1] // 8, k)}
    for name, voxel in steps.items():
        session.new_object(name)
        started = time.perf_counter()
        session.add_point(voxel)
        told[name] = {"peak_mb": peak_mb(), "seconds": round(time.perf_counter() - started, 2)}
        told[name]["volume_ml"] = round(session.selected.volume_ml, 1)
    assert session.labels.array.any()
    assert session.suggest_point() is not None or session.uncertainty.size
    told["labels_and_uncertainty"] = {"peak_mb": peak_mb()}
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        size = session.save(Path(folder) / "work.anypet").stat().st_size
        told["save"] = {"peak_mb": peak_mb(), "seconds": round(time.perf_counter() - started, 1)}
        told["save"]["file_mb"] = round(size / 2**20)
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
