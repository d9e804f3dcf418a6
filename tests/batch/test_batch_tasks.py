"""Each task from a file to files, with networks whose answers are known."""

import dataclasses
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from anypet.batch.cases import BatchCase
from anypet.batch.tasks import LesionsTask, PromptsTask, TextTask, fingerprint, task_of
from anypet.errors import AnyPETError, PromptError
from anypet.io import read_labels, write
from fakes import FakeModel, ball_scan

sys.path.insert(0, str(Path(__file__).parents[1] / "lesions"))
from lesion_fakes import HotNet, scan

VOXEL_ML = 4**3 / 1000


def do(task, networks, case, folder):
    """As a worker does it."""
    folder.mkdir()
    read = task.read(case)
    return task.write(task.compute(networks, read, case), read, case, folder)


@pytest.fixture
def case(tmp_path):
    write(scan(), tmp_path / "pet.nii.gz")
    return BatchCase("0001-P1", "P1", str(tmp_path / "pet.nii.gz"), tracer="FDG")


@pytest.fixture
def nets(monkeypatch):
    monkeypatch.setattr("anypet.lesions.pipeline.load_nets", lambda files=(), device="cpu": [HotNet()])
    monkeypatch.setattr(
        "anypet.models.registry.load_model", lambda name, weights=None, device="cpu": FakeModel()
    )


def test_lesions(case, nets, tmp_path):
    task = LesionsTask()
    done = do(task, task.load("cpu"), case, tmp_path / "out")
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {
        "mask.nii.gz",
        "instances.nii.gz",
        "organs.nii.gz",
        "lesions.csv",
        "result.json",
        "picture.png",
    }
    mask = read_labels(tmp_path / "out" / "mask.nii.gz").array > 0
    hot = scan().array == 8
    assert (mask & hot).sum() > 0.8 * hot.sum()
    assert done.measures["mtv_ml"] == pytest.approx(mask.sum() * VOXEL_ML)
    assert done.measures["tlg"] == pytest.approx(scan().array[mask].sum() * VOXEL_ML, rel=1e-5)
    assert done.measures["suv_max"] == 8.0
    assert (done.measures["lesions"], done.measures["objects"]) == (2, 2)
    assert done.tracer == "FDG"
    assert json.loads((tmp_path / "out" / "result.json").read_text())["depth"]["axes"] == 0


def test_a_listed_tracer_counts_unless_another_is_asked_for(case, nets, tmp_path):
    psma = dataclasses.replace(case, tracer="psma")
    quick = {"organs": False, "picture": False}
    assert do(LesionsTask(**quick), [HotNet()], psma, tmp_path / "a").tracer == "PSMA"
    assert do(LesionsTask("fdg", **quick), [HotNet()], psma, tmp_path / "b").tracer == "FDG"
    assert {p.name for p in (tmp_path / "a").iterdir()} == {
        "mask.nii.gz", "instances.nii.gz", "lesions.csv", "result.json"
    }  # fmt: skip


def test_clicks_of_the_list_are_used(case, tmp_path):
    (tmp_path / "c.json").write_text(json.dumps({"tumor": [], "background": [[28, 22, 40]]}))
    clicked = dataclasses.replace(case, prompts=str(tmp_path / "c.json"))
    done = do(LesionsTask(organs=False, picture=False), [HotNet()], clicked, tmp_path / "out")
    assert done.measures["lesions"] == 1


def test_text(case, nets, tmp_path):
    task = TextTask("all lesions")
    done = do(task, task.load("cpu"), case, tmp_path / "out")
    labels = read_labels(tmp_path / "out" / "labels.nii.gz")
    assert labels.meta["names"] == {1: "lesion 1", 2: "lesion 2"}
    assert done.measures["mtv_ml"] == pytest.approx((labels.array > 0).sum() * VOXEL_ML)
    assert (tmp_path / "out" / "measures.csv").read_text().count("\n") == 1 + 2 + 1


def test_no_lesion_is_a_result_too(nets, tmp_path):
    write(scan(spots=()), tmp_path / "pet.nii.gz")
    empty = BatchCase("0001-P1", "P1", str(tmp_path / "pet.nii.gz"), tracer="FDG")
    task = TextTask("all lesions")
    done = do(task, task.load("cpu"), empty, tmp_path / "out")
    assert done.measures == {"mtv_ml": 0.0, "tlg": 0.0, "suv_max": None, "objects": 0}
    assert not read_labels(tmp_path / "out" / "labels.nii.gz").array.any()


def test_an_unknown_word_is_found_before_any_scan(nets):
    with pytest.raises(PromptError, match="'splen' is not known"):
        TextTask("splen").load("cpu")


def test_prompts(tmp_path, nets):
    pet = ball_scan()
    write(pet, tmp_path / "pet.nii.gz")
    objects = {"ball": {"positive": [[24, 20, 30]]}, "again": {"box": [[18, 14, 22], [30, 26, 38]]}}
    (tmp_path / "p.json").write_text(json.dumps({"objects": objects}))
    case = BatchCase("0001-P1", "P1", str(tmp_path / "pet.nii.gz"), prompts=str(tmp_path / "p.json"))
    task = PromptsTask()
    done = do(task, task.load("cpu"), case, tmp_path / "out")
    labels = read_labels(tmp_path / "out" / "labels.nii.gz")
    assert labels.meta["names"] == {1: "ball", 2: "again"}
    truth = pet.array == 8
    found = labels.array == 1
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.9
    assert done.measures["objects"] == 2
    assert np.isclose(done.measures["suv_max"], 8)


def test_a_row_without_prompts_fails_by_itself(case, nets):
    task = PromptsTask()
    with pytest.raises(AnyPETError, match="no field 'prompts'"):
        task.compute(task.load("cpu"), task.read(case), case)


def test_settings_follow_the_weights(tmp_path):
    file = tmp_path / "mine.safetensors"
    file.write_bytes(b"one")
    task = LesionsTask(weights=(str(file),), mirror=2)
    told = task.settings()
    assert told["task"] == "lesions"
    assert told["mirror"] == 2
    assert told["model"] == f"mine.safetensors sha256:{hashlib.sha256(b'one').hexdigest()[:16]}"
    file.write_bytes(b"two")  # the same path, other weights: another batch
    assert task.settings() != told
    packaged = fingerprint("lesions")
    assert TextTask("liver").model == f"{fingerprint('default')}, {packaged}"
    assert PromptsTask().model == fingerprint("default")
    assert packaged.startswith("lesions sha256:")


def test_missing_weights_and_tasks_are_named(tmp_path):
    with pytest.raises(AnyPETError, match=r"none.safetensors; see `anypet models`"):
        LesionsTask(weights=(str(tmp_path / "none.safetensors"),)).settings()
    with pytest.raises(AnyPETError, match="one of lesions, text, prompts, got 'organs'"):
        task_of("organs")
    assert task_of("text", text="liver") == TextTask("liver")
