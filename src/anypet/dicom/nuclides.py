"""Half-lives of PET nuclides, for headers that name the nuclide and leave out its half-life."""

from __future__ import annotations

import re

from pydicom.dataset import Dataset
from pydicom.sr.codedict import Collection

# Seconds. Tables differ by up to 0.3 % (Ga-68: 67.6 to 67.8 min); at one hour that is 0.2 % of a SUV or less.
HALF_LIFE_S = {
    "F-18": 6586.2,
    "Ga-68": 4057.7,
    "C-11": 1221.7,
    "N-13": 597.9,
    "O-15": 122.2,
    "Cu-61": 12020.0,
    "Cu-64": 45721.0,
    "Rb-82": 76.3,
    "Y-86": 53064.0,
    "Zr-89": 282276.0,
    "I-124": 360806.0,
    "Sc-44": 14551.0,
}

# SNOMED-RT codes (designators SRT, SNM3, 99SDM), which most scanners still write; CID 4020 has the new ones.
_SRT = {
    "C-111A1": "F-18",
    "C-131A3": "Ga-68",
    "C-105A1": "C-11",
    "C-107A1": "N-13",
    "C-B1038": "O-15",
    "C-127A1": "Cu-61",
    "C-127A2": "Cu-64",
    "C-159A2": "Rb-82",
    "C-162A3": "Y-86",
    "C-168A4": "Zr-89",
    "C-114A5": "I-124",
}

_ELEMENTS = {
    "fluorine": "F",
    "fluor": "F",
    "gallium": "Ga",
    "carbon": "C",
    "nitrogen": "N",
    "oxygen": "O",
    "copper": "Cu",
    "rubidium": "Rb",
    "yttrium": "Y",
    "zirconium": "Zr",
    "iodine": "I",
    "scandium": "Sc",
}


def nuclide_of(radiopharmaceutical: Dataset) -> str | None:
    """The nuclide, as "F-18", that one Radiopharmaceutical Information item (0054,0016) names.

    Looks at the code, then at the code's meaning ("^18^Fluorine", "18F", "F-18"), then at the name of the
    radiopharmaceutical. None when none of them is known.
    """
    for item in radiopharmaceutical.get("RadionuclideCodeSequence") or ():
        code = str(item.get("CodeValue", "")).strip()
        found = _SRT.get(code) or _sct().get(code) or _from_words(str(item.get("CodeMeaning", "")))
        if found:
            return found
    return _from_words(str(radiopharmaceutical.get("Radiopharmaceutical", "")))


def _sct() -> dict[str, str]:
    collection = Collection("CID4020")
    codes = {}
    for keyword in collection.dir():
        code = getattr(collection, keyword)
        name = _from_words(str(code.meaning))
        if name:
            codes[str(code.value)] = name
    return codes


def _from_words(words: str) -> str | None:
    """Finds a mass number next to an element's symbol or name, in either order."""
    pairs = [(element, mass) for mass, element in re.findall(r"(\d+)[\s^\-\[\]]*([A-Za-z]+)", words)]
    pairs += re.findall(r"([A-Za-z]+)[\s^\-\[\]]*(\d+)", words)
    for element, mass in pairs:
        name = f"{_ELEMENTS.get(element.lower(), element.capitalize())}-{mass}"
        if name in HALF_LIFE_S:
            return name
    return None
