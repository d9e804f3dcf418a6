"""Click on an organ and on a lesion, correct with a further click, and write masks and a picture.

python examples/segment.py study masks
"""

from __future__ import annotations

import sys
from pathlib import Path

import anypet
from anypet.render import mip_figure


def main(study: Path, output: Path) -> None:
    """Segments two objects of the simulated study; on your own scan the points are other ones."""
    scan = anypet.read(study)  # SUVbw, indexed (i, j, k) in the file's own order
    session = anypet.Session(scan)  # the default model, on a GPU if there is one

    session.new_object("liver")
    session.add_point((84, 40, 115))  # a click on it, voxel indices
    session.add_point((-64, -44, -66), positive=False, space="mm")  # not the kidney; RAS millimetres
    session.undo()  # it was not needed

    session.new_object("lesion")
    session.add_point((120, 29, 122))

    for name, found in session.objects.items():
        suv = scan.array[found.mask]
        print(f"{name}: {found.volume_ml:.0f} mL, SUVmax {suv.max():.1f}, SUVmean {suv.mean():.1f}")
    output.mkdir(parents=True, exist_ok=True)
    anypet.write(session.labels, output / "labels.nii.gz")
    masks = {name: found.mask for name, found in session.objects.items()}
    mip_figure(scan, masks, output / "picture.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
