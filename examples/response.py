"""PERCIST between two scans: lesions matched by registration, the liver as reference, reasons given.

    python examples/response.py before before_lesions.nii.gz before_organs.nii.gz \\
        after after_lesions.nii.gz after_organs.nii.gz
"""

from __future__ import annotations

import sys
from pathlib import Path

import anypet
from anypet import Volume
from anypet.quantify.matching import match_lesions
from anypet.quantify.measures import measure
from anypet.quantify.parts import split_into_lesions
from anypet.quantify.regions import liver_sphere
from anypet.quantify.registration import align
from anypet.quantify.response import TimePoint, percist
from anypet.quantify.suv import as_suv


def main(first: tuple[Path, Path, Path], last: tuple[Path, Path, Path]) -> None:
    """Each visit is its scan, its lesions and its organs."""
    (scan, lesions, before), (later, later_lesions, after) = visit(*first), visit(*last)
    moved = align(scan, later, "rigid")
    matches = match_lesions(scan, lesions, later, later_lesions, moved)
    for match in matches.matches:
        print(f"{match.kind}: {', '.join(match.baseline) or '-'} to {', '.join(match.followup) or '-'}")
    proposal = percist(before, after, matches.new)
    print(f"{proposal.criterion}: {proposal.result}. {proposal.meaning}")
    for warning in proposal.warnings:
        print(f"note: {warning}")


def visit(study: Path, lesion_file: Path, organ_file: Path) -> tuple[Volume, Volume, TimePoint]:
    """A scan in SUVlbm, its lesions one by one, and what PERCIST looks at."""
    scan = as_suv(anypet.read(study), "lbm")
    lesions = split_into_lesions(anypet.read_labels(lesion_file), scan)
    organs = anypet.read_labels(organ_file)
    number = next(n for n, name in organs.meta["names"].items() if name == "liver")
    liver = liver_sphere(scan, organs.array == number)
    minutes = scan.meta["suv"]["uptake_minutes"]
    return scan, lesions, TimePoint(measure(scan, lesions, suv="lbm"), liver, uptake_minutes=minutes)


if __name__ == "__main__":
    files = [Path(word) for word in sys.argv[1:7]]
    main((files[0], files[1], files[2]), (files[3], files[4], files[5]))
