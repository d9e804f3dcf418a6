"""Task-specific networks through their real code: built, trained for a few steps, resumed, run on a scan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from anypet.baselines.base import Automatic
from anypet.baselines.scans import class_of, of_cases, patch, read_scans, write_scans
from anypet.baselines.task import TaskConfig, TaskModel, build, grid_of, load_task, read_task, save_task
from anypet.baselines.train import BaselineRun, Budget
from anypet.errors import AnyPETError, WeightsError
from anypet.evaluation.cases import Case
from anypet.volume import Volume

SMALL = {"segresnet": 8, "swinunetr": 12}


def case() -> Case:
    truth = np.zeros((24, 20, 16), dtype=bool)
    truth[6:18, 5:15, 4:12] = True
    spot = np.zeros_like(truth)
    spot[1:4, 1:4, 1:4] = True
    suv = 0.5 + 4 * truth + 8 * spot
    pet = Volume(suv.astype(np.float32), np.diag([4.0, 4.0, 4.0, 1.0]), "SUVbw")
    return Case.of("one", pet, {"liver": truth, "small lesion 1": spot})


@pytest.mark.parametrize("name", SMALL)
def test_a_network_learns_and_segments(name: str, tmp_path: Path) -> None:
    pytest.importorskip("monai")
    if name == "swinunetr":
        pytest.importorskip("einops")
    classes = write_scans(tmp_path / "scans", of_cases([case()]), 8.0)
    assert classes == ("liver", "lesion")
    config = TaskConfig(name, classes, 8.0, 32 if name == "segresnet" else 64, SMALL[name], "HQ", "mine")
    run = BaselineRun(tmp_path, config, read_scans(tmp_path / "scans"), batch=1)
    before = {k: v.clone() for k, v in run.network.state_dict().items()}
    weights = run.train(Budget(steps=1))
    assert any(not torch.equal(v, before[k]) for k, v in run.network.state_dict().items())
    (system,) = load_task(weights, "cpu")
    assert isinstance(system, Automatic)
    assert system.name.endswith("(mine, HQ)")
    pet = case().load().pet
    masks = system.segment(pet)
    assert list(masks) == ["liver", "lesion"]
    assert all(mask.shape == pet.shape and mask.dtype == bool for mask in masks.values())
    assert not (masks["liver"] & masks["lesion"]).any()


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    pytest.importorskip("monai")
    classes = write_scans(tmp_path / "scans", of_cases([case()]), 8.0)
    config = TaskConfig("segresnet", classes, 8.0, 32, 8)
    run = BaselineRun(tmp_path, config, read_scans(tmp_path / "scans"), rate=3e-3, batch=1)
    run.train(Budget(steps=60))
    assert run.progress.losses[-1] < 0.85 * run.progress.losses[0]


class Reader(torch.nn.Module):
    """Logits that tell the classes of `case` apart by their SUV."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        suv = torch.sinh(image)
        between = torch.where(suv < 6, suv - 2.5, -5.0)
        return torch.cat([2.5 - suv, between, suv - 6], 1)


def test_what_a_network_finds_lies_where_it_is() -> None:
    pytest.importorskip("monai")
    config = TaskConfig("segresnet", ("liver", "lesion"), 4.0, 32)
    scan = case().load()
    masks = TaskModel(config, Reader(), "cpu").segment(scan.pet)
    assert (masks["liver"] == scan.targets["liver"]).all()
    assert (masks["lesion"] == scan.targets["small lesion 1"]).all()


def test_a_run_cut_off_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    pytest.importorskip("monai")
    classes = write_scans(tmp_path / "scans", of_cases([case()]), 8.0)
    config = TaskConfig("segresnet", classes, 8.0, 32, 8)
    scans = read_scans(tmp_path / "scans")
    whole = BaselineRun(tmp_path / "whole", config, scans, batch=1)
    # a constant share of the budget: the schedule must not depend on where the run was cut
    whole.train(Budget(steps=4))
    first = BaselineRun(tmp_path / "cut", config, scans, batch=1)

    def stop(progress: object) -> None:
        if first.progress.step == 2:
            first._checkpoint()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.train(Budget(steps=4), stop)
    second = BaselineRun(tmp_path / "cut", config, scans, batch=1, seed=0)
    second.resume()
    assert second.progress.step == 2
    second.train(Budget(steps=4))
    for key, value in whole.network.state_dict().items():
        torch.testing.assert_close(second.network.state_dict()[key], value)


def test_the_grid_holds_the_whole_scan_whatever_its_orientation() -> None:
    affine = np.array([[0, -3.0, 0, 50], [2, 0, 0, -10], [0, 0, -4, 7], [0, 0, 0, 1]])
    volume = Volume(np.zeros((11, 7, 5), np.float32), affine, "SUVbw")
    window = grid_of(volume, 2.0)
    corners = volume.to_mm([[0, 0, 0], [10, 6, 4]])
    inside = window.to_index(corners)
    assert (inside > -0.51).all()
    assert (inside < np.array(window.shape) - 0.49).all()


def test_classes_and_patches(tmp_path: Path) -> None:
    assert [class_of(t) for t in ("liver", "small lesion 2", "lesion 1", "hidden lesion 3")] == [
        "liver",
        "lesion",
        "lesion",
        "",
    ]
    write_scans(tmp_path, of_cases([case()]), 4.0)
    (scan,) = read_scans(tmp_path)
    image, labels = patch([scan], 32, np.random.default_rng(3))
    again = patch([scan], 32, np.random.default_rng(3))
    assert image.shape == labels.shape == (32, 32, 32)
    assert (image == again[0]).all()
    assert (labels == again[1]).all()
    assert set(np.unique(labels)) <= {0, 1, 2}
    # uptake tells the classes apart, so image and labels lie on each other
    hot = np.sinh(image[labels == 1]).mean() if (labels == 1).any() else 4.5
    assert 2.5 < hot < 7


def test_what_cannot_be_built_or_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AnyPETError, match="unet"):
        TaskConfig("unet", ("liver",))
    with pytest.raises(AnyPETError, match="multiple of 32"):
        TaskConfig("segresnet", ("liver",), patch=40)
    with pytest.raises(AnyPETError, match="no class"):
        TaskConfig("segresnet", ())
    (tmp_path / "x.pt").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="train-baseline"):
        read_task(tmp_path / "x.pt")
    config = TaskConfig("segresnet", ("liver",), width=8)
    save_task(tmp_path / "w.pt", replace(config, width=16), build(config))
    with pytest.raises(WeightsError):
        read_task(tmp_path / "w.pt")
