"""Fine-tune the packaged model on your own cases; here on two simulated patients, for two steps.

    python examples/own_data.py cases

Real use: a list of your files (see the guide for researchers), half an hour, patients kept aside.
"""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import anypet
from anypet import Volume
from anypet.simulate import analytic_anatomy, simulate


def main(folder: Path, steps: int = 2) -> None:
    """Writes two cases and their list, trains, and clicks with the new weights."""
    rows = [case(folder / name, seed, name) for name, seed in (("p01", 7), ("p02", 11))]
    listed = folder / "cases.csv"
    with listed.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)

    anypet_command(["data", "check", str(listed)])
    run = folder / "run"
    anypet_command(
        ["train", "--from", "default", "--data", str(listed), "--steps", str(steps), "-o", str(run)]
        + ["--pool", str(folder / "pool"), "--set", "batch=1", "--set", "clicks=2"]
    )
    scan = anypet.read(folder / "p01" / "pet.nii.gz", unit="SUVbw")
    session = anypet.Session(scan, weights=run / "weights.safetensors")
    print(f"one click with the new weights: {session.add_point((84, 40, 115)).sum()} voxels")


def case(folder: Path, seed: int, patient: str) -> dict[str, str]:
    """A simulated patient's PET and liver -> a row of the list; files are named relative to the list."""
    study = simulate(analytic_anatomy(seed), seed, "FDG")
    folder.mkdir(parents=True, exist_ok=True)
    anypet.write(study.pet, folder / "pet.nii.gz")
    labels = study.organs["liver"].astype("uint8")
    anypet.write(Volume(labels, study.truth_affine, "label"), folder / "labels.nii.gz")
    files = {"image": f"{folder.name}/pet.nii.gz", "label": f"{folder.name}/labels.nii.gz"}
    return {**files, "patient": patient, "unit": "SUVbw", "names": "1=liver"}


def anypet_command(words: list[str]) -> None:
    """The command line, as it is typed."""
    print("anypet", *words)
    subprocess.run([sys.executable, "-m", "anypet", *words], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
