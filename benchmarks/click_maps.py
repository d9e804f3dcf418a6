"""How long a click map takes: a whole-body grid with 20 clicks, against a whole-volume filter for each click.

    python benchmarks/click_maps.py [--shape 400 400 326] [--clicks 20] [--whole 2]

Half of the clicks are on tumour. The whole-volume way is timed on `--whole` of them and scaled up: it filters
the scan once for each tumour click and once for all of the background.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
from scipy import ndimage

from anypet.lesions.click_maps import distance_map, gaussian_map

SPACING = (2.0364, 2.0364, 3.0)


def seconds(run: Callable[[], object], repeats: int = 3) -> float:
    """The best of a few runs."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", type=int, nargs=3, default=(400, 400, 326))
    parser.add_argument("--clicks", type=int, default=20)
    parser.add_argument("--whole", type=int, default=2)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    shape = tuple(options.shape)
    suv = rng.random(shape, dtype=np.float32) * 6
    clicks = rng.integers(0, shape, (options.clicks, 3))
    tumour, background = clicks[::2], clicks[1::2]

    def whole_volume() -> None:
        delta = np.zeros(shape, np.float32)
        delta[tuple(tumour[0])] = 1
        local = ndimage.gaussian_filter(delta, 7.0 / np.array(SPACING))
        local[suv < 3] = 0

    ours = seconds(lambda: gaussian_map(suv, SPACING, tumour, background))
    distance = seconds(lambda: distance_map(suv, SPACING, tumour, background))
    filtered = seconds(whole_volume, options.whole) * (len(tumour) + 1)
    result = {
        "shape": shape,
        "clicks": len(clicks),
        "gaussian_s": round(ours, 3),
        "distance_s": round(distance, 3),
        "whole_volume_s": round(filtered, 2),
        "times_faster": round(filtered / ours, 1),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
