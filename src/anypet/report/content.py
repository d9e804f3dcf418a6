"""What a report says, as plain data; `html` and `pdf` only lay it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Level = Literal["good", "note", "warning"]

NOTICE = (
    "Not a medical device. Made with research software; every value is a proposal for a physician, never a "
    "diagnosis, and has to be checked against the images before it is signed."
)


@dataclass(frozen=True)
class Field:
    """A labelled value; text is shown as it is, whatever it holds."""

    label: str
    value: str


@dataclass(frozen=True)
class Flag:
    """One check of the quality of the scan.

    Args:
        level: "good", "note" (could not be judged, or worth a look) or "warning".
        what: the thing checked.
        value: as found.
        why: what it was held against.
    """

    level: Level
    what: str
    value: str
    why: str


@dataclass(frozen=True)
class Row:
    """One line of a table; a number and colour ("#rrggbb") where it is numbered in the pictures."""

    cells: tuple[str, ...]
    number: int | None = None
    colour: str = ""


@dataclass(frozen=True)
class Table:
    """A table; its first column is words, the others are numbers.

    Args:
        columns: title and unit of each.
        rows: one object each.
        total: the last row, or None.
        notes: below, a line each: the SUV, how peaks are placed, what is counted.
    """

    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    total: Row | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picture:
    """A picture as PNG, with what it shows in words."""

    png: bytes
    caption: str
    number: int | None = None
    colour: str = ""


@dataclass(frozen=True)
class Report:
    """A report.

    Args:
        title: what it is.
        who: whose it is, for the head of every page: a name or a pseudonym.
        patient, examination: header fields.
        key_values: the few numbers that are asked for first.
        projections: the scan from the front and the side.
        lesions, organs: tables; no organs where none were given.
        key_slices: the lesions in slices.
        slices_note: what the slices show, and on which scale.
        flags: checks of the scan.
        made_by: model, versions, and what else the numbers rest on.
        anonymous: whether names, dates and UIDs were left out, so that nothing may add them again.
    """

    title: str
    who: str
    patient: tuple[Field, ...]
    examination: tuple[Field, ...]
    key_values: tuple[Field, ...]
    projections: Picture
    lesions: Table
    organs: Table | None
    key_slices: tuple[Picture, ...]
    slices_note: str
    flags: tuple[Flag, ...]
    made_by: tuple[Field, ...]
    anonymous: bool = False

    @property
    def warnings(self) -> Sequence[Flag]:
        """The checks that failed."""
        return [flag for flag in self.flags if flag.level == "warning"]
