"""autoPET IV's eleven steps on simulated scans of unseen anatomies, and what each part is worth.

Every scan gets the challenge's clicks, then the pipeline is run with the first 0, 1, ... 10 of either kind:
the whole method; without clean-up (the network's mask as it is); without the click channel (the network sees
no click, clean-up does); and, where such weights are named, with a network trained without the organ head.
Half of the scans are FDG, half PSMA, told apart by the discriminator. All of it is simulated.

    python benchmarks/lesion_protocol.py --scans 16 --workers 2 -o lesion_protocol
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from anypet.autopet.protocol import ProtocolCase, Step, run_case, step_means
from anypet.autopet.report import write_report
from anypet.autopet.simulate import simulate_clicks
from anypet.evaluation.cases import data_folder
from anypet.lesions.clean_up import DEFAULT_RULE, clean_up
from anypet.lesions.click_files import LesionClicks
from anypet.lesions.finder import LesionResult
from anypet.lesions.pipeline import find_lesions, load_nets
from anypet.simulate import anatomy_split
from anypet.simulate.anatomy import patient_of
from anypet.training.lesions.scans import simulated_scan
from anypet.volume import Volume

SHOWN = (0, 1, 3, 5, 10)
TRACERS = ("FDG", "PSMA")
Job = tuple[Path, int, str, argparse.Namespace]


class Method:
    """The pipeline on one case; sweeps are kept, so that what differs in clean-up alone costs no second."""

    def __init__(self, case: ProtocolCase, weights: list[Path], mirror: int) -> None:
        self.case, self.nets, self.mirror = case, load_nets(weights), mirror
        self.masks: dict[LesionClicks, np.ndarray] = {}

    def raw(self, clicks: LesionClicks) -> np.ndarray:
        """The network's mask."""
        if clicks not in self.masks:
            found: LesionResult = find_lesions(
                self.case.pet, self.case.ct, clicks, nets=self.nets, mirror=self.mirror, clean=False
            )
            self.masks[clicks] = found.mask
        return self.masks[clicks]

    def cleaned(self, mask: np.ndarray, clicks: LesionClicks) -> np.ndarray:
        pet = self.case.pet
        args = (mask, pet.array, pet.spacing, clicks.tumour, clicks.background)
        return clean_up(*args, rule=DEFAULT_RULE)[0]


def jobs_of(options: argparse.Namespace, split: str, first: int) -> list[Job]:
    """Anatomies of a split in an order drawn with the seed, each with a seed and, in turn, a tracer."""
    anatomies = anatomy_split(sorted((data_folder(options.data) / "anatomy").glob("*.nii.gz")))[split]
    order = np.random.default_rng(options.seed).permutation(len(anatomies))[: options.scans]
    start = first + 1000 * options.seed
    return [(anatomies[i], start + n, TRACERS[n % 2], options) for n, i in enumerate(order)]


def simulated_case(anatomy: Path, seed: int, tracer: str) -> ProtocolCase:
    """A scan as the network is trained on, with the challenge's clicks."""
    scan = simulated_scan(anatomy, seed, (tracer,), empty_share=0.1)
    pet = Volume(np.asarray(scan.pet, np.float32), scan.affine, "SUVbw")
    ct = None if scan.ct is None else Volume(np.asarray(scan.ct, np.float32), scan.affine, "HU")
    truth = Volume(np.asarray(scan.lesions), scan.affine, "label")
    clicks = simulate_clicks(truth, pet, np.random.default_rng(seed))
    name = f"{anatomy.name.removesuffix('.nii.gz')}-{tracer}"
    return ProtocolCase(name, patient_of(anatomy), pet, ct, truth, clicks)


def one_case(job: Job) -> dict[str, list[Step]]:
    """Every variant on one scan."""
    anatomy, seed, tracer, options = job
    torch.set_num_threads(max(1, options.threads))
    case = simulated_case(anatomy, seed, tracer)
    whole = Method(case, options.weights, options.mirror)
    ways: dict[str, Callable[[LesionClicks], np.ndarray]] = {
        "whole method": lambda c: whole.cleaned(whole.raw(c), c),
        "no clean-up": whole.raw,
        "no click channel": lambda c: whole.cleaned(whole.raw(LesionClicks()), c),
    }
    if options.without_organs:
        plain = Method(case, [options.without_organs], options.mirror)
        ways["no organ head"] = lambda c: plain.cleaned(plain.raw(c), c)
    if options.same_steps:
        short = Method(case, [options.same_steps], options.mirror)
        ways["whole method, trained as long"] = lambda c: short.cleaned(short.raw(c), c)
    return {name: run_case(case, lambda pet, ct, clicks, way=way: way(clicks)) for name, way in ways.items()}


def row(name: str, rows: list[Step]) -> str:
    """A line of the table: Dice at some steps, false volumes at the first and the last."""
    dice, fpv, fnv, f1 = (step_means(rows, value) for value in ("dsc", "fpv", "fnv", "f1"))
    cells = [str(dice[step]) for step in SHOWN]
    cells += [f"{m[0].mean:.1f} to {m[-1].mean:.1f}" for m in (fpv, fnv)]
    cells.append(f"{f1[0].mean:.2f} to {f1[-1].mean:.2f}")
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scans", type=int, default=16)
    parser.add_argument("--split", default="test", choices=("test", "validation"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, help="folder with anatomy/ (else ANYPET_DATA)")
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="in place of the packaged ones")
    parser.add_argument("--without-organs", type=Path, help="weights trained with organ_weight=0")
    parser.add_argument("--same-steps", type=Path, help="with the organ head, trained as long as those")
    parser.add_argument("--mirror", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    parser.add_argument("-o", "--output", type=Path, help="folder for a report of each variant")
    options = parser.parse_args()
    jobs = jobs_of(options, options.split, 70_000)
    found: dict[str, list[Step]] = {}
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        for by_way in pool.map(one_case, jobs):
            for name, rows in by_way.items():
                found.setdefault(name, []).extend(rows)
    heads = [f"Dice, {step} clicks" for step in SHOWN] + ["FPV (mL)", "FNV (mL)", "lesion F1"]
    print(f"| {len(jobs)} simulated scans | " + " | ".join(heads) + " |\n" + "|---" * (len(heads) + 1) + "|")
    for name, rows in found.items():
        print(row(name, rows))
        for tracer in TRACERS:
            print(row(f"{name}, {tracer}", [r for r in rows if r.case.endswith(tracer)]))
        if options.output:
            about = {"variant": name, "scans": len(jobs), "split": options.split, "seed": options.seed}
            write_report(options.output / name.replace(" ", "-").replace(",", ""), rows, about)


if __name__ == "__main__":
    main()
