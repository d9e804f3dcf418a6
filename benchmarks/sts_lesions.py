"""The whole-body lesion pipeline on the real sarcoma scans: no click, one on the tumour, then rejections.

A reader is simulated: the tumour click goes to the hottest voxel of the outlined tumour; each further click
rejects, at its hottest voxel, the largest thing found that does not touch the tumour. The collection outlines
the primary tumour alone, so a metastasis counts as wrong here. Scans in DICOM are whole bodies, those of the
IBSI are cropped around the tumour.

    python benchmarks/sts_lesions.py ../shared/data/sts_001_wholebody --pictures pictures
    python benchmarks/sts_lesions.py --split validation
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import anypet
from anypet.components import connected_components
from anypet.evaluation.cases import data_folder, sts_cases
from anypet.io import read_labels
from anypet.lesions.click_files import LesionClicks
from anypet.lesions.pipeline import find_lesions, load_nets
from anypet.render import mip_figure
from anypet.volume import Volume


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2.0 * float((a & b).sum()) / float(a.sum() + b.sum())


def hottest(pet: Volume, mask: np.ndarray) -> tuple[int, int, int]:
    i, j, k = np.unravel_index(int(np.where(mask, pet.array, -np.inf).argmax()), pet.shape)
    return int(i), int(j), int(k)


def wrong(mask: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """What was found and does not touch the truth, numbered."""
    parts = connected_components(mask)
    parts[np.isin(parts, np.unique(parts[truth]))] = 0
    return parts


def one(name: str, pet: Volume, ct: Volume | None, truth: np.ndarray, options: argparse.Namespace) -> None:
    """Prints the lines of one scan."""
    nets = load_nets(options.weights)
    clicks = LesionClicks()
    for step in range(options.background + 2):
        found = find_lesions(pet, ct, clicks, tracer=options.tracer, nets=nets, mirror=options.mirror)
        parts = wrong(found.mask, truth)
        sizes = np.bincount(parts.ravel(), minlength=2)[1:]
        said = "none" if step == 0 else f"1 tumour, {len(clicks.background)} background"
        tracer = " and ".join(found.used)
        ml = pet.voxel_volume_ml
        volumes = f"{found.mask.sum() * ml:.0f} ({truth.sum() * ml:.0f})"
        false = f"{(sizes > 0).sum()}, {sizes.sum() * ml:.0f}"
        both = f"{dice(found.mask & (parts == 0), truth):.2f}", f"{dice(found.mask, truth):.2f}"
        cells = (name, tracer, said, *both, volumes, false, f"{found.seconds:.0f}")
        print(f"| {' | '.join(cells)} |", flush=True)
        if options.pictures:
            options.pictures.mkdir(parents=True, exist_ok=True)
            masks = {"lesions": found.mask, "outlined tumour": truth}
            mip_figure(pet, masks, options.pictures / f"{name}-{step}.png", title=f"{name}: {said}")
        if step == 0:
            clicks = LesionClicks((hottest(pet, truth),), ())
        elif sizes.any():
            reject = hottest(pet, parts == int(sizes.argmax()) + 1)
            clicks = LesionClicks(clicks.tumour, (*clicks.background, reject))
        else:
            break


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wholebody", type=Path, nargs="?", help="folder with PET/ and RTSTRUCT/ in DICOM")
    parser.add_argument("--split", choices=("train", "validation"), help="cropped scans of data/sts")
    parser.add_argument("--data", type=Path, help="folder with sts/ (else ANYPET_DATA)")
    parser.add_argument("--background", type=int, default=5, help="background clicks at most")
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="in place of the packaged ones")
    parser.add_argument("--tracer", default="auto")
    parser.add_argument("--mirror", type=int, default=0)
    parser.add_argument("--pictures", type=Path, help="folder for a picture of each step")
    options = parser.parse_args()
    heads = "scan, tracer, clicks, Dice of what touches the tumour, of all that was found"
    print(f"| {heads.replace(', ', ' | ')} | found (outlined), mL | wrong: number, mL | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    if options.wholebody:
        pet = anypet.read(options.wholebody / "PET")
        labels = read_labels(options.wholebody / "RTSTRUCT", pet)
        truth = labels.array == {v: k for k, v in labels.meta["names"].items()}["GTV_Mass"]
        one(options.wholebody.name, pet, None, truth, options)
    if options.split:
        for case in sts_cases(data_folder(options.data), options.split):
            scan = case.load()
            ct = anypet.read(data_folder(options.data) / "sts" / case.patient / "CT.nii.gz", unit="HU")
            one(case.name, scan.pet, ct, next(iter(scan.targets.values())), options)


if __name__ == "__main__":
    main()
