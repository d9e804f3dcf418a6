"""`anypet autopet`, from its arguments to its files."""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from click.testing import Result
from typer.testing import CliRunner

from anypet.autopet.simulate import simulate_clicks
from anypet.cli.app import app
from anypet.errors import AnyPETError
from anypet.io import read, read_labels
from anypet.lesions.click_files import LesionClicks, read_clicks
from anypet.volume import Volume
from grand_challenge import CT_NAME, lay_out

AFFINE = np.diag([2.0, 2.0, 2.5, 1.0])


def invoke(*args: Any) -> Result:
    return CliRunner().invoke(app, ["autopet", *(str(a) for a in args)])


def put(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, AFFINE), path)
    return path


@pytest.fixture
def scan(tmp_path: Path) -> tuple[Path, Path]:
    label = np.zeros((30, 30, 20), np.uint8)
    label[5:10, 5:10, 5:10] = label[20:25, 5:9, 8:12] = 1
    pet = np.random.default_rng(0).random(label.shape).astype(np.float32)
    return put(tmp_path / "label.nii.gz", label), put(tmp_path / "pet.nii.gz", pet)


@pytest.mark.parametrize("spelling", ["plain", "gc"])
def test_simulated_clicks_in_both_spellings(scan: tuple[Path, Path], tmp_path: Path, spelling: str) -> None:
    out = tmp_path / "clicks.json"
    result = invoke("simulate-clicks", *scan, "-o", out, "--spelling", spelling, "--seed", 3)
    assert result.exit_code == 0, result.output
    assert ("points" in json.loads(out.read_text())) == (spelling == "gc")
    label, pet = read_labels(scan[0]), read(scan[1], unit="SUVbw")
    clicks = read_clicks(out)
    assert clicks == simulate_clicks(label, pet, np.random.default_rng(3))
    assert set(clicks.tumour[:2]) == {(7, 7, 7), (21, 6, 9)}
    assert all(label.array[voxel] for voxel in clicks.tumour)


def test_settings_of_the_simulation(scan: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "clicks.json"
    options = ("--budget", 2, "--centre-offset", 1, "--edge-offset", 1)
    assert invoke("simulate-clicks", *scan, "-o", out, *options).exit_code == 0
    clicks = read_clicks(out)
    assert len(clicks.tumour) == len(clicks.background) == 2
    wrong = invoke("simulate-clicks", *scan, "-o", tmp_path / "x.json", "--spelling", "zyx")
    assert isinstance(wrong.exception, AnyPETError)
    assert not (tmp_path / "x.json").exists()


def test_predict_runs_the_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pet = lay_out(tmp_path / "in", [{"point": [4, 3, 2], "name": "tumor"}])
    asked: dict[str, Any] = {}

    def find_lesions(pet: Volume, ct: Volume | None, clicks: LesionClicks, **settings: Any) -> Any:
        asked.update(settings, clicks=clicks, ct=ct)
        return types.SimpleNamespace(mask=pet.array > 12)

    monkeypatch.setattr("anypet.lesions.pipeline.find_lesions", find_lesions)
    result = invoke("predict", tmp_path / "in", tmp_path / "out", "--tracer", "psma", "--time-limit", 60)
    assert result.exit_code == 0, result.output
    file = tmp_path / "out" / "images" / "tumor-lesion-segmentation" / f"{CT_NAME}.mha"
    expected = sitk.GetArrayFromImage(pet) > 12
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(file))), expected)
    assert asked["tracer"] == "psma"
    assert asked["time_limit_s"] == 60
    assert asked["clicks"] == LesionClicks(((4, 3, 2),))
    assert asked["ct"].unit == "HU"


def test_predict_with_an_nnunet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pet = lay_out(tmp_path / "in", [{"point": [4, 3, 2], "name": "tumor"}])
    asked: list[Any] = []

    def find_lesions(pet: Volume, ct: Volume, clicks: LesionClicks, folders: Any, **settings: Any) -> Any:
        asked.extend([folders, clicks, settings])
        return types.SimpleNamespace(mask=pet.array > 12)

    monkeypatch.setattr("anypet.lesions.nnunet.run.find_lesions", find_lesions)
    monkeypatch.setattr("anypet.lesions.nnunet.folder.read_folder", lambda path, said: (path, said))
    result = invoke("predict", tmp_path / "in", tmp_path / "out", "--nnunet", "fdg=a", "--nnunet", "psma=b")
    assert result.exit_code == 0, result.output
    file = tmp_path / "out" / "images" / "tumor-lesion-segmentation" / f"{CT_NAME}.mha"
    expected = sitk.GetArrayFromImage(pet) > 12
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(file))), expected)
    settings = {"tracer": "auto", "time_limit_s": 900.0, "device": "cpu"}
    assert asked == [{"FDG": ("a", None), "PSMA": ("b", None)}, LesionClicks(((4, 3, 2),)), settings]


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    for name in ("fdg_aa_1", "fdg_aa_2", "psma_bb_1"):
        truth = np.zeros((12, 6, 6), np.uint8)
        truth[2:10, 2:4, 2:4] = 1
        put(tmp_path / "labels" / f"{name}.nii.gz", truth)
        for step in range(3):
            mask = truth.copy()
            mask[2 + 4 * step :] = 0
            put(tmp_path / "masks" / f"{name}_pred{step}.nii.gz", mask)
    return tmp_path


def test_evaluate_prints_and_writes(scored: Path) -> None:
    args = ("evaluate", scored / "masks", scored / "labels", "--steps", 3)
    result = invoke(*args, "-o", scored / "out")
    assert result.exit_code == 0, result.output
    assert "3 cases of 2 patients, 3 steps" in result.output
    assert {p.name for p in (scored / "out").iterdir()} == {
        "steps.csv",
        "cases.csv",
        "summary.json",
        "steps.png",
    }
    told = json.loads(invoke(*args, "--json").stdout)
    assert told["about"]["cases"] == 3
    assert told["scores"]["auc_dsc"]["mean"] == pytest.approx(0 / 2 + 2 / 3 + 1 / 2)
    assert told["scores"]["fnv_last"]["mean"] == 0
    halved = json.loads(invoke(*args, "--json", "--normalised", "--dmm-iou", 0.6).stdout)
    assert halved["scores"]["auc_dsc"]["mean"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert halved["scores"]["auc_dmm"]["mean"] == pytest.approx((0 + 1 / 2) / 2)
    assert isinstance(invoke(*args[:3]).exception, AnyPETError)  # eleven steps by default
