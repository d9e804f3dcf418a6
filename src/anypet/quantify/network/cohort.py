"""The table of a cohort: a row for each subject, a column for each organ's mean SUV, checked before use.

Columns of the CSV file:

- `subject`: unique name; without it, rows are numbered.
- `group`, optional: control, patient, ...
- covariates: those asked for, numbers or words (a word such as F or M is a category). Known ones that are not
  asked for (age, sex, weight, ...) are left out, not taken for organs.
- every other column: mean SUV of an organ, above 0. All subjects must use one kind of SUV.
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import pydantic

from anypet.errors import AnyPETError
from anypet.files import write_whole

log = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]
Missing = Literal["error", "drop"]
Table = Sequence[Mapping[str, str]]

SUBJECT, GROUP = "subject", "group"
NOT_ORGANS = (
    "age",
    "sex",
    "weight",
    "height",
    "bmi",
    "glucose",
    "dose",
    "uptake_minutes",
    "scanner",
    "centre",
)
_ABSENT = ("", "na", "n/a", "nan", "null", "none")
_MOST_FAULTS = 8
_COLUMNS_FIX = "; columns that hold no mean SUV must be named as covariates, or the organs be named"
_ROW = " row"  # key under which a table's row keeps its line in the file


class Subject(pydantic.BaseModel):
    """One row of the table.

    Args:
        subject: unique name.
        group: "" where the table has none.
        covariates: name -> the cell as it stands; None where it is empty.
        uptake: organ -> mean SUV; None where it is empty.
    """

    model_config = pydantic.ConfigDict(frozen=True)

    subject: Annotated[str, pydantic.Field(min_length=1)]
    group: str = ""
    covariates: dict[str, str | None]
    uptake: dict[str, Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)] | None]


@dataclass(frozen=True, eq=False)
class Cohort:
    """Uptake of organs over subjects.

    Args:
        subjects: N names.
        groups: N names, "" without groups.
        organs: P names.
        uptake: (N, P) mean SUV.
        covariates: names of the C columns of `design`.
        design: (N, C) covariates as numbers: a category of k words has k - 1 columns of 0 and 1.
    """

    subjects: tuple[str, ...]
    groups: tuple[str, ...]
    organs: tuple[str, ...]
    uptake: FloatArray
    covariates: tuple[str, ...]
    design: FloatArray

    def __len__(self) -> int:
        return len(self.subjects)

    @property
    def group_names(self) -> tuple[str, ...]:
        """The groups, in the order of the table."""
        return tuple(dict.fromkeys(self.groups))

    def members(self, group: str) -> npt.NDArray[np.intp]:
        """Rows of a group.

        Raises:
            AnyPETError: nobody is in it.
        """
        rows = np.flatnonzero(np.array(self.groups) == group)
        if not rows.size:
            known = ", ".join(map(repr, self.group_names))
            raise AnyPETError(f"no subject is in the group {group!r}; the table has {known}")
        return rows

    def take(self, rows: npt.ArrayLike) -> Cohort:
        """The cohort of some rows."""
        chosen = np.asarray(rows, dtype=np.intp)
        return replace(
            self,
            subjects=tuple(self.subjects[i] for i in chosen),
            groups=tuple(self.groups[i] for i in chosen),
            uptake=self.uptake[chosen],
            design=self.design[chosen],
        )


def read_cohort(
    path: Path | str,
    *,
    covariates: Sequence[str] = (),
    organs: Sequence[str] = (),
    missing: Missing = "error",
) -> Cohort:
    """Reads the table of a cohort.

    Args:
        path: CSV, separated by commas, semicolons or tabs, with decimal points.
        covariates: columns to regress out; `group` may be one.
        organs: columns that hold uptake; by default all that are nothing else.
        missing: what to do about empty cells (also NA, NaN): "error" names them, "drop" leaves their subjects
            out. Nothing is made up for them: imputed values weaken or feign correlations.

    Raises:
        AnyPETError: the file is no such table; the message names rows and columns.
    """
    path = Path(path)
    if not path.is_file():
        raise AnyPETError(f"the table of the cohort {path} does not exist")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise AnyPETError(f"{path} is not a CSV file in UTF-8: {error}") from None
    return parse_cohort(_rows(text, path.name), path.name, covariates, organs, missing)


def parse_cohort(
    table: Table,
    source: str,
    covariates: Sequence[str] = (),
    organs: Sequence[str] = (),
    missing: Missing = "error",
) -> Cohort:
    """As `read_cohort`, from rows of column -> cell; `source` is what messages call the table."""
    if not table:
        raise AnyPETError(f"{source} holds no subject")
    columns = [name for name in table[0] if name != _ROW]
    covariates, organs = list(dict.fromkeys(covariates)), list(dict.fromkeys(organs))
    absent = [name for name in (*covariates, *organs) if name not in columns]
    if absent:
        raise AnyPETError(f"{source} has no column {', '.join(absent)}; it has {', '.join(columns)}")
    organs = organs or _organ_columns(columns, covariates)
    if len(organs) < 3:
        raise AnyPETError(
            f"{source} has {len(organs)} organ columns ({', '.join(organs)}); a network needs at least 3"
        )
    subjects = _without_missing(_subjects(table, source, covariates, organs), source, missing)
    names, design = _design(subjects, covariates, source)
    return Cohort(
        subjects=tuple(s.subject for _, s in subjects),
        groups=tuple(s.group for _, s in subjects),
        organs=tuple(organs),
        uptake=_varying([[s.uptake[o] for o in organs] for _, s in subjects], organs, source),
        covariates=names,
        design=design,
    )


def write_table(table: Table, path: Path) -> Path:
    """Writes rows of column -> cell as the CSV that `read_cohort` reads."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return write_whole(path, text.getvalue().encode())


def _rows(text: str, source: str) -> list[dict[str, str]]:
    """The rows of a CSV file; each keeps its line number."""
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    try:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        header = [name.strip() for name in next(lines, [])]
        rows = [(lines.line_num, [cell.strip() for cell in cells]) for cells in lines]
    except csv.Error as error:
        raise AnyPETError(f"{source} is not a CSV file: {error}") from None
    while header and not header[-1]:
        header.pop()
    twice = sorted({name or "(empty)" for name in header if not name or header.count(name) > 1})
    if twice:
        raise AnyPETError(f"{source}: column names must be there once, not {', '.join(twice)}")
    table = []
    for number, cells in rows:
        if not any(cells):
            continue
        if len(cells) < len(header) or any(cells[len(header) :]):
            raise AnyPETError(
                f"{source}, row {number}: {len(cells)} cells for {len(header)} columns; fill up or quote them"
            )
        table.append({**dict(zip(header, cells, strict=False)), _ROW: str(number)})
    return table


def _organ_columns(columns: Sequence[str], covariates: Sequence[str]) -> list[str]:
    rest = [name for name in columns if name not in (SUBJECT, GROUP, *covariates)]
    unused = [name for name in rest if name.lower() in NOT_ORGANS]
    if unused:
        log.info("columns not used: %s; name them as covariates to regress them out", ", ".join(unused))
    return [name for name in rest if name not in unused]


def _cell(text: str) -> str | None:
    return None if text.strip().lower() in _ABSENT else text.strip()


def _subjects(
    table: Table, source: str, covariates: Sequence[str], organs: Sequence[str]
) -> list[tuple[str, Subject]]:
    """Line in the file and subject of every row."""
    subjects: list[tuple[str, Subject]] = []
    faults: list[str] = []
    seen: dict[str, str] = {}
    for count, row in enumerate(table, start=1):
        number = row.get(_ROW, str(count))
        name = row.get(SUBJECT, str(count))
        if name and name in seen:
            faults.append(f"row {number}, column {SUBJECT}: {name!r} is in row {seen[name]} already")
        seen[name] = number
        try:
            subject = Subject(
                subject=name,
                group=row.get(GROUP, ""),
                covariates={c: _cell(row[c]) for c in covariates},
                uptake={o: _cell(row[o]) for o in organs},  # type: ignore[misc]  # pydantic reads the number
            )
        except pydantic.ValidationError as error:
            faults += [f"row {number}, {_fault(dict(e))}" for e in error.errors()]
        else:
            subjects.append((number, subject))
    _raise(faults, source, _COLUMNS_FIX)
    return subjects


def _fault(error: Mapping[str, object]) -> str:
    place = error["loc"]
    assert isinstance(place, tuple)
    found = error["input"]
    if place[0] == "subject":
        return f"column {SUBJECT}: is empty; give every subject a name"
    expected = "a number with a decimal point" if error["type"] == "float_parsing" else "a mean SUV above 0"
    return f"column {place[-1]}: is {found!r}, expected {expected}"


def _without_missing(
    subjects: list[tuple[str, Subject]], source: str, missing: Missing
) -> list[tuple[str, Subject]]:
    holes = [
        (number, column)
        for number, s in subjects
        for column, value in (*s.covariates.items(), *s.uptake.items())
        if value is None
    ]
    if not holes:
        return subjects
    if missing == "error":
        faults = [f"row {number}, column {column}: is empty" for number, column in holes]
        _raise(
            faults, source, "; drop such subjects (missing = drop), or name the organs without that column"
        )
    bad = {number for number, _ in holes}
    left = [item for item in subjects if item[0] not in bad]
    log.warning("%s: %d of %d subjects have empty cells and are left out", source, len(bad), len(subjects))
    return left


def _raise(faults: Sequence[str], source: str, fix: str = "") -> None:
    if faults:
        more = f"; and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
        raise AnyPETError(f"{source}: {'; '.join(faults[:_MOST_FAULTS])}{more}{fix}")


def _design(
    subjects: Sequence[tuple[str, Subject]], covariates: Sequence[str], source: str
) -> tuple[tuple[str, ...], FloatArray]:
    names: list[str] = []
    columns: list[list[float]] = []
    for covariate in covariates:
        cells = [(number, str(s.covariates[covariate])) for number, s in subjects]
        numbers = [_number(text) for _, text in cells]
        if all(n is None for n in numbers):
            levels = sorted({text for _, text in cells})
            for level in levels[1:]:
                names.append(f"{covariate}={level}")
                columns.append([float(text == level) for _, text in cells])
            continue
        # a word among numbers is a slip of the pen, not a category
        faults = [
            f"row {number}, column {covariate}: is {text!r} where other rows have numbers"
            for (number, text), value in zip(cells, numbers, strict=True)
            if value is None
        ]
        _raise(faults, source)
        names.append(covariate)
        columns.append([float(n) for n in numbers if n is not None])
    return tuple(names), np.array(columns, dtype=np.float64).reshape(len(columns), len(subjects)).T


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _varying(values: Sequence[Sequence[float | None]], organs: Sequence[str], source: str) -> FloatArray:
    uptake = np.array(values, dtype=np.float64).reshape(len(values), len(organs))
    if len(uptake) < 4:
        raise AnyPETError(f"{source}: {len(uptake)} subjects without gaps; a network needs at least 4")
    same = [o for o, constant in zip(organs, np.ptp(uptake, axis=0) == 0, strict=True) if constant]
    if same:
        raise AnyPETError(
            f"{source}: all subjects have the same value in column {', '.join(same)}; leave it out"
        )
    return uptake
