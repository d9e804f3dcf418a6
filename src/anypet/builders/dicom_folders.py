"""DICOM as it leaves an archive: a folder for each patient, in it folders with one series each (UDPET)."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from anypet.dicom.files import NOT_DICOM, read_header
from anypet.manifest import Row

log = logging.getLogger(__name__)


def dicom_rows(folder: Path) -> list[Row]:
    """A case for each folder with a PET series; SUV comes from its headers when it is read.

    A patient is a folder directly below `folder`. His CT, RTSTRUCT or SEG goes to a PET if it is the only one
    (UDPET's low-dose reconstructions share a scan: nobody can say here which of them a label was drawn on).
    """
    rows = []
    for patient in sorted(p for p in folder.iterdir() if p.is_dir()):
        by_modality: dict[str, list[Path]] = {}
        for place, modality in _series_folders(patient):
            by_modality.setdefault(modality, []).append(place)
        images = by_modality.get("PT", [])
        cts = by_modality.get("CT", [])
        labels = [*by_modality.get("RTSTRUCT", []), *by_modality.get("SEG", [])]
        for what, found in (("CT", cts), ("label", labels if len(images) == 1 else [])):
            if len(found) > 1:
                log.warning("%s: %d folders hold a %s, none was taken", patient, len(found), what)
        for image in images:
            rows.append(
                Row(
                    image=image,
                    label=labels[0] if len(labels) == len(images) == 1 else None,
                    ct=cts[0] if len(cts) == 1 else None,
                    patient=patient.name,
                )
            )
    return rows


def _series_folders(patient: Path) -> Iterator[tuple[Path, str]]:
    """Folders that directly hold DICOM, once for each modality among their first and last file."""
    for place, folders, names in os.walk(patient):
        folders.sort()
        files = sorted(n for n in names if Path(n).suffix.lower() not in NOT_DICOM and n != "DICOMDIR")
        headers = [read_header(Path(place) / name) for name in {files[0]: 0, files[-1]: 0}] if files else []
        found = {str(h.get("Modality") or "").strip().upper() for h in headers if h is not None}
        for modality in sorted(found):
            yield Path(place), modality
