"""`anypet evaluate`, from its options to its files, with a stand-in for the network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

import anypet.evaluation.systems as systems
from anypet.cli.evaluate import evaluate
from anypet.errors import AnyPETError
from anypet.evaluation.protocol import System

app = typer.Typer()
app.command()(evaluate)


def invoke(*args: str) -> Result:
    return CliRunner().invoke(app, [str(a) for a in args])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for patient in ("STS_003", "STS_013"):
        truth = np.zeros((16, 16, 12), dtype=np.uint8)
        truth[4:12, 4:12, 3:9] = 1
        folder = tmp_path / "sts" / patient
        folder.mkdir(parents=True)
        for name, array in (("PET", 1 + 4 * truth.astype(np.float32)), ("GTV", truth)):
            nib.save(nib.Nifti1Image(array, np.diag([4.0, 4.0, 4.0, 1.0])), folder / f"{name}.nii.gz")
    return tmp_path


class Half:
    def __init__(self, volume: Any) -> None:
        self.mask = volume.array > 2
        self.mask[8:] = False

    def add_point(self, ijk: tuple[int, int, int], positive: bool = True) -> np.ndarray:
        return self.mask


def test_baselines_alone_on_the_sarcoma_patients(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = invoke("--model", "none", "--data-dir", data, "--clicks", "1,2", "--seeds", "1", "-o", out)
    assert result.exit_code == 0, result.output
    assert "2 targets of 2 patients" in result.output
    assert {path.name for path in out.iterdir()} == {"rows.csv", "summary.json", "summary.md", "learning.png"}
    about = json.loads((out / "summary.json").read_text())["about"]
    assert (about["split"], about["cases"], about["clicks"], about["weights"]) == (
        "validation",
        2,
        [1, 2],
        "none",
    )


def test_a_model_is_loaded_once_and_runs_first(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []

    def load_model(name: str, *, weights: Path | None, device: str) -> str:
        loads.append((name, weights, device))
        return "network"

    monkeypatch.setattr("anypet.models.registry.load_model", load_model)
    monkeypatch.setattr(systems, "_session", lambda volume, model: Half(volume))
    args = ("--model", "default", "--device", "cpu", "--data-dir", data, "--clicks", "1,2", "--seeds", "2")
    result = invoke(*args, "--no-baselines", "--cases", "1", "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert loads == [("default", None, "cpu")]
    assert [line["system"] for line in figures["lines"]] == ["default", "default"]
    assert figures["lines"][0]["metrics"]["dsc"]["mean"] == pytest.approx(2 / 3)
    assert figures["lines"][0]["metrics"]["volume_error"]["mean"] == -0.5
    assert figures["about"]["cases"] == 1
    result = invoke(*args, "--json")
    figures = json.loads(result.stdout)
    assert {v["first"] for v in figures["versus"]} == {"default"}
    assert figures["lines"][0]["system"] == "default"


def test_a_list_of_cases_and_a_choice_of_targets(data: Path) -> None:
    listing = data / "cases.csv"
    folder = "sts/STS_003"
    row = f"{folder}/PET.nii.gz,{folder}/GTV.nii.gz,P1,SUVbw,1=tumour"
    listing.write_text(f"image,label,patient,unit,names\n{row}\n")
    args = ("--data", listing, "--model", "none", "--clicks", "1", "--seeds", "1", "--json", "--targets")
    figures = json.loads(invoke(*args, "tumour").stdout)
    assert {(line["group"], line["kind"]) for line in figures["lines"]} == {("manifest", "tumour")}
    result = invoke(*args, "liver")
    assert isinstance(result.exception, AnyPETError)
    assert "liver" in str(result.exception)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--clicks", "1,x"), "--clicks"),
        (("--clicks", "3,1"), "must rise"),
        (("--data", "liver"), "sts, simulated"),
        (("--model", "none", "--no-baselines"), "nothing to evaluate"),
        (("--model", "no-such-model"), "no-such-model"),
        (("--split", "dev"), "train, validation or test"),
    ],
)
def test_what_cannot_be_run_says_why(data: Path, args: tuple[str, ...], message: str) -> None:
    result = invoke("--data-dir", data, *args)
    assert isinstance(result.exception, AnyPETError)
    assert message in str(result.exception)


def test_a_session_is_what_evaluates_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Session:
        def __init__(self, scan: Any, model: Any) -> None:
            made.append((scan, model))

    monkeypatch.setattr("anypet.session.Session", Session)
    system = systems.model_system("net", "network")  # type: ignore[arg-type]
    assert isinstance(system, System)
    assert system.make is not None
    assert isinstance(system.make("scan"), Session)  # type: ignore[arg-type]
    assert made == [("scan", "network")]
