"""A table for docs/results.md from the rows of one or more evaluations.

Each evaluation is the folder that `anypet evaluate -o FOLDER` wrote. A row of the table is a kind of target,
left and right organs together, with the DSC after so many clicks and its 95 % bootstrap interval over
patients; n counts targets, of each evaluation where they differ. The mean over six organs has no interval.

    python benchmarks/tables.py default=results/test lesion=results/lesion --clicks 1,3,5
"""

from __future__ import annotations

import argparse
import csv
import math
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from anypet.evaluation.protocol import Row
from anypet.evaluation.statistics import summarise

SIX = ("brain", "heart", "kidneys", "liver", "lungs", "spleen")
Kinds = dict[str, list[Row]]


def read_rows(folder: Path, system: str | None) -> Kinds:
    """Kind -> rows of a system (that of the first row if None) with their DSC; sides joined into one kind."""
    kinds: Kinds = defaultdict(list)
    with (folder / "rows.csv").open() as file:
        for r in csv.DictReader(file):
            system = system or r["system"]
            if r["system"] == system and int(r["click"]) > 0:
                about = (r["system"], r["group"], r["patient"], r["case"], r["target"])
                dsc = {"dsc": float(r["dsc"] or "nan")}
                row = Row(*about, int(r["seed"]), int(r["click"]), None, None, math.nan, dsc)
                kinds[_joined(r["kind"])].append(row)
    return kinds


def _joined(kind: str) -> str:
    """ "left kidney" -> "kidneys"."""
    side = re.fullmatch(r"(?:left|right) (.+)", kind)
    return f"{side[1]}s" if side else kind


def cell(kinds: Kinds, names: Sequence[str], click: int) -> str:
    """DSC after so many clicks with its interval; of several kinds, the mean of their means."""
    means = [
        summarise([r for r in kinds.get(name, []) if r.click == click], lambda row: row.values["dsc"])
        for name in names
    ]
    if not all(m.patients for m in means):
        return "–"
    if len(means) > 1:
        return f"{np.mean([m.mean for m in means]):.3f}"
    return f"{means[0].mean:.3f} [{means[0].low:.2f}, {means[0].high:.2f}]"


def table(evaluations: dict[str, Kinds], clicks: Sequence[int]) -> str:
    """Markdown: a line a kind of target of the first evaluation, a column an evaluation and a click count."""
    names = sorted(next(iter(evaluations.values())))
    heads = [f"{name}, {c} click{'s' * (c > 1)}" for name in evaluations for c in clicks]
    lines = ["| target | n | " + " | ".join(heads) + " |", "|---" * (len(heads) + 2) + "|"]
    groups: dict[str, tuple[str, ...]] = {name: (name,) for name in names}
    if set(SIX) <= set(names):
        groups["mean of the six organs"] = SIX
    for title, members in groups.items():
        counts = [
            len({(r.case, r.target) for name in members for r in kinds.get(name, [])})
            for kinds in evaluations.values()
        ]
        count = " / ".join(str(n) for n in (counts if len(set(counts)) > 1 else counts[:1]))
        cells = [cell(kinds, members, click) for kinds in evaluations.values() for click in clicks]
        lines.append(f"| {title} | {count} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("evaluations", nargs="+", help="NAME=FOLDER")
    parser.add_argument("--clicks", default="1,3,5")
    parser.add_argument("--system", help="the rows' system; that of the first row if left out")
    options = parser.parse_args()
    evaluations = {}
    for word in options.evaluations:
        name, _, folder = word.partition("=")
        evaluations[name] = read_rows(Path(folder), options.system)
    print(table(evaluations, [int(word) for word in options.clicks.split(",")]))


if __name__ == "__main__":
    main()
