"""Masks as DICOM: SEG, RTSTRUCT and an SR with the numbers, all of which refer to the study's own slices.

python examples/dicom_out.py study study_lesions.nii.gz dicom
"""

from __future__ import annotations

import sys
from pathlib import Path

import anypet
from anypet.dicom import Algorithm, write_measurements, write_segmentation, write_structures
from anypet.quantify.measures import measure


def main(study: Path, lesion_file: Path, output: Path) -> None:
    """Writes the three objects and reads two of them back."""
    scan = anypet.read(study)
    labels = anypet.read_labels(lesion_file)
    output.mkdir(parents=True, exist_ok=True)
    drawn = Algorithm("the simulation's truth", "1")
    write_segmentation(labels, scan, output / "seg.dcm", names={1: "lesion"}, algorithm=drawn)
    write_structures(labels, scan, output / "rtstruct.dcm", names={1: "lesion"}, algorithm=drawn)

    table = measure(scan, {"lesion": labels.array == 1})
    measures = {
        row.name: {"suv_max": row.suv_max, "suv_mean": row.suv_mean, "mtv_ml": row.mtv_ml, "tlg": row.tlg}
        for row in table.rows
    }
    write_measurements(measures, output / "seg.dcm", scan, output / "sr.dcm", algorithm=drawn)

    for name in ("seg.dcm", "rtstruct.dcm"):
        back = anypet.read_labels(output / name, reference=scan)
        same = bool(((back.array > 0) == (labels.array > 0)).all())
        print(f"{name}: {'the same voxels' if same else 'OTHER VOXELS'}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
