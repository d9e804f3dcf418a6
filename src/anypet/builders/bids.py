"""PET in the Brain Imaging Data Structure (https://bids-specification.readthedocs.io, PET)."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anypet.builders.files import read_json, stem, there
from anypet.formats import NIFTI, suffix_of
from anypet.manifest import Row

log = logging.getLogger(__name__)

# what sidecars write -> AnyPET's word; g/mL may be SUV by body weight or by lean mass, so it stays open
_UNITS = {"suv": "SUVbw", "suvbw": "SUVbw", "bq/ml": "Bq/mL", "bqml": "Bq/mL", "kbq/ml": "kBq/mL"}


def bids_rows(folder: Path) -> list[Row]:
    """The PET images of a BIDS data set, with the discrete segmentations or masks of its derivatives.

    The unit is the sidecar's `Units`; most BIDS PET is in Bq/mL and has to be converted to SUV before use,
    which `check_manifest` says. Labels are matched by their entities; `_dseg` goes before `_mask`.

    Raises:
        AnyPETError: a sidecar is not JSON.
    """
    images = sorted(
        path
        for pattern in ("sub-*/pet/*_pet.nii*", "sub-*/ses-*/pet/*_pet.nii*")
        for path in folder.glob(pattern)
        if suffix_of(path) in NIFTI
    )
    return [_row(image, folder) for image in images]


def _row(image: Path, folder: Path) -> Row:
    told = _sidecar(image, folder)
    unit = str(told.get("Units") or "").strip()
    if unit and unit.lower() not in _UNITS:
        log.warning("%s: the sidecar's Units %r are not known and were left out", image, unit)
    label = _label(image, folder)
    return Row(
        image=image,
        label=label,
        patient=_entities(image)["sub"],
        unit=_UNITS.get(unit.lower()),
        names=_names(label, folder) if label else {},
        centre=str(told.get("InstitutionName") or ""),
        tracer=str(told.get("TracerName") or ""),
    )


def _entities(path: Path) -> dict[str, str]:
    """sub-01_ses-2_pet.nii.gz -> {"sub": "01", "ses": "2"}."""
    return dict(part.split("-", 1) for part in path.name.split(".")[0].split("_") if "-" in part)


def _sidecar(image: Path, folder: Path) -> dict[str, Any]:
    """The fields of all sidecars that apply; the ones nearer to the image win (inheritance principle)."""
    mine = _entities(image).items()
    fields: dict[str, Any] = {}
    above = [folder, *reversed([p for p in image.parents if p.is_relative_to(folder) and p != folder])]
    for place in above:
        for path in sorted(place.glob("*pet.json"), key=lambda p: len(_entities(p))):
            if path.stem.split("_")[-1] == "pet" and _entities(path).items() <= mine:
                fields |= read_json(path)
    return fields


def _label(image: Path, folder: Path) -> Path | None:
    """The one derivative that segments the image; the first, with a warning, where several do."""
    mine = _entities(image)
    found = [path for path in _candidates(folder, mine["sub"]) if _agree(mine, _entities(path))]
    # a segmentation of the PET itself goes before one of the MR image
    near = [p for p in found if p.parent.name == "pet" or _entities(p).get("space", "").lower() == "pet"]
    found = near or found
    if len(found) > 1:
        log.warning("%s: of the labels %s the first was taken", image, ", ".join(p.name for p in found))
    return found[0] if found else None


def _candidates(folder: Path, subject: str) -> Iterator[Path]:
    for kind in ("dseg", "mask"):
        paths = (folder / "derivatives").rglob(f"sub-{subject}*_{kind}.nii*")
        yield from sorted(path for path in paths if suffix_of(path) in NIFTI)


def _agree(one: dict[str, str], other: dict[str, str]) -> bool:
    """Whether two names contradict each other in no entity, and the second leaves no session open."""
    shared = one.keys() & other.keys()
    return all(one[key] == other[key] for key in shared) and one.get("ses") == other.get("ses")


def _names(label: Path, folder: Path) -> dict[int, str]:
    """From the table of indices beside the label or at the top of the derivative, or from its name."""
    if label.name.split(".")[0].endswith("_mask"):
        name = _entities(label).get("label") or _entities(label).get("desc")
        return {1: name} if name else {}
    derivative = folder / "derivatives" / label.relative_to(folder / "derivatives").parts[0]
    table = there(
        label.with_name(f"{stem(label)}.tsv"), derivative / "dseg.tsv", folder / "derivatives" / "dseg.tsv"
    )
    if table is None:
        return {}
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if (row.get("index") or "").isdigit()]
    return {int(row["index"]): row["name"] for row in rows if int(row["index"]) > 0 and row.get("name")}
