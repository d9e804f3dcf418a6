"""Lists of cases from public data sets, as they lie on the disk after download."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from anypet.builders.bids import bids_rows
from anypet.builders.challenges import autopet3_rows, autopet_rows, hecktor_rows, psma_rows, sts_rows
from anypet.builders.dicom_folders import dicom_rows
from anypet.builders.nnunet import nnunet_rows
from anypet.builders.splits import assign_splits
from anypet.errors import AnyPETError
from anypet.manifest import Row

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kind:
    """A layout: where its files lie, and the function that finds the cases in a folder."""

    layout: str
    rows: Callable[[Path], list[Row]]


KINDS = {
    "autopet": Kind(
        "PETCT_<patient>/<study>/SUV.nii.gz, SEG.nii.gz, CTres.nii.gz (FDG-PET-CT-Lesions)", autopet_rows
    ),
    "autopet3": Kind(
        "imagesTr/<fdg|psma>_<patient>_<date>_0001.nii.gz (PET), ..._0000.nii.gz (CT), labelsTr/",
        autopet3_rows,
    ),
    "psma": Kind(
        "imagesTr/psma_<patient>_<date>_0001.nii.gz (PET), ..._0000.nii.gz (CT), labelsTr/", psma_rows
    ),
    "hecktor": Kind(
        "imagesTr/<ID>__PT.nii.gz, <ID>__CT.nii.gz, labelsTr/<ID>.nii.gz, or all in a folder <ID>",
        hecktor_rows,
    ),
    "udpet": Kind("a folder for each patient with a folder for each DICOM series", dicom_rows),
    "sts": Kind("STS_<number>/PET.nii.gz, GTV.nii.gz, CT.nii.gz", sts_rows),
    "nnunet": Kind(
        "dataset.json with channel_names (or modality) and labels, imagesTr/, labelsTr/",
        nnunet_rows,
    ),
    "bids": Kind("sub-<name>/[ses-<name>/]pet/*_pet.nii.gz, derivatives/ with *_dseg or *_mask", bids_rows),
}


def build(kind: str, folder: Path | str) -> list[Row]:
    """The cases of a data set, in the order of their files' names; only names and headers are read.

    Args:
        kind: a key of `KINDS`.
        folder: where the data set was unpacked.

    Raises:
        AnyPETError: unknown kind, no such folder, or nothing in it that has the layout; the message says what
            was expected and what was found.
    """
    if kind not in KINDS:
        raise AnyPETError(f"unknown kind of data set {kind!r}; known are {', '.join(KINDS)}")
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise AnyPETError(f"{folder}: no such folder; give the one in which the data set was unpacked")
    rows = KINDS[kind].rows(folder)
    if not rows:
        found = sorted(p.name + "/" * p.is_dir() for p in folder.iterdir())
        listing = (
            ", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "") or "nothing"
        )
        raise AnyPETError(f"{folder}: expected {KINDS[kind].layout}; found {listing}")
    log.info("%s: %d cases, %d with a label", folder, len(rows), sum(row.label is not None for row in rows))
    return rows


__all__ = ["KINDS", "Kind", "assign_splits", "build"]
