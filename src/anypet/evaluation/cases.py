"""Cases to evaluate on: a PET, and what in it is to be found.

Three sources: the public sarcoma patients (`sts_cases`), simulated scans (`simulated_cases`) and a user's own
list of files (`manifest_cases`). A case reads its voxels when it is loaded, and forgets them with the scan.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib import resources
from pathlib import Path

import numpy as np

from anypet.clicks import BoolArray
from anypet.errors import AnyPETError, ReadError
from anypet.visibility import shows
from anypet.volume import Volume

ENVIRONMENT = "ANYPET_DATA"
SMALL_ML = 2.0  # a simulated lesion below this volume is a "small lesion"
_DOWNLOAD = (
    f"set {ENVIRONMENT} (or pass a folder) to where sts/STS_xxx/PET.nii.gz and GTV.nii.gz lie; the scans are "
    "TCIA's Soft-tissue-Sarcoma collection, https://doi.org/10.7937/K9/TCIA.2015.7GO2GSKS, as cropped and "
    "converted to SUVbw by the IBSI, https://github.com/theibsi/data_sets"
)


@dataclass(frozen=True, eq=False)
class Scan:
    """The voxels of a case.

    Args:
        pet: SUVbw.
        targets: name -> (I, J, K) bool on the PET's grid, none empty. Several of a kind are numbered:
            "lesion 1", "lesion 2"; `kind_of` gives "lesion" for both.
    """

    pet: Volume
    targets: Mapping[str, BoolArray]


@dataclass(frozen=True)
class Case:
    """A scan to evaluate on, read when `load` is called.

    Args:
        name: unique among the cases of a run.
        patient: whom it shows; statistics treat all cases of a patient as one observation.
        group: where it comes from: "sts", "simulated", "manifest".
        loader: gives the scan; it must survive pickling to be used by several workers.
        high_quality: whether the targets can be trusted (HQ) or are noisy (LQ).
        identity: what the scan depends on, for caches: files and the times they were changed.
        ct: gives the study's CT in HU, on any grid; None where there is none.
    """

    name: str
    patient: str
    group: str
    loader: Callable[[], Scan]
    high_quality: bool = True
    identity: tuple[object, ...] = ()
    ct: Callable[[], Volume] | None = None

    def load(self) -> Scan:
        """Reads the voxels.

        Raises:
            AnyPETError: a file cannot be read, is not SUVbw, or PET and target do not share one grid.
        """
        scan = self.loader()
        if scan.pet.unit != "SUVbw":
            raise AnyPETError(
                f"case {self.name}: the PET is in {scan.pet.unit}, evaluation needs SUVbw; convert it first"
            )
        for target, mask in scan.targets.items():
            if mask.shape != scan.pet.shape:
                raise AnyPETError(
                    f"case {self.name}: target {target!r} has shape {mask.shape}, the PET {scan.pet.shape}; "
                    "resample the label to the PET's grid"
                )
        return Scan(scan.pet, {name: mask for name, mask in scan.targets.items() if mask.any()})

    @classmethod
    def of(
        cls,
        name: str,
        pet: Volume,
        targets: Mapping[str, BoolArray],
        patient: str = "",
        group: str = "memory",
    ) -> Case:
        """A case whose voxels are at hand."""
        return cls(name, patient or name, group, partial(Scan, pet, targets))


def kind_of(target: str) -> str:
    """What a target is, without its number: "lesion 2" -> "lesion"."""
    return re.sub(r"\s\d+$", "", target)


def data_folder(data_dir: Path | str | None = None) -> Path:
    """The folder of evaluation data: the one given, or the one that ANYPET_DATA names.

    Raises:
        AnyPETError: neither is given, or there is no such folder.
    """
    chosen = data_dir or os.environ.get(ENVIRONMENT)
    if not chosen:
        raise AnyPETError(f"no folder of evaluation data is known: {_DOWNLOAD}")
    folder = Path(chosen)
    if not folder.is_dir():
        raise AnyPETError(f"the data folder {folder} does not exist: {_DOWNLOAD}")
    return folder


@dataclass(frozen=True)
class StsSplit:
    """Which sarcoma patients train and which validate, and a five-fold division of them all.

    The rule, which looks at no score: patients in the order of the SHA-256 of their name; the first ten
    validate, the others train; the n-th belongs to fold n modulo 5.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    folds: tuple[tuple[str, ...], ...]

    def of(self, patient: str) -> str:
        """ "train", "validation", or "test" for whoever is in neither list."""
        return "train" if patient in self.train else "validation" if patient in self.validation else "test"


@cache
def sts_split() -> StsSplit:
    """The split that ships with the package (splits/sts.json)."""
    text = (resources.files("anypet") / "splits" / "sts.json").read_text(encoding="utf-8")
    split = json.loads(text)
    return StsSplit(
        tuple(split["train"]), tuple(split["validation"]), tuple(tuple(f) for f in split["folds"])
    )


def _check_split(split: str | None) -> None:
    if split not in (None, "train", "validation", "test"):
        raise AnyPETError(f"the split must be train, validation or test, got {split!r}")


def sts_cases(
    data_dir: Path | str | None = None, split: str | None = None, fold: int | None = None
) -> list[Case]:
    """Real FDG PET of soft-tissue sarcoma, with an expert's contour of the tumour as target "tumour".

    Args:
        data_dir: the folder that holds sts/; by default the one that ANYPET_DATA names.
        split: "train", "validation", "test" (patients found that are in neither list) or None for all.
        fold: only the patients of this fold, 0 to 4.

    Raises:
        AnyPETError: the folder or the patients are missing; the message says where to get them.
    """
    _check_split(split)
    folder = data_folder(data_dir) / "sts"
    patients = sorted(p.name for p in folder.glob("STS_*") if p.is_dir())
    if not patients:
        raise AnyPETError(f"no patient STS_* in {folder}: {_DOWNLOAD}")
    chosen = [p for p in patients if split is None or sts_split().of(p) == split]
    folds = sts_split().folds
    if fold is not None:
        if not 0 <= fold < len(folds):
            raise AnyPETError(f"the fold must lie between 0 and {len(folds) - 1}, got {fold}")
        chosen = [p for p in chosen if p in folds[fold]]
    if not chosen:
        raise AnyPETError(
            f"none of the {len(patients)} patients in {folder} belongs to split {split!r}, fold {fold}"
        )
    return [Case(p, p, "sts", partial(_load_sts, folder / p)) for p in chosen]


def _load_sts(folder: Path) -> Scan:
    pet, label = read_volume(folder / "PET.nii.gz", "SUVbw"), read_volume(folder / "GTV.nii.gz", "label")
    check_grid(folder.name, pet, label)
    return Scan(pet, {"tumour": label.array > 0})


def simulated_cases(
    data_dir: Path | str | None = None,
    split: str | None = "validation",
    n: int = 10,
    seed: int = 0,
    tracer: str | None = None,
) -> list[Case]:
    """Simulated scans of real anatomies: organs by name, and lesions "lesion 1", "small lesion 2", ...

    A lesion below 2 mL (`SMALL_ML`) is a small lesion, a kind of its own; one that the PET does not show
    (`anypet.visibility`) is a hidden lesion, whatever its volume.

    Args:
        data_dir: the folder that holds anatomy/; by default the one that ANYPET_DATA names.
        split: part of the anatomies, divided by patient; None for all.
        n: how many scans (at most one for each anatomy).
        seed: of the choice of anatomies and of every simulation: same seed, same cases.
        tracer: "FDG", "PSMA", "random" or None, as `anypet.simulate.simulate` takes it.

    Raises:
        AnyPETError: there is no anatomy in the folder or in the split.
    """
    _check_split(split)
    folder = data_folder(data_dir) / "anatomy"
    chosen = paths = sorted(folder.glob("*.nii.gz"))
    if paths and split is not None:
        from anypet.simulate import anatomy_split

        chosen = sorted(anatomy_split(paths)[split])
    if not chosen:
        raise AnyPETError(
            f"{folder} holds {len(paths)} anatomies (*.nii.gz), none of them in split {split!r}"
        )
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(chosen))[:n]
    seeds = rng.integers(2**31, size=len(chosen))
    return [
        Case(
            name=chosen[index].name.removesuffix(".nii.gz"),
            patient=chosen[index].name.split("_")[1],
            group="simulated",
            loader=partial(_load_simulated, chosen[index], int(seeds[index]), tracer),
        )
        for index in order
    ]


def _load_simulated(path: Path, seed: int, tracer: str | None) -> Scan:
    from anypet.simulate import simulate_case

    study = simulate_case(path, seed, tracer)
    targets: dict[str, BoolArray] = {
        name: np.asarray(mask, dtype=bool) for name, mask in study.organs.items()
    }
    every: BoolArray = np.any([np.zeros(study.pet.shape, bool), *study.lesions], axis=0)
    for number, mask in enumerate(study.lesions, start=1):
        mask = np.asarray(mask, dtype=bool)
        kind = "small lesion" if mask.sum() * study.pet.voxel_volume_ml < SMALL_ML else "lesion"
        if mask.any() and not shows(study.pet.array, mask, every & ~mask, cold=True):
            kind = "hidden lesion"
        targets[f"{kind} {number}"] = mask
    return Scan(study.pet, targets)


def read_volume(path: Path, unit: str | None) -> Volume:
    """A volume from a file or a series; `unit` is what a file that cannot say holds.

    Raises:
        ReadError: there is no such file, or it cannot be read.
    """
    from anypet.io import read

    if not path.exists():
        raise ReadError(f"{path} does not exist")
    return read(path, unit=unit)


def check_grid(name: str, pet: Volume, label: Volume) -> None:
    """Raises AnyPETError, naming the case, unless label and PET lie on one grid (to half a millimetre)."""
    if pet.shape != label.shape:
        raise AnyPETError(
            f"case {name}: the label has shape {label.shape}, the image {pet.shape}; "
            "resample the label to the image's grid"
        )
    if not pet.same_grid(label, tolerance_mm=0.5):
        raise AnyPETError(
            f"case {name}: label and image have one shape but lie apart in space; their affines are "
            f"{label.affine.round(3).tolist()} and {pet.affine.round(3).tolist()}"
        )
