"""The container contract on folders as Grand Challenge lays them out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk  # noqa: N813

from anypet.autopet.contract import read_input, run_contract
from anypet.errors import AnyPETError, PromptError, ReadError
from anypet.lesions.click_files import LesionClicks
from anypet.volume import Volume
from grand_challenge import CT_NAME, PET_NAME, SIZE, image, lay_out

POINTS = [
    {"point": [13, 2, 1], "name": "tumor"},
    {"point": [5, 6, 7], "name": "background"},
    {"point": [3, 10, 8], "name": "tumor"},
]


def clicked(pet: Volume, ct: Volume | None, clicks: LesionClicks) -> npt.NDArray[np.bool_]:
    mask = np.zeros(pet.shape, bool)
    for voxel in clicks.tumour:
        mask[voxel] = True
    return mask


def test_the_inputs_come_in_the_files_own_order(tmp_path: Path) -> None:
    lay_out(tmp_path, POINTS)
    case = read_input(tmp_path)
    assert case.name == CT_NAME
    assert case.pet.shape == SIZE
    assert (case.pet.unit, case.ct.unit) == ("SUVbw", "HU")
    assert case.ct.same_grid(case.pet)
    assert case.clicks == LesionClicks(((13, 2, 1), (3, 10, 8)), ((5, 6, 7),))
    assert case.pet.array[13, 2, 1] == pytest.approx(13.0201)  # x, y, z
    assert float(case.ct.array.mean()) == 40


@pytest.mark.parametrize("clicks", ["absent", "empty list", "empty file"])
def test_the_first_step_has_no_clicks(tmp_path: Path, clicks: str) -> None:
    lay_out(tmp_path, None if clicks == "absent" else [])
    if clicks == "empty file":
        (tmp_path / "lesion-clicks.json").write_text("")
    assert read_input(tmp_path).clicks == LesionClicks()


def test_the_mask_is_what_the_challenge_expects(tmp_path: Path) -> None:
    pet = lay_out(tmp_path / "input", POINTS)
    path = run_contract(tmp_path / "input", tmp_path / "output", clicked)
    assert path == tmp_path / "output" / "images" / "tumor-lesion-segmentation" / f"{CT_NAME}.mha"
    written = [p for p in (tmp_path / "output").rglob("*") if p.is_file()]
    assert written == [path]
    mask = sitk.ReadImage(str(path))
    assert mask.GetPixelID() == sitk.sitkUInt8
    assert mask.GetSize() == SIZE
    assert mask.IsSameImageGeometryAs(pet, 0.0, 0.0)  # though the direction is rounded
    values = sitk.GetArrayFromImage(mask)
    assert sorted(np.argwhere(values).tolist()) == [[1, 2, 13], [8, 10, 3]]  # z, y, x
    assert set(np.unique(values)) == {0, 1}
    run_contract(tmp_path / "input", tmp_path / "output", lambda pet, ct, clicks: np.zeros(pet.shape, bool))
    assert not sitk.GetArrayFromImage(sitk.ReadImage(str(path))).any()  # a second run replaces it


@pytest.mark.parametrize("result", [np.zeros((2, 2, 2), bool), np.zeros(SIZE, np.float32), None])
def test_nothing_is_written_for_what_is_no_mask(tmp_path: Path, result: Any) -> None:
    lay_out(tmp_path / "input")
    with pytest.raises(AnyPETError, match=r"expected bool of \(14, 11, 9\)"):
        run_contract(tmp_path / "input", tmp_path / "output", lambda pet, ct, clicks: result)
    assert not (tmp_path / "output").exists()


def test_a_disk_that_refuses_leaves_the_old_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(tmp_path / "input", POINTS)
    path = run_contract(tmp_path / "input", tmp_path / "output", clicked)
    before = path.read_bytes()

    def full(*args: Any, **kwargs: Any) -> None:
        Path(args[1]).write_bytes(b"half")
        raise RuntimeError("no space left")

    monkeypatch.setattr(sitk, "WriteImage", full)
    with pytest.raises(AnyPETError, match="cannot be written: no space left"):
        run_contract(tmp_path / "input", tmp_path / "output", clicked)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_ct_on_its_own_grid_is_brought_onto_the_pets(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lay_out(tmp_path)
    file = tmp_path / "images" / "ct" / f"{CT_NAME}.mha"
    sitk.WriteImage(image(np.full((9, 30, 30), 40, np.int16)), str(file))
    case = read_input(tmp_path)
    assert case.ct.same_grid(case.pet)
    assert "not on the grid of the PET" in caplog.text


def test_what_is_missing_or_too_much_is_named(tmp_path: Path) -> None:
    lay_out(tmp_path)
    pet = tmp_path / "images" / "pet"
    shutil.copy(pet / f"{PET_NAME}.mha", pet / "second.mha")
    with pytest.raises(ReadError, match=rf"found {PET_NAME}\.mha, second\.mha; expected exactly one"):
        read_input(tmp_path)
    shutil.rmtree(pet)
    with pytest.raises(ReadError, match="pet: found none"):
        read_input(tmp_path)


def test_clicks_outside_of_the_scan_are_refused(tmp_path: Path) -> None:
    lay_out(tmp_path, [{"point": [1, 2, 13], "name": "tumor"}])  # z, y, x
    with pytest.raises(PromptError, match=r"lesion-clicks\.json: tumor click 0, .* is it \(z, y, x\)"):
        read_input(tmp_path)
