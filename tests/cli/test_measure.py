"""`anypet measure` from files to tables, against numbers worked out with NumPy."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from anypet.cli.app import app
from anypet.errors import AnyPETError
from anypet.io import write
from anypet.quantify.regions import liver_sphere
from anypet.volume import Volume

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    pet = rng.uniform(0.5, 1.5, (30, 30, 30)).astype(np.float32)
    labels = np.zeros(pet.shape, np.uint8)
    labels[4:10, 4:10, 4:10], labels[18:26, 18:26, 18:26] = 1, 2
    pet[labels == 1] += 3
    pet[labels == 2] += 1
    pet[20:22, 20:22, 20:22] = 9
    for name, array, unit in (("pet", pet, "SUVbw"), ("mask", labels, "label")):
        write(Volume(array, AFFINE, unit), tmp_path / f"{name}.nii.gz")
    return tmp_path, pet, labels


def run(folder, *words):
    fixed = ["measure", folder / "pet.nii.gz", folder / "mask.nii.gz", "--unit", "SUVbw"]
    return CliRunner().invoke(app, [str(w) for w in (*fixed, *words)])


def test_a_table_of_every_object_and_of_all(files):
    folder, pet, labels = files
    result = run(folder, "-o", folder / "t.csv")
    assert result.exit_code == 0, result.output
    assert "SUVbw" in result.output
    rows = list(csv.DictReader((folder / "t.csv").open()))
    assert len(rows) == 3
    for row, chosen in zip(rows, (labels == 1, labels == 2, labels > 0), strict=True):
        assert float(row["suv_max"]) == pytest.approx(pet[chosen].max(), rel=1e-6)
        assert float(row["suv_mean"]) == pytest.approx(pet[chosen].mean(), rel=1e-5)
        assert float(row["volume_ml"]) == pytest.approx(chosen.sum() * 0.064)
        assert float(row["tlg"]) == pytest.approx(pet[chosen].sum() * 0.064, rel=1e-5)
        assert row["suv"] == "SUVbw"


def test_a_threshold_is_applied_first_and_told(files):
    folder, pet, labels = files
    result = run(folder, "--threshold", "41%", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    second = told["objects"][1]
    kept = (labels == 2) & (pet >= 0.41 * pet[labels == 2].max())
    assert second["voxels"] == kept.sum()
    assert "41" in told["threshold"]


def test_a_liver_that_the_organ_head_finds_sets_the_threshold(files, monkeypatch):
    folder, pet, _ = files
    liver = np.zeros(pet.shape, bool)
    liver[8:24, 2:18, 10:28] = True
    monkeypatch.setattr("anypet.lesions.organs.Organs.__call__", lambda self, name: liver & (name == "liver"))
    result = run(folder, "--threshold", "percist", "--liver", "auto", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    region = liver_sphere(Volume(pet, AFFINE, "SUVbw"), liver)
    assert told["reference region"] == str(region)
    assert "PERCIST" in told["threshold"]
    # the place that was told puts the same region there again
    place = told["reference region"].split(" at ")[1].split(" mm")[0]
    again = run(folder, "--threshold", "percist", "--liver", place, "--json")
    assert json.loads(again.stdout)["objects"] == told["objects"]


def test_a_liver_given_as_a_place_sets_the_threshold(files):
    folder, _, _ = files
    middle = ",".join(str(4.0 * v) for v in (14, 14, 14))
    result = run(folder, "--threshold", "percist", "--liver", middle, "--json")
    assert result.exit_code == 0, result.output
    assert "PERCIST" in json.loads(result.stdout)["threshold"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-o", "t.xlsx"], "t.xlsx: unknown suffix"),
        (["--suv", "lbm"], "weight"),
        (["--threshold", "hot"], "hot"),
        (["--spleen", "nowhere.nii.gz"], "nowhere"),
    ],
)
def test_bad_words_are_named(files, words, said):
    result = run(files[0], *words)
    assert isinstance(result.exception, AnyPETError)
    assert said in str(result.exception)


def test_features_where_the_library_is_there(files):
    pytest.importorskip("mirp")
    folder, _, _ = files
    result = run(folder, "--radiomics", folder / "features.csv")
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader((folder / "features.csv").open()))
    assert len(rows) == 2
    assert len(rows[0]) > 50
