"""`anypet export`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
import typer
from click.testing import Result
from highdicom import sr
from typer.testing import CliRunner

import anypet
from anypet.cli.export import export
from anypet.errors import AnyPETError
from anypet.io import read_masks
from anypet.volume import Volume
from dicom_factory import make_series

app = typer.Typer()
app.command()(export)
runner = CliRunner()


@pytest.fixture
def scan(tmp_path: Path) -> Volume:
    make_series(tmp_path / "study" / "pet")
    make_series(tmp_path / "study" / "ct", modality="CT", number=2)
    return anypet.read(tmp_path / "study")


@pytest.fixture
def mask(tmp_path: Path, scan: Volume) -> Path:
    labels = np.zeros(scan.shape, np.uint8)
    labels[1:3, 1:3, 1:3], labels[4, 4, 3] = 1, 2
    anypet.write(scan.with_array(labels, unit="label"), tmp_path / "mask.nii.gz")
    return tmp_path / "mask.nii.gz"


def run(tmp_path: Path, *arguments: object, output: str = "out.dcm") -> Result:
    words = [*map(str, arguments), "--like", str(tmp_path / "study"), "-o", str(tmp_path / output)]
    return runner.invoke(app, words)


@pytest.mark.parametrize("to", ["seg", "rtstruct"])
@pytest.mark.parametrize("names", ["1=liver;2=lesion 1", "file"])
def test_label_map_to_dicom(tmp_path: Path, scan: Volume, mask: Path, to: str, names: str) -> None:
    if names == "file":
        (tmp_path / "names.json").write_text('{"1": "liver", "2": "lesion 1"}')
        names = str(tmp_path / "names.json")
    result = run(tmp_path, mask, "--to", to, "--names", names)
    assert result.exit_code == 0, result.output
    assert result.output.split() == ["wrote", str(tmp_path / "out.dcm")]
    found = read_masks(tmp_path / "out.dcm", scan)
    labels = anypet.read_labels(mask).array
    assert list(found) == ["liver", "lesion 1"]
    for value, region in enumerate(found.values(), start=1):
        np.testing.assert_array_equal(region, labels == value)


def test_from_seg_to_rtstruct_and_back(tmp_path: Path, scan: Volume, mask: Path) -> None:
    run(tmp_path, mask, "--names", "1=liver;2=lesion 1", output="seg.dcm")
    assert run(tmp_path, tmp_path / "seg.dcm", "--to", "rtstruct", output="rt.dcm").exit_code == 0
    assert run(tmp_path, tmp_path / "rt.dcm", output="again.dcm").exit_code == 0
    first, again = read_masks(tmp_path / "seg.dcm", scan), read_masks(tmp_path / "again.dcm", scan)
    assert list(first) == list(again) == ["liver", "lesion 1"]
    assert all(np.array_equal(first[name], again[name]) for name in first)
    algorithm = pydicom.dcmread(tmp_path / "again.dcm").SegmentSequence[0]
    assert algorithm.SegmentAlgorithmName == "AnyPET"


def test_report_and_the_seg_that_it_needs(tmp_path: Path, scan: Volume, mask: Path) -> None:
    result = run(tmp_path, mask, "--to", "sr", "--algorithm", "compact:3")
    assert result.exit_code == 0, result.output
    assert str(tmp_path / "out_seg.dcm") in result.output
    groups = sr.srread(tmp_path / "out.dcm").content.get_volumetric_roi_measurement_groups()
    labels = anypet.read_labels(mask).array
    for value, group in enumerate(groups, start=1):
        inside = scan.array[labels == value]
        found = {
            (m.name.meaning, m.derivation.meaning if m.derivation else ""): m.value
            for m in group.get_measurements()
        }
        assert found["SUVbw", "Maximum"] == pytest.approx(inside.max(), rel=1e-6)
        assert found["SUVbw", "Mean"] == pytest.approx(inside.mean(), rel=1e-5)
        assert found["Volume", ""] == pytest.approx(inside.size * 0.06)
        assert found["Total Lesion Glycolysis", ""] == pytest.approx(inside.sum() * 0.06, rel=1e-5)
    header = pydicom.dcmread(tmp_path / "out_seg.dcm")
    assert header.SegmentSequence[0].SegmentAlgorithmName == "compact"
    # a SEG of the series is referred to as it is
    assert run(tmp_path, tmp_path / "out_seg.dcm", "--to", "sr", output="second.dcm").exit_code == 0
    assert not (tmp_path / "second_seg.dcm").exists()
    report = pydicom.dcmread(tmp_path / "second.dcm")
    assert header.SOPInstanceUID in str(report)


def test_measures_from_a_file(tmp_path: Path, scan: Volume, mask: Path) -> None:
    values = {"liver": {"suv_peak": 2.5, "longest_diameter_mm": 12.0}, "total": {"tlg": 9.0}}
    (tmp_path / "measures.json").write_text(json.dumps(values))
    arguments = (mask, "--names", "1=liver;2=x", "--to", "sr", "--measures", tmp_path / "measures.json")
    assert run(tmp_path, *arguments).exit_code == 0
    content = sr.srread(tmp_path / "out.dcm").content
    (group,) = content.get_volumetric_roi_measurement_groups()
    assert [m.value for m in group.get_measurements()] == [2.5, 12.0]
    (total,) = content.get_image_measurement_groups()
    assert total.get_measurements()[0].value == 9.0


def test_probabilities(tmp_path: Path, scan: Volume) -> None:
    probability = np.linspace(0, 1, scan.array.size, dtype=np.float32).reshape(scan.shape)
    anypet.write(scan.with_array(probability, unit="probability"), tmp_path / "p.nii.gz")
    assert run(tmp_path, tmp_path / "p.nii.gz", "--kind", "fractional").exit_code == 0
    (found,) = read_masks(tmp_path / "out.dcm", scan).values()
    np.testing.assert_array_equal(found, probability >= 0.5)


@pytest.mark.parametrize("to", ["seg", "rtstruct", "sr"])
def test_without_the_patient(tmp_path: Path, scan: Volume, mask: Path, to: str) -> None:
    run(tmp_path, mask, output="named.dcm")
    result = run(tmp_path, tmp_path / "named.dcm", "--to", to, "--anonymise")
    assert result.exit_code == 0, result.output
    assert b"Test^Case" in (tmp_path / "named.dcm").read_bytes()
    for path in tmp_path.glob("out*.dcm"):
        assert b"Test^Case" not in path.read_bytes()
        assert pydicom.dcmread(path).PatientIdentityRemoved == "YES"
    if to == "sr":  # the report refers to a SEG without the patient
        assert (tmp_path / "out_seg.dcm").exists()


def test_a_mask_on_another_grid(tmp_path: Path, scan: Volume) -> None:
    affine = scan.affine.copy()
    affine[:3, :3] /= 2
    labels = np.zeros([2 * n for n in scan.shape], np.uint8)
    labels[2:6, 2:6, 2:6] = 1
    anypet.write(Volume(labels, affine, "label"), tmp_path / "fine.nii.gz")
    result = run(tmp_path, tmp_path / "fine.nii.gz")
    assert isinstance(result.exception, AnyPETError)
    assert "another grid" in str(result.exception)
    assert run(tmp_path, tmp_path / "fine.nii.gz", "--resample").exit_code == 0
    assert next(iter(read_masks(tmp_path / "out.dcm", scan).values())).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "stl"], "--to 'stl': expected one of seg, rtstruct, sr"),
        (["--measures", "m.json"], "--measures goes with --to sr"),
        (["--to", "sr", "--measures", "absent.json"], "absent.json: cannot be read as JSON"),
        (["--kind", "bits"], "unknown kind 'bits'"),
        (["--names", "1:liver"], "--names holds '1:liver'"),
        (["--series", "7"], "no series '7'"),
    ],
)
def test_what_is_asked_for_wrongly(tmp_path: Path, mask: Path, arguments: list[str], message: str) -> None:
    result = run(tmp_path, mask, *arguments)
    assert isinstance(result.exception, AnyPETError)
    assert message in str(result.exception)
    assert not (tmp_path / "out.dcm").exists()


def test_files_that_are_something_else(tmp_path: Path, mask: Path) -> None:
    (tmp_path / "m.json").write_text('{"liver": 3}')
    for arguments, message in (
        ((tmp_path / "m.json",), "expected the file of a label map"),
        ((tmp_path / "study",), "expected the file of a label map"),
        ((mask, "--to", "sr", "--measures", tmp_path / "m.json"), "suv_max"),
    ):
        result = run(tmp_path, *arguments)
        assert isinstance(result.exception, AnyPETError)
        assert message in str(result.exception)
    run(tmp_path, mask, output="seg.dcm")
    result = run(tmp_path, tmp_path / "seg.dcm", "--names", "1=x")
    assert "--names is for label maps" in str(result.exception)
