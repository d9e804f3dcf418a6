"""Our result against that of nnU-Net's own predictor, which loads the folder and predicts by itself."""

import json
import sys

import numpy as np
import pytest
import torch
from lesion_fakes import scan
from nnunet_toys import BASELINE_NAMES, need_nnunet, nnunet_folder
from scipy.ndimage import gaussian_filter

from anypet.errors import AnyPETError, PromptError, WeightsError
from anypet.lesions.click_files import LesionClicks
from anypet.lesions.nnunet.folder import read_folder
from anypet.lesions.nnunet.run import find_lesions, plan_axes
from anypet.volume import Volume

AFFINE = np.array([[-4.0, 0, 0, 90], [0, -4.0, 0, 80], [0, 0, 4.0, -500], [0, 0, 0, 1]])
PET = scan((28, 26, 32), AFFINE, ((10, 12, 10, 3), (18, 14, 22, 4)))
CT = Volume(np.random.default_rng(0).normal(0, 200, PET.shape).astype(np.float32), PET.affine, "HU")
CLICKS = LesionClicks(((18, 14, 22),), ((6, 6, 16),))


def baseline_channels():
    maps = []
    for clicks in (CLICKS.tumour, CLICKS.background):
        deltas = np.zeros(PET.shape)
        for click in clicks:
            deltas[click] = 1
        maps.append(gaussian_filter(deltas, 3, mode="constant"))
    return np.stack([CT.array, PET.array, *maps]).astype(np.float32)


def nnunet_alone(folder, image, spacing=(4.0, 4.0, 4.0)):
    """Labels and probabilities of nnU-Net's documented way: load the folder, predict an array (z, y, x)."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(folder), None)
    data = image.transpose(0, 3, 2, 1)
    labels, shares = predictor.predict_single_npy_array(
        data, {"spacing": list(spacing)}, save_or_return_probabilities=True
    )
    return labels.transpose(2, 1, 0), shares.transpose(0, 3, 2, 1)


@pytest.fixture(scope="module")
def baseline(tmp_path_factory):
    need_nnunet()
    return nnunet_folder(tmp_path_factory.mktemp("nnunet") / "model", folds=2)


def run(folder, pet=PET, ct=CT, clicks=CLICKS, **more):
    folders = {"": read_folder(folder)}
    return find_lesions(pet, ct, clicks, folders, **{"tracer": "fdg", "clean": False, **more})


def test_equals_nnunets_own_predictor(baseline, capsys):
    labels, shares = nnunet_alone(baseline, baseline_channels())
    capsys.readouterr()
    told = []
    found = run(baseline, progress=lambda done, planned: told.append((done, planned)))
    assert 0.05 < labels.mean() < 0.95
    assert np.mean(found.mask != (labels == 1)) < 1e-4  # the click maps differ in their last digits
    assert np.abs(found.probability - shares[1]).max() < 2e-3
    assert (found.used, found.organs, found.depth.axes, found.depth.passes) == (("FDG",), None, 3, 8)
    assert [done for done, _ in told] == list(range(1, told[-1][1] + 1))
    assert told[-1][1] == 8 * found.depth.tiles
    assert capsys.readouterr().out == ""


def test_a_scan_stored_in_another_order_gives_the_same(baseline):
    swapped, affine = (2, 0, 1), PET.affine[:, [2, 0, 1, 3]]
    pet, ct = (Volume(v.array.transpose(swapped), affine, v.unit) for v in (PET, CT))
    turn = lambda clicks: tuple(tuple(c[a] for a in swapped) for c in clicks)  # noqa: E731
    clicks = LesionClicks(turn(CLICKS.tumour), turn(CLICKS.background))
    other = run(baseline, pet, ct, clicks, mirror=0)
    assert np.array_equal(other.mask, run(baseline, mirror=0).mask.transpose(swapped))


def test_clean_up_is_ours(baseline):
    """A background click in what the network calls lesion, and a tumour click where it sees none."""
    plain = run(baseline, mirror=0)
    inside, outside = (tuple(np.argwhere(m & (PET.array > 1))[0]) for m in (plain.mask, ~plain.mask))
    clicks = LesionClicks((tuple(map(int, outside)),), (tuple(map(int, inside)),))
    found = run(baseline, clicks=clicks, mirror=0, clean=True)
    assert found.mask[outside]
    assert not found.mask[inside]
    assert found.changes
    assert found.instances[outside] == found.instances.max() or found.instances[outside] > 0
    assert found.depth.axes == 0


def test_labels_beside_the_lesion_are_organs(tmp_path):
    need_nnunet()
    labels = {"background": 0, "liver": 1, "lesion": 2}
    folder = nnunet_folder(tmp_path / "model", ("CT", "PET"), labels)
    alone, shares = nnunet_alone(folder, np.stack([CT.array, PET.array]))
    found = run(folder, organs=True)
    assert np.array_equal(found.mask, alone == 2)
    assert np.array_equal(found.organs, alone == 1)
    assert found.organ_names == ("liver",)
    assert found.notes == ("this network takes no clicks: they acted in the clean-up alone",)
    assert np.abs(found.probability - shares[2]).max() < 2e-3


def test_a_trainer_that_nnunet_does_not_ship(tmp_path, baseline):
    """QuantIF's folders: another trainer's name, a head for organs in the weights, its organs as labels."""
    labels = {"background": 0, "tumor": 1}
    path = nnunet_folder(tmp_path / "model", BASELINE_NAMES, labels, trainer="nnUNetTrainer_organs_FDG")
    file = path / "fold_0" / "checkpoint_final.pth"
    content = torch.load(file, weights_only=False)
    content["network_weights"]["decoder.organ_seg_layers.0.weight"] = torch.ones(15, 4, 1, 1, 1)
    torch.save(content, file)
    described = json.loads((path / "dataset.json").read_text())
    described["labels"] |= {"brain": 2, "liver": 3}
    (path / "dataset.json").write_text(json.dumps(described))
    only_first = nnunet_folder(tmp_path / "other", BASELINE_NAMES, labels)
    assert np.array_equal(run(path, mirror=0).mask, run(only_first, mirror=0).mask)


def test_an_unsure_tracer_averages_the_networks_of_both(tmp_path, monkeypatch):
    need_nnunet()
    from anypet.lesions.discriminator import TracerGuess

    names = ("CT", "PET")
    folders = {t: read_folder(nnunet_folder(tmp_path / t, names)) for t in ("FDG", "PSMA")}
    for tensor in folders["PSMA"].folds[0].values():
        tensor.mul_(1.01)
    monkeypatch.setattr("anypet.lesions.pipeline.guess_tracer", lambda pet: TracerGuess(0.5, 300.0))
    each = [
        find_lesions(PET, CT, None, folders, tracer=t, mirror=0, clean=False).probability.astype(float)
        for t in ("fdg", "psma")
    ]
    assert not np.array_equal(*each)
    found = find_lesions(PET, CT, None, folders, mirror=0, clean=False)
    assert np.abs(found.probability - np.mean(each, 0)).max() < 2e-3
    assert found.used == ("FDG", "PSMA")
    assert "300 mm" in found.notes[-1]
    with pytest.raises(AnyPETError, match="for PSMA"):
        find_lesions(PET, CT, None, {"FDG": folders["FDG"]}, tracer="psma")


def test_a_short_limit_leaves_mirroring_out(baseline):
    found = run(baseline, time_limit_s=1e-3)
    assert (found.depth.axes, found.depth.most_axes) == (0, 3)
    assert "of 3 mirror axes" in found.depth.why
    assert "by the paper" in run(baseline, mirror=0, policy="paper").depth.why


def test_planned_axes():
    assert [plan_axes(10, 1.0, left, 3) for left in (-5, 10, 20, 39, 40, 80, 1e9)] == [0, 0, 1, 1, 2, 3, 3]
    assert plan_axes(10, 1.0, 1e9, 1) == 1


def test_what_does_not_fit_is_refused(tmp_path, baseline):
    content = json.loads((baseline / "plans.json").read_text())

    def changed(name, **more):
        path = tmp_path / name
        path.mkdir()
        config = {**content["configurations"]["3d_fullres"], **more}
        (path / "plans.json").write_text(json.dumps({**content, "configurations": {"3d_fullres": config}}))
        (path / "dataset.json").write_text((baseline / "dataset.json").read_text())
        (path / "fold_0").symlink_to(baseline / "fold_0")
        return path

    network = content["configurations"]["3d_fullres"]["architecture"]
    elsewhere = {**network, "network_class_name": "os.system"}
    operation = {**network, "arch_kwargs": {**network["arch_kwargs"], "nonlin": "subprocess.Popen"}}
    wider = {**network, "arch_kwargs": {**network["arch_kwargs"], "features_per_stage": [4, 8, 16]}}
    for name, more, fault in (
        ("class", {"architecture": elsewhere}, "'os.system', which was not imported"),
        ("layer", {"architecture": operation}, "'subprocess.Popen', which was not imported"),
        ("cascade", {"previous_stage": "3d_lowres"}, "second stage"),
        ("preprocessor", {"preprocessor_name": "TheirOwn"}, "TheirOwn is not part of nnunetv2"),
    ):
        with pytest.raises(AnyPETError, match=fault):
            run(changed(name, **more))
    with pytest.raises(WeightsError, match="of another shape"):
        run(changed("wider", architecture=wider))
    (tmp_path / "class" / "plans.json").write_text(json.dumps({**content, "configurations": {"2d": {}}}))
    with pytest.raises(AnyPETError, match=r"plans\.json has 2d"):
        run(tmp_path / "class")


def test_input_is_checked(baseline):
    with pytest.raises(AnyPETError, match="SUVbw"):
        run(baseline, Volume(PET.array, PET.affine, "Bq/mL"))
    with pytest.raises(AnyPETError, match="--ct"):
        run(baseline, ct=None)
    with pytest.raises(PromptError, match="outside"):
        run(baseline, clicks=LesionClicks(((99, 0, 0),)))
    with pytest.raises(AnyPETError, match="policy"):
        run(baseline, policy="best")


def test_a_missing_package_says_how_to_get_it(baseline, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "nnunetv2"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nnunetv2", None)
    with pytest.raises(AnyPETError, match=r"pip install 'anypet\[nnunet\]'"):
        run(baseline)
