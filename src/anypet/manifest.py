"""The list of cases that training and evaluation share: one scan a row, in a CSV or JSON file.

A row, or an object of the JSON's list (the list itself, or under the key "cases"), has

- `image`: a PET file, or a folder with a DICOM series; relative paths start at the list's folder;
- `label`, optional: a label map on the image's grid, or a DICOM SEG or RTSTRUCT; without, unlabelled;
- `ct`, optional: the CT of the study, on any grid;
- `patient`: whom it shows; cases of one patient are never divided between splits;
- `unit`: required for a file that does not say it, usually SUVbw; other units have to be converted first;
- `names`, optional: "1=liver;2=spleen", or a JSON mapping; a partly labelled case lists what it has;
- `quality`: of the label, HQ (the default) or LQ;
- `centre`, `tracer`, optional: free text;
- `prompts`, optional: a JSON of clicks and boxes on this scan, for `anypet batch`;
- `split`, optional: train, validation or test.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pydantic

from anypet.errors import AnyPETError
from anypet.units import check_unit

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
QUALITIES = ("HQ", "LQ")
REQUIRED = ("image", "patient")
_PATHS = ("image", "label", "ct", "prompts")
_SURPLUS = "(surplus cells)"


class Row(pydantic.BaseModel):
    """One case; the paths are complete, and something lay there when the list was read.

    Args:
        image, label, ct: files or DICOM folders.
        patient: whom it shows.
        unit: what the image's values are in where the file does not say it.
        names: label value -> name; empty where the list names none. Several values may bear one name.
        quality: of the label.
        centre, tracer: free text, "" if unknown.
        prompts: a file of `anypet.batch.prompt_files`, None without one.
        split: the part of the data it belongs to, None if undecided.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="ignore")

    image: Path
    label: Path | None = None
    ct: Path | None = None
    patient: str
    unit: str | None = None
    names: dict[int, str] = pydantic.Field(default_factory=dict)
    quality: Literal["HQ", "LQ"] = "HQ"
    centre: str = ""
    tracer: str = ""
    prompts: Path | None = None
    split: Split | None = None

    @pydantic.field_validator(*_PATHS, mode="before")
    @classmethod
    def _exists(cls, value: Any, info: pydantic.ValidationInfo) -> Path | None:
        if value is None:
            return None
        path = (info.context or {}).get("folder", Path()) / Path(str(value))
        if not path.exists():
            raise ValueError(
                f"names {path}, which does not exist; correct it (relative paths start at the list's folder)"
            )
        return path

    @pydantic.field_validator("patient", "centre", "tracer", mode="before")
    @classmethod
    def _text(cls, value: Any) -> str:
        return str(value)  # JSON may hold a number

    @pydantic.field_validator("unit", mode="before")
    @classmethod
    def _known_unit(cls, value: Any) -> str | None:
        return None if value is None else check_unit(str(value))

    @pydantic.field_validator("names", mode="before")
    @classmethod
    def _mapping(cls, value: Any) -> dict[int, str]:
        return parse_names(value)

    @pydantic.field_validator("quality", "split", mode="before")
    @classmethod
    def _choice(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        known = QUALITIES if info.field_name == "quality" else SPLITS
        if value is not None and value not in known:
            raise ValueError(f"is {value!r}; write {', '.join(known[:-1])} or {known[-1]}")
        return value


FIELDS = tuple(Row.model_fields)


def read_manifest(path: Path | str) -> list[Row]:
    """The rows of a list; the voxels are not looked at (`anypet.manifest_check` does that).

    Raises:
        AnyPETError: the list cannot be read or is empty, a row lacks a field, names a file that is not there
            or holds a value that is not allowed; the message names the row, the field and the fix.
    """
    path = Path(path)
    rows = []
    for number, cells in enumerate(raw_rows(path), start=1):
        row, faults = parse_row(cells, path.parent)
        if row is None:
            raise AnyPETError(f"{path.name}, case {number}: {fault_text(*faults[0])}")
        rows.append(row)
    if not rows:
        raise AnyPETError(f"{path} lists no case")
    return rows


def raw_rows(path: Path) -> list[dict[str, Any]]:
    """The rows as they stand in the file, column -> value; cells without content are left out.

    Raises:
        AnyPETError: there is no such file, or it is not a list of cases.
    """
    if not path.is_file():
        raise AnyPETError(f"the list of cases {path} does not exist")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise AnyPETError(f"{path} is not UTF-8 text: {error}") from None
    rows = _json_rows(text, path) if path.suffix.lower() == ".json" else _csv_rows(text, path)
    return [
        {
            str(key).strip(): value
            for key, value in ((k, _content(v)) for k, v in row.items())
            if value is not None
        }
        for row in rows
    ]


def columns_of(path: Path, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns of a list: a CSV's header, or every key that occurs in a JSON file."""
    if path.suffix.lower() == ".json":
        return list(dict.fromkeys(key for row in rows for key in row))
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [cell.strip() for cell in next(csv.reader(file), [])]


def parse_row(cells: Mapping[str, Any], folder: Path) -> tuple[Row | None, list[tuple[str, str]]]:
    """A row, or None and all its faults as (field, what is wrong); the field "list" is the row itself.

    Args:
        cells: a row of `raw_rows`.
        folder: where relative paths start.
    """
    surplus = [("list", "has more cells than the header; put cells that hold commas in quotes")]
    faults = surplus if _SURPLUS in cells else []
    try:
        row = Row.model_validate(dict(cells), context={"folder": folder})
    except pydantic.ValidationError as error:
        found = ", ".join(map(str, cells)) or "nothing"
        for item in error.errors():
            field = str(item["loc"][0])
            cause = item.get("ctx", {}).get("error")
            text = str(cause) if cause else f"is {cells.get(field)!r}: {item['msg']}"
            if item["type"] == "missing":
                text = f"is missing or empty; the row has {found}"
            faults.append((field, text))
        return None, faults
    return (None if faults else row), faults


def fault_text(field: str, text: str) -> str:
    """A fault of `parse_row` as a sentence."""
    return f"the row {text}" if field == "list" else f"the field {field!r} {text}"


def parse_names(value: Any) -> dict[int, str]:
    """Label value -> name, from "1=liver;2=spleen", a JSON mapping as text, or a mapping.

    Raises:
        AnyPETError: it is none of these, or a value is not a whole number above 0.
    """
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise AnyPETError(f"is no valid JSON mapping: {error}") from None
    if isinstance(value, Mapping):
        pairs: list[Sequence[Any]] = list(value.items())
    else:
        pairs = [part.split("=", 1) for part in str(value or "").split(";") if part.strip()]
    names = {}
    for pair in pairs:
        try:
            number, name = int(pair[0]), str(pair[1]).strip()
        except (ValueError, TypeError, IndexError):
            number, name = 0, ""
        if number < 1 or not name:
            raise AnyPETError(
                f"holds {'='.join(map(str, pair))!r}; write it as 1=liver;2=spleen, with values above 0"
            )
        names[number] = name
    return names


def write_manifest(rows: Iterable[Row], path: Path | str) -> None:
    """Writes a list that `read_manifest` reads, under a temporary name first, so that no half list is seen.

    Files below the list's folder get relative paths, so that the folder can move; others complete ones.

    Args:
        rows: in the order wanted.
        path: .csv or .json in a folder that exists.

    Raises:
        AnyPETError: there is no row, the suffix is unknown, or the folder does not exist.
    """
    path, rows = Path(path), list(rows)
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".json"):
        raise AnyPETError(f"{path}: a list of cases is written as .csv or .json")
    if not path.parent.is_dir():
        raise AnyPETError(f"{path}: the folder {path.parent} does not exist; create it first")
    if not rows:
        raise AnyPETError(f"{path}: there is no case to list")
    cells = [_cells(row, path.parent) for row in rows]
    text = json.dumps({"cases": cells}, indent=1, ensure_ascii=False) if suffix == ".json" else _csv(cells)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8", newline="")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _cells(row: Row, folder: Path) -> dict[str, Any]:
    """What of a row is written: the fields that say something, paths as text."""
    cells: dict[str, Any] = {}
    for field in FIELDS:
        value = getattr(row, field)
        if value is None or value in ("", {}):
            continue
        if field in _PATHS:
            value, base = Path(os.path.abspath(value)), Path(os.path.abspath(folder))
            value = (value.relative_to(base) if value.is_relative_to(base) else value).as_posix()
        cells[field] = {str(k): v for k, v in value.items()} if field == "names" else value
    return cells


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    file = io.StringIO()
    used = [field for field in FIELDS if field in REQUIRED or any(field in row for row in rows)]
    table = csv.DictWriter(file, used, lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({**row, "names": _names_text(row["names"])} if "names" in row else row)
    return file.getvalue()


def _names_text(names: Mapping[str, str]) -> str:
    if any(";" in name for name in names.values()):
        return json.dumps(names, ensure_ascii=False)
    return ";".join(f"{value}={name}" for value, name in names.items())


def _csv_rows(text: str, path: Path) -> list[dict[Any, Any]]:
    try:
        return list(csv.DictReader(io.StringIO(text, newline=""), restkey=_SURPLUS))
    except csv.Error as error:
        raise AnyPETError(f"{path} is not a CSV file: {error}") from None


def _json_rows(text: str, path: Path) -> list[dict[Any, Any]]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise AnyPETError(f"{path} is not valid JSON: {error}") from None
    rows = content.get("cases") if isinstance(content, dict) else content
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise AnyPETError(f'{path} must hold a list of objects, or one under the key "cases"')
    return rows


def _content(value: Any) -> Any:
    """A cell without the blanks around it; None for an empty one."""
    if isinstance(value, str):
        value = value.strip()
    if isinstance(value, list) and not any(str(item).strip() for item in value):
        return None  # only commas at the end of a line
    return None if value in ("", {}, []) else value
