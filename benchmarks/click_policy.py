"""All clicks so far, or the latest with the mask before: which should a network be given?

SegAnyPET's released training gives the latest click, its inference all of them. Here a small compact network
is trained from nothing under each policy, with the same patches, and asked under both: windows of validation
anatomies, organs and lesions, each further click at the deepest point of the largest error.

    python benchmarks/click_policy.py --pool pool --steps 800 --seeds 2 -o click_policy
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from anypet.evaluation.cases import data_folder
from anypet.simulate import anatomy_split
from anypet.training.config import load_settings
from anypet.training.learners import CompactLearner, make_learner
from anypet.training.patches import Draw
from anypet.training.pool import Pool, build_pool
from anypet.training.run import Budget, Run
from anypet.training.sources import Mixture
from anypet.training.validation import Validation

POLICIES = ("all", "latest")
CLICKS = (1, 2, 3, 5, 10)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pool", type=Path, default=Path("pool"))
    parser.add_argument("--pool-seed", type=int, default=0, help="of the studies in the pool")
    parser.add_argument("--data", type=Path, help="folder with anatomy/ (else ANYPET_DATA)")
    parser.add_argument("--studies", type=int, default=120)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--windows", type=int, default=96)
    parser.add_argument("-o", "--output", type=Path, default=Path("click_policy"))
    options = parser.parse_args()
    split = anatomy_split(sorted((data_folder(options.data) / "anatomy").glob("*.nii.gz")))
    for folder, part, count, seed in (
        (options.pool, "train", options.studies, options.pool_seed),
        (options.pool / "validation", "validation", 16, 0),
    ):
        for _ in build_pool(folder, split[part], count, seed):
            pass
    pool, held = Pool(options.pool, options.pool_seed, options.studies), Pool(options.pool / "validation", 0)
    look = Validation([held[n] for n in range(len(held))], Draw(32, 0.6, 1), options.windows)
    found: dict[tuple[str, str], list[list[float]]] = {}
    for seed in range(options.seeds):
        for policy in POLICIES:
            settings = load_settings(
                "compact", click_policy=policy, window=32, widths=(8, 16, 32, 64, 64), half=False, seed=seed,
                real_share=0.0, studies=options.studies, once_share=0.2,
            )  # fmt: skip
            learner = make_learner(settings)
            assert isinstance(learner, CompactLearner)
            run = Run(options.output / f"{policy}-{seed}", settings, learner, Mixture(pool, [], settings))
            run.train(Budget(steps=options.steps))
            for asked in POLICIES:
                learner.clicks = asked  # type: ignore[assignment]
                means = look.curves(learner, run.average, max(CLICKS)).mean(0)
                found.setdefault((policy, asked), []).append([float(means[c - 1]) for c in CLICKS])
                print(seed, policy, asked, np.round(means, 3), flush=True)
    print("| trained with | asked with | " + " | ".join(f"{c} click{'s' * (c > 1)}" for c in CLICKS) + " |")
    print("|---" * (2 + len(CLICKS)) + "|")
    for (policy, asked), rows in found.items():
        cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(np.mean(rows, 0), np.std(rows, 0, ddof=1), strict=True)]
        print(f"| {policy} | {asked} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
