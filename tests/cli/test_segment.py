"""`anypet segment` from arguments to files and numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from anypet.cli.segment import segment
from anypet.errors import AnyPETError
from anypet.io import read_labels, write
from anypet.models import registry
from fakes import FakeModel, ball_scan, dice

SCAN = ball_scan()
TRUTH = SCAN.array > 4


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a scan, and a model that needs no weights."""
    monkeypatch.setattr(registry, "load_model", lambda *_, **__: FakeModel())
    write(SCAN, tmp_path / "pet.nii.gz")
    return tmp_path


def call(folder: Path, *arguments: str) -> Any:
    app = typer.Typer()
    app.command()(segment)
    line = [str(folder / "pet.nii.gz"), "-o", str(folder / "mask.nii.gz"), *arguments]
    result = CliRunner().invoke(app, line)
    if isinstance(result.exception, AnyPETError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def test_a_point_gives_a_mask_and_its_numbers(folder: Path) -> None:
    result = call(folder, "--point", "24,20,30")
    mask = read_labels(folder / "mask.nii.gz")
    assert mask.same_grid(SCAN)
    assert dice(mask.array > 0, TRUTH) > 0.95
    for word in ("volume", "SUVmax", "SUVmean", "TLG", "time", "wrote"):
        assert word in result.output


def test_json_and_picture(folder: Path) -> None:
    result = call(
        folder, "--point", "24,20,30", "--negative", "26,20,30", "--json", "--png", str(folder / "p.png")
    )
    told = json.loads(result.stdout)
    mask = read_labels(folder / "mask.nii.gz").array > 0
    assert told["measures"]["voxels"] == mask.sum()
    assert told["measures"]["suv_max"] == pytest.approx(8.0)
    assert [p["positive"] for p in told["points"]] == [True, False]
    assert not mask[26, 20, 30]
    assert set(told["seconds"]) == {"read", "load_model", "segment"}
    assert (folder / "p.png").stat().st_size > 10_000


def test_negative_millimetres_are_numbers_not_options(folder: Path) -> None:
    voxels = call(folder, "--point", "20,17,30", "--json")
    mm = ",".join(f"{x:g}" for x in SCAN.to_mm((20, 17, 30)))
    assert mm.startswith("-10,-2")
    millimetres = call(folder, "--point", mm, "--space", "mm", "--json")
    assert json.loads(voxels.stdout)["measures"] == json.loads(millimetres.stdout)["measures"]
    call(folder, f"--point={mm}", "--space=mm")


def test_box_and_mask(folder: Path) -> None:
    call(folder, "--box", "18,14,22,30,26,38")
    first = read_labels(folder / "mask.nii.gz").array > 0
    assert dice(first, TRUTH) > 0.95
    rough = np.zeros(SCAN.shape, np.uint8)
    rough[22:27, 18:23, 28:33] = 1
    write(SCAN.with_array(rough, unit="label"), folder / "rough.nii.gz")
    call(folder, "--mask", str(folder / "rough.nii.gz"))
    assert dice(read_labels(folder / "mask.nii.gz").array > 0, TRUTH) > 0.95


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--negative", "1,2,3"],
        ["--point", "1,2"],
        ["--point", "a,b,c"],
        ["--point", "nan,1,1"],
        ["--point", "24,20,99"],
        ["--point", "1,2,3", "--negative", "1,2,-3"],
        ["--point", "1,2,3", "--space", "inch"],
        ["--point", "1,2,3", "--unit", "Bq/mL"],
        ["--point", "1,2,3", "-o", "mask.docx"],
        ["--point", "1,2,3", "-o", "no/such/folder/mask.nii.gz"],
        ["--box", "1,2,3,4,5"],
        ["--box", "1,2,3,1,5,6"],
        ["--mask", "no-such-file.nii.gz"],
    ],
    ids=" ".join,
)
def test_what_is_refused_leaves_no_file(folder: Path, arguments: list[str]) -> None:
    with pytest.raises(AnyPETError):
        call(folder, *arguments)
    assert [p.name for p in folder.iterdir()] == ["pet.nii.gz"]


def test_the_command_line_exits_with_2(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = pytest.importorskip("anypet.cli.app")
    line = [
        "anypet",
        "segment",
        str(folder / "pet.nii.gz"),
        "--point",
        "99,0,0",
        "-o",
        str(folder / "m.nii.gz"),
    ]
    monkeypatch.setattr("sys.argv", line)
    with pytest.raises(SystemExit) as stop:
        app.main()
    assert stop.value.code == 2
