"""The organ head's first look, with a network whose answers are known."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anypet import canvas as cv
from anypet.anatomy import Anatomy
from anypet.lesions.config import NetConfig
from anypet.planning import Policy
from anypet.predict import Predictor
from anypet.prompts import Point, Prompts
from anypet.volume import Volume
from fakes import FakeModel

sys.path.insert(0, str(Path(__file__).parent / "lesions"))
from lesion_fakes import HotNet

CONFIG = NetConfig(organs=("skeleton", "liver"), patch=16)


class OrganNet(HotNet):
    """What HotNet calls "warm" is the liver here; the skeleton is nowhere."""

    divisor = 16

    def __init__(self):
        super().__init__(CONFIG)

    def forward(self, x, organs=False, deep=False):
        import torch

        heads = super().forward(x, organs, deep)
        logits = [torch.cat([v[:, :1], torch.full_like(v[:, :1], -20), v[:, 1:]], 1) for v in heads.organs]
        return heads._replace(organs=logits)


def scan() -> Volume:
    """A body of SUV 0.5 with a liver of 1.8, 60 mm in radius, and a lesion of 8 in it; stored feet first."""
    shape, affine = (64, 64, 64), np.diag([-4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = [120, -100, 40]
    index = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij", sparse=True)
    pet = np.full(shape, 0.5, np.float32)
    for centre, radius, level in (((30, 32, 34), 15, 1.8), ((26, 32, 34), 3, 8.0)):
        pet[sum((a - c) ** 2 for a, c in zip(index, centre, strict=True)) <= radius**2] = level
    return Volume(pet, affine, "SUVbw")


def test_the_organ_under_a_click_is_seen_where_it_is():
    pet = scan()
    mm = tuple(pet.to_mm((38, 30, 36)).tolist())
    group = Anatomy(pet, OrganNet()).look(mm, 1.8, 48)
    canvas = cv.blend(group, (48, 48, 48))
    liver = (pet.array > 1) & (pet.array < 2.5)
    inside = canvas.window.to_index(pet.to_mm(np.argwhere(liver)))
    found = canvas.logits[tuple(np.round(inside).astype(int).T)] > 0
    assert found.mean() > 0.9
    volume = (canvas.logits > 0).sum() * canvas.window.spacing**3
    assert volume == pytest.approx(liver.sum() * 64, rel=0.1)


@pytest.mark.parametrize(("voxel", "looks"), [((30, 32, 32), 1), ((30, 32, 22), 2)])
def test_an_organ_that_runs_out_of_the_tile_is_looked_at_around_its_middle(monkeypatch, voxel, looks):
    """A tile of 40 voxels holds the liver of 31 unless it was clicked near its lower end."""
    monkeypatch.setattr("anypet.anatomy.SIDE", 40)
    pet, net = scan(), OrganNet()
    net.divisor = 8
    group = Anatomy(pet, net).look(tuple(pet.to_mm(voxel).tolist()), 1.8, 40)
    canvas = cv.blend(group, (40, 40, 40))
    liver = (pet.array > 1) & (pet.array < 2.5)
    inside = np.round(canvas.window.to_index(pet.to_mm(np.argwhere(liver)))).astype(int)
    seen = ((inside >= 0) & (inside < 40)).all(1)
    assert seen.mean() > 0.99
    assert (canvas.logits[tuple(inside[seen].T)] > 0).mean() > 0.9
    assert len(net.seen) == looks
    assert canvas.window.to_index(group.anchor_mm) == pytest.approx(canvas.window.to_index(pet.to_mm(voxel)))


@pytest.mark.parametrize("voxel", [(26, 32, 34), (5, 5, 5)])
def test_lesions_and_what_is_no_organ_are_left_alone(voxel):
    pet = scan()
    assert Anatomy(pet, OrganNet()).look(tuple(pet.to_mm(voxel).tolist()), 1.0, 48) is None


@pytest.mark.parametrize(("anatomy", "asked"), [(True, 1), (False, 0)])
def test_the_first_click_alone_asks_and_only_where_the_policy_says_so(monkeypatch, anatomy, asked):
    net, pet, model = OrganNet(), scan(), FakeModel()
    monkeypatch.setattr("anypet.lesions.network.load_net", lambda name: net)
    model.spec = replace(model.spec, spacings=(2.0, 8.0), anatomy="lesions")
    predictor = Predictor(pet, model, Policy(anatomy=anatomy))
    points = tuple(Point(tuple(pet.to_mm(v).tolist())) for v in ((38, 30, 36), (36, 30, 36)))
    first = predictor.predict(Prompts(points[:1]))
    predictor.predict(Prompts(points), None, first)
    assert len(net.seen) == asked
