"""A user's own cases, listed in a CSV or JSON file.

A row, or an object of the JSON's list (the list itself, or under the key "cases"), has

- `image`: a PET file, or a folder with a DICOM series; relative paths start at the list's folder;
- `label`: a label map on the image's grid, each value above 0 a target; or a DICOM SEG or RTSTRUCT, each
  segment or region a target;
- `patient`: whom it shows (cases of one patient count as one observation in the statistics);
- `unit`, required for a file that does not say it: must be SUVbw;
- `names`, optional: "1=liver;2=spleen" (in JSON also {"1": "liver"}); other values are left out then.
  Without it the targets are "label 1", "label 2", ...
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from anypet.clicks import BoolArray
from anypet.errors import AnyPETError, ReadError
from anypet.evaluation.cases import Case, Scan, check_grid, read_volume

_REQUIRED = ("image", "label", "patient")


def manifest_cases(path: Path | str) -> list[Case]:
    """The cases of a list; files are looked for now and read when a case is loaded.

    Raises:
        AnyPETError: the list cannot be read, or a row lacks a field, names a file that is not there or a
            unit other than SUVbw; the message names the row and the field.
    """
    path = Path(path)
    rows = _rows(path)
    if not rows:
        raise AnyPETError(f"{path} lists no case")
    cases = [
        _case(row, f"{path.name}, case {number}", path.parent) for number, row in enumerate(rows, start=1)
    ]
    seen: dict[str, int] = {}
    unique = []
    for case in cases:
        seen[case.name] = seen.get(case.name, 0) + 1
        name = case.name if seen[case.name] == 1 else f"{case.name} ({seen[case.name]})"
        unique.append(Case(name, case.patient, case.group, case.loader))
    return unique


def _rows(path: Path) -> list[Mapping[str, Any]]:
    if not path.is_file():
        raise AnyPETError(f"the list of cases {path} does not exist")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise AnyPETError(f"{path} is not UTF-8 text: {error}") from None
    if path.suffix.lower() != ".json":
        return list(csv.DictReader(text.splitlines()))
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise AnyPETError(f"{path} is not valid JSON: {error}") from None
    rows = content.get("cases") if isinstance(content, dict) else content
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise AnyPETError(f'{path} must hold a list of objects, or one under the key "cases"')
    return rows


def _case(row: Mapping[str, Any], where: str, folder: Path) -> Case:
    values = {key: "" if row.get(key) is None else row[key] for key in (*_REQUIRED, "unit", "names")}
    for field in _REQUIRED:
        if not str(values[field]).strip():
            found = ", ".join(str(key) for key in row)
            raise AnyPETError(f"{where}: the field {field!r} is missing or empty; the row has {found}")
    image, label = (
        _existing(str(values[field]).strip(), field, where, folder) for field in ("image", "label")
    )
    unit = str(values["unit"]).strip()
    if unit not in ("", "SUVbw"):
        raise AnyPETError(
            f"{where}: the field 'unit' is {unit!r}; evaluation needs SUVbw, convert the image first"
        )
    names = _names(values["names"], where)
    patient = str(values["patient"]).strip()
    name = image.name.removesuffix(".gz").rsplit(".", 1)[0] if image.is_file() else image.name
    loader = partial(_load, image, label, unit or None, names, where)
    return Case(f"{patient}/{name}", patient, "manifest", loader)


def _existing(value: str, field: str, where: str, folder: Path) -> Path:
    path = folder / value
    if not path.exists():
        raise AnyPETError(f"{where}: the field {field!r} names {path}, which does not exist")
    return path


def _names(value: Any, where: str) -> dict[int, str]:
    """Label value -> name, from "1=liver;2=spleen" or a mapping; empty for none."""
    pairs = (
        value.items()
        if isinstance(value, dict)
        else [p.split("=", 1) for p in str(value).split(";") if p.strip()]
    )
    names = {}
    for pair in pairs:
        try:
            number, name = pair
            names[int(number)] = str(name).strip()
        except ValueError:
            raise AnyPETError(
                f"{where}: the field 'names' holds {'='.join(map(str, pair))!r}; write it as 1=liver;2=spleen"
            ) from None
    return names


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
    if names and not set(names) & set(values):
        raise AnyPETError(f"{where}: the field 'names' lists {sorted(names)}, {label.name} holds {values}")
    targets: dict[str, BoolArray] = {}
    for value, name in chosen.items():  # several values may bear one name, such as two kidneys
        targets[name] = targets.get(name, np.False_) | (labels.array == value)
    return Scan(pet, targets)
