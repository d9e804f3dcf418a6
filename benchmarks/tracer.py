"""How often the tracer discriminator is right: simulated scans of anatomies that it was not trained on.

Each anatomy is simulated once with FDG and once with PSMA and shown whole, without head and neck, and as the
lower half. "Unsure" answers, of which both tracers' networks are used, count as wrong in the accuracy and
have a column of their own. Real scans in SUVbw can be named beside them.

    python benchmarks/tracer.py --anatomies 40 --real ../shared/data/sts_001_wholebody/PET
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import anypet
from anypet.evaluation.cases import simulated_cases
from anypet.evaluation.statistics import bootstrap
from anypet.lesions.discriminator import guess_tracer, load_discriminator
from anypet.volume import Volume

VIEWS = {"whole": (0.0, 1.0), "without head and neck": (0.0, 0.75), "lower half": (0.0, 0.5)}


def part(pet: Volume, share: tuple[float, float]) -> Volume:
    """Slices of a scan stored along R, A, S, as shares of its height from the feet."""
    n = pet.shape[2]
    return pet.with_array(pet.array[:, :, round(share[0] * n) : round(share[1] * n)])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--anatomies", type=int, default=40)
    parser.add_argument("--split", default="test", choices=("test", "validation"))
    parser.add_argument("--data", type=Path, help="folder with anatomy/ (else ANYPET_DATA)")
    parser.add_argument("--weights", type=Path, help="in place of the packaged ones")
    parser.add_argument("--real", type=Path, nargs="*", default=[], help="scans to say the tracer of")
    options = parser.parse_args()
    net = load_discriminator(options.weights)
    right: dict[str, dict[str, list[bool]]] = {v: {"FDG": [], "PSMA": []} for v in VIEWS}
    unsure = dict.fromkeys(VIEWS, 0)
    for tracer in ("FDG", "PSMA"):
        for case in simulated_cases(options.data, options.split, options.anatomies, 1, tracer):
            pet = case.load().pet
            for view, share in VIEWS.items():
                guess = guess_tracer(part(pet, share), net)
                right[view][tracer].append(guess.tracer == tracer)
                unsure[view] += not guess.tracer
    print("| view | n | balanced accuracy | FDG | PSMA | unsure |\n|---|---|---|---|---|---|")
    for view, by_tracer in right.items():
        fdg, psma = (np.array(v, dtype=float) for v in by_tracer.values())
        found = bootstrap({str(n): float(v) for n, v in enumerate((fdg + psma) / 2)})  # an anatomy a patient
        print(
            f"| {view} | {2 * len(fdg)} | {found.mean:.3f} [{found.low:.3f}, {found.high:.3f}] "
            f"| {fdg.mean():.3f} | {psma.mean():.3f} | {unsure[view]} |"
        )
    for path in options.real:
        print(f"{path}: {guess_tracer(anypet.read(path), net)}")


if __name__ == "__main__":
    main()
