"""The table of a cohort: what is read, and that faults are named by row and column."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anypet.errors import AnyPETError
from anypet.quantify.network.cohort import Cohort, parse_cohort, read_cohort, write_table

ROWS = [
    "subject,group,age,sex,weight,liver,spleen,heart",
    "a,control,50,F,70,2.1,1.8,2.5",
    "b,control,61,M,82,2.4,2.0,2.2",
    "c,patient,44,M,77,1.9,1.7,3.1",
    "d,patient,70,F,65,2.2,1.6,2.8",
    "e,patient,58,F,90,2.6,2.1,2.9",
]


def table(tmp_path: Path, rows: list[str]) -> Path:
    path = tmp_path / "cohort.csv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def changed(row: int, old: str, new: str) -> list[str]:
    assert old in ROWS[row]
    return [line.replace(old, new, 1) if n == row else line for n, line in enumerate(ROWS)]


def fault(tmp_path: Path, rows: list[str], **options: object) -> str:
    with pytest.raises(AnyPETError) as caught:
        read_cohort(table(tmp_path, rows), **options)  # type: ignore[arg-type]
    return str(caught.value)


def test_organs_covariates_and_groups(tmp_path: Path) -> None:
    cohort = read_cohort(table(tmp_path, ROWS), covariates=["age", "sex", "group"])
    assert cohort.organs == ("liver", "spleen", "heart")
    assert cohort.subjects == ("a", "b", "c", "d", "e")
    np.testing.assert_allclose(cohort.uptake[1], [2.4, 2.0, 2.2])
    assert cohort.covariates == ("age", "sex=M", "group=patient")
    np.testing.assert_array_equal(cohort.design[:, 0], [50, 61, 44, 70, 58])
    np.testing.assert_array_equal(cohort.design[:, 1], [0, 1, 1, 0, 0])
    np.testing.assert_array_equal(cohort.design[:, 2], [0, 0, 1, 1, 1])
    assert cohort.group_names == ("control", "patient")
    patients = cohort.take(cohort.members("patient"))
    assert (patients.subjects, len(patients)) == (("c", "d", "e"), 3)
    np.testing.assert_array_equal(patients.uptake, cohort.uptake[2:])
    np.testing.assert_array_equal(patients.design, cohort.design[2:])


def test_chosen_organs_in_the_order_asked_for(tmp_path: Path) -> None:
    rows = [f"{line},{extra}" for line, extra in zip(ROWS, ["note", *"vwxyz"], strict=True)]
    cohort = read_cohort(table(tmp_path, rows), organs=["heart", "liver", "spleen"])
    assert cohort.organs == ("heart", "liver", "spleen")
    assert cohort.design.shape == (5, 0)
    assert "row 2, column note" in fault(tmp_path, rows)
    assert "named as covariates" in fault(tmp_path, rows)


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters_and_a_byte_order_mark(tmp_path: Path, delimiter: str) -> None:
    rows = [line.replace(",", delimiter) for line in ROWS]
    rows[0] = "\ufeff" + rows[0]
    plain, other = read_cohort(table(tmp_path, ROWS)), None
    other = read_cohort(table(tmp_path, rows))
    np.testing.assert_array_equal(other.uptake, plain.uptake)
    assert other.subjects == plain.subjects


def test_without_subject_and_group_columns(tmp_path: Path) -> None:
    rows = [line.split(",", 2)[2] for line in ROWS]
    cohort = read_cohort(table(tmp_path, rows))
    assert cohort.subjects == ("1", "2", "3", "4", "5")
    assert cohort.group_names == ("",)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (changed(2, "2.0", "two"), ["row 3", "column spleen", "'two'", "a number"]),
        (changed(2, "2.0", "2,0"), ["row 3", "9 cells for 8 columns"]),
        (changed(3, "1.9", "0"), ["row 4", "column liver", "above 0"]),
        (changed(3, "1.9", "-1.9"), ["row 4", "column liver", "above 0"]),
        (changed(3, "1.9", "inf"), ["row 4", "column liver"]),
        (changed(4, "d,", "a,"), ["row 5", "'a' is in row 2"]),
        (changed(4, "d,", ","), ["row 5", "column subject", "empty"]),
        (changed(1, "2.1", ""), ["row 2, column liver: is empty", "missing = drop"]),
        (changed(1, "2.1", "NA"), ["row 2, column liver: is empty"]),
        (changed(0, "spleen", "liver"), ["once", "liver"]),
        (changed(0, "spleen", ""), ["once", "(empty)"]),
        (ROWS[:1], ["no subject"]),
        ([line.rsplit(",", 1)[0] for line in ROWS], ["2 organ columns"]),
        (ROWS[:4], ["3 subjects", "at least 4"]),
        ([ROWS[0], *(line.rsplit(",", 1)[0] + ",2" for line in ROWS[1:])], ["same value", "heart"]),
    ],
)
def test_faults_name_row_column_and_fix(tmp_path: Path, rows: list[str], words: list[str]) -> None:
    message = fault(tmp_path, rows)
    assert all(word in message for word in words), message
    if len(rows) > 1:
        assert message.startswith("cohort.csv")


def test_a_word_among_numbers_is_no_category(tmp_path: Path) -> None:
    message = fault(tmp_path, changed(2, "61", "6l"), covariates=["age"])
    assert "row 3, column age" in message
    assert "'6l'" in message
    assert "row 3, column age: is empty" in fault(tmp_path, changed(2, "61", ""), covariates=["age"])


def test_other_faults(tmp_path: Path) -> None:
    assert "no column height" in fault(tmp_path, ROWS, covariates=["height"])
    assert "no column lung" in fault(tmp_path, ROWS, organs=["lung", "liver", "heart"])
    with pytest.raises(AnyPETError, match="does not exist"):
        read_cohort(tmp_path / "none.csv")
    (tmp_path / "odd.csv").write_bytes("subject,lib\xe9r\n".encode("latin-1"))
    with pytest.raises(AnyPETError, match="UTF-8"):
        read_cohort(tmp_path / "odd.csv")
    with pytest.raises(AnyPETError, match=r"'nobody'.*'control', 'patient'"):
        read_cohort(table(tmp_path, ROWS)).members("nobody")


def test_many_faults_are_counted(tmp_path: Path) -> None:
    rows = [ROWS[0], *(f"s{n},x,50,F,70,0,1,2" for n in range(30))]
    assert "and 22 more" in fault(tmp_path, rows)


def test_dropping_subjects_with_gaps(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = changed(2, "2.0", "")
    cohort = read_cohort(table(tmp_path, rows), missing="drop")
    assert cohort.subjects == ("a", "c", "d", "e")
    assert "1 of 5 subjects" in caplog.text
    kept = read_cohort(table(tmp_path, rows), organs=["liver", "heart", "weight"])
    assert len(kept) == 5  # a gap in a column that is not asked for does not matter


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.floats(0.01, 99), min_size=4, max_size=4, unique=True), min_size=4, max_size=6),
)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, values: list[list[float]]) -> None:
    organs = ["a b", 'c"d', "é,f", "g"]
    rows = [
        {"subject": f"s{n}", **dict(zip(organs, map(repr, line), strict=True))}
        for n, line in enumerate(values)
    ]
    matrix = np.array(values)
    if (np.ptp(matrix, axis=0) == 0).any():
        return
    path = write_table(rows, tmp_path_factory.mktemp("t") / "t.csv")
    for cohort in (read_cohort(path), parse_cohort(rows, "rows")):
        assert isinstance(cohort, Cohort)
        assert cohort.organs == tuple(organs)
        np.testing.assert_array_equal(cohort.uptake, matrix)
