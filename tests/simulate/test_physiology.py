"""Uptake at sites that no organ map labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from anypet.simulate import analytic_anatomy, simulate
from anypet.simulate import body as tissues
from anypet.simulate.anatomy import BRAIN, ORGANS, PROSTATE
from anypet.simulate.body import make_body
from anypet.simulate.noise import generator
from anypet.simulate.physiology import UPTAKE, add_physiology

ANATOMY = analytic_anatomy(3, spacing=8.0)


@pytest.fixture(scope="module")
def body():
    return make_body(ANATOMY, 3)


def painted(body, tracer, seed, anatomy=ANATOMY):
    """What the sites add to a body of SUV 0.5, and its tissues afterwards."""
    own = replace(body, tissue=body.tissue.copy())
    image = torch.full(body.tissue.shape, 0.5)
    return (add_physiology(image, own, anatomy, tracer, generator(seed)) - 0.5).numpy(), own.tissue


@pytest.mark.parametrize("tracer", ["FDG", "PSMA", "random"])
def test_organs_and_air_keep_their_uptake(body, tracer):
    for seed in range(3):
        more, tissue = painted(body, tracer, seed)
        organs = np.isin(tissue, list(ORGANS))
        assert (more >= 0).all()
        assert more.max() > 0.3
        assert (more[organs | (tissue == tissues.AIR)] == 0).all()


def test_the_same_seed_gives_the_same_sites(body):
    one, again, other = (painted(body, "FDG", seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_each_tracer_shows_its_own_sites(body):
    """Lacrimal glands, at the height of the brain and before it, are PSMA's; they shine in most patients."""
    brain = np.argwhere(body.tissue == BRAIN)
    front = slice(int(brain[:, 1].max()) - 3, None)
    eyes = (slice(None), front, slice(int(brain[:, 2].min()) + 3, int(brain[:, 2].min()) + 9))
    shown = {
        t: np.mean([painted(body, t, n)[0][eyes].max() > 3.5 for n in range(12)]) for t in ("FDG", "PSMA")
    }
    assert shown["PSMA"] > 0.5 > shown["FDG"]


def test_testes_hang_below_the_bladder_of_men_alone(body):
    woman = replace(body, tissue=np.where(body.tissue == PROSTATE, tissues.MUSCLE, body.tissue))
    air = {}
    for name, one in (("man", body), ("woman", woman)):
        left = [(painted(one, "FDG", seed)[1] == tissues.AIR).sum() for seed in range(4)]
        air[name] = int((one.tissue == tissues.AIR).sum() - min(left))
    assert air["man"] > 0 == air["woman"]


def test_what_readers_marked_counts_for_the_tracer_they_read(body):
    """A mark in the thigh, where no other site is."""
    thigh = np.argwhere(body.tissue == tissues.MUSCLE)
    at = thigh[np.argsort(thigh[:, 2])[len(thigh) // 40]]
    marked = replace(ANATOMY, tracer="FDG", hot_sites=np.array([body.origin_mm]) + at * body.spacing)
    near = tuple(slice(max(0, v - 3), v + 4) for v in at)
    shown = {
        t: [painted(body, t, n, marked)[0][near].max() > 0.5 for n in range(16)] for t in ("FDG", "PSMA")
    }
    assert 0.2 < np.mean(shown["FDG"]) < 0.85  # half of them
    assert np.mean(shown["PSMA"]) < 0.15


def test_shares_and_levels_are_those_of_a_table():
    for fdg, psma in UPTAKE.values():
        assert 0 <= fdg.share <= 1
        assert 0 <= psma.share <= 1
        assert min(fdg.suv, psma.suv) >= 0.5
        assert max(fdg.suv, psma.suv) < 15


def test_a_study_has_them_if_asked():
    plain, more = (simulate(ANATOMY, 4, "FDG", most_lesions=0, physiology=p) for p in (False, True))
    again = simulate(ANATOMY, 4, "FDG", most_lesions=0)
    assert np.array_equal(plain.pet.array, again.pet.array)
    assert plain.organs.keys() == more.organs.keys()
    assert more.pet.array.sum() > plain.pet.array.sum()
