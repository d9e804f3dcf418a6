"""`anypet report` from files to pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import anypet
from anypet.cli.report import report
from anypet.errors import AnyPETError
from anypet.io import write
from anypet.volume import Volume
from dicom_factory import make_series, setting

SHAPE = (26, 22, 18)


def blob(centre: tuple[int, int, int], radius: float) -> np.ndarray:
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), -1)
    return np.asarray(((grid - centre) ** 2).sum(-1) <= radius**2)


BODY, LIVER = blob((13, 11, 9), 9), blob((9, 11, 10), 4.2)
NODE, MASS = blob((17, 9, 6), 1.5), blob((16, 13, 12), 2.5)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    stored = np.where(BODY, 3000, 50) + 6000 * LIVER + 24000 * NODE + 12000 * MASS
    edit = setting(PatientSex="M", PatientName="Doe^Jane")
    make_series(folder / "dicom" / "pet", stored.astype(np.int16), spacing=(5, 5, 5), edit=edit)
    ct = np.where(BODY, 40, -1000).astype(np.int16)
    make_series(folder / "dicom" / "ct", ct, modality="CT", spacing=(5, 5, 5), number=2)
    scan = anypet.read(folder / "dicom")
    lesions = Volume(
        (NODE + 2 * MASS).astype(np.uint8), scan.affine, "label", {"names": {1: "node", 2: "mass"}}
    )
    write(lesions, folder / "lesions.nii.gz")
    organs = Volume((7 * LIVER).astype(np.uint8), scan.affine, "label", {"names": {7: "liver"}})
    write(organs, folder / "organs.nii.gz")
    write(Volume(scan.array, scan.affine, "SUVbw"), folder / "pet.nii.gz")
    return folder


def call(*arguments: object) -> Any:
    app = typer.Typer()
    app.command()(report)
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if isinstance(result.exception, AnyPETError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def test_a_dicom_study(study: Path) -> None:
    page, pdf = study / "r.html", study / "r.pdf"
    result = call(
        study / "dicom", study / "lesions.nii.gz", "-o", page, "--pdf", pdf, "--organs",
        study / "organs.nii.gz", "--drawn-by", "compact 0.1",
    )  # fmt: skip
    assert "wrote" in result.stdout
    text = page.read_text()
    for words in ("Doe, Jane", "node", "mass", "compact 0.1", "PET over CT", "Liver"):
        assert words in text
    assert "not measured" not in text  # the liver of the organs was taken
    assert pdf.read_bytes().startswith(b"%PDF-")


def test_anonymous_and_one_region(study: Path) -> None:
    call(
        study / "dicom", study / "lesions.nii.gz", "-o", study / "a.html", "--anonymise", "--region", "MASS",
        "--slices", 0,
    )  # fmt: skip
    text = (study / "a.html").read_text()
    assert "ANON-" in text
    assert "Lesion 1" in text
    for words in ("Doe", "2024", "lesions.nii.gz", "mass", "Lesion 2", "Key slices"):
        assert words not in text


def test_an_image_file(study: Path) -> None:
    files = (study / "pet.nii.gz", study / "lesions.nii.gz")
    call(*files, "-o", study / "b.html", "--liver", "-22,-25,10", "--tracer", "FDG")
    text = (study / "b.html").read_text()
    assert "Patient not stated" in text
    assert "PET, greys" in text


def test_what_is_refused(study: Path) -> None:
    files = (study / "dicom", study / "lesions.nii.gz")
    with pytest.raises(AnyPETError, match=r"ends in \.html"):
        call(*files, "-o", study / "r.pdf")
    with pytest.raises(AnyPETError, match=r"ends in \.pdf"):
        call(*files, "-o", study / "r.html", "--pdf", study / "r.html")
    with pytest.raises(AnyPETError, match="no region tail; it holds 1 node, 2 mass"):
        call(*files, "-o", study / "r.html", "--region", "tail")


@pytest.mark.data
def test_the_real_scan(shared_data: Path, tmp_path: Path) -> None:
    """The whole-body scan with its contours: SUVmax of the mass as MIRP and others have it, 7.9."""
    home = shared_data / "sts_001_wholebody"
    call(home / "PET", home / "RTSTRUCT", "-o", tmp_path / "r.html", "--region", "GTV_Mass")
    text = (tmp_path / "r.html").read_text()
    for words in ("STS_001", "7.91", "F-18 FDG", "389 MBq", "45 min", "GTV_Mass"):
        assert words in text
    assert "GTV_Edema" not in text
