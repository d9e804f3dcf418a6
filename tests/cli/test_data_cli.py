"""`anypet data check`, `build` and `degrade` from the outside."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from anypet.cli.data import data
from anypet.errors import AnyPETError
from anypet.io import read, write
from anypet.manifest import read_manifest
from anypet.volume import Volume

AFFINE = np.array([[0.0, -4, 0, 10], [4, 0, 0, 20], [0, 0, 3, -30], [0, 0, 0, 1]])


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(data, [str(a) for a in arguments])


def refused(*arguments: object) -> str:
    result = invoke(*arguments)
    assert isinstance(result.exception, AnyPETError), result.output
    return str(result.exception)


@pytest.fixture
def sts(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("STS_001", "STS_003"):
        mask = np.zeros((30, 30, 30), dtype=np.uint8)
        mask[8:20, 8:20, 8:20] = 1
        (tmp_path / name).mkdir()
        pet = (mask * 4 + rng.uniform(0.5, 1, mask.shape)).astype(np.float32)
        for file, array in (("PET", pet), ("GTV", mask)):
            nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / name / f"{file}.nii.gz")
    return tmp_path


def test_build_then_check(sts: Path) -> None:
    path = sts / "list.csv"
    result = invoke("build", "sts", sts, "-o", path, "--split")
    assert result.exit_code == 0, result.output
    assert "2 cases of 2 patients, 2 with a label" in result.output
    assert [row.split for row in read_manifest(path)] == ["train", "validation"]
    result = invoke("check", path)
    assert (result.exit_code, "0 errors, 0 warnings" in result.output) == (0, True)
    assert json.loads(invoke("check", path, "--json").output) == []


def test_check_tells_findings_and_fails_on_errors_alone(sts: Path) -> None:
    path = sts / "list.csv"
    invoke("build", "sts", sts, "-o", path)
    (sts / "STS_003" / "GTV.nii.gz").unlink()
    level = logging.getLogger("anypet").level
    result = invoke("check", path)
    assert logging.getLogger("anypet").level == level
    assert result.exit_code == 1
    assert "1 errors" in result.output
    told = json.loads(invoke("check", path, "--json").output)
    assert [(f["row"], f["field"], f["severity"]) for f in told] == [(2, "label", "error")]
    path.write_text(path.read_text().replace("tracer", "tracr"))
    invoke("build", "sts", sts, "-o", path)
    path.write_text(path.read_text().replace("tracer", "tracr"))
    result = invoke("check", path)
    assert (result.exit_code, "tracer" in result.output) == (0, True)


def test_build_gives_units_and_splits_where_asked(tmp_path: Path) -> None:
    (tmp_path / "imagesTr").mkdir()
    for n in range(40):
        (tmp_path / "imagesTr" / f"case{n}_0000.nii.gz").touch()
    (tmp_path / "dataset.json").write_text('{"channel_names": {"0": "PET"}, "labels": {"tumour": 1}}')
    path = tmp_path / "list.json"
    assert invoke("build", "nnunet", tmp_path, "-o", path).exit_code == 0
    assert {(row.unit, row.split) for row in read_manifest(path)} == {(None, None)}
    splits = []
    for seed in (0, 1):
        invoke("build", "nnunet", tmp_path, "-o", path, "--split", "--split-seed", seed, "--unit", "suvbw")
        splits.append([row.split for row in read_manifest(path)])
    assert {row.unit for row in read_manifest(path)} == {"SUVbw"}
    assert splits[0] != splits[1]
    assert "expected sub-" in refused("build", "bids", tmp_path, "-o", path)


def test_degrade_keeps_the_grid_and_follows_the_seed(sts: Path) -> None:
    labels, out = sts / "STS_001" / "GTV.nii.gz", sts / "low.nii.gz"
    before = labels.read_bytes()
    arrays = []
    for seed in (3, 3, 4, 5):
        result = invoke("degrade", labels, "-o", out, "--strength", 1, "--seed", seed, "--names", "1=tumour")
        assert result.exit_code == 0, result.output
        volume = read(out)
        assert volume.same_grid(read(labels, unit="label"))
        assert (volume.unit, volume.meta["names"]) == ("label", {1: "tumour"})
        arrays.append(volume.array)
    assert np.array_equal(arrays[0], arrays[1])
    assert not all(np.array_equal(arrays[0], other) for other in arrays[2:])
    assert "voxels changed" in result.output
    assert labels.read_bytes() == before
    assert not list(sts.glob(".anypet-*"))


def test_degrade_swaps_sides_by_the_names_of_the_file(tmp_path: Path) -> None:
    array = np.zeros((20, 20, 20), dtype=np.uint8)
    array[2:8, 5:15, 5:15], array[12:18, 5:15, 5:15] = 1, 2
    names = {1: "left kidney", 2: "right kidney"}
    write(Volume(array, AFFINE, "label", {"names": names}), tmp_path / "in.nii.gz")
    swapped = 0
    for seed in range(12):
        invoke(
            "degrade", tmp_path / "in.nii.gz", "-o", tmp_path / "out.nii.gz", "--strength", 1, "--seed", seed
        )
        volume = read(tmp_path / "out.nii.gz")
        assert volume.meta["names"] == names
        swapped += int((volume.array[:10] == 2).sum() > (volume.array[:10] == 1).sum())
    assert 0 < swapped < 12


def test_degrade_with_an_image(sts: Path) -> None:
    folder, out = sts / "STS_001", sts / "low.nii.gz"
    arguments = ("degrade", folder / "GTV.nii.gz", "-o", out, "--image", folder / "PET.nii.gz")
    assert invoke(*arguments, "--unit", "SUVbw").exit_code == 0
    assert "does not say what unit" in refused(*arguments)
    nib.save(nib.Nifti1Image(np.ones((5, 5, 5), np.float32), AFFINE), sts / "small.nii.gz")
    message = refused(*arguments[:4], "--image", sts / "small.nii.gz", "--unit", "SUVbw")
    assert "(5, 5, 5)" in message


def test_degrade_refuses(sts: Path) -> None:
    labels, pet = sts / "STS_001" / "GTV.nii.gz", sts / "STS_001" / "PET.nii.gz"
    (sts / "link.nii.gz").symlink_to(labels)
    before = labels.read_bytes()
    for out in (labels, sts / "link.nii.gz", sts / "STS_003" / ".." / "STS_001" / "GTV.nii.gz"):
        assert "overwrite its input" in refused("degrade", labels, "-o", out)
    assert "overwrite its input" in refused("degrade", labels, "-o", pet, "--image", pet)
    assert labels.read_bytes() == before
    for strength in (0, 1.5):
        assert "--strength" in refused("degrade", labels, "-o", sts / "a.nii.gz", "--strength", strength)
    assert "--names holds" in refused("degrade", labels, "-o", sts / "a.nii.gz", "--names", "liver")
    assert "no labels" in refused("degrade", pet, "-o", sts / "a.nii.gz")
    assert not (sts / "a.nii.gz").exists()
