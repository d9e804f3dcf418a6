"""The ablation of the SegAnyPET paper (its Table 3) on simulated scans with good and degraded labels.

One network first learns from a few studies with good labels (HQ). From there each strategy goes on with these
and with many more studies whose labels are degraded (LQ): all labels alike ("mixed"), the labels of HQ alone
with cross-prompting consistency on the LQ images ("consistency"), and CPCL; "clean" is what the same steps
give with good labels everywhere, "start" the network before. Each is measured after 1, 3 and 5 clicks on
windows of anatomies that were not trained on, on organs that were targets in training ("seen") and on organs
that never were ("unseen"), for several seeds.

    python benchmarks/cpcl.py --pool pool --start-steps 800 --steps 150 --seeds 3 --workers 2 -o ablation
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from anypet.evaluation.cases import data_folder
from anypet.models.compact.parts import ORGAN_PARTS, PARTS
from anypet.simulate import anatomy_split
from anypet.training.config import Settings, load_settings
from anypet.training.degrade import degrade_mask
from anypet.training.learners import make_learner
from anypet.training.patches import Draw, organ_truth
from anypet.training.pool import Pool, build_pool
from anypet.training.run import Budget, Run
from anypet.training.sources import Mixture
from anypet.training.validation import Validation

STRATEGIES = ("clean", "mixed", "consistency", "cpcl")
CLICKS = (1, 3, 5)
Figures = dict[str, list[float]]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pool", type=Path, default=Path("pool"))
    parser.add_argument("--data", type=Path, help="folder with anatomy/ (else ANYPET_DATA)")
    parser.add_argument("--studies", type=int, default=240)
    parser.add_argument("--high", type=int, default=40, help="studies with good labels")
    parser.add_argument("--strength", type=float, default=0.7, help="of the degradation")
    parser.add_argument("--unseen", default="spleen,heart,left kidney", help="organs that are never a target")
    parser.add_argument("--start-steps", type=int, default=800, help="on the studies with good labels alone")
    parser.add_argument("--steps", type=int, default=150, help="of each strategy")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--strategies", default=",".join(STRATEGIES))
    parser.add_argument("--windows", type=int, default=96, help="validation windows of each kind")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    parser.add_argument("--set", action="append", default=[], help="key=value of the strategies' settings")
    parser.add_argument("-o", "--output", type=Path, default=Path("ablation"))
    return parser.parse_args()


def settings_of(options: argparse.Namespace, **changes: object) -> Settings:
    return load_settings(
        "compact", real_share=0.0, organ_share=1.0, parts_weight=0.0,
        left_out=tuple(options.unseen.split(",")), degrade_strength=options.strength, **changes,
    )  # fmt: skip


def start(options: argparse.Namespace) -> Path:
    """Weights after the studies with good labels alone; a start that is there already is used again."""
    folder = options.output / "start"
    weights = folder / "weights.safetensors"
    if not weights.is_file():
        settings = settings_of(options, studies=options.high, seed=0)
        source = Mixture(Pool(options.pool, 0, options.high), [], settings)
        Run(folder, settings, make_learner(settings), source).train(Budget(steps=options.start_steps))
    return weights


@cache
def validations(folder: Path, windows: int, unseen: str) -> dict[str, Validation]:
    """Windows of seen and of unseen organs in anatomies of the validation part."""
    pool = Pool(folder)
    studies = [pool[n] for n in range(len(pool))]
    left_out = frozenset(PARTS.index(name) for name in unseen.split(","))
    seen = frozenset(ORGAN_PARTS) - left_out
    return {
        "seen": Validation(studies, Draw(48, 1.0, 1, left_out=left_out), windows),
        "unseen": Validation(studies, Draw(48, 1.0, 1, left_out=seen), windows),
    }


def one(strategy: str, seed: int, options: argparse.Namespace, weights: Path) -> Figures:
    """Trains one strategy ("start": not at all) -> DSC at CLICKS for each kind of organ."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // options.workers))
    settings = settings_of(
        options, strategy="mixed" if strategy in ("clean", "start") else strategy, seed=seed,
        studies=options.studies, gradient_clicks="all", once_share=0.0, clicks=3,
        low_share=0.0 if strategy == "clean" else 1 - options.high / options.studies,
        **{"learning_rate": 3e-4, **dict(word.split("=", 1) for word in options.set)},
    )  # fmt: skip
    learner = make_learner(settings, weights)
    source = Mixture(Pool(options.pool, 0, options.studies), [], settings)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), settings, learner, source)
        if strategy != "start":
            run.train(Budget(steps=options.steps))
        found = {}
        for kind, look in validations(options.pool / "validation", options.windows, options.unseen).items():
            means = look.curves(learner, run.average, max(CLICKS)).mean(0)
            found[kind] = [float(means[c - 1]) for c in CLICKS]
    return found


def label_quality(options: argparse.Namespace, count: int = 120) -> float:
    """Mean DSC of degraded labels with the good ones, one organ of each of so many LQ studies."""
    pool, found = Pool(options.pool, 0, options.studies), []
    for n in range(options.high, min(len(pool), options.high + count)):
        part, box = pool[n].organs[n % len(pool[n].organs)]
        truth = organ_truth(pool[n], part, box)
        good = np.pad(truth.array > 0.5, 6)
        bad = degrade_mask(good, truth.spacing, np.random.default_rng((n, part)), options.strength)
        found.append(2.0 * int((good & bad).sum()) / max(1, int(good.sum()) + int(bad.sum())))
    return float(np.mean(found))


def table(results: dict[str, dict[int, Figures]]) -> str:
    """Mean and standard deviation over the seeds, as Markdown."""
    heads = [f"{kind}, {c} click{'s' * (c > 1)}" for kind in ("seen", "unseen") for c in CLICKS]
    lines = ["| strategy | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for strategy, runs in results.items():
        cells = []
        for kind in ("seen", "unseen") if runs else ():
            values = np.array([run[kind] for run in runs.values()])
            for column in values.T:
                spread = f" ± {column.std(ddof=1):.3f}" if len(column) > 1 else ""
                cells.append(f"{column.mean():.3f}{spread}")
        lines.append(f"| {strategy} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    options = arguments()
    options.output.mkdir(parents=True, exist_ok=True)
    split = anatomy_split(sorted((data_folder(options.data) / "anatomy").glob("*.nii.gz")))
    for _ in build_pool(options.pool, split["train"], options.studies, 0):
        pass
    for _ in build_pool(options.pool / "validation", split["validation"], 16, 0):
        pass
    weights = start(options)
    quality = label_quality(options)
    print(f"degraded labels: DSC {quality:.3f} with the good ones", flush=True)
    names = [name.strip() for name in options.strategies.split(",")]
    jobs = [("start", 0), *((name, seed) for seed in range(options.seeds) for name in names)]
    results: dict[str, dict[int, Figures]] = {"start": {}, **{name: {} for name in names}}
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as processes:
        running = {processes.submit(one, *job, options, weights): job for job in jobs}
        for done in as_completed(running):
            strategy, seed = running[done]
            results[strategy][seed] = done.result()
            print(f"{strategy}, seed {seed}: {results[strategy][seed]}", flush=True)
            kept = {"options": vars(options), "label_quality": quality, "results": results}
            partial = options.output / "results.part"
            partial.write_text(json.dumps(kept, default=str, indent=1))
            os.replace(partial, options.output / "results.json")
    print(table(results))


if __name__ == "__main__":
    main()
