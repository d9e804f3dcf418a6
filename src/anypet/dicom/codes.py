"""Coded names for DICOM: of organs and lesions from their names in words, of measures from their keys.

Codes are those of DICOM PS3.16 (CID 7151, 7159 and 7192 for what is outlined; 7464, 7466, 7469, 7470 for what
is measured; 85 for SUV units).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydicom.sr.coding import Code

from anypet.errors import AnyPETError

_ANATOMY = Code("91723000", "SCT", "Anatomical Structure")
_ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
_TISSUE = Code("85756007", "SCT", "Tissue")
_SIDES = {"left": Code("7771000", "SCT", "Left"), "right": Code("24028007", "SCT", "Right")}
_SIDE_WORDS = {"left": "left", "l": "left", "lt": "left", "right": "right", "r": "right", "rt": "right"}

# the first of these words that a name holds decides, before any organ: a "liver lesion" is a lesion
_LESIONS = {
    "metastasis": ("14799000", "Neoplasm, Secondary"),
    "metastases": ("14799000", "Neoplasm, Secondary"),
    "primary": ("372087000", "Neoplasm, Primary"),
    "tumor": ("108369006", "Neoplasm"),
    "tumour": ("108369006", "Neoplasm"),
    "neoplasm": ("108369006", "Neoplasm"),
    "gtv": ("108369006", "Neoplasm"),
    "lesion": ("52988006", "Lesion"),
    "mass": ("4147007", "Mass"),
}
_ORGANS = {
    "adrenal gland": ("23451007", "Adrenal gland"),
    "aorta": ("15825003", "Aorta"),
    "brain": ("12738006", "Brain"),
    "colon": ("71854001", "Colon"),
    "duodenum": ("38848004", "Duodenum"),
    "esophagus": ("32849002", "Esophagus"),
    "gallbladder": ("28231008", "Gallbladder"),
    "heart": ("80891009", "Heart"),
    "kidney": ("64033007", "Kidney"),
    "lacrimal gland": ("13561001", "Lacrimal gland"),
    "large intestine": ("14742008", "Large intestine"),
    "liver": ("10200004", "Liver"),
    "lung": ("39607008", "Lung"),
    "ovary": ("15497006", "Ovary"),
    "pancreas": ("15776009", "Pancreas"),
    "parotid gland": ("45289007", "Parotid gland"),
    "prostate": ("41216001", "Prostate"),
    "rectum": ("34402009", "Rectum"),
    "salivary gland": ("385294005", "Salivary gland"),
    "small intestine": ("30315005", "Small intestine"),
    "spinal cord": ("2748008", "Spinal cord"),
    "spleen": ("78961009", "Spleen"),
    "stomach": ("69695003", "Stomach"),
    "submandibular gland": ("54019009", "Submandibular gland"),
    "testis": ("40689003", "Testis"),
    "thoracic aorta": ("113262008", "Thoracic aorta"),
    "thyroid": ("69748006", "Thyroid"),
    "trachea": ("44567001", "Trachea"),
    "ureter": ("87953007", "Ureter"),
    "urinary bladder": ("89837001", "Bladder"),
    "uterus": ("35039007", "Uterus"),
}
_TISSUES = {
    "bone": ("3138006", "Bone"),
    "cortical bone": ("3138006", "Bone"),
    "fat": ("55603005", "Fat"),
    "lymph node": ("59441001", "Lymph Node"),
    "marrow": ("14016003", "Bone Marrow"),
    "muscle": ("91727004", "Muscle"),
    "vessel": ("59820001", "Blood Vessel"),
}
_SYNONYMS = {
    "bladder": "urinary bladder",
    "bone marrow": "marrow",
    "blood vessel": "vessel",
    "oesophagus": "esophagus",
    "parotid": "parotid gland",
    "skeletal muscle": "muscle",
    "small bowel": "small intestine",
    "thyroid gland": "thyroid",
}


@dataclass(frozen=True)
class Structure:
    """What is outlined, in codes.

    Args:
        category: anatomical structure, morphologically abnormal structure or tissue (CID 7150).
        type: the organ, kind of lesion or tissue.
        side: left or right; None where the name says neither.
    """

    category: Code
    type: Code
    side: Code | None = None

    @property
    def organ(self) -> bool:
        """Whether it is an organ."""
        return self.category == _ANATOMY


def structure(name: str) -> Structure:
    """The codes of a name such as "left kidney", "kidney_left", "lesion 3" or "GTV_Mass".

    Case, numbers, plurals, underscores and hyphens play no part. A name that is not known is coded as Tissue,
    which claims nothing; the name itself is written beside the code in every object.
    """
    tokens = re.split(r"[\W_]+", name.lower())
    sides = {_SIDE_WORDS[token] for token in tokens if token in _SIDE_WORDS}
    side = _SIDES[sides.pop()] if len(sides) == 1 else None
    words = [token.strip("0123456789") for token in tokens if token not in _SIDE_WORDS]
    for word in words:
        known = _LESIONS.get(word) or _LESIONS.get(word.removesuffix("s"))
        if known:
            return Structure(_ABNORMAL, Code(known[0], "SCT", known[1]), side)
    phrase = " ".join(word for word in words if word)
    for text in (phrase, phrase.removesuffix("s")):
        text = _SYNONYMS.get(text, text)
        for table, category in ((_ORGANS, _ANATOMY), (_TISSUES, _TISSUE)):
            if text in table:
                code, meaning = table[text]
                return Structure(category, Code(code, "SCT", meaning), side)
    return Structure(_TISSUE, _TISSUE, side)


@dataclass(frozen=True)
class Measure:
    """What is measured, in codes.

    Args:
        concept: the quantity.
        unit: UCUM.
        derivation: how one number came from the voxels (mean, maximum, ...), where the quantity needs it.
    """

    concept: Code
    unit: Code
    derivation: Code | None = None


# unit of the scan -> quantity and UCUM unit; "SUVlbm" is Janmahasatian's and "SUVlbm-james" James's with 120
_SUV = {
    "SUVbw": (("126401", "SUVbw"), ("g/ml{SUVbw}", "Standardized Uptake Value body weight")),
    "SUVlbm": (
        ("126405", "SUVlbm(Janma)"),
        ("g/ml{SUVlbm(Janma)}", "Standardized Uptake Value lean body mass (Janma)"),
    ),
    "SUVlbm-james": (
        ("126402", "SUVlbm"),
        ("g/ml{SUVlbm}", "Standardized Uptake Value lean body mass (James)"),
    ),
    "SUVibw": (("126404", "SUVibw"), ("g/ml{SUVibw}", "Standardized Uptake Value ideal body weight")),
    "SUVbsa": (("126403", "SUVbsa"), ("cm2/ml{SUVbsa}", "Standardized Uptake Value body surface area")),
}
_DERIVATIONS = {
    "max": Code("56851009", "SCT", "Maximum"),
    "mean": Code("373098007", "SCT", "Mean"),
    "median": Code("373099004", "SCT", "Median"),
    "min": Code("255605001", "SCT", "Minimum"),
    "std": Code("386136009", "SCT", "Standard Deviation"),
    "peak": Code("126031", "DCM", "Peak Value Within ROI"),
}
_MILLILITRE = Code("ml", "UCUM", "milliliter")
_MILLIMETRE = Code("mm", "UCUM", "mm")
_ONE = Code("1", "UCUM", "no units")
_OTHERS = {
    "volume_ml": Measure(Code("118565006", "SCT", "Volume"), _MILLILITRE),
    "mtv_ml": Measure(Code("126032", "DCM", "Metabolic Volume"), _MILLILITRE),
    "surface_mm2": Measure(
        Code("C0JK", "IBSI", "Surface Area of Mesh"), Code("mm2", "UCUM", "square millimeter")
    ),
    "sphericity": Measure(Code("QCFX", "IBSI", "Sphericity"), _ONE),
    "longest_diameter_mm": Measure(Code("81827009", "SCT", "Diameter"), _MILLIMETRE, _DERIVATIONS["max"]),
    "axial_diameter_mm": Measure(Code("103339001", "SCT", "Long axis"), _MILLIMETRE),
}
MEASURES = (*(f"suv_{name}" for name in _DERIVATIONS), "tlg", *_OTHERS)


def measure(key: str, suv_unit: str = "SUVbw") -> Measure:
    """The codes of a measure.

    Args:
        key: one of `MEASURES`: "suv_max", "suv_mean", "suv_median", "suv_min", "suv_std", "suv_peak", "tlg"
            (SUV x mL), "volume_ml", "mtv_ml", "surface_mm2", "sphericity", "longest_diameter_mm" (in 3D) or
            "axial_diameter_mm" (longest in an axial plane).
        suv_unit: the SUV that "suv_..." and "tlg" are in, as a `Volume` names it.

    Raises:
        AnyPETError: there is no code for the key, or the unit is no SUV.
    """
    if key in _OTHERS:
        return _OTHERS[key]
    derivation = _DERIVATIONS.get(key.removeprefix("suv_")) if key.startswith("suv_") else None
    if derivation is None and key != "tlg":
        raise AnyPETError(
            f"there is no DICOM code for the measure {key!r}: give some of {', '.join(MEASURES)}"
        )
    if suv_unit not in _SUV:
        raise AnyPETError(
            f"there is no DICOM code for uptake in {suv_unit!r}: read the scan as one of {', '.join(_SUV)}"
        )
    if derivation is None:  # SUV is a mass (or an area) per volume, so SUV x mL is that mass (or area)
        unit = Code("cm2", "UCUM", "Centimeter**2") if suv_unit == "SUVbsa" else Code("g", "UCUM", "gram")
        return Measure(Code("126033", "DCM", "Total Lesion Glycolysis"), unit)
    (concept, meaning), (unit_code, unit_meaning) = _SUV[suv_unit]
    return Measure(Code(concept, "DCM", meaning), Code(unit_code, "UCUM", unit_meaning), derivation)
