"""Lists from tiny copies of the public data sets' layouts."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from anypet.builders import KINDS, assign_splits, build
from anypet.errors import AnyPETError
from anypet.evaluation.cases import sts_split
from anypet.manifest import Row, read_manifest, write_manifest
from dicom_factory import make_rtstruct, make_series


def files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def told(rows: list[Row], folder: Path) -> list[tuple[str | None, ...]]:
    """Image, label, CT and patient of each row, paths from the folder."""
    paths = [[getattr(row, field) for field in ("image", "label", "ct")] for row in rows]
    relative = [[p and p.relative_to(folder).as_posix() for p in row] for row in paths]
    return [(*three, row.patient) for three, row in zip(relative, rows, strict=True)]


def test_autopet(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    study = "PETCT_0b57b247b6/05-02-2002-NA-Unspecified CT ABDOMEN-42966"
    files(tmp_path, *(f"{study}/{n}.nii.gz" for n in ("SUV", "SEG", "CTres", "CT", "PET")))
    files(tmp_path, "PETCT_1/a/SUV.nii.gz", "PETCT_1/b/PET.nii.gz")
    rows = build("autopet", tmp_path)
    assert told(rows, tmp_path) == [
        (f"{study}/SUV.nii.gz", f"{study}/SEG.nii.gz", f"{study}/CTres.nii.gz", "PETCT_0b57b247b6"),
        ("PETCT_1/a/SUV.nii.gz", None, None, "PETCT_1"),
    ]
    assert (rows[0].unit, rows[0].names, rows[0].tracer) == ("SUVbw", {1: "lesion"}, "FDG")
    assert "no SUV.nii.gz" in caplog.text


def test_autopet3_and_its_psma_half(tmp_path: Path) -> None:
    one, two = "psma_95b833d65be26d9b_2018-04-16", "fdg_0011f3deaf_03-23-2003-NA-PET-CT Ganz_1"
    files(tmp_path, *(f"imagesTr/{c}_000{n}.nii.gz" for c in (one, two) for n in (0, 1)))
    files(tmp_path, f"labelsTr/{one}.nii.gz", f"labelsTr/{two}.nii.gz")
    psma = build("psma", tmp_path)
    assert told(psma, tmp_path) == [
        (
            f"imagesTr/{one}_0001.nii.gz",
            f"labelsTr/{one}.nii.gz",
            f"imagesTr/{one}_0000.nii.gz",
            "psma_95b833d65be26d9b",
        )
    ]
    assert (psma[0].tracer, psma[0].centre, psma[0].unit) == ("PSMA", "LMU", "SUVbw")
    both = build("autopet3", tmp_path)
    assert [(row.patient, row.tracer) for row in both] == [
        ("fdg_0011f3deaf", "FDG"),
        ("psma_95b833d65be26d9b", "PSMA"),
    ]


def test_hecktor_of_both_kinds(tmp_path: Path) -> None:
    files(
        tmp_path, "imagesTr/CHUM-001__PT.nii.gz", "imagesTr/CHUM-001__CT.nii.gz", "labelsTr/CHUM-001.nii.gz"
    )
    files(tmp_path, "imagesTr/MDA-002__PT.nii.gz", "labelsTr/MDA_002.nii.gz", "imagesTs/USZ-1__PT.nii.gz")
    rows = build("hecktor", tmp_path)
    assert told(rows, tmp_path) == [
        (
            "imagesTr/CHUM-001__PT.nii.gz",
            "labelsTr/CHUM-001.nii.gz",
            "imagesTr/CHUM-001__CT.nii.gz",
            "CHUM-001",
        ),
        ("imagesTr/MDA-002__PT.nii.gz", "labelsTr/MDA_002.nii.gz", None, "MDA-002"),
        ("imagesTs/USZ-1__PT.nii.gz", None, None, "USZ-1"),
    ]
    assert (rows[0].names, rows[0].centre) == ({1: "GTVp", 2: "GTVn"}, "CHUM")
    later = files(tmp_path / "2025", *(f"A-1/A-1{n}.nii.gz" for n in ("__PT", "__CT", "")))
    assert told(build("hecktor", later), later) == [
        ("A-1/A-1__PT.nii.gz", "A-1/A-1.nii.gz", "A-1/A-1__CT.nii.gz", "A-1")
    ]


def test_sts_comes_with_its_split(tmp_path: Path) -> None:
    names = [sts_split().train[0], sts_split().validation[0]]
    files(tmp_path, *(f"{n}/{f}.nii.gz" for n in names for f in ("PET", "GTV", "CT")))
    rows = {row.patient: row for row in build("sts", tmp_path)}
    assert {name: row.split for name, row in rows.items()} == {names[0]: "train", names[1]: "validation"}
    assert told([rows[names[0]]], tmp_path) == [
        (*(f"{names[0]}/{f}.nii.gz" for f in ("PET", "GTV", "CT")), names[0])
    ]


def test_dicom_folders(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("Full_dose", "1-10 dose"):
        make_series(tmp_path / "Subject_1" / "2024" / name)
    make_series(tmp_path / "Subject_1" / "2024" / "CT", modality="CT")
    make_rtstruct(tmp_path / "Subject_1" / "rs" / "a", {})
    make_series(tmp_path / "Subject_2" / "PET")
    make_rtstruct(tmp_path / "Subject_2" / "rs" / "a", {})
    for name in ("CT1", "CT2"):
        make_series(tmp_path / "Subject_2" / name, modality="CT")
    (tmp_path / "Subject_1" / "2024" / "notes.txt").touch()
    rows = build("udpet", tmp_path)
    assert told(rows, tmp_path) == [
        ("Subject_1/2024/1-10 dose", None, "Subject_1/2024/CT", "Subject_1"),
        ("Subject_1/2024/Full_dose", None, "Subject_1/2024/CT", "Subject_1"),
        ("Subject_2/PET", "Subject_2/rs", None, "Subject_2"),
    ]
    assert all(row.unit is None for row in rows)
    assert "2 folders hold a CT" in caplog.text


VERSION_2 = {
    "channel_names": {"0": "CT", "1": "PET_SUV"},
    "labels": {"background": 0, "lesion": 1, "node": [2, 3], "all": [1, 2, 3], "ignore": 4},
    "file_ending": ".nrrd",
}
VERSION_1 = {
    "modality": {"0": "CT", "1": "PET"},
    "labels": {"0": "background", "1": "lesion", "2": "node", "3": "node"},
}


@pytest.mark.parametrize(("described", "unit"), [(VERSION_2, "SUVbw"), (VERSION_1, None)])
def test_nnunet_of_both_versions(tmp_path: Path, described: dict[str, object], unit: str | None) -> None:
    end = described.get("file_ending", ".nii.gz")
    files(tmp_path, *(f"imagesTr/a_{n}{end}" for n in ("0000", "0001")), f"labelsTr/a{end}")
    files(tmp_path, f"imagesTs/b_0001{end}")
    (tmp_path / "dataset.json").write_text(json.dumps(described))
    rows = build("nnunet", tmp_path)
    assert told(rows, tmp_path) == [
        (f"imagesTr/a_0001{end}", f"labelsTr/a{end}", f"imagesTr/a_0000{end}", "a"),
        (f"imagesTs/b_0001{end}", None, None, "b"),
    ]
    assert rows[0].names == {1: "lesion", 2: "node", 3: "node"}
    assert (rows[0].unit, rows[1].names) == (unit, {})


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ("[", "cannot be read as JSON"),
        ("[]", "must hold an object"),
        ('{"labels": {}}', 'expected "channel_names"'),
        ('{"channel_names": {"0": "CT", "1": "CT"}, "labels": {}}', "none of the channels.*autopet3"),
        ('{"channel_names": {"0": "PET"}}', 'expected "labels"'),
        ('{"channel_names": {"0": "PET"}, "labels": {"a": null}}', "not names with whole numbers"),
    ],
)
def test_nnunet_descriptions_that_do_not_do(tmp_path: Path, described: str, message: str) -> None:
    (tmp_path / "dataset.json").write_text(described)
    with pytest.raises(AnyPETError, match=message):
        build("nnunet", tmp_path)


def test_bids(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pets = [
        "sub-01/ses-a/pet/sub-01_ses-a_pet",
        "sub-01/ses-b/pet/sub-01_ses-b_pet",
        "sub-02/pet/sub-02_trc-FDG_pet",
    ]
    files(tmp_path, *(f"{pet}.nii.gz" for pet in pets), "sub-02/anat/sub-02_T1w.nii.gz")
    (tmp_path / f"{pets[0]}.json").write_text('{"Units": "Bq/mL", "TracerName": "PSMA"}')
    (tmp_path / "pet.json").write_text('{"Units": "SUV", "TracerName": "FDG", "InstitutionName": "X"}')
    (tmp_path / "sub-02_ses-z_pet.json").write_text('{"Units": "HU"}')  # of another session: does not apply
    mine = "derivatives/seg/sub-01/ses-a"
    files(tmp_path, f"{mine}/anat/sub-01_ses-a_dseg.nii.gz", f"{mine}/pet/sub-01_ses-a_mask.nii.gz")
    files(tmp_path, f"{mine}/pet/sub-01_ses-a_dseg.nii.gz")
    files(tmp_path, "derivatives/other/sub-02_trc-FDG_label-tumour_mask.nii.gz")
    files(tmp_path, "derivatives/other/sub-02_trc-PSMA_label-tumour_mask.nii.gz")
    (tmp_path / "derivatives/seg/dseg.tsv").write_text("index\tname\n0\tbackground\n1\tliver\n")
    rows = build("bids", tmp_path)
    assert told(rows, tmp_path) == [
        (f"{pets[0]}.nii.gz", f"{mine}/pet/sub-01_ses-a_dseg.nii.gz", None, "01"),
        (f"{pets[1]}.nii.gz", None, None, "01"),
        (f"{pets[2]}.nii.gz", "derivatives/other/sub-02_trc-FDG_label-tumour_mask.nii.gz", None, "02"),
    ]
    assert [row.unit for row in rows] == ["Bq/mL", "SUVbw", "SUVbw"]
    assert [row.names for row in rows] == [{1: "liver"}, {}, {1: "tumour"}]
    assert [(row.tracer, row.centre) for row in rows] == [("PSMA", "X"), ("FDG", "X"), ("FDG", "X")]
    assert "the first was taken" in caplog.text


@pytest.mark.parametrize("kind", KINDS)
def test_another_layout_is_told_with_what_was_found(tmp_path: Path, kind: str) -> None:
    files(tmp_path, "readme.md", "stuff/a.nii.gz")
    with pytest.raises(AnyPETError) as caught:
        build(kind, tmp_path)
    assert KINDS[kind].layout in str(caught.value)
    assert "found readme.md, stuff/" in str(caught.value)


def test_unknown_kinds_and_folders(tmp_path: Path) -> None:
    with pytest.raises(AnyPETError, match=r"'brats'; known are autopet, .*bids"):
        build("brats", tmp_path)
    with pytest.raises(AnyPETError, match="no such folder"):
        build("sts", tmp_path / "no")


def test_a_built_list_is_a_list(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rows = build("sts", files(tmp_path, "STS_001/PET.nii.gz", "STS_001/GTV.nii.gz"))
    write_manifest(rows, tmp_path / "list.csv")
    assert read_manifest(tmp_path / "list.csv") == rows
    assert "1 cases, 1 with a label" in caplog.text


def test_splits_go_by_patient_and_stay(tmp_path: Path) -> None:
    rows = [Row(image=tmp_path, patient=f"P{n % 500}") for n in range(1000)]
    first = assign_splits(rows)
    of = {row.patient: row.split for row in first}
    assert all(of[row.patient] == row.split for row in first)
    counts = [list(of.values()).count(split) for split in ("train", "validation", "test")]
    assert counts[0] == pytest.approx(400, abs=30)  # 3 standard deviations of a draw
    assert counts[1] == pytest.approx(50, abs=20)
    assert assign_splits(rows[:100]) == first[:100]
    assert assign_splits(rows, seed=1) != first
    given = [rows[0].model_copy(update={"split": "test"}), rows[500]]
    assert [row.split for row in assign_splits(given)] == ["test", "test"]
