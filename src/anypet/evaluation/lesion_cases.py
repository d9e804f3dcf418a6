"""Rows of a list of cases as PET/CT with lesions and organs apart, as training and exports need them.

A target whose name means disease is lesion, every other one an organ; where a row has no names, all of its
label is lesion.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from anypet.clicks import BoolArray
from anypet.errors import AnyPETError
from anypet.evaluation.manifest import case_of
from anypet.formats import suffix_of
from anypet.grids import resample
from anypet.io import AIR_HU, read
from anypet.manifest import Row, read_manifest
from anypet.text import is_lesion
from anypet.volume import Volume

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LesionStudy:
    """What a case holds, on the grid of its PET.

    Args:
        pet: SUVbw.
        ct: HU, or None.
        lesion: (I, J, K) bool.
        organs: name -> (I, J, K) bool.
    """

    pet: Volume
    ct: Volume | None
    lesion: BoolArray
    organs: Mapping[str, BoolArray] = field(default_factory=dict)


@dataclass(frozen=True)
class LesionCase:
    """One labelled row of a list; its files are read when it is loaded.

    Args:
        row: of the list.
        where: names it in messages.
    """

    row: Row
    where: str

    @property
    def tracer(self) -> str:
        """ "FDG", "PSMA", or "" where the list does not say, or says another."""
        text = self.row.tracer.upper()
        return next((name for name in ("FDG", "PSMA") if name in text), "")

    @property
    def name(self) -> str:
        """Patient and file, for people; two cases may share it."""
        file = self.row.image.name
        return f"{self.row.patient}/{file.removesuffix(suffix_of(self.row.image))}"

    @property
    def identity(self) -> tuple[Any, ...]:
        """Changes when the row or one of its files does."""
        files = [p for p in (self.row.image, self.row.label, self.row.ct) if p is not None]
        return (*files, *(p.stat().st_mtime_ns for p in files), self.row.model_dump_json())

    def load(self) -> LesionStudy:
        """Reads the files.

        Raises:
            AnyPETError: one cannot be read, is of another grid or unit, or no name of the row is a lesion.
        """
        names = set(self.row.names.values())
        if names and not any(is_lesion(name) for name in names):
            raise AnyPETError(
                f"{self.where}: none of the names {', '.join(sorted(names))} is a lesion; a case without "
                "lesions still lists the value that they would have, such as 1=lesion"
            )
        scan = case_of(self.row, self.where).load()
        assert self.row.label is not None
        bare = not names and bool(suffix_of(self.row.label))
        lesion = np.zeros(scan.pet.shape, dtype=bool)
        organs: dict[str, BoolArray] = {}
        for name, mask in scan.targets.items():
            if bare or is_lesion(name):
                lesion |= np.asarray(mask)
            else:
                organs[name] = np.asarray(mask)
        ct = None if self.row.ct is None else resample(read(self.row.ct, unit="HU"), scan.pet, outside=AIR_HU)
        return LesionStudy(scan.pet, ct, lesion, organs)


def lesion_cases(path: Path | str, *splits: str | None) -> list[LesionCase]:
    """The labelled cases of a list.

    Args:
        path: .csv or .json, see `anypet.manifest`.
        splits: of which to take cases, None for those without one; all where nothing is given.

    Raises:
        AnyPETError: the list cannot be read, or has no such case.
    """
    path = Path(path)
    rows = list(enumerate(read_manifest(path), start=1))
    wanted = [(n, row) for n, row in rows if not splits or row.split in splits]
    found = [LesionCase(row, f"{path.name}, case {n}") for n, row in wanted if row.label is not None]
    if len(found) < len(wanted):
        log.warning("%s: %d cases have no label and are left out", path, len(wanted) - len(found))
    if not found:
        asked = f" of split {', '.join(map(str, splits))}" if splits else ""
        raise AnyPETError(f"{path} has no case with a label{asked}")
    return found
