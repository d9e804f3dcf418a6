"""`anypet train`, `anypet simulate` and `anypet data` from the outside."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from anypet.cli.data import SOURCES, data
from anypet.cli.simulate import simulate
from anypet.cli.train import train
from anypet.errors import AnyPETError
from anypet.training.lesions.scans import write_scan
from anypet.training.lesions.validation import LesionLook
from lesion_lists import put_case, put_list

sys.path.insert(0, str(Path(__file__).parents[1] / "training" / "lesions"))
from lesion_toys import toy_scan

runner = CliRunner()


def app_of(command) -> typer.Typer:
    app = typer.Typer()
    app.command()(command)
    return app


def test_train_from_nothing_but_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ANYPET_DATA", raising=False)
    settings = tmp_path / "tiny.yaml"
    settings.write_text(
        "window: 32\nwidths: [8, 8, 8, 8, 8]\nblocks: [1, 1, 1, 1]\nbatch: 1\nclicks: 1\n"
        "studies: 1\nhalf: false\n"
    )
    arguments = [
        str(settings),
        "--steps",
        "2",
        "--set",
        "clicks=2",
        "-o",
        str(tmp_path / "run"),
        "--pool",
        str(tmp_path / "pool"),
    ]
    result = runner.invoke(app_of(train), [*arguments, "--workers", "1"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / "weights.safetensors").is_file()
    again = runner.invoke(app_of(train), [*arguments, "--resume", "--steps", "4"])
    assert again.exit_code == 0, again.output
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["clicks"] == 2
    assert 'steps":"4"' in (tmp_path / "run" / "weights.safetensors").read_bytes()[:2000].decode("latin1")


def test_fine_tuning_on_a_list_of_ones_own(tmp_path: Path):
    """`anypet train --from default --data my.csv`, as the guide says; no simulation, no data folder."""
    truth = np.zeros((24, 24, 24), dtype=np.uint8)
    truth[8:16, 8:16, 8:16] = 1
    for name, values in (("pet", truth * 4.0 + 0.5), ("label", truth)):
        nib.save(
            nib.Nifti1Image(
                values.astype(np.float32 if name == "pet" else np.uint8), np.diag([4.0, 4, 4, 1])
            ),
            tmp_path / f"{name}.nii.gz",
        )
    (tmp_path / "my.csv").write_text(
        "image,label,patient,unit,names\npet.nii.gz,label.nii.gz,P1,SUVbw,1=lesion\npet.nii.gz,,P2,SUVbw,\n"
    )
    arguments = ["--from", "default", "--data", str(tmp_path / "my.csv"), "--steps", "1", "--set", "batch=1"]
    result = runner.invoke(
        app_of(train), [*arguments, "-o", str(tmp_path / "run"), "--pool", str(tmp_path / "pool")]
    )
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / "weights.safetensors").is_file()
    assert len(list((tmp_path / "pool" / "cases").iterdir())) == 1


def lesion_list(folder: Path, *splits: str | None) -> Path:
    rows = [put_case(folder, f"p{n}", split=split) for n, split in enumerate(splits)]
    return put_list(folder, rows)


LESIONS = ["--set", "patch=32", "--set", "half=false", "--set", "batch=1", "--steps", "1", "--workers", "1"]


@pytest.fixture
def quick_look(monkeypatch: pytest.MonkeyPatch):
    """Two validation patches in place of 32."""
    monkeypatch.setattr("anypet.training.lesions.validation.LesionLook", partial(LesionLook, count=2))


def test_the_lesion_network_on_a_list_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_look
):
    """Real cases alone: no data folder, nothing simulated; the validation patient is not trained on."""
    monkeypatch.delenv("ANYPET_DATA", raising=False)
    cases = lesion_list(tmp_path, "train", "validation", "test")
    arguments = ["lesions-compact", "--data", str(cases), "-o", str(tmp_path / "run"), *LESIONS]
    arguments += ["--pool", str(tmp_path / "pool"), "--set", "validate_every=1"]
    result = runner.invoke(app_of(train), arguments)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / "weights.safetensors").is_file()
    assert [p.name for p in (tmp_path / "pool").iterdir()] == ["real-compact"]
    assert len(list((tmp_path / "pool" / "real-compact").iterdir())) == 2


@pytest.fixture
def simulation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """A data folder, a simulator that is quick, and what it was asked for."""
    monkeypatch.setenv("ANYPET_DATA", str(tmp_path))
    (tmp_path / "anatomy").mkdir()
    asked = []

    def build(folder: Path, sources, count, seed, *rest):
        folder.mkdir(parents=True)
        for n, tracer in enumerate(("FDG", "PSMA")):
            write_scan(folder / f"scan-{seed}-{n:05d}.safetensors", toy_scan(tracer))
        asked.append((folder.name, count))
        yield count

    monkeypatch.setattr("anypet.training.lesions.scans.build_scans", build)
    return asked


def test_real_and_simulated_scans_mixed(tmp_path: Path, simulation):
    arguments = ["lesions-compact", "--data", str(lesion_list(tmp_path, None)), "-o", str(tmp_path / "run")]
    arguments += ["--pool", str(tmp_path / "pool"), "--set", "real_share=0.5", "--set", "studies=2"]
    result = runner.invoke(app_of(train), [*arguments, *LESIONS])
    assert result.exit_code == 0, result.output
    assert simulation == [("pool", 2)]
    assert sorted(p.name.split("-")[0] for p in (tmp_path / "pool").iterdir()) == ["real", "scan", "scan"]


@pytest.mark.parametrize("settings", ["lesions-compact", "tracer"])
def test_simulated_scans_alone(tmp_path: Path, simulation, quick_look, settings):
    arguments = [settings, "-o", str(tmp_path / "run"), "--pool", str(tmp_path / "pool")]
    if settings != "tracer":
        arguments += ["--set", "patch=32", "--set", "validate_every=1"]
    arguments += ["--set", "half=false", "--set", "batch=1", "--set", "studies=2", "--steps", "1"]
    result = runner.invoke(app_of(train), arguments)
    assert result.exit_code == 0, result.output
    assert simulation == [("pool", 2), ("validation", 16)][: 1 if settings == "tracer" else 2]
    assert (tmp_path / "run" / "weights.safetensors").is_file()


@pytest.mark.parametrize(
    ("settings", "more", "fault"),
    [
        ("tracer", [], "simulated scans alone"),
        ("lesions-compact", ["--set", "validate_every=1"], "has none: set their split"),
        ("lesions-compact", ["--data", "nowhere"], "--data nowhere: give the folder"),
    ],
)
def test_lists_that_do_not_serve(tmp_path: Path, settings, more, fault):
    arguments = [settings, "--data", str(lesion_list(tmp_path, "train")), "-o", str(tmp_path / "run")]
    result = runner.invoke(app_of(train), [*arguments, *more, "--pool", str(tmp_path / "pool")])
    assert isinstance(result.exception, AnyPETError)
    assert fault in str(result.exception)


def test_train_names_a_missing_data_folder(tmp_path: Path):
    result = runner.invoke(
        app_of(train), ["compact", "--data", str(tmp_path / "nowhere"), "-o", str(tmp_path / "run")]
    )
    assert isinstance(result.exception, AnyPETError)
    assert "nowhere" in str(result.exception)


def test_simulate_writes_a_study_and_a_preview(tmp_path: Path):
    result = runner.invoke(
        app_of(simulate), ["-o", str(tmp_path), "--tracer", "psma", "--preview", "--seed", "2"]
    )
    assert result.exit_code == 0, result.output
    folder = tmp_path / "analytic-2-2"
    facts = json.loads((folder / "study.json").read_text())
    assert facts["tracer"] == "PSMA"
    pet, organs = (np.asarray(nib.load(folder / f"{n}.nii.gz").dataobj) for n in ("PET", "organs"))
    assert pet.shape == organs.shape
    assert set(np.unique(organs)) == {0, *map(int, facts["organs"])}
    assert (tmp_path / "preview.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "cause"), [(["--tracer", "water"], "water"), (["--anatomy", "no.nii.gz"], "no.nii.gz")]
)
def test_simulate_refuses(tmp_path: Path, arguments: list[str], cause: str):
    result = runner.invoke(app_of(simulate), ["-o", str(tmp_path / "out"), *arguments])
    assert isinstance(result.exception, AnyPETError)
    assert cause in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_data_sources():
    listed = json.loads(runner.invoke(data, ["sources", "--json"]).output)
    assert [s["name"] for s in listed] == [s.name for s in SOURCES]
    assert all(s["home"].startswith("https://") for s in listed)
    assert "TCIA" in runner.invoke(data, ["sources"]).output


def test_train_keeps_an_earlier_run(tmp_path: Path):
    (tmp_path / "checkpoint.pt").write_bytes(b"kept")
    result = runner.invoke(app_of(train), ["compact", "-o", str(tmp_path)])
    assert isinstance(result.exception, AnyPETError)
    assert "--resume" in str(result.exception)
    assert (tmp_path / "checkpoint.pt").read_bytes() == b"kept"
