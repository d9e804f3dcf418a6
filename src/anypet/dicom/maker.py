"""What every object written here says of its maker and its series."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import highdicom as hd
from pydicom.sr.coding import Code

from anypet._version import __version__
from anypet.dicom.source import Source

# of region 1, 2, ... and from the first again: told apart by people with any colour vision (Okabe, Ito 2008)
COLOURS = ((213, 94, 0), (0, 114, 178), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233))
_ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")


@dataclass(frozen=True)
class Algorithm:
    """What outlined the regions.

    Args:
        name: the model's, as `anypet models` lists it, or the program's.
        version: its version.
        how: AUTOMATIC without a person, SEMIAUTOMATIC with clicks or corrections, MANUAL by hand.
    """

    name: str = "AnyPET"
    version: str = __version__
    how: Literal["AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"] = "SEMIAUTOMATIC"

    @property
    def identification(self) -> hd.AlgorithmIdentificationSequence:
        """As a sequence for DICOM objects."""
        return hd.AlgorithmIdentificationSequence(
            self.name, _ARTIFICIAL_INTELLIGENCE, self.version, source="AnyPET"
        )


def instance(description: str, source: Source, offset: int) -> dict[str, Any]:
    """highdicom's arguments for a new object in a new series of the source's study.

    Args:
        description: of the new series.
        source: gives the series number.
        offset: added to it, so that objects of a kind sort together.
    """
    return {
        "series_instance_uid": hd.UID(),
        "series_number": max(int(source.first.get("SeriesNumber") or 0), 0) + offset,
        "sop_instance_uid": hd.UID(),
        "instance_number": 1,
        "manufacturer": "AnyPET",
        "manufacturer_model_name": "AnyPET",
        "software_versions": __version__,
        "device_serial_number": "none",
        "series_description": description,
        "specific_character_set": "ISO_IR 192",  # names of regions may be in any script
    }


@contextmanager
def lenient_names() -> Iterator[None]:
    """Without highdicom's warning of patient names of one part: they are the archive's, not ours."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="The string .* is unlikely to represent", module="highdicom"
        )
        yield
