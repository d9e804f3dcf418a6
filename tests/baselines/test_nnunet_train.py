"""nnU-Net and STU-Net through nnU-Net's own planner, preprocessing and trainer, for a few steps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from anypet.baselines.base import Automatic
from anypet.baselines.nnunet_data import DATASET, plan_and_preprocess, write_raw
from anypet.baselines.nnunet_train import NnunetRun
from anypet.baselines.registry import baseline
from anypet.baselines.scans import of_cases
from anypet.baselines.stunet import BASE, STUNet, plan_stunet
from anypet.baselines.train import Budget
from anypet.errors import AnyPETError, WeightsError
from anypet.evaluation.cases import Case
from anypet.io import read
from anypet.volume import Volume


def case(name: str = "one") -> Case:
    truth = np.zeros((24, 20, 16), dtype=bool)
    truth[6:18, 5:15, 4:12] = True
    spot = np.zeros_like(truth)
    spot[1:4, 1:4, 1:4] = True
    noise = np.random.default_rng(len(name)).random(truth.shape)
    pet = Volume(
        (0.5 + 4 * truth + 8 * spot + noise).astype(np.float32), np.diag([4.0, 4.0, 4.0, 1.0]), "SUVbw"
    )
    return Case.of(name, pet, {"liver": truth, "small lesion 1": spot})


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with two scans that nnU-Net has planned for and preprocessed."""
    pytest.importorskip("nnunetv2", reason="nnunetv2 is not installed: pip install 'anypet[nnunet]'")
    folder = tmp_path_factory.mktemp("run")
    labels = write_raw(folder, of_cases([case(), case("two")]), "HQ")
    assert labels == {"background": 0, "liver": 1, "lesion": 2}
    plan_and_preprocess(folder, spacing=5.0)
    return folder


def copied(prepared: Path, folder: Path) -> Path:
    import shutil

    shutil.copytree(prepared, folder, dirs_exist_ok=True)
    return folder


def test_the_raw_data_set_holds_pet_and_labels_on_one_grid(tmp_path: Path) -> None:
    (pet, masks, _), *_ = of_cases([case()])
    fine = Volume(np.zeros((48, 40, 32), np.uint8), np.diag([2.0, 2.0, 2.0, 1.0]), "label")
    doubled = {name: np.kron(mask, np.ones((2, 2, 2))).astype(bool) for name, mask in masks.items()}
    write_raw(tmp_path, [(pet, doubled, fine)], "all")
    folder = tmp_path / "raw" / DATASET
    image = read(folder / "imagesTr" / "scan0000_0000.nii.gz", unit="SUVbw")
    label = read(folder / "labelsTr" / "scan0000.nii.gz", unit="label")
    assert image.same_grid(label)
    assert image.same_grid(fine)
    assert image.array[20, 20, 16] == pytest.approx(float(pet.array[10, 10, 8]))
    assert (label.array == doubled["liver"] + 2 * doubled["lesion"]).all()
    again = write_raw(tmp_path, [], "all")  # what is written is not written again
    assert list(again) == ["background", "liver", "lesion"]
    with pytest.raises(AnyPETError, match="no scan has a target"):
        write_raw(tmp_path / "other", [(pet, {}, pet)], "all")


def test_the_planned_spacing_is_the_one_asked_for(prepared: Path) -> None:
    plans = plan_and_preprocess(prepared)  # planned already: read
    chosen = plans["configurations"]["3d_fullres"]
    assert chosen["spacing"] == [5.0] * 3
    data = prepared / "preprocessed" / DATASET / "nnUNetPlans_3d_fullres"
    assert len(list(data.glob("scan*.pkl"))) == 2


@pytest.mark.parametrize(("network", "title"), [("nnunet", "nnU-Net (HQ)"), ("stunet", "STU-Net (HQ)")])
def test_its_trainer_learns_and_the_benchmark_loads_it(
    network: str, title: str, prepared: Path, tmp_path: Path
) -> None:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    folder = copied(prepared, tmp_path)
    run = NnunetRun(folder, network, plan_and_preprocess(folder), width=4 if network == "stunet" else 0)
    before = {key: value.clone() for key, value in run._trainer.network.state_dict().items()}
    weights = run.train(Budget(steps=2))
    after = run._trainer.network.state_dict()
    assert all(torch.isfinite(value).all() for value in after.values())
    assert sum(not torch.equal(before[key], after[key]) for key in before) > len(before) / 2
    described = json.loads((weights / "plans.json").read_text())
    named = described["configurations"]["3d_fullres"]["architecture"]["network_class_name"]
    assert ("STUNet" in named) == (network == "stunet")
    (system,) = baseline(network).load(weights)
    assert isinstance(system, Automatic)
    assert system.name == title
    predictor = nnUNetPredictor(device=torch.device("cpu"))  # nnU-Net's own loading takes it too
    predictor.initialize_from_trained_model_folder(str(weights), use_folds=("all",))
    for key, value in predictor.network.state_dict().items():
        assert torch.equal(value, after[key]), key
    pet = case().load().pet
    masks = system.segment(pet)
    assert set(masks) == {"liver", "lesion"}
    assert all(np.asarray(mask).shape == pet.shape for mask in masks.values())


def test_a_run_cut_off_goes_on_and_its_rate_falls_with_the_budget(prepared: Path, tmp_path: Path) -> None:
    folder = copied(prepared, tmp_path)
    plans = plan_and_preprocess(folder)
    rates: list[float] = []
    first = NnunetRun(folder, "stunet", plans, width=4)

    def stop(progress: object) -> None:
        rates.append(first._trainer.optimizer.param_groups[0]["lr"])
        if first.progress.step == 2:
            first._save()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.train(Budget(steps=4), stop)
    assert rates == pytest.approx([0.01, 0.01 * 0.75**0.9])
    second = NnunetRun(folder, "stunet", plans, width=4)
    second.resume()
    assert second.progress.step == 2
    for key, value in first._trainer.network.state_dict().items():
        torch.testing.assert_close(second._trainer.network.state_dict()[key], value)
    second.train(Budget(steps=3))
    assert second.progress.step == 3
    assert not (folder / "losses.csv").read_text().splitlines()[1:]  # means of ten steps
    torch.save({"x": object}, folder / "checkpoint.pth")
    with pytest.raises(WeightsError, match="could run code"):
        second.resume()


def test_no_time_left_gives_the_weights_as_they_are(prepared: Path, tmp_path: Path) -> None:
    folder = copied(prepared, tmp_path)
    run = NnunetRun(folder, "stunet", plan_and_preprocess(folder), width=4)
    assert (run.train(Budget(minutes=1e-9)) / "fold_all" / "checkpoint_final.pth").exists()
    assert run.progress.step <= 1


def test_a_network_without_pooling_is_refused(prepared: Path) -> None:
    plans = plan_and_preprocess(prepared)
    arguments = plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    arguments["strides"] = arguments["strides"][:1]
    with pytest.raises(AnyPETError, match="finer --spacing"):
        NnunetRun(prepared, "nnunet", plans)


def test_stunet_has_the_key_names_and_sizes_of_its_release() -> None:
    network = STUNet(1, 105, BASE)
    state = network.state_dict()
    assert state["conv_blocks_context.0.0.conv1.weight"].shape == (32, 1, 3, 3, 3)
    assert state["conv_blocks_context.5.0.conv3.weight"].shape == (512, 512, 1, 1, 1)
    assert state["upsample_layers.0.conv.weight"].shape == (512, 512, 1, 1, 1)
    assert state["conv_blocks_localization.4.0.conv1.weight"].shape == (32, 64, 3, 3, 3)
    assert state["seg_outputs.4.weight"].shape == (105, 32, 1, 1, 1)
    millions = sum(v.numel() for v in network.parameters()) / 1e6
    assert 57 < millions < 60  # the paper's base: 58.26 M


def test_stunet_follows_the_plans_strides() -> None:
    planned = [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2]]
    plans = {"configurations": {"3d_fullres": {"architecture": {"arch_kwargs": {"strides": planned}}}}}
    changed = plan_stunet(plans, "3d_fullres", width=8)
    architecture = changed["configurations"]["3d_fullres"]["architecture"]
    assert architecture["arch_kwargs"]["strides"] == [*planned, [1, 1, 1], [1, 1, 1]]
    assert architecture["arch_kwargs"]["widths"] == [8, 16, 32, 64, 128, 128]
    assert plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"] == {"strides": planned}
    network = STUNet(1, 3, deep_supervision=True, **architecture["arch_kwargs"])
    outputs = network(torch.zeros(1, 1, 8, 16, 16))
    shapes = [(8, 16, 16), (8, 8, 8), (4, 4, 4), (2, 2, 2), (2, 2, 2)]
    assert [tuple(each.shape) for each in outputs] == [(1, 3, *shape) for shape in shapes]
    network.decoder.deep_supervision = False
    assert network(torch.zeros(1, 1, 8, 16, 16)).shape == (1, 3, 8, 16, 16)
