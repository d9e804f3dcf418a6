"""Private DICOM elements that carry what the SUV needs, found by creator and, failing that, by place."""

from __future__ import annotations

from typing import Any

from pydicom.dataset import Dataset
from pydicom.tag import Tag

PHILIPS = "Philips PET Private Group"
GE = "GEMS_PETD_01"
SIEMENS = "SIEMENS MED PT"


def private_text(dataset: Dataset, group: int, creator: str, offset: int) -> str | None:
    """The value of the private element `offset` that `creator` reserved in `group`, as text.

    Anonymisers drop creators and turn the VR to UN, so an element in the usual first block (gggg,10oo) is
    taken too when nobody else reserved that block, and bytes are decoded.

    Returns:
        The text without padding, or None when the element is absent or empty.
    """
    for element in dataset.group_dataset(group) if _has_group(dataset, group) else ():
        if 0x10 <= element.tag.elem <= 0xFF and _text(element.value).upper() == creator.upper():
            found = dataset.get(Tag(group, (element.tag.elem << 8) | offset))
            if found is not None:
                return _text(found.value) or None
    reserved = dataset.get(Tag(group, 0x0010))
    if reserved is not None and _text(reserved.value) and _text(reserved.value).upper() != creator.upper():
        return None
    found = dataset.get(Tag(group, 0x1000 | offset))
    return (_text(found.value) or None) if found is not None else None


def _has_group(dataset: Dataset, group: int) -> bool:
    return any(tag.group == group for tag in dataset.keys())  # noqa: SIM118  (a Dataset iterates over elements)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    elif not isinstance(value, str) and hasattr(value, "__len__"):
        value = value[0] if len(value) else ""
    return str(value).strip(" \0")
