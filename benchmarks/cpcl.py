"""The ablation of the SegAnyPET paper (its Table 3) on simulated scans with good and degraded labels.

Three strategies learn from the same studies, a few of them with good labels (HQ), the rest degraded (LQ):
all labels alike ("mixed"), HQ labels with cross-prompting consistency on the LQ images ("consistency"), and
CPCL. Each is measured after 1, 3 and 5 clicks on windows of anatomies that were not trained on, on organs
that were targets in training ("seen") and on organs that never were ("unseen"), for several seeds.

    python benchmarks/cpcl.py --pool pool --steps 800 --seeds 3 -o ablation.json
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

import numpy as np

from anypet.evaluation.cases import data_folder
from anypet.models.compact.parts import ORGAN_PARTS, PARTS
from anypet.simulate import anatomy_split
from anypet.training.config import load_settings
from anypet.training.learners import make_learner
from anypet.training.patches import Draw
from anypet.training.pool import Pool, build_pool
from anypet.training.run import Budget, Run
from anypet.training.sources import Mixture
from anypet.training.validation import Validation

STRATEGIES = ("mixed", "consistency", "cpcl")
CLICKS = (1, 3, 5)


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
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--windows", type=int, default=96, help="validation windows of each kind")
    parser.add_argument("--set", action="append", default=[], help="key=value of the settings")
    parser.add_argument("-o", "--output", type=Path)
    return parser.parse_args()


def validations(
    options: argparse.Namespace, sources: list[Path], unseen: frozenset[int]
) -> dict[str, Validation]:
    """Windows of seen and of unseen organs in anatomies of the validation part."""
    folder = options.pool / "validation"
    for _ in build_pool(folder, sources, 16, 0):
        pass
    pool = Pool(folder)
    studies = [pool[n] for n in range(len(pool))]
    seen = frozenset(ORGAN_PARTS) - unseen
    return {
        "seen": Validation(studies, Draw(48, 1.0, 1, left_out=unseen), options.windows),
        "unseen": Validation(studies, Draw(48, 1.0, 1, left_out=seen), options.windows),
    }


def one(
    strategy: str, seed: int, options: argparse.Namespace, looks: dict[str, Validation]
) -> dict[str, list[float]]:
    """Trains once -> DSC at CLICKS for each kind of organ."""
    changes = dict(word.split("=", 1) for word in options.set)
    settings = load_settings(
        "compact", strategy=strategy, seed=seed, studies=options.studies, real_share=0.0, organ_share=1.0,
        gradient_clicks="all", once_share=0.0, clicks=3, low_share=1 - options.high / options.studies,
        degrade_strength=options.strength, left_out=tuple(options.unseen.split(",")), parts_weight=0.0,
        **changes,
    )  # fmt: skip
    learner = make_learner(settings)
    source = Mixture(Pool(options.pool, 0, options.studies), [], settings)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), settings, learner, source)
        run.train(Budget(steps=options.steps))
        found = {}
        for kind, look in looks.items():
            means = look.curves(learner, run.average, max(CLICKS)).mean(0)
            found[kind] = [float(means[c - 1]) for c in CLICKS]
    return found


def table(results: dict[str, list[dict[str, list[float]]]]) -> str:
    """Mean and standard deviation over the seeds, as Markdown."""
    heads = [f"{kind}, {c} click{'s' * (c > 1)}" for kind in ("seen", "unseen") for c in CLICKS]
    lines = ["| strategy | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for strategy, runs in results.items():
        cells = []
        for kind in ("seen", "unseen"):
            values = np.array([run[kind] for run in runs])
            spread = values.std(0, ddof=1) if len(runs) > 1 else np.full(len(CLICKS), np.nan)
            cells += [f"{m:.3f} ± {s:.3f}" for m, s in zip(values.mean(0), spread, strict=True)]
        lines.append(f"| {strategy} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    options = arguments()
    split = anatomy_split(sorted((data_folder(options.data) / "anatomy").glob("*.nii.gz")))
    for _ in build_pool(options.pool, split["train"], options.studies, 0):
        pass
    unseen = frozenset(PARTS.index(name) for name in options.unseen.split(","))
    looks = validations(options, split["validation"], unseen)
    results: dict[str, list[dict[str, list[float]]]] = {s: [] for s in STRATEGIES}
    for seed in range(options.seeds):
        for strategy in STRATEGIES:
            results[strategy].append(one(strategy, seed, options, looks))
            print(f"seed {seed}, {strategy}: {results[strategy][-1]}", flush=True)
            if options.output:
                partial = options.output.with_suffix(".part")
                partial.write_text(json.dumps({"options": vars(options), "results": results}, default=str))
                os.replace(partial, options.output)
    print(table(results))


if __name__ == "__main__":
    main()
