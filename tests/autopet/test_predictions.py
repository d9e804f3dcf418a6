"""Labels and masks are found where the challenge's evaluation has them, and faults are named."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from anypet.autopet.predictions import find_cases, score_case
from anypet.errors import AnyPETError, ReadError

AFFINE = np.diag([2.0, 2.0, 2.5, 1.0])


def put(path: Path, voxels: int = 0, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros((10, 4, 4), np.uint8)
    array[:voxels, 0, 0] = 1
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def lay_out(root: Path, names: tuple[str, ...] = ("psma_12ab_2018-01-01", "other"), steps: int = 3) -> None:
    for name in names:
        put(root / "labels" / f"{name}.nii.gz", 8)
        for step in range(steps):
            put(root / "masks" / f"{name}_pred{step}.nii.gz", 2 * step)


def test_a_flat_folder(tmp_path: Path) -> None:
    lay_out(tmp_path)
    cases = find_cases(tmp_path / "masks", tmp_path / "labels", 3)
    assert [(c.name, c.patient) for c in cases] == [
        ("other", "other"),
        ("psma_12ab_2018-01-01", "12ab"),
    ]
    assert [m.name for m in cases[0].masks] == [f"other_pred{n}.nii.gz" for n in range(3)]
    rows = score_case(cases[1])
    assert [row.values["dsc"] for row in rows] == pytest.approx([0, 2 * 2 / 10, 2 * 4 / 12])
    assert [row.values["fnv"] for row in rows] == pytest.approx([0.08, 0, 0])
    assert {(row.case, row.patient) for row in rows} == {("psma_12ab_2018-01-01", "12ab")}
    assert all(np.isnan(row.seconds) for row in rows)


def test_a_folder_for_each_case_with_labels_beside_the_masks(tmp_path: Path) -> None:
    for name in ("a", "b"):
        put(tmp_path / name / f"{name}.nii.gz", 8)
        for step in range(11):
            put(tmp_path / name / f"{name}_pred{step}.nii.gz", 8)
    cases = find_cases(tmp_path, tmp_path)
    assert [c.name for c in cases] == ["a", "b"]
    assert [m.name for m in cases[0].masks] == [f"a_pred{n}.nii.gz" for n in range(11)]  # 10 after 9


def test_missing_and_superfluous_files_are_named(tmp_path: Path) -> None:
    lay_out(tmp_path)
    masks, labels = tmp_path / "masks", tmp_path / "labels"
    with pytest.raises(AnyPETError, match=r"other, psma_12ab_2018-01-01 need .*_pred10 .*steps \[0, 1, 2\]"):
        find_cases(masks, labels)
    (masks / "other_pred1.nii.gz").unlink()
    with pytest.raises(AnyPETError, match=r": other need masks .* found for other steps \[0, 2\].*--steps"):
        find_cases(masks, labels, 3)
    put(masks / "stray_pred0.nii.gz")
    with pytest.raises(AnyPETError, match="no label for stray"):
        find_cases(masks, labels, 3)
    with pytest.raises(AnyPETError, match="no label; expected"):
        find_cases(masks, put(tmp_path / "empty" / "x_pred0.nii.gz").parent, 3)
    put(masks / "sub" / "stray_pred0.nii.gz")
    with pytest.raises(AnyPETError, match="have one name"):
        find_cases(masks, labels, 3)
    with pytest.raises(AnyPETError, match="no such folder"):
        find_cases(masks, tmp_path / "nowhere", 3)


def test_many_missing_cases_are_counted(tmp_path: Path) -> None:
    for n in range(8):
        put(tmp_path / "labels" / f"case{n}.nii.gz")
    (tmp_path / "masks").mkdir()
    with pytest.raises(AnyPETError, match="case4 and 3 more"):
        find_cases(tmp_path / "masks", tmp_path / "labels", 3)


def test_masks_of_other_geometry_or_content(tmp_path: Path) -> None:
    lay_out(tmp_path, ("a",), 2)
    (case,) = find_cases(tmp_path / "masks", tmp_path / "labels", 2)
    put(case.masks[1], 4, np.diag([-2.0, 2.0, 2.5, 1.0]))
    with pytest.raises(AnyPETError, match=r"a_pred1\.nii\.gz does not lie on the grid of .*a\.nii"):
        score_case(case)
    nib.save(nib.Nifti1Image(np.full((10, 4, 4), 0.3, np.float32), AFFINE), case.masks[1])
    with pytest.raises(ReadError, match="no labels"):
        score_case(case)
