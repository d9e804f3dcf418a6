"""`anypet convert`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import anypet
from anypet.cli.convert import convert
from anypet.errors import AnyPETError, SUVError
from dicom_factory import FACTOR, make_series, setting, values

app = typer.Typer()
app.command()(convert)
runner = CliRunner()


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_suv_and_its_provenance(tmp_path: Path, suffix: str) -> None:
    make_series(tmp_path / "pet")
    output = tmp_path / f"suv{suffix}"
    result = runner.invoke(app, [str(tmp_path / "pet"), "-o", str(output)])
    assert result.exit_code == 0, result.output
    volume = anypet.read(output)
    assert volume.unit == "SUVbw"
    np.testing.assert_allclose(volume.array, values() * FACTOR, rtol=1e-6)
    np.testing.assert_allclose(volume.affine, anypet.read(tmp_path / "pet").affine, atol=1e-4)
    told = json.loads((tmp_path / "suv.json").read_text())
    assert told["suv"]["factor"] == pytest.approx(FACTOR)
    assert told["suv"]["tags"]["RadionuclideTotalDose (0018,1074)"]
    assert "series date-time" in told["suv"]["time_rule"]


def test_ct_on_the_grid_of_the_pet(tmp_path: Path) -> None:
    make_series(tmp_path / "s" / "pet")
    make_series(tmp_path / "s" / "ct", modality="CT", spacing=(2, 2, 2), number=2)
    output = tmp_path / "suv.nii.gz"
    result = runner.invoke(app, [str(tmp_path / "s"), "-o", str(output), "--ct"])
    assert result.exit_code == 0, result.output
    ct = anypet.read(tmp_path / "suv_ct.nii.gz")
    assert ct.unit == "HU"
    assert ct.same_grid(anypet.read(output))


def test_other_units(tmp_path: Path) -> None:
    make_series(tmp_path / "pet")
    runner.invoke(app, [str(tmp_path / "pet"), "-o", str(tmp_path / "a.nii.gz"), "--unit", "Bq/mL"])
    np.testing.assert_array_equal(anypet.read(tmp_path / "a.nii.gz").array, values())


def test_failures_write_nothing(tmp_path: Path) -> None:
    make_series(tmp_path / "pet", edit=setting(PatientWeight=None))
    result = runner.invoke(app, [str(tmp_path / "pet"), "-o", str(tmp_path / "a.nii.gz")])
    assert isinstance(result.exception, SUVError)
    make_series(tmp_path / "good")
    for arguments in (["-o", "a.xyz"], ["-o", "a.nii.gz", "--ct"]):
        target = [arguments[0], str(tmp_path / arguments[1]), *arguments[2:]]
        result = runner.invoke(app, [str(tmp_path / "good"), *target])
        assert isinstance(result.exception, AnyPETError)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["good", "pet"]
