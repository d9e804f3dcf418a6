"""TotalSegmentator through its own package, on a tiny network with random weights in its folder layout."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from anypet.baselines.base import Automatic
from anypet.baselines.jobs import Job
from anypet.baselines.registry import baseline
from anypet.baselines.run import run_job
from anypet.errors import AnyPETError, WeightsError
from anypet.evaluation.cases import Case
from anypet.evaluation.protocol import Settings
from anypet.lesions.nnunet.folder import read_folder
from anypet.lesions.nnunet.run import _predictor
from anypet.volume import Volume

sys.path.append(str(Path(__file__).parents[1] / "lesions"))
from nnunet_toys import nnunet_folder

PARTS = (
    "Dataset291_TotalSegmentator_part1_organs_1559subj",
    "Dataset292_TotalSegmentator_part2_vertebrae_1532subj",
    "Dataset293_TotalSegmentator_part3_cardiac_1559subj",
    "Dataset294_TotalSegmentator_part4_muscles_1559subj",
    "Dataset295_TotalSegmentator_part5_ribs_1559subj",
)
FAST = "Dataset297_TotalSegmentator_total_3mm_1559subj"
TRAINER = "nnUNetTrainer_4000epochs_NoMirroring"
PLANNED = f"{TRAINER}__nnUNetPlans__3d_fullres"


@pytest.fixture(scope="module")
def package() -> object:
    pytest.importorskip("nnunetv2", reason="nnunetv2 is not installed: pip install 'anypet[nnunet]'")
    return pytest.importorskip(
        "totalsegmentator.python_api",
        reason="TotalSegmentator is not installed: pip install 'anypet[totalsegmentator]'",
    )


@pytest.fixture(scope="module")
def weights(package: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 3 mm network's folder as it is published, with 117 classes."""
    from totalsegmentator.map_to_binary import class_map

    labels = {"background": 0, **{name: value for value, name in class_map["total"].items()}}
    root = tmp_path_factory.mktemp("weights")
    nnunet_folder(root / FAST / PLANNED, ("CT",), labels, trainer=TRAINER)
    return root


def ct() -> Volume:
    """A lattice of 3 mm, stored along left and posterior, with a warm ball in it."""
    at = np.indices((24, 22, 20))
    ball = np.linalg.norm(at - np.array([9, 8, 11]).reshape(3, 1, 1, 1), axis=0) < 6
    noise = np.random.default_rng(0).normal(0, 30, ball.shape)
    array = (-600 + 700 * ball + noise).round().astype(np.float32)
    return Volume(array, np.diag([-3.0, -3.0, 3.0, 1.0]), "HU")


def test_its_labels_are_those_of_nnunets_own_predictor(weights: Path) -> None:
    """Sliding windows of nnU-Net itself, on the voxels turned to R, A, S, are the oracle."""
    from totalsegmentator.map_to_binary import class_map

    (system,) = baseline("totalsegmentator").load(weights)
    assert isinstance(system, Automatic)
    assert system.name == "TotalSegmentator 3 mm (CT)"
    threads, before = torch.get_num_threads(), dict(os.environ)
    masks = system.segment(ct())
    assert torch.get_num_threads() == threads
    assert "TOTALSEG_HOME_DIR" in before or "TOTALSEG_HOME_DIR" not in os.environ

    predictor = _predictor(read_folder(weights / FAST / PLANNED, ("pet",), lesions=False), "cpu")
    predictor.tile_step_size, predictor.use_mirroring = 0.8, False
    turned = ct().array[::-1, ::-1].transpose(2, 1, 0)[None].astype(np.float32)
    labels = predictor.predict_single_npy_array(turned, {"spacing": [3.0, 3.0, 3.0]})
    labels = labels.transpose(2, 1, 0)[::-1, ::-1]
    assert len(np.unique(labels)) > 1  # the random head says something
    for value, name in class_map["total"].items():
        assert (masks[name] == (labels == value)).all(), name
    left = masks["lung_upper_lobe_left"] | masks["lung_lower_lobe_left"]
    assert (masks["left lung"] == left).all()
    assert len(masks) == len([*masks]) == 117 + 4


def test_nothing_is_fetched_deleted_sent_or_left(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network's own folder is looked at through links, in a home that sends no statistics."""
    import requests
    from totalsegmentator import config, libs

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network is not to be used")

    monkeypatch.setattr(requests, "get", refuse)
    monkeypatch.setattr(requests, "post", refuse)
    old = weights / f"{FAST}_v204"  # the package deletes such a folder where it looks
    old.mkdir(exist_ok=True)
    (system,) = baseline("totalsegmentator").load(weights)
    model = system.segment.__self__  # type: ignore[union-attr]
    with model._own_home():
        libs.download_pretrained_weights(297)
        config.send_usage_stats(config.increase_prediction_counter(), {"roi_subset": None})
        home = config.get_totalseg_dir()
        assert json.loads((home / "config.json").read_text())["send_usage_stats"] is False
    assert old.is_dir()
    old.rmdir()
    del system, model
    assert not home.exists()
    assert (weights / FAST).is_dir()


def test_the_finest_whole_set_is_taken(package: object, tmp_path: Path) -> None:
    from anypet.baselines.totalsegmentator import find_datasets

    with pytest.raises(WeightsError, match=r"Dataset291_.*totalseg_download_weights"):
        find_datasets(tmp_path)
    for name in (*PARTS[:4], FAST):
        (tmp_path / "nnunet" / "results" / name).mkdir(parents=True)
    assert find_datasets(tmp_path)[0] == "fast"
    (tmp_path / "nnunet" / "results" / PARTS[4]).mkdir()
    mode, folders = find_datasets(tmp_path)
    assert (mode, [folder.name for folder in folders]) == ("default", list(PARTS))
    with pytest.raises(WeightsError, match="no checkpoint_final"):
        baseline("totalsegmentator").load(tmp_path)


def test_a_checkpoint_that_could_run_code_is_refused(package: object, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, ("true",)

    (tmp_path / FAST / "fold_0").mkdir(parents=True)
    torch.save({"network_weights": Evil()}, tmp_path / FAST / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(WeightsError, match="could run code"):
        baseline("totalsegmentator").load(tmp_path)


def test_absent_package_or_weights_say_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WeightsError, match="totalseg_download_weights -t total"):
        baseline("totalsegmentator").load()
    monkeypatch.setitem(sys.modules, "totalsegmentator.python_api", None)
    with pytest.raises(AnyPETError, match=r"anypet\[totalsegmentator\]"):
        baseline("totalsegmentator").load(tmp_path)


def test_a_case_without_ct_is_left_out_and_one_with_it_is_laid_on_the_pet(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The benchmark shows the CT on the PET's grid, and finds "kidney_left" where the data say Kidney-L."""
    from anypet.baselines import run

    kidney = np.zeros((8, 8, 8), dtype=bool)
    kidney[2:6, 2:6, 2:6] = True
    pet = Volume(1 + kidney.astype(np.float32), np.diag([4.0, 4.0, 4.0, 1.0]), "SUVbw")
    bare = Case.of("bare", pet, {"Kidney-L": kidney})
    fine = np.repeat(np.repeat(np.repeat(np.where(kidney, 40.0, -100.0), 2, 0), 2, 1), 2, 2)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -1
    image = partial(Volume, fine.astype(np.float32), affine, "HU")
    both = (bare, replace(bare, name="whole", ct=image))
    seen: list[Volume] = []

    def segment(ct: Volume) -> dict[str, np.ndarray]:
        seen.append(ct)
        return {"kidney_left": ct.array > 0}

    real = baseline("totalsegmentator")
    found = replace(real, loader="", refusal="")
    monkeypatch.setattr(type(found), "load", lambda *_: [Automatic("T (CT)", segment)])
    monkeypatch.setattr(run, "baseline", lambda name: found)
    outcome = run_job(Job(real.name, None, both, Settings(clicks=(1,)), {}, tmp_path))
    assert "column `ct`" in outcome.failures["bare"]
    (row,) = outcome.rows
    assert (row.case, row.values["dsc"]) == ("whole", 1.0)
    assert seen[0].same_grid(pet)
    assert seen[0].unit == "HU"
