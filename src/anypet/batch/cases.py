"""The scans of a batch: rows of a list of cases, each with a name that is also its folder's."""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from anypet.errors import AnyPETError
from anypet.manifest import Row, read_manifest

_LONGEST = 60


@dataclass(frozen=True)
class BatchCase:
    """One scan to be done. Paths are absolute, so that they mean the same on every machine that shares them.

    Args:
        name: number in the list and patient, such as "0012-P07"; unique, and safe as a folder's name.
        patient: whom it shows.
        image: PET file, or folder or zip of a DICOM study.
        ct: CT of the same patient, or None (a DICOM study brings its own).
        unit: of the image's values where the file does not say it.
        tracer: as the list has it, "" if unknown.
        prompts: JSON of clicks and boxes, or None.
    """

    name: str
    patient: str
    image: str
    ct: str | None = None
    unit: str | None = None
    tracer: str = ""
    prompts: str | None = None

    def as_json(self) -> dict[str, str | None]:
        """All fields, for the file that a batch is resumed from."""
        return asdict(self)


def read_cases(manifest: Path | str, split: str | None = None) -> list[BatchCase]:
    """The scans of a list of cases (see `anypet.manifest`), in its order.

    Args:
        manifest: .csv or .json.
        split: only cases of this split; None for all.

    Raises:
        AnyPETError: the list cannot be read, a row is faulty, or no case is in the split.
    """
    rows = list(enumerate(read_manifest(manifest), start=1))
    digits = max(4, len(str(len(rows))))
    chosen = [(n, row) for n, row in rows if split is None or row.split == split]
    if not chosen:
        present = ", ".join(sorted({row.split or "none" for _, row in rows}))
        raise AnyPETError(f"{manifest} lists no case of split {split!r}; its splits are {present}")
    return [_case(f"{n:0{digits}d}", row) for n, row in chosen]


def _case(number: str, row: Row) -> BatchCase:
    patient = re.sub(r"[^A-Za-z0-9._-]+", "_", row.patient)[:_LONGEST]
    return BatchCase(
        f"{number}-{patient}", row.patient, os.path.abspath(row.image), _absolute(row.ct), row.unit,
        row.tracer, _absolute(row.prompts),
    )  # fmt: skip


def _absolute(path: Path | None) -> str | None:
    return None if path is None else os.path.abspath(path)
