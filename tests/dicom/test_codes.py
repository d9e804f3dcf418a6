"""Coded names against pydicom's copy of the standard's tables."""

from __future__ import annotations

import pytest
from pydicom.sr._cid_dict import cid_concepts
from pydicom.sr._concepts_dict import concepts
from pydicom.sr.coding import Code

from anypet.dicom import codes
from anypet.dicom.codes import MEASURES, measure, structure
from anypet.errors import AnyPETError
from anypet.models.compact.parts import PARTS


def meanings(code: Code) -> set[str]:
    """Every meaning that the standard's tables give a code."""
    return {
        words
        for entries in concepts[code.scheme_designator].values()
        for value, (words, _) in entries.items()
        if value == code.value
    }


def in_group(code: Code, group: int) -> bool:
    """Whether a code is one of a context group."""
    table = concepts[code.scheme_designator]
    return any(
        code.value in table[keyword]
        for keyword in cid_concepts[group].get(code.scheme_designator, ())
        if keyword in table
    )


@pytest.mark.parametrize("name", [*codes._ORGANS, *codes._TISSUES, *codes._LESIONS])
def test_structures_are_in_the_standard(name: str) -> None:
    coded = structure(name)
    assert coded.type.meaning in meanings(coded.type)
    assert in_group(coded.category, 7150)
    assert coded.organ == (name in codes._ORGANS)


@pytest.mark.parametrize("name", sorted(set(codes._ORGANS) - {"lacrimal gland"}))
def test_organs_are_segmentation_property_types(name: str) -> None:
    assert in_group(structure(name).type, 7151)


@pytest.mark.parametrize(
    ("name", "meaning", "side"),
    [
        ("liver", "Liver", None),
        ("Left kidney", "Kidney", "Left"),
        ("kidney_right", "Kidney", "Right"),
        ("KIDNEY-L", "Kidney", "Left"),
        ("kidneys", "Kidney", None),
        ("lung left right", "Lung", None),
        ("urinary_bladder", "Bladder", None),
        ("Bladder", "Bladder", None),
        ("parotid gland R", "Parotid gland", "Right"),
        ("bone marrow", "Bone Marrow", None),
        ("GTV_Mass", "Neoplasm", None),
        ("lesion 3", "Lesion", None),
        ("Lesion12", "Lesion", None),
        ("liver lesions", "Lesion", None),
        ("Tumour, left lung", "Neoplasm", "Left"),
        ("liver metastasis", "Neoplasm, Secondary", None),
        ("object 1", "Tissue", None),
        ("L1 vertebra", "Tissue", None),
        ("region", "Tissue", None),
        ("", "Tissue", None),
        ("Leber", "Tissue", None),
    ],
)
def test_names_in_words(name: str, meaning: str, side: str | None) -> None:
    coded = structure(name)
    assert coded.type.meaning == meaning
    assert (coded.side.meaning if coded.side else None) == side


def test_parts_that_the_network_names_are_known() -> None:
    """All but air and bowel, for which the standard's tables have no code of their own."""
    unknown = [name for name in PARTS if structure(name).type.meaning == "Tissue"]
    assert unknown == ["air", "bowel"]


@pytest.mark.parametrize("key", MEASURES)
@pytest.mark.parametrize("unit", ["SUVbw", "SUVlbm", "SUVlbm-james", "SUVibw", "SUVbsa"])
def test_measures_are_in_the_standard(key: str, unit: str) -> None:
    coded = measure(key, unit)
    assert coded.concept.meaning in meanings(coded.concept)
    assert any(in_group(coded.concept, group) for group in (218, 7466, 7469))
    if coded.derivation is not None:
        assert in_group(coded.derivation, 7464)
        assert coded.derivation.meaning in meanings(coded.derivation)
    if key.startswith("suv_"):
        assert in_group(coded.unit, 85)
        assert coded.unit.meaning in meanings(coded.unit)


def test_the_two_lean_body_masses_are_told_apart() -> None:
    """The unit "SUVlbm" is Janmahasatian's (DICOM LBMJANMA), "SUVlbm-james" James's with 120."""
    assert measure("suv_max", "SUVlbm").concept.meaning == "SUVlbm(Janma)"
    assert measure("suv_max", "SUVlbm").unit.value == "g/ml{SUVlbm(Janma)}"
    assert measure("suv_max", "SUVlbm-james").unit.value == "g/ml{SUVlbm}"
    assert measure("tlg", "SUVbw").unit.value == "g"
    assert measure("tlg", "SUVbsa").unit.value == "cm2"


def test_what_has_no_code() -> None:
    with pytest.raises(AnyPETError, match=r"'suv_mode'.*suv_max"):
        measure("suv_mode")
    with pytest.raises(AnyPETError, match="'kurtosis'"):
        measure("kurtosis")
    with pytest.raises(AnyPETError, match="Bq/mL"):
        measure("suv_max", "Bq/mL")
    assert measure("volume_ml", "Bq/mL").unit.value == "ml"
