"""The ablation of the SegAnyPET paper (its Table 3) on simulated scans with good and degraded labels.

One network first learns from a few studies with good labels (HQ). From there each strategy goes on for as
many steps:

- "high": on the HQ studies alone;
- "mixed": on these and many more studies with degraded labels (LQ), all labels alike;
- "consistency": HQ labels, and cross-prompting consistency on the LQ images;
- "cpcl": both, and labels rectified by equation (5); "towards": the same, but (5) flips a voxel only where
  the averaged prediction disagrees with the label;
- "clean": as "mixed" with good labels everywhere, the ceiling; "start": the network before, the floor.

Each is measured after 1, 3 and 5 clicks on the same windows of test anatomies, on organs that were targets in
training ("seen") and on organs that never were ("unseen"). The spread is that of the fine-tuning's seeds; the
start, the HQ studies and the faults of the labels are the same for all. "given" and "rectified" are the DSC
of degraded labels with the good ones before and after equation (5), by the network at the end.

With --why nothing is trained: what (5) does to degraded labels, for several H and strengths.

    python benchmarks/cpcl.py --pool pool --start-steps 1500 --steps 1000 --seeds 3 --workers 2 -o ablation
"""

from __future__ import annotations

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors import safe_open

from anypet.errors import AnyPETError
from anypet.evaluation.cases import data_folder
from anypet.models.compact.parts import ORGAN_PARTS, PARTS
from anypet.simulate import anatomy_split
from anypet.training.click_loop import LoopSettings, run_loop
from anypet.training.config import Settings, load_settings
from anypet.training.cpcl import CPCL, average_prediction, rectify
from anypet.training.learners import Learner, make_learner
from anypet.training.patches import Draw, Patch, cut_target, organ_truth, place_window, spoilt
from anypet.training.pool import Pool, build_pool
from anypet.training.run import Budget, Run
from anypet.training.sources import Mixture
from anypet.training.validation import Validation, swapped
from anypet.windows import cut

STRATEGIES = ("high", "mixed", "consistency", "cpcl", "towards", "clean")
CLICKS = (1, 3, 5)
TEST_STUDIES = 16
LEVELS = (0.5, 0.7, 0.9, 0.97)  # of H, in shares of the highest entropy
Figures = dict[str, list[float]]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pool", type=Path, default=Path("pool"))
    parser.add_argument("--pool-seed", type=int, default=0, help="of the studies in the pool")
    parser.add_argument("--data", type=Path, help="folder with anatomy/ (else ANYPET_DATA)")
    parser.add_argument("--studies", type=int, default=240)
    parser.add_argument("--high", type=int, default=40, help="studies with good labels")
    parser.add_argument("--strength", type=float, default=0.5, help="of the degradation")
    parser.add_argument("--unseen", default="spleen,heart,left kidney,right kidney", help="never targets")
    parser.add_argument("--start-steps", type=int, default=1500, help="on the studies with good labels alone")
    parser.add_argument("--steps", type=int, default=1000, help="of each strategy")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--strategies", default=",".join(STRATEGIES))
    parser.add_argument("--windows", type=int, default=96, help="test windows of each kind")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    parser.add_argument("--set", action="append", default=[], help="key=value of the settings of all runs")
    parser.add_argument("--why", action="store_true", help="what (5) does to labels; no training")
    parser.add_argument("-o", "--output", type=Path, default=Path("ablation"))
    return parser.parse_args()


def settings_of(options: argparse.Namespace, **changes: object) -> Settings:
    unseen = tuple(options.unseen.split(","))
    for organ in unseen:
        side, _, name = organ.partition(" ")
        twin = f"{'left' if side == 'right' else 'right'} {name}"
        if side in ("left", "right") and twin in PARTS and twin not in unseen:
            raise AnyPETError(f"--unseen {organ}: its twin, the {twin}, would be seen; leave out both")
    fixed = {
        "real_share": 0.0, "organ_share": 1.0, "parts_weight": 0.0, "left_out": unseen,
        "degrade_strength": options.strength,
    }  # fmt: skip
    own = {key: yaml.safe_load(value) for key, _, value in (word.partition("=") for word in options.set)}
    return load_settings("compact", **{**fixed, **changes, **own})


def start(options: argparse.Namespace) -> Path:
    """Weights after the studies with good labels alone; those of an earlier call with the same options."""
    folder = options.output / "start"
    weights = folder / "weights.safetensors"
    settings = settings_of(options, studies=options.high, seed=0)
    if weights.is_file():
        with safe_open(weights, "pt") as opened:
            steps = (opened.metadata() or {}).get("steps")
        same = json.loads((folder / "settings.json").read_text()) == json.loads(settings.model_dump_json())
        if not same or steps != str(options.start_steps):
            raise AnyPETError(f"{folder} is of other options; choose another -o, or delete it")
        return weights
    source = Mixture(Pool(options.pool, options.pool_seed, options.high), [], settings)
    Run(folder, settings, make_learner(settings), source).train(Budget(steps=options.start_steps))
    return weights


@cache
def looks(folder: Path, size: int, windows: int, unseen: str) -> dict[str, Validation]:
    """Windows of seen and of unseen organs in anatomies of the test part."""
    pool = Pool(folder, 0, TEST_STUDIES)
    studies = [pool[n] for n in range(len(pool))]
    left_out = frozenset(PARTS.index(name) for name in unseen.split(","))
    seen = frozenset(ORGAN_PARTS) - left_out
    return {
        "seen": Validation(studies, Draw(size, 1.0, 1, left_out=left_out), windows),
        "unseen": Validation(studies, Draw(size, 1.0, 1, left_out=seen), windows),
    }


def one(strategy: str, seed: int, options: argparse.Namespace, weights: Path) -> Figures:
    """Trains one strategy ("start": not at all) -> DSC at CLICKS of each kind of organ; `label_quality`."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // options.workers))
    studies = options.high if strategy == "high" else options.studies
    changes = {
        "strategy": {"consistency": "consistency", "cpcl": "cpcl", "towards": "cpcl"}.get(strategy, "mixed"),
        "direction": "towards" if strategy == "towards" else "both",
        "low_share": 0.0 if strategy in ("clean", "high") else 1 - options.high / options.studies,
        "studies": studies, "seed": seed, "gradient_clicks": "all", "once_share": 0.0, "clicks": 3,
        "learning_rate": 3e-4,
    }  # fmt: skip
    settings = settings_of(options, **changes)
    folder = options.output / f"{strategy}-{seed}"
    if (folder / "log.csv").exists():
        raise AnyPETError(f"{folder} holds a run already; choose another -o, or delete it")
    learner, pool = make_learner(settings, weights), Pool(options.pool, options.pool_seed, studies)
    run = Run(folder, settings, learner, Mixture(pool, [], settings))
    if strategy != "start":
        run.train(Budget(steps=options.steps))
    found = {}
    test = looks(options.pool / "test", settings.window, options.windows, options.unseen)
    for kind, look in test.items():
        means = look.curves(learner, run.average, max(CLICKS)).mean(0)
        found[kind] = [float(means[c - 1]) for c in CLICKS]
    with swapped(learner, run.average):
        everything = Pool(options.pool, options.pool_seed, options.studies)
        found["labels"] = label_quality(learner, everything, settings, options)
    return found


@torch.no_grad()
def label_quality(
    learner: Learner, pool: Pool, settings: Settings, options: argparse.Namespace, count: int = 96
) -> list[float]:
    """Mean DSC with the good labels of the degraded ones and of those after (5), on windows of LQ studies."""
    loop, constants = LoopSettings(3, "all", 0.0, 0.0, once_share=0.0), settings.cpcl or CPCL()
    left_out = frozenset(PARTS.index(name) for name in settings.left_out)
    pairs = []
    for n in range(options.high, min(len(pool), options.high + count)):
        organs = [(part, box) for part, box in pool[n].organs if part not in left_out]
        part, box = organs[n % len(organs)]
        truth, rng = organ_truth(pool[n], part, box), np.random.default_rng((n, part))
        bad = spoilt(truth, (n, part), options.strength)
        window = place_window(bad, learner.window, rng, coarse=False)
        good, target = cut_target(truth, window), cut_target(bad, window)
        if target.any() and good.any():
            patch = Patch(cut(pool[n].pet, window)[0, 0], (target,), window.spacing, "organ")
            talk = run_loop(learner, [patch], loop, [rng], 3)
            mean = average_prediction([torch.sigmoid(v) for v in talk.logits])
            label = rectify(talk.target, mean, constants.threshold, constants.direction)[0, 0] > 0.5
            pairs.append([dice(target, good), dice(label, good)])
    return [float(v) for v in np.mean(pairs, axis=0)]


def why(options: argparse.Namespace, weights: Path) -> str:
    """DSC with the good labels of degraded ones, as given and after (5) by the start network, as Markdown."""
    lines = ["| strength | given | direction | " + " | ".join(f"H {h:g} ln 2" for h in LEVELS) + " |"]
    lines.append("|---" * (3 + len(LEVELS)) + "|")
    for strength in (0.25, 0.5, 0.8):
        for direction in ("both", "towards"):
            cells = []
            for level in LEVELS:
                changed = argparse.Namespace(**{**vars(options), "strength": strength})
                settings = settings_of(
                    changed, strategy="cpcl", direction=direction, threshold=level, gradient_clicks="all",
                    once_share=0.0,
                )  # fmt: skip
                learner = make_learner(settings, weights)
                learner.eval()
                pool = Pool(options.pool, options.pool_seed, options.studies)
                given, after = label_quality(learner, pool, settings, changed, count=48)
                cells.append(f"{after:.3f}")
            lines.append(f"| {strength} | {given:.3f} | {direction} | " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
    return "\n".join(lines)


def dice(a: torch.Tensor, b: torch.Tensor) -> float:
    return 2.0 * int((a & b).sum()) / max(1, int(a.sum()) + int(b.sum()))


def table(results: dict[str, dict[int, Figures]]) -> str:
    """Mean and standard deviation over the seeds, as Markdown."""
    columns = [(kind, n, f"{kind}, {c} click{'s' * (c > 1)}") for kind in ("seen", "unseen")
               for n, c in enumerate(CLICKS)]  # fmt: skip
    columns += [("labels", 0, "given"), ("labels", 1, "rectified")]
    lines = ["| strategy | " + " | ".join(c[2] for c in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for strategy, runs in results.items():
        cells = []
        for kind, n, _ in columns:
            values = np.array([run[kind][n] for run in runs.values()])
            spread = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
            cells.append(f"{values.mean():.3f}{spread}" if len(values) else "–")
        lines.append(f"| {strategy} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    options = arguments()
    options.output.mkdir(parents=True, exist_ok=True)
    split = anatomy_split(sorted((data_folder(options.data) / "anatomy").glob("*.nii.gz")))
    for _ in build_pool(options.pool, split["train"], options.studies, options.pool_seed):
        pass
    for _ in build_pool(options.pool / "test", split["test"], TEST_STUDIES, 0):
        pass
    weights = start(options)
    if options.why:
        print(why(options, weights))
        return
    names = [name.strip() for name in options.strategies.split(",")]
    jobs = [("start", 0), *((name, seed) for seed in range(options.seeds) for name in names)]
    results: dict[str, dict[int, Figures]] = {"start": {}, **{name: {} for name in names}}
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as processes:
        running = {processes.submit(one, *job, options, weights): job for job in jobs}
        for done in as_completed(running):
            strategy, seed = running[done]
            results[strategy][seed] = done.result()
            print(f"{strategy}, seed {seed}: {results[strategy][seed]}", flush=True)
            kept = {"options": vars(options), "results": results}
            partial = options.output / "results.part"
            partial.write_text(json.dumps(kept, default=str, indent=1))
            os.replace(partial, options.output / "results.json")
    print(table(results))


if __name__ == "__main__":
    main()
