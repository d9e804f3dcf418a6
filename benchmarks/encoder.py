"""How long a SegAny encode and a click take: `python benchmarks/encoder.py [--json]`; needs no data.

The released (padded) and the folded encoder run in turns, so that other work on the machine slows both; the
ratio is that of their best times. It exits with 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable

import torch

from anypet.models.segany import SegAny, SegAnyNetwork
from anypet.prompts import WindowPrompts

RATIO = 5.0  # at least: padded / folded encode
CLICK_MS = 100.0  # at most: median of one click


def seconds(call: Callable[[], object]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def random_network() -> SegAnyNetwork:
    """A network whose biases and relative positions are not zero, as trained ones are not."""
    torch.manual_seed(0)
    network = SegAnyNetwork()
    for name, parameter in network.named_parameters():
        if "rel_pos" in name or name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    return network


def measure(device: str, repeats: int, clicks: int) -> dict[str, float | int | str]:
    """Runs both encoders and `clicks` decodes -> milliseconds, their ratio and their largest difference."""
    network = random_network()
    model = SegAny(network, device)
    image = torch.rand(1, 1, 128, 128, 128, generator=torch.Generator().manual_seed(0))

    def encode(fast: bool) -> torch.Tensor:
        network.image_encoder.fast = fast
        return model.encode(image, 1.5).tensors[0]

    error = (encode(True) - encode(False)).abs().max().item()  # warms both up
    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(repeats):
        times[False].append(seconds(lambda: encode(False)))
        times[True] += [seconds(lambda: encode(True)) for _ in range(3)]

    network.image_encoder.fast = True
    embedding = model.encode(image, 1.5)
    generator = torch.Generator().manual_seed(1)
    points = (torch.rand(clicks, 3, generator=generator) * 128).double().numpy()
    logits, decodes = None, []
    for n in range(clicks):
        shown = points[: n % 10 + 1]
        prompts = WindowPrompts(shown, (shown[:, 0] > 40).astype(int))
        start = time.perf_counter()
        logits = model.decode(embedding, prompts, logits).cpu()  # a user waits until it is on the CPU
        decodes.append(time.perf_counter() - start)
    return {
        "device": device,
        "threads": torch.get_num_threads(),
        "padded_encode_ms": 1e3 * min(times[False]),
        "folded_encode_ms": 1e3 * min(times[True]),
        "folded_encode_median_ms": 1e3 * statistics.median(times[True]),
        "ratio": min(times[False]) / min(times[True]),
        "largest_difference": error,
        "click_median_ms": 1e3 * statistics.median(decodes),
        "click_best_ms": 1e3 * min(decodes),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--clicks", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure(options.device, options.repeats, options.clicks)
    met = result["ratio"] >= RATIO and result["click_median_ms"] <= CLICK_MS  # type: ignore[operator]
    if options.json:
        print(json.dumps({**result, "met": met}, indent=2))
    else:
        for key, value in result.items():
            print(f"{key:26}{value:>12.4g}" if isinstance(value, float) else f"{key:26}{value:>12}")
        print(f"targets (ratio >= {RATIO:g}, click <= {CLICK_MS:g} ms): {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
