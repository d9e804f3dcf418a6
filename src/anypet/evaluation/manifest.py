"""A user's own cases to evaluate on, from the list that `anypet.manifest` describes.

Evaluation needs a label in each row: each value above 0 is a target, or each segment or region of a DICOM SEG
or RTSTRUCT. Where a row has `names`, other values are left out; else the targets are "label 1", ...
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from anypet.clicks import BoolArray
from anypet.errors import AnyPETError, ReadError
from anypet.evaluation.cases import Case, Scan, check_grid, read_volume
from anypet.manifest import Row, read_manifest


def manifest_cases(path: Path | str, split: str | None = None, skip_unlabelled: bool = False) -> list[Case]:
    """The cases of a list; files are looked for now and read when a case is loaded.

    Args:
        path: .csv or .json.
        split: only the cases of this split ("train", "validation", "test"); None for all.
        skip_unlabelled: leave cases without a label out, as training does; else they are an error.

    Raises:
        AnyPETError: the list cannot be read, a row lacks a field or its label, names a file that is not there
            or a unit other than SUVbw (the message names the row and the field), or no case is in the split.
    """
    path = Path(path)
    rows = read_manifest(path)
    chosen = [(n, row) for n, row in enumerate(rows, start=1) if split is None or row.split == split]
    if not chosen:
        present = sorted({row.split or "none" for row in rows})
        raise AnyPETError(f"{path} lists no case of split {split!r}; its splits are {', '.join(present)}")
    seen: dict[str, int] = {}
    unique = []
    for number, row in chosen:
        if skip_unlabelled and row.label is None:
            continue
        case = case_of(row, f"{path.name}, case {number}")
        seen[case.name] = seen.get(case.name, 0) + 1
        name = case.name if seen[case.name] == 1 else f"{case.name} ({seen[case.name]})"
        unique.append(replace(case, name=name))
    return unique


def case_of(row: Row, where: str) -> Case:
    """The case of one row.

    Args:
        row: with a label.
        where: names the row in messages.

    Raises:
        AnyPETError: it has no label, or a unit other than SUVbw.
    """
    if row.label is None:
        raise AnyPETError(
            f"{where}: the field 'label' is missing or empty; evaluation needs a label: "
            "add one, or leave the case out by its split"
        )
    if row.unit not in (None, "SUVbw"):
        raise AnyPETError(
            f"{where}: the field 'unit' is {row.unit!r}; evaluation needs SUVbw, convert the image first"
        )
    image = row.image
    name = image.name.removesuffix(".gz").rsplit(".", 1)[0] if image.is_file() else image.name
    loader = partial(_load, image, row.label, row.unit, row.names, where)
    files = (image, row.label)
    identity = (*files, *(f.stat().st_mtime_ns for f in files), row.unit, *sorted(row.names.items()))
    high_quality = row.quality == "HQ"
    ct = None if row.ct is None else partial(read_volume, row.ct, "HU")
    return Case(f"{row.patient}/{name}", row.patient, "manifest", loader, high_quality, identity, ct)


def _load(image: Path, label: Path, unit: str | None, names: dict[int, str], where: str) -> Scan:
    from anypet.formats import suffix_of
    from anypet.io import read_masks

    try:
        pet = read_volume(image, unit)
    except ReadError as error:
        hint = (
            "" if unit else " (the row has no field 'unit'; give it as SUVbw if that is what the file holds)"
        )
        raise AnyPETError(f"{where}: the image cannot be read{hint}: {error}") from error
    if not suffix_of(label):  # DICOM SEG or RTSTRUCT: drawn on the PET's grid, and names itself
        return Scan(pet, read_masks(label, pet))
    labels = read_volume(label, "label")
    check_grid(where, pet, labels)
    values = [int(v) for v in np.unique(labels.array) if v > 0]
    chosen = names or {value: f"label {value}" for value in values}
    if names and values and not set(names) & set(values):  # an empty label is a scan without findings
        raise AnyPETError(f"{where}: the field 'names' lists {sorted(names)}, {label.name} holds {values}")
    targets: dict[str, BoolArray] = {}
    for value, name in chosen.items():  # several values may bear one name, such as two kidneys
        targets[name] = targets.get(name, np.False_) | (labels.array == value)
    return Scan(pet, targets)
