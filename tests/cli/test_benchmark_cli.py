"""`anypet train-baseline` and `anypet benchmark`, from their options to the tables, on tiny scans."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from anypet.baselines import run
from anypet.baselines.registry import BASELINES
from anypet.cli.benchmark import benchmark
from anypet.cli.train_baseline import train_baseline
from anypet.errors import AnyPETError

app = typer.Typer()
app.command("benchmark")(benchmark)
app.command("train-baseline")(train_baseline)


def invoke(*args: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in args])


def done(*args: object) -> Result:
    result = invoke(*args)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every system runs in this process; tests/baselines has one that starts them apart."""
    monkeypatch.setattr(run, "run_jobs", partial(run.run_jobs, apart=False))


@pytest.fixture
def listing(tmp_path: Path) -> Callable[..., Path]:
    """Writes a list of cases: name of the list, names of the patients, and how good their labels are."""

    def make(name: str, patients: str, quality: str = "HQ", folder: str = "") -> Path:
        place = tmp_path / folder
        place.mkdir(exist_ok=True)
        truth = np.zeros((24, 20, 16), dtype=np.uint8)
        truth[6:18, 5:15, 4:12] = 1
        truth[1:4, 1:4, 1:4] = 2
        rows = ["image,label,ct,patient,unit,names,quality,split"]
        for n, patient in enumerate(patients):
            rng = np.random.default_rng(ord(patient))
            pet = 0.5 + (4 + n) * (truth == 1) + 8 * (truth == 2) + 0.2 * rng.random(truth.shape)
            ct = np.where(truth > 0, 60.0, -100.0)
            for kind, array in (
                ("pet", pet.astype(np.float32)),
                ("ct", ct.astype(np.int16)),
                ("label", truth),
            ):
                image = nib.Nifti1Image(array, np.diag([4.0, 4.0, 4.0, 1.0]))
                nib.save(image, place / f"{name}-{patient}-{kind}.nii.gz")
            files = ",".join(f"{name}-{patient}-{kind}.nii.gz" for kind in ("pet", "label", "ct"))
            rows.append(f"{files},{name}{patient},SUVbw,1=liver;2=lesion,{quality if n else 'HQ'},train")
        (place / f"{name}.csv").write_text("\n".join(rows) + "\n")
        return place / f"{name}.csv"

    return make


def table(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text().splitlines()))


QUICK = ("--split", "train", "--clicks", "1,3")


def test_the_tables_of_data_at_hand_and_of_elsewhere(listing: Callable[..., Path], tmp_path: Path) -> None:
    own, other, out = listing("own", "ab"), listing("other", "c"), tmp_path / "out"
    models = "classical,sat,totalsegmentator,sam-med3d-turbo-ct"
    args = ("benchmark", "--data", own, "--external", other, "--models", models, *QUICK, "-o", out)
    result = done(*args)
    assert "classical: done" in result.output
    assert "sat: not run: sat is only listed" in result.output
    for number, group in (("1", "own"), ("5", "external other")):
        rows = table(out / f"table{number}.csv")
        assert list(rows[0]) == ["system", "prompt", "liver", "mean"]
        assert {row["system"]: row["prompt"] for row in rows}["sat"] == "not run"
        told = next(row for row in rows if (row["system"], row["prompt"]) == ("oracle", "told"))
        assert told["mean"] == "1.000"
        full = [row for row in table(out / "table.csv") if row["data"] == group]
        assert {row["target"] for row in full} == {"liver", "lesion"}
        assert {row["targets"] for row in full} == {"2" if number == "1" else "1"}
    lesions = table(out / "table7.csv")
    assert {row["system"] for row in lesions} >= {"oracle", "random walker", "sat"}
    assert not (out / "table6.csv").exists()
    text = (out / "benchmark.md").read_text()
    (note,) = (line for line in text.splitlines() if "no system read a CT of these organs" in line)
    assert "; totalsegmentator: totalsegmentator has no weights here" in note
    assert "; sam-med3d-turbo-ct: sam-med3d-turbo-ct has no weights here" in note
    assert "- totalsegmentator: totalsegmentator has no weights here: `totalseg_download_weights" in text
    about = json.loads((out / "benchmark.json").read_text())
    assert set(about["not run"]) == set(models.split(",")[1:])
    assert about["about"]["cases"] == 3
    again = done(*args)
    assert "classical: kept" in again.output


def test_lists_of_one_name_stay_apart(listing: Callable[..., Path], tmp_path: Path) -> None:
    first, second = (listing("own", "a", folder=folder) for folder in ("x", "y"))
    args = ("--data", first, "--data", second, "--models", "classical", "--targets", "liver")
    done("benchmark", *args, *QUICK, "-o", tmp_path / "out")
    rows = table(tmp_path / "out" / "rows.csv")
    assert {row["group"] for row in rows} == {str(first), str(second)}
    assert len({row["case"] for row in rows}) == 2
    assert {row["target"] for row in rows} == {"liver"}


def test_data_may_have_a_split_of_its_own(listing: Callable[..., Path], tmp_path: Path) -> None:
    cases = listing("own", "ab")  # of the split train
    args = ("--models", "classical", "--targets", "liver", *QUICK)
    done("benchmark", "--data", f"{cases}:train", *args, "-o", tmp_path / "out")
    rows = table(tmp_path / "out" / "rows.csv")
    assert {(row["group"], row["case"]) for row in rows} == {
        ("own", "owna/own-a-pet"),
        ("own", "ownb/own-b-pet"),
    }
    result = invoke("benchmark", "--data", f"{cases}:test", *args, "-o", tmp_path / "none")
    assert isinstance(result.exception, AnyPETError)
    assert not (tmp_path / "none" / "rows.csv").exists()


def test_the_list_names_all_and_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "2000")
    result = done("benchmark", "--list")
    words = result.output.split()
    assert set(BASELINES) <= set(words)
    for extra in ("baselines", "nninteractive", "nnunet", "totalsegmentator"):
        assert f"pip install 'anypet[{extra}]'" in result.output


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--models", "unet"), "known: default"),
        (("--weights", "segresnet"), "--weights takes name=path"),
        (("--models", "classical", "--weights", "sam=x"), "--weights takes name=path"),
        (("--clicks", "3,1"), "must rise"),
        (("--data", "liver"), "sts, simulated"),
        (("--external", "none.csv", "--split", "all"), "none.csv does not exist"),
        (("--split", "dev"), "train, validation or test"),
    ],
)
def test_what_cannot_be_benchmarked_says_why(
    args: tuple[str, ...], message: str, listing: Callable[..., Path], tmp_path: Path
) -> None:
    data = () if args[0] == "--data" else ("--data", listing("own", "a"))
    if args == ("--split", "dev"):
        data = ("--data", "sts", "--data-dir", tmp_path)
    result = invoke("benchmark", *data, "-o", tmp_path / "out", *args)
    assert isinstance(result.exception, AnyPETError)
    assert message in str(result.exception)


def test_weights_that_are_none_are_told_in_the_table(listing: Callable[..., Path], tmp_path: Path) -> None:
    pytest.importorskip("monai")
    (tmp_path / "w.pt").write_bytes(b"nothing")
    weights = ("--weights", f"segresnet={tmp_path / 'w.pt'}", "--weights", "swinunetr=gone.pt")
    args = ("--data", listing("own", "a"), "--models", "classical,segresnet,swinunetr", *weights)
    done("benchmark", *args, *QUICK, "-o", tmp_path / "out")
    missing = json.loads((tmp_path / "out" / "benchmark.json").read_text())["not run"]
    assert "holds no network of `anypet train-baseline`" in missing["segresnet"]
    assert "gone.pt does not exist" in missing["swinunetr"]


TINY = ("--steps", "1", "--spacing", "8", "--patch", "32", "--width", "8", "--batch", "1")


def test_high_quality_alone_is_trained_on_and_compared(listing: Callable[..., Path], tmp_path: Path) -> None:
    pytest.importorskip("monai")
    mixed, folder = listing("own", "ab", quality="LQ"), tmp_path / "run"
    args = ("train-baseline", "segresnet", "--data", mixed, *TINY, "-o", folder)
    result = done(*args, "--quality", "HQ")
    assert "1 steps; weights:" in result.output
    assert len(list((folder / "scans").glob("*.image.npy"))) == 1
    assert json.loads((folder / "scans" / "classes.json").read_text()) == ["liver", "lesion"]
    result = invoke(*args, "--quality", "HQ")
    assert "holds a run already" in str(result.exception)
    result = invoke(*args, "--quality", "all", "--resume")
    assert "was begun with quality 'HQ'" in str(result.exception)
    result = done(*args, "--quality", "HQ", "--resume", "--steps", "2")
    assert "2 steps; weights:" in result.output
    out = tmp_path / "out"
    weights = f"segresnet={folder / 'weights.pt'}"
    done("benchmark", "--data", mixed, "--models", "segresnet", "--weights", weights, *QUICK, "-o", out)
    (row,) = table(out / "table1.csv")
    assert (row["system"], row["prompt"]) == ("SegResNet (own, HQ)", "auto")
    assert "weights.pt sha256:" in json.loads((out / "benchmark.json").read_text())["weights"]["segresnet"]


def test_a_pool_is_trained_on(tmp_path: Path) -> None:
    """Organs by side from the parts, lesions from the objects; studies of noisy labels only on request."""
    pytest.importorskip("monai")
    from anypet.models.compact.parts import PARTS
    from anypet.training.pool import PoolStudy, Target, write_study
    from anypet.volume import Volume

    shape, affine = (20, 18, 16), np.diag([4.0, 4.0, 4.0, 1.0])
    kidney = PARTS.index("left kidney")
    parts = np.zeros(shape, dtype=np.uint8)
    parts[4:12, 4:12, 4:12] = kidney
    whole = (slice(4, 12),) * 3
    spot = Target((slice(14, 17),) * 2 + (slice(12, 14),), np.ones((3, 3, 2), np.float32))
    pet = Volume((1 + 5 * (parts > 0)).astype(np.float32), affine, "SUVbw")
    (tmp_path / "pool").mkdir()
    study = PoolStudy(pet, affine, shape, [spot], parts, [(kidney, whole)])
    write_study(tmp_path / "pool" / "a.safetensors", study)
    noisy = PoolStudy(pet, affine, shape, [spot], high_quality=False, kind="real")
    write_study(tmp_path / "pool" / "b.safetensors", noisy)
    args = ("train-baseline", "segresnet", "--pool", tmp_path / "pool", *TINY, "--spacing", "4")
    done(*args, "-o", tmp_path / "all")
    labels = [np.load(file) for file in sorted((tmp_path / "all" / "scans").glob("*.label.npy"))]
    assert json.loads((tmp_path / "all" / "scans" / "classes.json").read_text()) == ["left kidney", "lesion"]
    assert [np.bincount(label.ravel(), minlength=3)[1:].tolist() for label in labels] == [[512, 18], [0, 18]]
    done(*args, "--quality", "HQ", "-o", tmp_path / "hq")
    assert len(list((tmp_path / "hq" / "scans").glob("*.label.npy"))) == 1
    (tmp_path / "empty").mkdir()
    result = invoke("train-baseline", "segresnet", "--pool", tmp_path / "empty", *TINY, "-o", tmp_path / "no")
    assert isinstance(result.exception, AnyPETError)


def test_nnunet_is_trained_and_compared(listing: Callable[..., Path], tmp_path: Path) -> None:
    pytest.importorskip("nnunetv2", reason="nnunetv2 is not installed: pip install 'anypet[nnunet]'")
    data, folder, out = listing("own", "a"), tmp_path / "run", tmp_path / "out"
    args = ("train-baseline", "nnunet", "--data", data, "--spacing", "5", "--memory-gb", "1", "-o", folder)
    result = done(*args, "--steps", "1")
    assert "1 steps; weights:" in result.output
    assert json.loads((folder / "raw" / "Dataset001_AnyPET" / "dataset.json").read_text())["numTraining"] == 1
    weights = f"nnunet={folder / 'weights'}"
    done("benchmark", "--data", data, "--models", "nnunet", "--weights", weights, *QUICK, "-o", out)
    assert {(row["system"], row["target"]) for row in table(out / "table.csv")} == {
        ("nnU-Net (all)", "liver"),
        ("nnU-Net (all)", "lesion"),
    }


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("unet",), "known: default"),
        (("sam",), "is not trained here, only segresnet, swinunetr, nnunet, stunet; its weights: fetch"),
        (("default",), "its weights: none needed"),
        (("segresnet", "--quality", "LQ"), "--quality takes HQ or all"),
        (("segresnet", "--memory-gb", "1"), "segresnet takes no --memory-gb"),
        (("nnunet", "--patch", "64", "--width", "8"), "nnunet takes no --patch, --width"),
        (("stunet", "--batch", "1", "--rate", "0.1"), "stunet takes no --batch, --rate"),
        (("segresnet", "--data", "liver"), "sts, simulated"),
        (("segresnet", "--patch", "40"), "multiple of 32"),
    ],
)
def test_what_cannot_be_trained_says_why(
    args: tuple[str, ...], message: str, listing: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("monai")
    pytest.importorskip("nnunetv2", reason="nnunetv2 is not installed: pip install 'anypet[nnunet]'")
    data = () if "--data" in args else ("--data", listing("own", "a"))
    result = invoke("train-baseline", *args, *data, "-o", tmp_path / "run")
    assert isinstance(result.exception, AnyPETError)
    assert message in str(result.exception)


def test_no_label_of_high_quality(listing: Callable[..., Path], tmp_path: Path) -> None:
    pytest.importorskip("monai")
    mixed = listing("own", "ab", quality="LQ")
    lines = mixed.read_text().splitlines()
    mixed.write_text("\n".join([lines[0], lines[2]]) + "\n")
    args = ("train-baseline", "segresnet", "--data", mixed, "--quality", "HQ", "-o", tmp_path / "run")
    result = invoke(*args)
    assert "has a label of high quality" in str(result.exception)
