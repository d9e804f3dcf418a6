"""The label volumes of several readers, found and read case by case."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anypet.clicks import BoolArray
from anypet.errors import AnyPETError
from anypet.formats import suffix_of
from anypet.grids import resample
from anypet.io import read, read_labels
from anypet.volume import Volume

log = logging.getLogger(__name__)

ALL = "all"


@dataclass(frozen=True)
class ReadCase:
    """One case as all readers stored it.

    Args:
        name: of the case.
        labels: reader -> file or folder.
        pet: file or folder, or None.
    """

    name: str
    labels: Mapping[str, Path]
    pet: Path | None


def find_cases(sources: Sequence[Path], names: Sequence[str] = (), pet: Path | None = None) -> list[ReadCase]:
    """The cases that all readers have.

    Args:
        sources: a label file of each reader for one case, or a folder of each reader with a file (or a folder
            of DICOM) for every case, of the same name but for the suffix.
        names: of the readers; by default those of the files or folders.
        pet: the PET of the one case, or a folder with one of each case, named alike.

    Raises:
        AnyPETError: fewer than two readers, two of one name, or no case in common.
    """
    if len(sources) < 2:
        raise AnyPETError(f"agreement needs label volumes of two readers or more, got {len(sources)}")
    for path in (*sources, *([pet] if pet else [])):
        if not path.exists():
            raise AnyPETError(f"{path}: no such file or folder")
    readers = list(names) or _reader_names(sources)
    if len(readers) != len(sources) or len(set(readers)) != len(readers):
        raise AnyPETError(f"{len(sources)} readers need as many different names, got {', '.join(readers)}")
    folders = [path.is_dir() for path in sources]
    if not any(folders):
        return [ReadCase(_stem(sources[0]), dict(zip(readers, sources, strict=True)), pet)]
    if not all(folders):
        raise AnyPETError("give a file of each reader (one case), or a folder of each (many cases), not both")
    entries = [_entries(path) for path in sources]
    common = [name for name in entries[0] if all(name in other for other in entries)]
    if not common:
        raise AnyPETError(
            f"no case is in all of {', '.join(map(str, sources))}: files must have the same names but for "
            "the suffix; for one case give its files"
        )
    for reader, found in zip(readers, entries, strict=True):
        if len(found) > len(common):
            lost = len(found) - len(common)
            log.warning("%d cases of %s are not with all readers and are left out", lost, reader)
    return [
        ReadCase(
            name,
            {reader: found[name] for reader, found in zip(readers, entries, strict=True)},
            _pet_of(name, pet),
        )
        for name in common
    ]


def _stem(path: Path) -> str:
    suffix = suffix_of(path) if not path.is_dir() else ""
    return path.name[: -len(suffix)] if suffix else path.stem if path.is_file() else path.name


def _entries(folder: Path) -> dict[str, Path]:
    """Case -> what holds it: files of labels or of DICOM, and folders."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        image = bool(suffix_of(path)) or path.suffix.lower() in (".dcm", ".zip")
        if path.name.startswith(".") or not (path.is_dir() or image):
            continue
        name = _stem(path)
        if name in found:
            raise AnyPETError(
                f"{folder}: {found[name].name} and {path.name} are both case {name!r}; keep one"
            )
        found[name] = path
    return found


def _reader_names(sources: Sequence[Path]) -> list[str]:
    """File or folder names, with the folder above where they are the same."""
    names = [_stem(path) for path in sources]
    if len(set(names)) < len(names):
        names = [f"{path.resolve().parent.name}/{_stem(path)}" for path in sources]
    return names


def _pet_of(case: str, pet: Path | None) -> Path | None:
    if pet is None:
        return None
    found = _entries(pet).get(case) if pet.is_dir() else None
    if found is None:
        raise AnyPETError(f"{pet}: no PET for case {case!r}; give a folder with one of each case's name")
    return found


def load_case(
    case: ReadCase, *, by_label: bool = False, unit: str | None = None
) -> tuple[Volume, dict[str, dict[str, BoolArray]]]:
    """Reads a case on one grid: the PET's, or without a PET the first reader's.

    Args:
        case: from `find_cases`.
        by_label: compare every label by itself, matched by name; else all that is marked as one.
        unit: of a PET file that does not say it.

    Returns:
        The grid (SUV if the case has a PET), and target -> reader -> (I, J, K) bool. A reader who lacks a
        label marked nothing of it. Labels of another grid are resampled (nearest voxel), with a warning.

    Raises:
        AnyPETError: a file cannot be read, or the PET is not SUVbw.
    """
    grid = None
    if case.pet is not None:
        grid = read(case.pet, unit=unit)
        if grid.unit != "SUVbw":
            raise AnyPETError(f"{case.pet}: the PET is in {grid.unit}, TLG needs SUVbw; convert it first")
    volumes: dict[str, Volume] = {}
    for reader, path in case.labels.items():
        labels = read_labels(path, grid) if _is_dicom(path) else read_labels(path)
        if grid is None:
            grid = labels
        if not grid.same_grid(labels):
            log.warning("case %s: labels of %s are on another grid and were resampled", case.name, reader)
            labels = resample(labels, grid, linear=False)
        volumes[reader] = labels
    assert grid is not None
    if not by_label:
        return grid, {ALL: {reader: volume.array > 0 for reader, volume in volumes.items()}}
    named = {reader: _by_name(volume) for reader, volume in volumes.items()}
    targets = dict.fromkeys(name for masks in named.values() for name in masks)
    nothing = np.zeros(grid.shape, dtype=bool)
    return grid, {
        name: {reader: masks.get(name, nothing) for reader, masks in named.items()} for name in targets
    }


def _is_dicom(path: Path) -> bool:
    return path.is_dir() or not suffix_of(path)


def _by_name(volume: Volume) -> dict[str, BoolArray]:
    present = {int(value) for value in np.unique(volume.array)} - {0}
    names = volume.meta.get("names", {})
    return {str(names.get(value, f"label {value}")): volume.array == value for value in sorted(present)}
