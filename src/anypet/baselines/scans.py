"""What task-specific networks learn from: whole scans with a label map of all classes, on their voxels.

The scans come from cases (sarcoma patients, simulated, a list of one's own) or from the pool of studies that
AnyPET's own networks learn from. They are kept as plain arrays that are mapped, not read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from anypet.baselines.task import grid_of, intensities
from anypet.clicks import BoolArray
from anypet.evaluation.cases import Case, kind_of
from anypet.files import write_whole
from anypet.volume import Volume
from anypet.windows import cut

Labelled = tuple[Volume, dict[str, BoolArray], Volume]


@dataclass(frozen=True, eq=False)
class TrainingScan:
    """One scan.

    Args:
        image: float16 (D, H, W), asinh(SUV).
        labels: uint8 (D, H, W), 0 or the number of a class.
        places: class number -> (n, 3) voxels of it, a few hundred at most.
    """

    image: npt.NDArray[np.float16]
    labels: npt.NDArray[np.uint8]
    places: Mapping[int, npt.NDArray[np.int64]]


def class_of(target: str) -> str:
    """The class that a target teaches: its kind, small lesions and large ones alike; "" where it is none."""
    kind = kind_of(target)
    return {"small lesion": "lesion", "hidden lesion": ""}.get(kind, kind)


def of_cases(cases: Iterable[Case]) -> Iterator[Labelled]:
    """(PET, class -> mask, grid of the masks) of each case."""
    for case in cases:
        scan = case.load()
        masks: dict[str, BoolArray] = {}
        for target, mask in scan.targets.items():
            if name := class_of(target):
                masks[name] = masks[name] | mask if name in masks else mask
        yield scan.pet, masks, scan.pet


def of_pool(folder: Path, most: int | None = None, high_quality: bool = False) -> Iterator[Labelled]:
    """The same of the studies of a training pool: organs by side, and lesions.

    Args:
        folder: of the pool.
        most: studies at most.
        high_quality: whether studies of noisy labels (LQ) are left out.
    """
    from anypet.models.compact.parts import PARTS
    from anypet.training.pool import Pool

    pool = Pool(folder, studies=most)
    for n in range(len(pool)):
        study = pool[n]
        if high_quality and not study.high_quality:
            continue
        pet = Volume(np.asarray(study.pet.array).astype(np.float32), study.pet.affine, "SUVbw")
        masks: dict[str, BoolArray] = {}
        if study.parts is not None:
            parts = np.asarray(study.parts)
            masks = {PARTS[part]: parts == part for part, _ in study.organs}
        lesions = np.zeros(study.shape, dtype=bool)
        for target in study.objects:
            lesions[target.box] |= np.asarray(target.occupancy) > 0.5
        if lesions.any():
            masks["lesion"] = lesions
        yield pet, masks, Volume(np.zeros(study.shape, np.uint8), study.grid, "label")


def write_scans(folder: Path, scans: Iterable[Labelled], spacing: float) -> tuple[str, ...]:
    """Writes scans and the list of their classes, which is given back; nothing is done where it is there."""
    listed = folder / "classes.json"
    if listed.exists():
        return tuple(json.loads(listed.read_text()))
    folder.mkdir(parents=True, exist_ok=True)
    classes: list[str] = []
    for number, (pet, masks, grid) in enumerate(scans):
        classes += [name for name in masks if name not in classes]
        window = grid_of(pet, spacing)
        labels = np.zeros(grid.shape, dtype=np.uint8)
        for name, mask in masks.items():  # lesions come last, and lie over organs
            labels[mask] = 1 + classes.index(name)
        on_grid = cut(grid.with_array(labels), window, mode="nearest")[0, 0].numpy().astype(np.uint8)
        np.save(folder / f"{number:04d}.image.npy", intensities(pet, window)[0, 0].numpy().astype(np.float16))
        np.save(folder / f"{number:04d}.label.npy", on_grid)
    write_whole(listed, json.dumps(classes))  # last: a folder with it is whole
    return tuple(classes)


def read_scans(folder: Path) -> list[TrainingScan]:
    """The scans of a folder, mapped, in order; places are drawn evenly, not by chance."""
    scans = []
    for path in sorted(folder.glob("*.image.npy")):
        labels = np.load(str(path).replace(".image.", ".label."), mmap_mode="r")
        image = np.load(path, mmap_mode="r")
        scans.append(TrainingScan(image, labels, _places(np.asarray(labels))))
    return scans


def _places(labels: npt.NDArray[np.uint8], most: int = 400) -> dict[int, npt.NDArray[np.int64]]:
    places = {}
    for value in np.unique(labels[labels > 0]).tolist():
        voxels = np.argwhere(labels == value)
        places[int(value)] = voxels[:: max(1, len(voxels) // most)]
    return places


def patch(
    scans: Sequence[TrainingScan], side: int, rng: np.random.Generator, labelled: float = 0.7
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """A cube of a scan drawn alike often, and its labels; around a class of it in `labelled` of the draws.

    What lies outside the scan is 0. Uptake is scaled by up to a quarter, as between scanners and patients.
    """
    scan = scans[int(rng.integers(len(scans)))]
    shape = np.array(scan.image.shape)
    if scan.places and rng.random() < labelled:
        voxels = scan.places[int(rng.choice(list(scan.places)))]
        centre = voxels[int(rng.integers(len(voxels)))] + rng.integers(-side // 4, side // 4 + 1, 3)
    else:
        centre = rng.integers(0, shape)
    low = centre - side // 2
    inner = [slice(max(int(a), 0), min(int(a) + side, int(n))) for a, n in zip(low, shape, strict=True)]
    image, labels = np.zeros((side,) * 3, np.float32), np.zeros((side,) * 3, np.uint8)
    if all(s.stop > s.start for s in inner):
        outer = tuple(slice(s.start - int(a), s.stop - int(a)) for s, a in zip(inner, low, strict=True))
        image[outer], labels[outer] = scan.image[tuple(inner)], scan.labels[tuple(inner)]
    scale = float(np.exp(rng.uniform(-0.22, 0.22)))
    return np.arcsinh(np.sinh(image) * scale).astype(np.float32), labels
