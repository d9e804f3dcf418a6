"""The export, looked at with nibabel, and by nnU-Net's own verification of raw data sets."""

import json
from multiprocessing.pool import ThreadPool
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import label as components
from typer.testing import CliRunner

from anypet.autopet.nnunet_raw import _clicks, export_raw
from anypet.cli.app import app
from anypet.errors import AnyPETError
from anypet.evaluation.lesion_cases import lesion_cases
from anypet.lesions.click_files import read_clicks
from anypet.lesions.click_maps import gaussian_map
from anypet.lesions.nnunet.channels import OURS, channels_of
from lesion_lists import AFFINE, LESIONS, LIVER, put_case, put_list


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases")
    rows = [
        put_case(folder, "p1", split="train"),
        put_case(folder, "p02", lesions=False, split="validation"),
        put_case(folder, "p003", split="test"),
    ]
    return put_list(folder, rows)


@pytest.fixture(scope="module")
def exported(cases, tmp_path_factory):
    """Through the command line: two channels of clicks, all of them."""
    output = tmp_path_factory.mktemp("raw") / "Dataset501_Lesions"
    result = CliRunner().invoke(app, ["autopet", "export-nnunet", str(cases), "-o", str(output), "--all"])
    assert result.exit_code == 0, result.output
    return output


def image(path):
    return np.asarray(nib.load(path).dataobj)


def test_what_is_written(exported):
    described = json.loads((exported / "dataset.json").read_text())
    assert described["channel_names"] == {"0": "CT", "1": "PET", "2": "noNorm", "3": "noNorm"}
    assert described["labels"] == {"background": 0, "lesion": 1, "liver": 2}
    assert (described["numTraining"], described["file_ending"]) == (2, ".nii.gz")
    assert [p.name for p in exported.parent.iterdir()] == [exported.name]
    assert sorted(p.name for p in (exported / "labelsTr").iterdir()) == [
        "p02-p02-image.nii.gz", "p1-p1-image.nii.gz"
    ]  # fmt: skip
    label = image(exported / "labelsTr" / "p1-p1-image.nii.gz")
    assert (label[LIVER] == 2).all()
    assert all((label[box] == 1).all() for box in LESIONS)
    assert components(label == 1)[1] == 2
    assert np.allclose(nib.load(exported / "imagesTr" / "p1-p1-image_0001.nii.gz").affine, AFFINE)


def test_clicks_are_the_simulators_and_drawn_as_dataset_json_says(exported):
    name = "p1-p1-image"
    clicks = read_clicks(exported / "clicksTr" / f"{name}.json")
    assert (len(clicks.tumour), len(clicks.background)) == (10, 10)
    label, pet = (
        image(exported / "labelsTr" / f"{name}.nii.gz"),
        image(exported / "imagesTr" / f"{name}_0001.nii.gz"),
    )
    assert all(label[c] == 1 for c in clicks.tumour)
    assert all(label[c] != 1 for c in clicks.background)
    drawn = [image(exported / "imagesTr" / f"{name}_{n:04d}.nii.gz") for n in (2, 3)]
    both = [
        gaussian_map(pet, (4, 4, 5), c, b, sigma=8, background_sigma=12, clip_background=True)
        for c, b in ((clicks.tumour, ()), ((), clicks.background))
    ]
    assert np.allclose(drawn[0], both[0], atol=1e-6)
    assert np.allclose(drawn[1], -both[1], atol=1e-6)
    found = channels_of(json.loads((exported / "dataset.json").read_text()), "here")
    assert found.roles == ("ct", "pet", "tumour", "background")
    assert found.style == OURS


def test_nnunet_accepts_it(exported, monkeypatch):
    verify = pytest.importorskip(
        "nnunetv2.experiment_planning.verify_dataset_integrity", reason="nnunetv2 is not installed"
    )
    threads = SimpleNamespace(get_context=lambda kind: SimpleNamespace(Pool=ThreadPool))
    monkeypatch.setattr(verify, "multiprocessing", threads)  # its processes would import torch again
    verify.verify_dataset_integrity(str(exported), num_processes=1)
    (exported / "labelsTr" / "p1-p1-image.nii.gz").rename(exported / "elsewhere.nii.gz")
    with pytest.raises(AssertionError, match="p1-p1-image"):
        verify.verify_dataset_integrity(str(exported), num_processes=1)
    (exported / "elsewhere.nii.gz").rename(exported / "labelsTr" / "p1-p1-image.nii.gz")


def test_splits_divide_no_patient(tmp_path):
    rows = [put_case(tmp_path, f"{p}{n}", patient=p) for p in "abcdefg" for n in (1, 2)]
    cases = lesion_cases(put_list(tmp_path, rows))
    folds = json.loads(
        (export_raw(cases, tmp_path / "Dataset002_Many", budget=1) / "splits_final.json").read_text()
    )
    assert len(folds) == 5
    seen = [name for fold in folds for name in fold["val"]]
    assert len(seen) == len(set(seen)) == 14
    for fold in folds:
        assert not {n[0] for n in fold["val"]} & {n[0] for n in fold["train"]}
        assert len(fold["val"]) + len(fold["train"]) == 14


def test_a_varied_number_of_clicks_by_the_cases_name_alone(tmp_path):
    rows = [put_case(tmp_path, name, ct=False) for name in ("a", "bb", "ccc")]
    rows.append(rows[0])
    cases = lesion_cases(put_list(tmp_path, rows))
    all_of_them = export_raw(cases, tmp_path / "Dataset001_All", click_channels=1, organs=False)
    one = export_raw(cases[1:2], tmp_path / "Dataset002_One", click_channels=1)
    counts = {p.stem: len(read_clicks(p).tumour) for p in (all_of_them / "clicksTr").iterdir()}
    assert len(set(counts.values())) > 1
    assert set(counts) == {"a-a-image", "bb-bb-image", "ccc-ccc-image", "a-a-image-again1"}
    assert counts["bb-bb-image"] == len(read_clicks(one / "clicksTr" / "bb-bb-image.json").tumour)
    described = json.loads((all_of_them / "dataset.json").read_text())
    assert described["channel_names"] == {"0": "PET", "1": "noNorm"}
    assert described["labels"] == {"background": 0, "lesion": 1}


def test_an_organ_that_some_cases_lack_is_left_out(tmp_path, caplog):
    cases = lesion_cases(put_list(tmp_path, [put_case(tmp_path, "a"), put_case(tmp_path, "bb", liver=False)]))
    output = export_raw(cases, tmp_path / "Dataset001_Some")
    assert json.loads((output / "dataset.json").read_text())["labels"] == {"background": 0, "lesion": 1}
    assert "not every case names liver" in caplog.text


def test_refusals_leave_nothing_behind(tmp_path):
    mixed = lesion_cases(put_list(tmp_path, [put_case(tmp_path, "a"), put_case(tmp_path, "bb", ct=False)]))
    for cases, name, fault in (
        (mixed, "Dataset001_X", "case 2 has no CT"),
        (mixed, "lesions", "Dataset501"),
        ([], "Dataset001_X", "no case"),
    ):
        with pytest.raises(AnyPETError, match=fault):
            export_raw(cases, tmp_path / "out" / name)
    (tmp_path / "Dataset001_X").mkdir()
    with pytest.raises(AnyPETError, match="there already"):
        export_raw(mixed[:1], tmp_path / "Dataset001_X")
    mixed[0].row.image.write_bytes(b"broken")
    with pytest.raises(AnyPETError, match="case 1"):
        export_raw(mixed[:1], tmp_path / "Dataset002_X")
    assert not [p for p in tmp_path.iterdir() if "Dataset002" in p.name]


def test_a_share_of_the_cases_has_no_click(tmp_path):
    study = lesion_cases(put_list(tmp_path, [put_case(tmp_path, "a")]))[0].load()
    drawn = [_clicks(study, np.random.default_rng(n), 10, True) for n in range(60)]
    assert 5 <= sum(not clicks for clicks in drawn) <= 28
    assert len({len(clicks.tumour) for clicks in drawn}) > 6
