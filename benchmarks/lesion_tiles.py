"""Whether a time limit is kept on the real clock: scans of three sizes, limits that force 0 to 3 mirror axes.

    python benchmarks/lesion_tiles.py [--window 48] [--threads 2] [--tile-seconds 0.1]

A convolution is repeated until a tile takes about `--tile-seconds`, so that a pass takes seconds. Limits are
1.5, 3, 6 and 10 times what one pass takes on this machine beforehand; the ratio is time used over the limit.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
import torch

from anypet.lesions.depth import Depth
from anypet.lesions.tiles import from_arrays, sliding_window, tile_scan

SHAPES = ((96, 96, 120), (120, 120, 200), (144, 144, 300))


def network(window: int, seconds: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """A convolution with as many repeats as take the seconds."""
    conv = torch.nn.Conv3d(2, 2, 3, padding=1)
    batch = torch.zeros(1, 2, window, window, window)
    with torch.inference_mode():
        conv(batch)
        started = time.perf_counter()
        for _ in range(5):
            conv(batch)
        once = (time.perf_counter() - started) / 5
    repeats = max(1, round(seconds / once))

    def forward(batch: torch.Tensor) -> torch.Tensor:
        for _ in range(repeats):
            batch = conv(batch)
        return batch

    return forward


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--window", type=int, default=48)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tile-seconds", type=float, default=0.1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    forward = network(options.window, options.tile_seconds)
    rows = []
    for shape in SHAPES:
        window = (options.window,) * 3
        cut = from_arrays(*np.zeros((2, *shape), np.float32))
        started = time.perf_counter()
        sliding_window(cut, shape, forward, window=window)
        one_pass = time.perf_counter() - started
        for factor in (1.5, 3.0, 6.0, 10.0):
            depth = Depth(factor * one_pass)
            sliding_window(cut, shape, forward, window=window, depth=depth)
            report = depth.report()
            rows.append(
                {
                    "shape": shape,
                    "tiles": len(tile_scan(shape, window)),
                    "limit_s": round(report.limit_s, 2),
                    "axes": report.axes,
                    "passes": report.passes,
                    "used_over_limit": round(report.used_s / report.limit_s, 3),
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    print(json.dumps({"largest_used_over_limit": max(row["used_over_limit"] for row in rows)}))


if __name__ == "__main__":
    main()
