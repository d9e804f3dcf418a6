"""Dividing a list into training, validation and test by patient."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from anypet.manifest import Row, Split

TRAIN, VALIDATION = 0.8, 0.9  # shares up to which a patient belongs to training, to validation


def assign_splits(rows: Sequence[Row], seed: int = 0) -> list[Row]:
    """The rows with a split each: 80 % of the patients train, 10 % validate, 10 % test.

    The split hangs on the patient's name and the seed alone, so it stays when patients are added. A split
    that a row has is kept, and goes for all rows of its patient.
    """
    given = {row.patient: row.split for row in rows if row.split}
    return [
        row.model_copy(update={"split": given.get(row.patient) or _drawn(row.patient, seed)}) for row in rows
    ]


def _drawn(patient: str, seed: int) -> Split:
    digest = hashlib.sha256(f"{seed}:{patient}".encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    return "train" if share < TRAIN else "validation" if share < VALIDATION else "test"
