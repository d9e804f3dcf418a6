"""Where cases come from: the split, the folders, and lists of a user's own files."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from anypet.errors import AnyPETError
from anypet.evaluation.cases import Case, data_folder, kind_of, simulated_cases, sts_cases, sts_split
from anypet.evaluation.manifest import manifest_cases
from anypet.simulate import anatomy_split
from anypet.volume import Volume

AFFINE = np.diag([4.0, 4.0, 3.0, 1.0])


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


@pytest.fixture
def files(tmp_path: Path) -> Path:
    labels = np.zeros((6, 5, 4), dtype=np.uint8)
    labels[1:3, 1:3, 1:3], labels[4, 4, 3], labels[0, 0, 0] = 1, 2, 5
    save(tmp_path / "pet.nii.gz", np.full((6, 5, 4), 2.5, dtype=np.float32))
    save(tmp_path / "label.nii.gz", labels)
    return tmp_path


def manifest(folder: Path, text: str, name: str = "cases.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def sts_folder(root: Path, patients: list[str]) -> Path:
    for patient in patients:
        truth = np.zeros((5, 5, 5), dtype=np.uint8)
        truth[1:4, 1:4, 1:4] = 1
        save(root / "sts" / patient / "PET.nii.gz", truth.astype(np.float32) * 4)
        save(root / "sts" / patient / "GTV.nii.gz", truth)
    return root


def test_the_split_follows_its_rule() -> None:
    split = sts_split()
    patients = sorted(split.train + split.validation)
    assert len(set(patients)) == 26
    order = sorted(patients, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    assert sorted(order[:10]) == list(split.validation)
    assert sorted(order[10:]) == list(split.train)
    assert [sorted(order[fold::5]) for fold in range(5)] == [list(fold) for fold in split.folds]


@pytest.mark.data
def test_the_split_names_the_shared_patients(shared_data: Path) -> None:
    folders = {path.name for path in (shared_data / "sts").glob("STS_*")}
    assert folders >= set(sts_split().train + sts_split().validation)
    case = sts_cases(shared_data, "validation")[0]
    scan = case.load()
    assert scan.pet.unit == "SUVbw"
    assert scan.targets["tumour"].any()


def test_sts_cases_of_each_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = sts_folder(tmp_path, ["STS_001", "STS_003", "STS_999"])
    assert [c.name for c in sts_cases(folder, "train")] == ["STS_001"]
    assert [c.name for c in sts_cases(folder, "validation")] == ["STS_003"]
    assert [c.name for c in sts_cases(folder, "test")] == ["STS_999"]
    assert [c.name for c in sts_cases(folder, fold=1)] == ["STS_001"]
    monkeypatch.setenv("ANYPET_DATA", str(folder))
    cases = sts_cases()
    assert len(cases) == 3
    scan = pickle.loads(pickle.dumps(cases[0])).load()
    assert scan.targets["tumour"].sum() == 27
    assert (cases[0].patient, cases[0].group) == ("STS_001", "sts")


def test_missing_data_say_where_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANYPET_DATA", raising=False)
    for attempt in (
        lambda: data_folder(None),
        lambda: data_folder(tmp_path / "no"),
        lambda: sts_cases(tmp_path),
    ):
        with pytest.raises(AnyPETError, match="7GO2GSKS"):
            attempt()
    folder = sts_folder(tmp_path, ["STS_001"])
    with pytest.raises(AnyPETError, match="validation"):
        sts_cases(folder, "validation")
    with pytest.raises(AnyPETError, match="train, validation or test"):
        sts_cases(folder, "dev")
    with pytest.raises(AnyPETError, match="fold"):
        sts_cases(folder, fold=5)
    with pytest.raises(AnyPETError, match="0 anatomies"):
        simulated_cases(tmp_path, None)


def test_a_contour_on_another_grid_is_refused(tmp_path: Path) -> None:
    folder = sts_folder(tmp_path, ["STS_001"])
    shifted = AFFINE.copy()
    shifted[0, 3] = 40
    save(folder / "sts" / "STS_001" / "GTV.nii.gz", np.ones((5, 5, 5), dtype=np.uint8), shifted)
    with pytest.raises(AnyPETError, match=r"STS_001.*affines"):
        sts_cases(folder)[0].load()
    save(folder / "sts" / "STS_001" / "GTV.nii.gz", np.ones((5, 5, 6), dtype=np.uint8))
    with pytest.raises(AnyPETError, match=r"STS_001.*\(5, 5, 6\)"):
        sts_cases(folder)[0].load()


def test_cases_of_memory_are_checked_and_drop_empty_targets() -> None:
    pet = Volume(np.ones((3, 3, 3), dtype=np.float32), AFFINE, "SUVbw")
    full, empty = np.ones((3, 3, 3), dtype=bool), np.zeros((3, 3, 3), dtype=bool)
    assert list(Case.of("a", pet, {"x": full, "y": empty}).load().targets) == ["x"]
    with pytest.raises(AnyPETError, match="Bq/mL"):
        Case.of("a", pet.with_array(pet.array, "Bq/mL"), {}).load()
    with pytest.raises(AnyPETError, match=r"'x'.*\(2, 2, 2\)"):
        Case.of("a", pet, {"x": np.ones((2, 2, 2), dtype=bool)}).load()
    assert [kind_of(name) for name in ("lesion 12", "left kidney", "lesion")] == [
        "lesion",
        "left kidney",
        "lesion",
    ]


def test_a_manifest_in_csv(files: Path) -> None:
    path = manifest(
        files,
        "image,label,patient,unit\npet.nii.gz,label.nii.gz,P1,SUVbw\npet.nii.gz,label.nii.gz,P1,SUVbw\n",
    )
    first, second = manifest_cases(path)
    assert (first.name, second.name) == ("P1/pet", "P1/pet (2)")
    assert (first.patient, first.group) == ("P1", "manifest")
    scan = pickle.loads(pickle.dumps(second)).load()
    assert {name: int(mask.sum()) for name, mask in scan.targets.items()} == {
        "label 1": 8,
        "label 2": 1,
        "label 5": 1,
    }


def test_a_manifest_in_json_with_names(files: Path) -> None:
    row = {"image": "pet.nii.gz", "label": str(files / "label.nii.gz"), "patient": 7, "unit": "SUVbw"}
    path = manifest(
        files, json.dumps({"cases": [{**row, "names": {"1": "kidney", "5": "kidney"}}]}), "cases.json"
    )
    scan = manifest_cases(path)[0].load()
    assert {name: int(mask.sum()) for name, mask in scan.targets.items()} == {"kidney": 9}
    path = manifest(files, json.dumps([{**row, "names": "2=liver; 1=spleen"}]), "list.json")
    assert set(manifest_cases(path)[0].load().targets) == {"liver", "spleen"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,patient\npet.nii.gz,P1\n", r"case 1: the field 'label'"),
        ("image,label,patient\npet.nii.gz,label.nii.gz,\n", r"the field 'patient'"),
        ("image,label,patient,unit\ngone.nii.gz,label.nii.gz,P1,SUVbw\n", r"the field 'image'.*gone"),
        ("image,label,patient,unit\npet.nii.gz,gone.nii.gz,P1,SUVbw\n", r"the field 'label'.*gone"),
        ("image,label,patient,unit\npet.nii.gz,label.nii.gz,P1,Bq/mL\n", r"the field 'unit'.*SUVbw"),
        (
            "image,label,patient,unit,names\npet.nii.gz,label.nii.gz,P1,SUVbw,liver\n",
            r"the field 'names'.*liver",
        ),
        ("image,label,patient\n", "no case"),
    ],
)
def test_bad_manifests_name_the_field(files: Path, text: str, message: str) -> None:
    with pytest.raises(AnyPETError, match=message):
        manifest_cases(manifest(files, text))


def test_bad_manifests_that_show_when_read(files: Path) -> None:
    no_unit = manifest(files, "image,label,patient\npet.nii.gz,label.nii.gz,P1\n")
    with pytest.raises(AnyPETError, match=r"case 1.*'unit'"):
        manifest_cases(no_unit)[0].load()
    head = "image,label,patient,unit,names\n"
    absent = manifest(files, head + "pet.nii.gz,label.nii.gz,P1,SUVbw,9=liver\n")
    with pytest.raises(AnyPETError, match=r"'names' lists \[9\].*\[1, 2, 5\]"):
        manifest_cases(absent)[0].load()
    save(files / "small.nii.gz", np.ones((3, 5, 4), dtype=np.uint8))
    shape = manifest(files, head + "pet.nii.gz,small.nii.gz,P1,SUVbw,\n")
    with pytest.raises(AnyPETError, match=r"case 1.*\(3, 5, 4\).*\(6, 5, 4\)"):
        manifest_cases(shape)[0].load()


def test_unreadable_lists(tmp_path: Path) -> None:
    with pytest.raises(AnyPETError, match="does not exist"):
        manifest_cases(tmp_path / "none.csv")
    with pytest.raises(AnyPETError, match="valid JSON"):
        manifest_cases(manifest(tmp_path, "{", "a.json"))
    with pytest.raises(AnyPETError, match="list of objects"):
        manifest_cases(manifest(tmp_path, '{"case": []}', "a.json"))
    (tmp_path / "b.csv").write_bytes(b"image\xff\xfe")
    with pytest.raises(AnyPETError, match="UTF-8"):
        manifest_cases(tmp_path / "b.csv")


def test_simulated_cases_are_the_same_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "anatomy").mkdir()
    for number in range(60):
        (tmp_path / "anatomy" / f"fdg_{number:04d}_01-01-2001.nii.gz").touch()
    mask, one, hidden = np.zeros((3, 16, 16, 16), dtype=bool)
    mask[3:5, 3:5, 3:5] = one[12, 12, 12] = hidden[3:5, 12:14, 3:5] = True
    array = np.where(mask | one, 5.0, 1.0).astype(np.float32)
    pet = Volume(array, np.diag([6.5, 6.5, 6.5, 1.0]), "SUVbw")  # 0.27 mL a voxel
    calls = []

    def simulate_case(path: Path, seed: int, tracer: str | None) -> SimpleNamespace:
        calls.append((path.name, seed, tracer))
        return SimpleNamespace(pet=pet, organs={"liver": mask}, lesions=[mask, mask & ~mask, one, hidden])

    monkeypatch.setattr("anypet.simulate.simulate_case", simulate_case)
    cases = simulated_cases(tmp_path, "validation", n=3, seed=5, tracer="PSMA")
    again = simulated_cases(tmp_path, "validation", n=2, seed=5, tracer="PSMA")
    held = {path.name for path in anatomy_split((tmp_path / "anatomy").iterdir())["validation"]}
    assert [case.patient for case in cases] == [case.name.split("_")[1] for case in cases]
    assert all(f"{case.name}.nii.gz" in held for case in cases)
    assert list(cases[0].load().targets) == ["liver", "lesion 1", "small lesion 3", "hidden lesion 4"]
    again[0].load()
    assert calls[0] == calls[1]
    assert calls[0][2] == "PSMA"
    assert [case.name for case in cases[:2]] == [case.name for case in again]
    assert len(simulated_cases(tmp_path, None, n=100)) == 60
