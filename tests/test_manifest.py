"""Lists of cases: what is read, what is written, and what a fault in them says."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from anypet.errors import AnyPETError
from anypet.evaluation.manifest import manifest_cases
from anypet.manifest import Row, parse_names, read_manifest, write_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.nii.gz", "a_label.nii.gz", "a_ct.nii.gz", "sub/b.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def save(folder: Path, text: str, name: str = "list.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def full(folder: Path) -> list[Row]:
    return [
        Row(
            image=folder / "a.nii.gz",
            label=folder / "a_label.nii.gz",
            ct=folder / "a_ct.nii.gz",
            patient="P1",
            unit="SUVbw",
            names={1: "left kidney", 2: "liver, right lobe"},
            quality="LQ",
            centre="Tübingen",
            tracer="FDG",
            split="train",
        ),
        Row(image=folder / "sub" / "b.nii.gz", patient="P2"),
    ]


def test_a_row_has_its_defaults(folder: Path) -> None:
    (row,) = read_manifest(save(folder, "image,patient,label\n a.nii.gz , 7,\n"))
    assert row == Row(image=folder / "a.nii.gz", patient="7")
    assert (row.label, row.ct, row.unit, row.names, row.quality, row.split) == (
        None,
        None,
        None,
        {},
        "HQ",
        None,
    )


@pytest.mark.parametrize("name", ["list.csv", "list.json"])
def test_what_is_written_is_read_again(folder: Path, name: str) -> None:
    rows = full(folder)
    write_manifest(rows, folder / name)
    assert read_manifest(folder / name) == rows
    assert str(folder) not in (folder / name).read_text(encoding="utf-8")
    assert {p.name for p in folder.iterdir()} == {"a.nii.gz", "a_label.nii.gz", "a_ct.nii.gz", "sub", name}
    other = folder / "sub" / name  # from another folder, the files above it have complete paths
    write_manifest(rows, other)
    assert read_manifest(other) == rows


def test_names_with_semicolons_survive_a_csv(folder: Path) -> None:
    row = Row(image=folder / "a.nii.gz", patient="P", names={3: "a; b=c", 12: "d"})
    write_manifest([row], folder / "list.csv")
    assert read_manifest(folder / "list.csv") == [row]


def test_a_list_that_cannot_be_written_leaves_the_old_one(folder: Path) -> None:
    path = save(folder, "old")
    for rows, target, message in (
        (full(folder), folder / "list.txt", r"\.csv or \.json"),
        (full(folder), folder / "no" / "list.csv", "does not exist; create it"),
        ([], path, "no case"),
    ):
        with pytest.raises(AnyPETError, match=message):
            write_manifest(rows, target)
    assert path.read_text() == "old"


def test_names() -> None:
    expected = {1: "liver", 2: "spleen"}
    for value in ("1=liver; 2 = spleen;", '{"1": "liver", "2": "spleen"}', {"1": "liver", 2: "spleen"}):
        assert parse_names(value) == expected
    assert parse_names("") == {}
    for value in ("liver", "0=background", "-1=x", "1=", "x=liver", "{1: liver}"):
        with pytest.raises(AnyPETError):
            parse_names(value)


@pytest.mark.parametrize(
    ("header", "line", "message"),
    [
        ("image,patient", "a.nii.gz,P1\n,P2", r"list.csv, case 2: the field 'image' is missing or empty"),
        ("image", "a.nii.gz", r"case 1: the field 'patient' is missing.*has image"),
        (
            "image,patient,ct",
            "a.nii.gz,P1,no.nii.gz",
            r"case 1: the field 'ct' names .*no.nii.gz.*correct it",
        ),
        ("image,patient,unit", "a.nii.gz,P1,SUV", r"the field 'unit'.*'SUV'.*SUVbw"),
        ("image,patient,names", "a.nii.gz,P1,liver", r"the field 'names' holds 'liver'; write it as 1=liver"),
        ("image,patient,quality", "a.nii.gz,P1,good", r"the field 'quality' is 'good'; write HQ or LQ"),
        ("image,patient,split", "a.nii.gz,P1,dev", r"the field 'split' is 'dev'; write train, validation or"),
        ("image,patient,tracer", "a.nii.gz,P1,FDG,x", r"case 1: the row has more cells than the header"),
    ],
)
def test_faults_name_row_field_and_fix(folder: Path, header: str, line: str, message: str) -> None:
    with pytest.raises(AnyPETError, match=message):
        read_manifest(save(folder, f"{header}\n{line}\n"))


def test_commas_at_the_end_of_a_line_are_no_fault(folder: Path) -> None:
    assert len(read_manifest(save(folder, "image,patient\na.nii.gz,P1,,\n\n"))) == 1


def test_evaluation_takes_a_split_and_needs_a_label(folder: Path) -> None:
    cases = [
        {"image": "a.nii.gz", "label": "a_label.nii.gz", "patient": "P1", "split": "test"},
        {"image": "sub/b.nii.gz", "patient": "P2", "split": "train"},
    ]
    path = save(folder, json.dumps(cases), "list.json")
    assert [case.patient for case in manifest_cases(path, "test")] == ["P1"]
    with pytest.raises(AnyPETError, match=r"case 2: the field 'label'.*evaluation needs a label"):
        manifest_cases(path)
    with pytest.raises(AnyPETError, match="no case of split 'validation'; its splits are test, train"):
        manifest_cases(path, "validation")


def test_an_empty_label_is_a_case_without_targets(tmp_path: Path) -> None:
    for name, kind in (("pet", np.float32), ("label", np.uint8)):
        nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), kind), np.eye(4)), tmp_path / f"{name}.nii.gz")
    text = "image,label,patient,unit,names\npet.nii.gz,label.nii.gz,P1,SUVbw,1=lesion\n"
    (case,) = manifest_cases(save(tmp_path, text))
    assert dict(case.load().targets) == {}
