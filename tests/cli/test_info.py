"""`anypet info`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from anypet.cli.info import info
from anypet.errors import ReadError
from dicom_factory import FACTOR, make_rtstruct, make_series, setting

app = typer.Typer()
app.command()(info)
runner = CliRunner()


def told(*arguments: object) -> dict:
    result = runner.invoke(app, [*map(str, arguments), "--json"])
    return json.loads(result.stdout)


def test_a_pet_study(tmp_path: Path) -> None:
    make_series(tmp_path / "pet", number=3)
    make_series(tmp_path / "ct", modality="CT", number=2)
    found = told(tmp_path)
    assert found["suv"]["factor"] == pytest.approx(FACTOR)
    assert found["geometry"]["shape"] == [6, 5, 4]
    assert found["geometry"]["spacing_mm"] == [4, 5, 3]
    assert found["modality"] == "PT"
    assert [s["modality"] for s in found["series"]["others"]] == ["CT"]
    result = runner.invoke(app, [str(tmp_path)])
    assert result.exit_code == 0
    for words in (
        "SUV factor",
        "series date-time",
        "60.0 min",
        "6 x 5 x 4",
        "(0018,1074)",
        "the only PT series",
    ):
        assert words in result.stdout


def test_factors_by_slice(tmp_path: Path) -> None:
    def edit(ds: object, k: int) -> None:
        setting(DecayCorrection="NONE", ActualFrameDuration=60000, AcquisitionTime=f"11{k:02d}00")(ds, k)

    make_series(tmp_path / "pet", edit=edit)
    assert "by slice" in runner.invoke(app, [str(tmp_path)]).stdout


def test_a_pet_without_a_suv(tmp_path: Path) -> None:
    make_series(tmp_path, edit=setting(PatientWeight=None))
    found = told(tmp_path)
    assert "(0010,1030)" in found["error"]
    assert found["geometry"]["orientation"] == "LPS"
    assert found["series"]["number"] == 1
    result = runner.invoke(app, [str(tmp_path)])
    assert result.exit_code == 1
    assert "PatientWeight" in result.stdout


def test_a_pet_that_makes_no_volume(tmp_path: Path) -> None:
    make_series(tmp_path)[1].unlink()
    found = told(tmp_path)
    assert "missing" in found["error"]
    assert found["series"]["others"][0]["modality"] == "PT"
    make_series(tmp_path / "more", number=2, edit=setting(Units="CPS", PixelSpacing=None))
    assert "geometry" not in told(tmp_path / "more")


def test_a_ct_and_contours(tmp_path: Path) -> None:
    make_series(tmp_path / "ct", modality="CT", intercept=-1024.0)
    assert told(tmp_path / "ct")["unit"] == "HU"
    make_rtstruct(tmp_path / "rt" / "a.dcm", {"a": [np.eye(3) * 9]})
    found = told(tmp_path / "rt")
    assert found["modality"] == "RTSTRUCT"
    assert "no PET" in found["error"]


def test_an_image_file(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.ones((4, 5, 6), np.float32), np.diag([2.0, 2, 3, 1])), tmp_path / "a.nii.gz")
    found = told(tmp_path / "a.nii.gz")
    assert found["unit"] is None
    assert "unit" in found["error"]
    assert found["geometry"]["orientation"] == "RAS"


def test_nothing_there(tmp_path: Path) -> None:
    result = runner.invoke(app, [str(tmp_path / "x")])
    assert isinstance(result.exception, ReadError)


def test_a_zip(tmp_path: Path) -> None:
    make_series(tmp_path / "scan")
    archive = shutil.make_archive(str(tmp_path / "scan"), "zip", tmp_path / "scan")
    assert told(archive)["suv"]["factor"] == pytest.approx(FACTOR)
