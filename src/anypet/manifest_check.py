"""Looks for faults in a list of cases before hours of training or evaluation are spent on it.

`check_manifest` goes on after each fault, so that one call tells all that is wrong. This module looks at the
rows and at what they share; `anypet.manifest_voxels` looks into the files.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from anypet.errors import AnyPETError
from anypet.manifest import FIELDS, REQUIRED, Row, columns_of, fault_text, parse_row, raw_rows

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """Something wrong with a list.

    Args:
        row: number of the case, from 1; None for the list as a whole.
        field: the field at fault, "list" for the file itself.
        severity: "error" stops training or spoils it; "warning" may be meant that way.
        message: what is wrong, and what to do.
    """

    row: int | None
    field: str
    severity: Severity
    message: str


def check_manifest(path: Path | str) -> list[Finding]:
    """All faults of a list, its files and their voxels; every file is read, one case at a time.

    Returns:
        The findings on the list as a whole, then by row; empty if all is well. Nothing is raised for a fault.
    """
    path = Path(path)
    try:
        cells = raw_rows(path)
        columns = columns_of(path, cells)
    except (AnyPETError, OSError) as error:
        return [Finding(None, "list", "error", f"{error}; save it as UTF-8 CSV or JSON with one case a row")]
    if not cells:
        return [Finding(None, "list", "error", f"{path.name} lists no case; add a row for each scan")]
    findings = list(_columns(columns, path))
    rows: list[tuple[int, Row, frozenset[str]]] = []
    for number, row_cells in enumerate(cells, start=1):
        row, faults = _parse(row_cells, path.parent)
        bad = frozenset(field for field, _ in faults)
        # a missing column is told once, not for each row
        told = [(f, text) for f, text in faults if f in (*columns, "list")]
        findings += [Finding(number, field, "error", fault_text(field, text)) for field, text in told]
        rows.append((number, row, bad))
    findings += [*_shared_files(rows), *_divided_patients(rows), *_voxels(rows)]
    return sorted(findings, key=lambda f: f.row or 0)  # stable: fields before files before voxels


def _columns(columns: Sequence[str], path: Path) -> Iterator[Finding]:
    for field in REQUIRED:
        if field not in columns:
            hint = ""
            if len(columns) == 1 and (";" in columns[0] or "\t" in columns[0]):
                hint = "; the cells seem to be parted by semicolons or tabs: save the list with commas"
            found = ", ".join(columns)
            message = f"{path.name} has no column {field!r} (found {found}); add it{hint}"
            yield Finding(None, field, "error", message)
    for column in columns:
        if column not in FIELDS:
            close = difflib.get_close_matches(column.lower(), FIELDS, n=1)
            meant = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(FIELDS)}"
            yield Finding(None, column, "warning", f"the column {column!r} is unknown and ignored; {meant}")


def _parse(cells: Mapping[str, Any], folder: Path) -> tuple[Row, list[tuple[str, str]]]:
    """The row without its faulty fields, and the faults; a required field at fault holds a placeholder."""
    row, faults = parse_row(cells, folder)
    if row is None:
        bad = {field for field, _ in faults}
        good = {field: value for field, value in cells.items() if field in FIELDS and field not in bad}
        row, rest = parse_row({"image": ".", "patient": "?", **good}, folder)
        assert row is not None, rest
    return row, faults


Rows = Sequence[tuple[int, Row, frozenset[str]]]


def _shared_files(rows: Rows) -> Iterator[Finding]:
    """Images listed twice and labels used for two images."""
    images: dict[Path, tuple[int, Row]] = {}
    labels: dict[Path, tuple[int, Row]] = {}
    for number, row, bad in rows:
        image = row.image.resolve()
        label = row.label.resolve() if row.label else None
        if "image" in bad:
            continue
        if image in images:
            first, other = images[image]
            same = other.label == row.label or other.patient != row.patient
            message = (
                f"the image {row.image.name} is also that of case {first}; list it once, "
                "with all its labels in one label map"
            )
            yield Finding(number, "image", "error" if same else "warning", message)
        elif label in labels:
            first, other = labels[label]
            message = (
                f"the label {row.label.name if row.label else ''} is also that of case {first}, which has "
                "another image; give each image its own label"
            )
            # reconstructions of one scan may share a label, two patients cannot
            severity: Severity = "warning" if other.patient == row.patient else "error"
            yield Finding(number, "label", severity, message)
        images.setdefault(image, (number, row))
        if label:
            labels.setdefault(label, (number, row))


def _divided_patients(rows: Rows) -> Iterator[Finding]:
    seen: dict[str, tuple[int, str]] = {}
    for number, row, bad in rows:
        if row.split is None or "patient" in bad:
            continue
        first, split = seen.setdefault(row.patient, (number, row.split))
        if split != row.split:
            message = (
                f"the patient {row.patient!r} is in split {row.split} here and in {split} in case {first}; "
                "put all cases of a patient into one split"
            )
            yield Finding(number, "split", "error", message)


def _voxels(rows: Rows) -> Iterator[Finding]:
    from anypet.manifest_voxels import voxel_faults

    for number, row, bad in rows:
        for field, severity, message in voxel_faults(row, bad):
            yield Finding(number, field, severity, message)
