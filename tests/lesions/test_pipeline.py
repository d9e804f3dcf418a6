import dataclasses

import numpy as np
import pytest
from lesion_fakes import CONFIG, HotNet, scan

from anypet.errors import AnyPETError
from anypet.lesions import pipeline
from anypet.lesions.click_files import LesionClicks
from anypet.lesions.depth import Depth
from anypet.lesions.discriminator import TracerGuess
from anypet.lesions.finder import numbered
from anypet.lesions.pipeline import find_lesions, load_nets, prepare
from anypet.volume import Volume

FIRST, SECOND = (28, 22, 40), (12, 20, 15)


def find(pet, ct=None, clicks=None, **how):
    return find_lesions(pet, ct, clicks, **{"tracer": "fdg", "nets": [HotNet()], "mirror": 0, **how})


def truth(pet):
    return pet.array > 2.5


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_lesions_are_found_and_numbered_by_size():
    pet = scan()
    found = find(pet)
    assert dice(found.mask, truth(pet)) > 0.93
    assert found.instances[FIRST] == 1
    assert found.instances[SECOND] == 2
    assert found.instances.max() == 2
    assert np.array_equal(found.instances > 0, found.mask)
    assert found.organs is None
    assert found.notes == ("no CT: found from the PET alone",)
    assert found.used == ("FDG",)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1)])
def test_the_stored_order_does_not_matter(axes, flips):
    """The same patient stored along other axes gives the same mask, voxel by voxel."""
    pet = scan()
    array = pet.array.transpose(axes)[tuple(slice(None, None, f) for f in flips)]
    affine = np.eye(4)
    affine[:3, :3] = np.diag([4.0] * 3)[:, axes] * np.array(flips)
    ends = np.where(np.array(flips) < 0, np.array(array.shape) - 1, 0)
    affine[:3, 3] = -affine[:3, :3] @ ends
    turned = find(Volume(array, affine, "SUVbw")).mask
    back = turned[tuple(slice(None, None, f) for f in flips)].transpose(np.argsort(axes))
    assert np.array_equal(back, find(pet).mask)


def test_clicks_have_the_last_word():
    pet = scan()
    rejected = find(pet, clicks=LesionClicks(background=(FIRST,)))
    assert not rejected.mask[FIRST]
    assert rejected.mask[SECOND]
    faint = scan(spots=((12, 20, 15, 4), (28, 22, 40, 5)), level=2.3)
    assert not find(faint).mask.any()
    added = find(faint, clicks=LesionClicks(tumour=(FIRST,)))
    assert added.mask[FIRST]
    assert not added.mask[SECOND]
    assert [c.action for c in added.changes] == ["added"]


@pytest.mark.parametrize(
    "clicks",
    [
        LesionClicks(),
        LesionClicks(background=((0, 0, 0), (39, 43, 59))),
        LesionClicks(tumour=((0, 0, 0), (39, 43, 59))),
        LesionClicks(tuple((i, 20, 15) for i in range(2, 22)), tuple((i, 30, 50) for i in range(2, 22))),
    ],
)
def test_any_number_of_clicks_anywhere(clicks):
    found = find(scan(), clicks=clicks)
    assert np.isfinite(found.probability).all()
    assert all(found.mask[c] for c in clicks.tumour)
    assert not any(found.mask[c] for c in clicks.background if c not in clicks.tumour)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 3, 3), (5, 40, 2), (17, 16, 15)])
def test_scans_of_any_size(shape):
    pet = Volume(np.full(shape, 5.0, np.float32), np.diag([2.0, 2.0, 3.0, 1.0]), "SUVbw")
    found = find(pet, rule=None)
    assert found.mask.shape == shape
    empty = find(pet.with_array(np.zeros(shape, np.float32)))
    assert not empty.mask.any()


def test_organs_come_when_they_are_asked_for():
    pet = scan()
    found = find(pet, organs=True)
    assert found.organ_names == ("warm",)
    assert found.organs is not None
    assert dice(found.organs == 1, (pet.array > 1) & (pet.array < 2.5)) > 0.9


def test_a_ct_is_told_to_the_network():
    pet = scan()
    ct = Volume(np.full((20, 22, 30), 40.0, np.float32), np.diag([8.0, 8.0, 8.0, 1.0]), "HU")
    assert find(pet, ct).notes == ()


def test_the_tracer_decides_which_networks_are_used(monkeypatch):
    pet, fdg, psma = scan(), HotNet(bias=3.0), HotNet(bias=-3.0)
    nets = {"FDG": [fdg], "PSMA": [psma]}
    probabilities = {}
    for told, psma_says in (("FDG", 0.01), ("PSMA", 0.99), ("both", 0.5)):
        monkeypatch.setattr(pipeline, "guess_tracer", lambda _, p=psma_says: TracerGuess(p, 900.0))
        found = find(pet, tracer="auto", nets=nets)
        probabilities[told] = found.probability.astype(float)
        assert found.used == {"FDG": ("FDG",), "PSMA": ("PSMA",), "both": ("FDG", "PSMA")}[told]
    mean = (probabilities["FDG"] + probabilities["PSMA"]) / 2
    np.testing.assert_allclose(probabilities["both"], mean, atol=2e-3)
    assert set(fdg.seen) == {1.0}
    assert set(psma.seen) == {-1.0}


def test_a_crop_is_reported(monkeypatch):
    monkeypatch.setattr(pipeline, "guess_tracer", lambda _: TracerGuess(0.01, 160.0))
    assert "160 mm" in find(scan(), tracer="auto").notes[0]


def test_an_ensemble_is_the_mean_of_its_networks():
    pet = scan()
    one, other = (find(pet, nets=[HotNet(bias=b)]).probability.astype(float) for b in (2.0, -2.0))
    both = find(pet, nets=[HotNet(bias=2.0), HotNet(bias=-2.0)]).probability
    np.testing.assert_allclose(both, (one + other) / 2, atol=2e-3)


def test_a_further_click_looks_only_around_itself():
    pet = scan()
    finder = prepare(pet, tracer="fdg", nets=[HotNet()])
    first = finder.sweep(LesionClicks(), Depth(1e6, 0))
    before = first.probability.copy()
    second = finder.click(FIRST, tumour=False)
    assert not second.mask[FIRST]
    assert second.mask[SECOND]
    changed = np.argwhere(before != second.probability)
    assert np.abs(changed - FIRST).max() <= CONFIG.patch
    third = finder.click(SECOND, tumour=True)
    assert third.mask[SECOND]
    assert not third.mask[FIRST]  # the earlier click still counts
    assert third.probability[FIRST] < 0.5


def test_the_paper_policy_takes_its_axes_from_the_voxels():
    found = find(scan(), policy="paper", mirror=3)
    assert found.depth.axes == 3  # below 18 million voxels
    assert find(scan(), mirror=1).depth.axes == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tracer": "fluoride"}, "auto, fdg or psma"),
        ({"policy": "slow"}, "measured or paper"),
        ({"nets": {"PSMA": [HotNet()]}}, "no network was given for FDG"),
        ({"clicks": LesionClicks(tumour=((40, 0, 0),))}, "outside"),
        ({"ct": scan()}, "HU"),
    ],
)
def test_bad_input_is_named(change, said):
    with pytest.raises(AnyPETError, match=said):
        find(scan(), **change)


def test_only_suvbw_is_taken():
    with pytest.raises(AnyPETError, match="Bq/mL"):
        find(dataclasses.replace(scan(), unit="Bq/mL"))


def test_a_click_needs_a_sweep_first():
    with pytest.raises(AnyPETError, match="first"):
        prepare(scan(), tracer="fdg", nets=[HotNet()]).click(FIRST, True)


def test_numbers_go_by_size():
    mask = np.zeros((9, 9, 9), bool)
    mask[0, 0, 0] = mask[4:6, 4:6, 4] = mask[8, 0, :3] = True
    assert [int((numbered(mask) == n).sum()) for n in (1, 2, 3)] == [4, 3, 1]
    assert numbered(np.zeros((2, 2, 2), bool)).max() == 0


def test_networks_of_other_grids_are_no_ensemble(monkeypatch):
    nets = {"a": HotNet(), "b": HotNet(dataclasses.replace(CONFIG, spacing=(2.0, 2.0, 2.0)))}
    monkeypatch.setattr(pipeline, "load_net", lambda weights: nets[weights])
    assert load_nets(["a"]) == [nets["a"]]
    with pytest.raises(AnyPETError, match="b has another spacing"):
        load_nets(["a", "b"])


def test_the_threshold_is_that_of_the_weights():
    """A network is asked to be as sure as its weights say; an ensemble takes the mean."""
    pet = scan()
    hot = truth(pet)
    pet.array[hot] = np.random.default_rng(0).uniform(2.0, 4.0, hot.sum())

    def count(*levels):
        nets = [HotNet(dataclasses.replace(CONFIG, threshold=level)) for level in levels]
        return int(find(pet, nets=nets, clean=False).mask.sum())

    chance = 1 / (1 + np.exp(-8 * (np.arcsinh(pet.array) - np.arcsinh(2.5))))
    for level in (0.5, 0.8, 0.95):
        assert count(level) == pytest.approx(int((chance > level).sum()), rel=0.03)
    assert count(0.7, 0.9) == count(0.8)
