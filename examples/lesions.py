"""Every lesion of a whole-body PET/CT: first without a click, then with one on a lesion and one beside.

python examples/lesions.py study found
"""

from __future__ import annotations

import sys
from pathlib import Path

import anypet


def main(study: Path, output: Path) -> None:
    """Finds, corrects and lists lesions; each becomes an object of the session."""
    both = anypet.read_study(study)  # PET, and the CT on its own grid
    session = anypet.Session(both.pet)
    result = session.find_lesions(both.ct, mirror=0)  # mirror=3 is slower and better
    print(f"tracer {'/'.join(result.used)}, {result.instances.max()} lesions without a click")

    result = session.click_lesion((120, 29, 122))  # this is one
    result = session.click_lesion((67, 35, 225), positive=False)  # and the brain is none
    for change in result.changes:
        print(f"{change.action} {change.volume_ml:.1f} mL: {change.reason}")
    for name, lesion in session.objects.items():
        if lesion.voxels:
            print(f"{name}: {lesion.volume_ml:.1f} mL")
    output.mkdir(parents=True, exist_ok=True)
    anypet.write(both.pet.with_array(result.mask, unit="label"), output / "mask.nii.gz")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
