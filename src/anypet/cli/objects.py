"""What the commands that measure share: masks and reference regions from words on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from anypet.errors import AnyPETError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from anypet.lesions.organs import Organs
    from anypet.quantify.parts import Objects
    from anypet.quantify.regions import Region
    from anypet.volume import Volume


def read_objects(path: Path, pet: Volume) -> Objects:
    """The objects of a label map (as labels) or of an RTSTRUCT or DICOM SEG (as masks, which may overlap)."""
    from anypet.formats import suffix_of
    from anypet.io import read_labels, read_masks

    return read_labels(path, pet) if suffix_of(path) else read_masks(path, pet)


def read_mask(text: str, pet: Volume) -> npt.NDArray[np.bool_]:
    """One mask: FILE takes everything in it, FILE:NAME the region or label of that name or number.

    Raises:
        AnyPETError: there is no such region.
    """
    from anypet.quantify.parts import parts_of, union

    path, name = Path(text), ""
    if not path.exists() and ":" in text:
        before, _, name = text.rpartition(":")
        path = Path(before)
    parts = parts_of(read_objects(path, pet), pet)
    chosen = [p for p in parts if not name or name.lower() in (p.name.lower(), str(p.label))]
    if not chosen:
        known = ", ".join(f"{p.label} {p.name}" for p in parts) or "nothing"
        raise AnyPETError(f"{path}: no region {name!r}; it holds {known}" if name else f"{path}: no region")
    return union(chosen, pet.shape)


def find_region(kind: str, text: str | None, pet: Volume, organs: Organs | None = None) -> Region | None:
    """A reference region: "x,y,z" puts it there (RAS mm), a mask (see `find_mask`) lets it be found.

    Args:
        kind: "liver" or "blood pool".
        text: as typed; None for no region.
        pet: in the SUV wanted.
        organs: asked where the text is "auto".
    """
    from anypet.quantify.regions import blood_pool, liver_sphere

    if text is None:
        return None
    find = {"liver": liver_sphere, "blood pool": blood_pool}[kind]
    centre = _three_numbers(text)
    if centre:
        return find(pet, centre_mm=centre)
    return find(pet, find_mask({"blood pool": "aorta"}.get(kind, kind), text, pet, organs))


def find_mask(organ: str, text: str, pet: Volume, organs: Organs | None = None) -> npt.NDArray[np.bool_]:
    """An organ's mask: "auto" has the organ head look for it, else see `read_mask`."""
    if text.strip().lower() == "auto" and organs is not None and not Path(text).exists():
        return organs(organ)
    return read_mask(text, pet)


def _three_numbers(text: str) -> tuple[float, float, float] | None:
    try:
        x, y, z = (float(part) for part in text.split(","))
    except ValueError:
        return None
    return x, y, z


def uptake_minutes(pet: Volume) -> float | None:
    """Minutes from the injection to the scan, where the header says so."""
    suv: dict[str, Any] = pet.meta.get("suv") or {}
    minutes = suv.get("uptake_minutes")
    return None if minutes is None else float(minutes)
