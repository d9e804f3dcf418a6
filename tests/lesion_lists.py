"""A small list of real-looking cases on disk: PET/CT, lesions, and a liver where it is asked for."""

from pathlib import Path

import numpy as np

from anypet.io import write
from anypet.manifest import Row, write_manifest
from anypet.volume import Volume

AFFINE = np.array([[-4.0, 0, 0, 60], [0, -4.0, 0, 50], [0, 0, 5.0, -300], [0, 0, 0, 1]])
SHAPE = (30, 26, 24)
LESIONS = ((slice(4, 8), slice(4, 8), slice(4, 8)), (slice(20, 23), slice(15, 18), slice(16, 19)))
LIVER = (slice(10, 18), slice(10, 18), slice(10, 15))


def put_case(
    folder: Path, name: str, lesions: bool = True, ct: bool = True, liver: bool = True, **more
) -> Row:
    rng = np.random.default_rng(len(name))
    label, pet = np.zeros(SHAPE, np.uint8), rng.uniform(0.5, 1.0, SHAPE).astype(np.float32)
    pet[26, 20, 20] = 30.0
    if liver:
        label[LIVER], pet[LIVER] = 2, 2.5
    for box in LESIONS if lesions else ():
        label[box], pet[box] = 1, 8.0
    paths = {}
    volumes = {"image": (pet, "SUVbw"), "label": (label, "label")}
    if ct:
        volumes["ct"] = (rng.normal(0, 100, SHAPE).astype(np.float32), "HU")
    for what, (array, unit) in volumes.items():
        paths[what] = folder / f"{name}_{what}.nii.gz"
        write(Volume(array, AFFINE, unit), paths[what])
    names = {1: "lesion", 2: "liver"} if liver else {1: "lesion"}
    return Row(**paths, **{"patient": name, "names": names, "unit": "SUVbw", "tracer": "18F-FDG", **more})


def put_list(folder: Path, rows: list[Row]) -> Path:
    write_manifest(rows, folder / "cases.csv")
    return folder / "cases.csv"
