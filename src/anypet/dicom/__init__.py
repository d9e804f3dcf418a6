"""DICOM in and out. Names are imported on first use: highdicom takes most of a second.

`write_segmentation` (SEG), `write_structures` (RTSTRUCT) and `write_measurements` (SR) write objects that
refer to the series of a scan; `segmentation`, `structures` and `measurements` make the same in memory.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anypet.dicom.maker import Algorithm
    from anypet.dicom.source import Source, find_source
    from anypet.dicom.write_rtstruct import structures, write_structures
    from anypet.dicom.write_seg import segmentation, write_segmentation
    from anypet.dicom.write_sr import measurements, write_measurements

_HOMES = {
    "Algorithm": "maker",
    "Source": "source",
    "find_source": "source",
    "measurements": "write_sr",
    "segmentation": "write_seg",
    "structures": "write_rtstruct",
    "write_measurements": "write_sr",
    "write_segmentation": "write_seg",
    "write_structures": "write_rtstruct",
}

__all__ = [
    "Algorithm",
    "Source",
    "find_source",
    "measurements",
    "segmentation",
    "structures",
    "write_measurements",
    "write_segmentation",
    "write_structures",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"anypet.dicom.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'anypet.dicom' has no attribute {name!r}")
