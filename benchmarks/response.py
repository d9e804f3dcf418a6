"""Does `anypet response` find a planted change? Simulated pairs of FDG scans, a line each, then the count.

    python benchmarks/response.py [--cases 20] [--first 0] [--anatomy FOLDER] [--spacing 5]

Every pair is one body in two poses, on two grids, with other noise, another scan range and lesions that
became colder or hotter, vanished or appeared. Lesions are matched after rigid registration of the PETs and
PERCIST is proposed. Without a folder of organ label maps, the analytic anatomy is used. Exits with 1 where
an answer is not the planted one.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from anypet.quantify.followup import PLANS, answer, simulate_pair
from anypet.simulate.anatomy import LIVER, Anatomy, analytic_anatomy, load_anatomy


def anatomies(folder: Path | None, count: int, spacing: float, first: int) -> list[Anatomy]:
    """So many different bodies that have a liver."""
    if folder is None:
        return [analytic_anatomy(seed, spacing) for seed in range(first, first + count)]
    found: list[Anatomy] = []
    for path in sorted(folder.glob("fdg_*.nii.gz"))[first:]:
        anatomy = load_anatomy(path)
        if (anatomy.labels == LIVER).sum() * anatomy.spacing**3 > 5e5:  # half a litre
            found.append(anatomy)
        if len(found) == count:
            return found
    sys.exit(f"{folder}: {len(found)} anatomies with a liver from number {first} on, {count} are needed")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--anatomy", type=Path, help="folder of organ label maps, fdg_*.nii.gz")
    parser.add_argument("--spacing", type=float, default=5.0, help="of the analytic anatomy, mm")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    options = parser.parse_args()
    plans = list(PLANS.items())
    bodies = anatomies(options.anatomy, options.cases, options.spacing, options.first)
    response = matching = 0
    for case, body in enumerate(bodies, start=options.first):
        name, plan = plans[case % len(plans)]
        pair = simulate_pair(body, case, plan)
        began = time.process_time()
        found = answer(pair)
        response, matching = response + found.response_right, matching + found.matching_right
        line = {
            "case": case,
            "body": body.name,
            "plan": name,
            "planted": plan.result,
            "proposed": found.proposal.result,
            "why": found.proposal.meaning,
            "matches": [m.kind for m in found.matches.matches],
            "right": found.response_right and found.matching_right,
            "cpu_s": round(time.process_time() - began, 1),
        }
        print(json.dumps(line), flush=True)
    print(json.dumps({"cases": len(bodies), "response_right": response, "matching_right": matching}))
    sys.exit(0 if response == matching == len(bodies) else 1)


if __name__ == "__main__":
    main()
