"""Measures of lesions: SUVmax, SUVpeak, MTV, TLG and the rest, by mask and by threshold inside it.

python examples/quantify.py study study_lesions.nii.gz study_organs.nii.gz lesions.csv
"""

from __future__ import annotations

import sys
from pathlib import Path

import anypet
from anypet.quantify.measures import measure
from anypet.quantify.parts import split_into_lesions
from anypet.quantify.regions import liver_sphere
from anypet.quantify.suv import as_suv
from anypet.quantify.threshold import of_maximum, percist, resegment


def main(study: Path, lesion_file: Path, organ_file: Path, table_file: Path) -> None:
    """Measures in SUVbw and in SUVlbm; which voxels count is told each time."""
    scan = anypet.read(study)  # height, weight and sex come from the header
    lesions = split_into_lesions(anypet.read_labels(lesion_file), scan)  # one object a component
    table = measure(scan, lesions)
    for row in table.rows:
        print(f"{row.name}: SUVmax {row.suv_max:.1f}, SUVpeak {row.suv_peak or 0:.1f}, {row.mtv_ml:.1f} mL")
    table.write(table_file)  # .csv, .json or .parquet

    smaller = measure(scan, resegment(scan, lesions, of_maximum(0.41)))
    print(f"MTV {table.total.mtv_ml:.1f} mL as drawn, {smaller.total.mtv_ml:.1f} mL at 41 % of SUVmax")

    lean = as_suv(scan, "lbm")  # PERCIST measures by lean body mass
    organs = anypet.read_labels(organ_file)
    number = next(n for n, name in organs.meta["names"].items() if name == "liver")
    liver = liver_sphere(lean, organs.array == number)
    rule = percist(liver)
    inside = measure(lean, resegment(lean, lesions, rule), suv="lbm")
    print(f"{rule.text}: {inside.total.mtv_ml:.1f} mL")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:5]))
