"""`anypet lesions` from files to files, with a network whose answers are known."""

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from anypet.cli.app import app
from anypet.cli.lesions import nnunet_folders
from anypet.errors import AnyPETError
from anypet.io import write

sys.path.insert(0, str(Path(__file__).parents[1] / "lesions"))
from lesion_fakes import HotNet, scan
from nnunet_toys import need_nnunet, nnunet_folder

FIRST = (28, 22, 40)


@pytest.fixture
def pet(tmp_path, monkeypatch):
    monkeypatch.setattr("anypet.lesions.pipeline.load_nets", lambda files=(), device="cpu": [HotNet()])
    path = tmp_path / "pet.nii.gz"
    write(scan(), path)
    return path


def run(*words):
    return CliRunner().invoke(app, ["lesions", *map(str, words), "--unit", "SUVbw", "--tracer", "fdg"])


def test_everything_is_written(pet, tmp_path):
    out = tmp_path / "out"
    result = run(pet, "-o", out, "--mirror", 0)
    assert result.exit_code == 0, result.output
    mask = np.asarray(nib.load(out / "mask.nii.gz").dataobj)
    numbers = np.asarray(nib.load(out / "instances.nii.gz").dataobj)
    assert mask[FIRST] == 1
    assert numbers[FIRST] == 1
    assert numbers.max() == 2
    assert np.asarray(nib.load(out / "organs.nii.gz").dataobj).max() == 1
    rows = (out / "lesions.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 + 1  # header, lesions, total
    assert "lesion 1: warm" in rows[1]
    told = json.loads((out / "result.json").read_text())
    assert told["lesions"] == 2
    assert told["tracers"] == ["FDG"]
    assert told["measures"]["objects"][0]["suv_max"] == pytest.approx(8.0)
    assert (out / "picture.png").stat().st_size > 10_000
    assert "no CT" in result.output


def test_clicks_and_json(pet, tmp_path):
    clicks = tmp_path / "clicks.json"
    clicks.write_text(json.dumps({"tumor": [], "background": [list(FIRST)]}))
    result = run(pet, "-o", tmp_path / "out", "--clicks", clicks, "--json", "--no-organs", "--mirror", 0)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["lesions"] == 1
    assert not (tmp_path / "out" / "organs.nii.gz").exists()


def test_no_lesion_is_a_result(tmp_path, monkeypatch):
    monkeypatch.setattr("anypet.lesions.pipeline.load_nets", lambda files=(), device="cpu": [HotNet()])
    write(scan(spots=()), tmp_path / "pet.nii.gz")
    result = run(tmp_path / "pet.nii.gz", "-o", tmp_path / "out", "--mirror", 0)
    assert result.exit_code == 0, result.output
    assert "no lesion was found" in result.output


def test_a_file_in_the_way_is_named(pet):
    result = run(pet, "-o", pet)
    assert isinstance(result.exception, AnyPETError)
    assert "is a file" in str(result.exception)


def test_an_nnunet_folder_in_place_of_our_network(tmp_path):
    need_nnunet()
    folder = nnunet_folder(
        tmp_path / "model", ("CT", "PET", "FG", "BG"), {"background": 0, "liver": 1, "lesion": 2}
    )
    spots = scan((24, 22, 26), spots=((12, 11, 13, 4),))
    write(spots, tmp_path / "pet.nii.gz")
    write(spots.with_array(spots.array * 10, unit="HU"), tmp_path / "ct.nii.gz")
    (tmp_path / "clicks.json").write_text(json.dumps({"tumor": [[12, 11, 13]], "background": []}))
    out = tmp_path / "out"
    result = run(
        tmp_path / "pet.nii.gz", "-o", out, "--ct", tmp_path / "ct.nii.gz", "--nnunet", f"fdg={folder}",
        "--clicks", tmp_path / "clicks.json", "--mirror", 0, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    mask = np.asarray(nib.load(out / "mask.nii.gz").dataobj)
    assert mask[12, 11, 13] == 1  # a click has the last word, whatever a random network says
    told = json.loads(result.stdout)
    assert told["lesions"] == np.asarray(nib.load(out / "instances.nii.gz").dataobj).max() >= 1
    assert "nnU-Net: 0 of 0 mirror axes" in told["depth"]["why"]
    assert np.asarray(nib.load(out / "organs.nii.gz").dataobj).max() == 1
    assert (out / "lesions.csv").exists()
    assert (out / "picture.png").exists()


def test_what_cannot_go_together_is_said(pet, tmp_path):
    both = run(pet, "-o", tmp_path / "out", "--weights", "a.safetensors", "--nnunet", "folder")
    assert "give one of them" in str(both.exception)
    lacking = run(pet, "-o", tmp_path / "out", "--nnunet", tmp_path)
    assert "no trained nnU-Net folder" in str(lacking.exception)


def test_one_folder_for_each_tracer(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "anypet.lesions.nnunet.folder.read_folder", lambda path, said: seen.append((path, said)) or path
    )
    folders = nnunet_folders(["fdg=a", "PSMA=b"], "CT, pet")
    assert folders == {"FDG": "a", "PSMA": "b"}
    assert seen == [("a", ["ct", "pet"]), ("b", ["ct", "pet"])]
    assert nnunet_folders(["x=y/z"], None) == {"": "x=y/z"}
    with pytest.raises(AnyPETError, match="one for FDG already"):
        nnunet_folders(["fdg=a", "fdg=b"], None)
