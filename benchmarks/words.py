"""How well words are answered: DSC of every organ that the organ head knows, on simulated scans of unseen
anatomies, as found by the organ head and as the promptable model makes it from there.

    python benchmarks/words.py --scans 16 --workers 2
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from anypet.errors import PromptError
from anypet.evaluation.statistics import bootstrap
from anypet.lesions.pipeline import load_nets
from anypet.session import Session
from anypet.simulate.anatomy import patient_of
from anypet.training.lesions.scans import simulated_scan
from anypet.volume import Volume
from lesion_protocol import Job, jobs_of

LEAST_ML = 5.0  # of an organ cut by the border of the field of view no more may be left


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2.0 * float((a & b).sum()) / float(a.sum() + b.sum())


def one_scan(job: Job) -> list[tuple[str, str, float, float]]:
    """(patient, organ, DSC of the organ head, DSC of the answer) of every organ in a scan."""
    anatomy, seed, tracer, options = job
    torch.set_num_threads(max(1, options.threads))
    scan = simulated_scan(anatomy, seed, (tracer,), empty_share=0.1)
    pet = Volume(np.asarray(scan.pet, np.float32), scan.affine, "SUVbw")
    ct = Volume(np.asarray(scan.ct, np.float32), scan.affine, "HU") if options.ct else None
    session, truth = Session(pet), np.asarray(scan.organs)
    rows = []
    for number, name in enumerate(scan.names, start=1):
        mask = truth == number
        if mask.sum() * pet.voxel_volume_ml < LEAST_ML:
            continue
        try:
            answer = session.add_text(name, ct, nets=load_nets(options.weights))[name]
            head = session._whole.result.organ(name)
            rows.append((patient_of(anatomy), name, dice(head, mask), dice(answer, mask)))
        except PromptError:
            rows.append((patient_of(anatomy), name, 0.0, 0.0))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scans", type=int, default=16)
    parser.add_argument("--split", default="test", choices=("test", "validation"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, help="folder with anatomy/ (else ANYPET_DATA)")
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="in place of the packaged ones")
    parser.add_argument("--no-ct", dest="ct", action="store_false")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    options = parser.parse_args()
    jobs = jobs_of(options, options.split, 80_000)
    rows = []
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        for found in pool.map(one_scan, jobs):
            rows += found
    print(f"| {len(jobs)} simulated scans | n | organ head [95 %] | answer to the word [95 %] |")
    print("|---|---|---|---|")
    names = list(dict.fromkeys(name for _, name, _, _ in rows))
    for name in [*names, "mean over organs"]:
        mine = [r for r in rows if name in (r[1], "mean over organs")]
        patients = {p: [r for r in mine if r[0] == p] for p in {r[0] for r in mine}}
        cells = []
        for column in (2, 3):
            means = {p: float(np.mean([r[column] for r in rs])) for p, rs in patients.items()}
            cells.append(str(bootstrap(means)))
        print(f"| {name} | {len(mine)} | {cells[0]} | {cells[1]} |")


if __name__ == "__main__":
    main()
