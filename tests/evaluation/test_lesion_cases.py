import numpy as np
import pytest

from anypet.errors import AnyPETError
from anypet.evaluation.lesion_cases import lesion_cases
from lesion_lists import LESIONS, LIVER, SHAPE, put_case, put_list


def test_lesions_and_organs_apart(tmp_path, caplog):
    rows = [put_case(tmp_path, "a"), put_case(tmp_path, "b", lesions=False, ct=False, tracer="Ga-PSMA-11")]
    rows.append(put_case(tmp_path, "c", split="test").model_copy(update={"label": None}))
    first, second = lesion_cases(put_list(tmp_path, rows))
    assert "1 cases have no label" in caplog.text
    assert (first.tracer, second.tracer, first.name) == ("FDG", "PSMA", "a/a_image")
    study = first.load()
    expected = np.zeros(SHAPE, bool)
    for box in LESIONS:
        expected[box] = True
    assert np.array_equal(study.lesion, expected)
    assert list(study.organs) == ["liver"]
    assert study.organs["liver"][LIVER].all()
    assert study.ct is not None
    assert study.ct.unit == "HU"
    empty = second.load()
    assert not empty.lesion.any()
    assert empty.ct is None


def test_without_names_all_of_the_label_is_lesion(tmp_path):
    row = put_case(tmp_path, "a").model_copy(update={"names": {}})
    study = lesion_cases(put_list(tmp_path, [row]))[0].load()
    assert study.lesion[LIVER].all()
    assert not study.organs


def test_names_without_a_lesion_are_a_fault(tmp_path):
    row = put_case(tmp_path, "a").model_copy(update={"names": {2: "liver"}})
    with pytest.raises(AnyPETError, match="case 1: none of the names liver is a lesion"):
        lesion_cases(put_list(tmp_path, [row]))[0].load()


def test_splits_and_what_changes_an_identity(tmp_path):
    rows = [put_case(tmp_path, n, split=s) for n, s in (("a", "train"), ("bb", "test"), ("ccc", None))]
    path = put_list(tmp_path, rows)
    assert [c.row.patient for c in lesion_cases(path, "train", None)] == ["a", "ccc"]
    with pytest.raises(AnyPETError, match="no case with a label of split validation"):
        lesion_cases(path, "validation")
    before = lesion_cases(path)[0].identity
    put_case(tmp_path, "a", lesions=False)
    assert lesion_cases(path)[0].identity != before
    assert lesion_cases(path)[1].tracer == "FDG"
    assert lesion_cases(put_list(tmp_path, [rows[0].model_copy(update={"tracer": "DOTA"})]))[0].tracer == ""
