"""The compact network behind the common interface."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from anypet.errors import WeightsError
from anypet.models.base import Anchor
from anypet.models.compact import CompactConfig, CompactNet, build
from anypet.models.compact.network import (
    MAPS,
    Ask,
    Features,
    closeness,
    from_cells,
    likeness,
    prompt_channels,
    to_cells,
)
from anypet.models.compact.parts import PARTS
from anypet.prompts import WindowPrompts

CONFIG = CompactConfig(32, (8, 8, 8, 8), (1, 1, 1), 4)
META = {"config": json.dumps(CONFIG.to_dict()), "name": "tiny"}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build(CompactNet(CONFIG).state_dict(), META)


def test_closeness_by_hand():
    # cell (0, 1, 2) has its centre at voxel (0.5, 2.5, 4.5)
    field = closeness(torch.tensor([[0.5, 2.5, 4.5], [6.5, 6.5, 6.5]]), 4, 2.0)
    assert float(field[0, 1, 2]) == pytest.approx(1.0)
    assert float(field[0, 1, 3]) == pytest.approx(np.exp(-1))
    assert float(field[2, 3, 3]) == pytest.approx(np.exp(-1))
    assert float(closeness(torch.zeros(0, 3), 4, 2.0).sum()) == 0


def test_cells_and_back():
    x = torch.arange(2 * 3 * 4**3, dtype=torch.float32).reshape(2, 3, 4, 4, 4)
    cells = to_cells(x)
    assert cells.shape == (2, 24, 2, 2, 2)
    # channel 8 c + 4 i + 2 j + k holds voxel (2 a + i, 2 b + j, 2 d + k)
    assert float(cells[1, 8 * 2 + 5, 0, 1, 1]) == float(x[1, 2, 1, 2, 3])
    assert torch.equal(from_cells(cells), x)


def test_likeness_is_the_best_scalar_product():
    vectors = torch.zeros(2, 4, 4, 4)
    vectors[0, :2] = 1.0
    vectors[1, 2:] = 0.5
    one = likeness(vectors, torch.tensor([[0.0, 3.0, 3.0]]))
    assert one[:2].eq(1.0).all()
    assert one[2:].eq(0.0).all()
    both = likeness(vectors, torch.tensor([[0.0, 3.0, 3.0], [99.0, 3.0, 3.0]]))  # outside: the nearest cell
    assert both[2:].eq(0.25).all()
    assert likeness(vectors, torch.zeros(0, 3)).eq(0).all()


def features(size: int = 16, suv: float = 3.0) -> Features:
    cells = (size // 2,) * 3
    parts = torch.zeros(1, len(PARTS), *cells)
    parts[0, PARTS.index("liver"), :4] = 50.0
    parts[0, PARTS.index("heart"), 4:] = 50.0
    return Features(torch.full((1, 1, size, size, size), suv), [], parts, torch.ones(1, 4, *cells) / 2)


def ask(points=(), labels=(), boxes=(), previous=None) -> Ask:
    return Ask(
        6.0,
        torch.tensor([2.0, 2.0, 2.0]),
        torch.tensor(points, dtype=torch.float32).reshape(-1, 3),
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 2, 3),
        previous,
    )


def test_prompt_channels_hold_clicks_box_mask_and_affinity():
    asked = ask([[2.5, 2.5, 2.5], [10.5, 10.5, 10.5]], [1, 0], [[[4.0, 4, 4], [7.0, 8, 9]]])
    maps = prompt_channels(features(), [asked])
    assert maps.shape == (1, MAPS + 24, 8, 8, 8)
    assert float(maps[0, 0, 1, 1, 1]) == 1.0
    assert float(maps[0, 2, 5, 5, 5]) == 1.0
    # parts like the positive click's (liver), like the negative click's (heart), and the metric
    assert maps[0, 4, :4].min() > 0.99
    assert maps[0, 4, 4:].max() < 0.01
    assert maps[0, 5, 4:].min() > 0.99
    assert torch.allclose(maps[0, 6:8], torch.ones(2, 8, 8, 8))
    assert float(maps[0, 8].mean()) == 1.0
    assert float(maps[0, 9].max()) == 0.0
    assert maps[0, MAPS].numpy() == pytest.approx(np.arcsinh(1.0))  # SUV 3 of anchor 6
    assert float(maps[0, MAPS + 8 : MAPS + 16].sum()) == 4 * 5 * 6
    assert float(maps[0, MAPS + 16 :].sum()) == 0
    again = prompt_channels(features(), [ask(previous=torch.zeros(16, 16, 16))])
    assert float(again[0, MAPS + 16 :].mean()) == 0.5
    assert float(again[0, 9].min()) == 1.0
    assert again[0, 4, :4].min() > 0.99  # without a click the anchor counts


def test_encoder_sees_no_prompt(model):
    image = torch.rand(1, 1, 32, 32, 32) * 5
    a = model.encode(image, 4.0, Anchor(3.0, (16.0, 16.0, 16.0)))
    b = model.encode(image, 4.0, Anchor(9.0, (1.0, 1.0, 1.0)))
    assert all(torch.equal(x, y) for x, y in zip(a.tensors, b.tensors, strict=True))


def test_encode_once_decode_many(model):
    image = torch.rand(1, 1, 32, 32, 32) * 5
    embedding = model.encode(image, 4.0, Anchor(3.0, (16.0, 16.0, 16.0)))
    one = WindowPrompts(np.array([[16.0, 16, 16]]), np.array([1]))
    two = WindowPrompts(np.array([[16.0, 16, 16], [3.0, 3, 3]]), np.array([1, 0]))
    first = model.decode(embedding, one)
    assert first.shape == (1, 1, 32, 32, 32)
    assert torch.equal(first, model.decode(embedding, one))
    assert not torch.equal(first, model.decode(embedding, two, first))
    small = torch.nn.functional.interpolate(first, scale_factor=0.5)
    assert model.decode(embedding, two, small).shape == (1, 1, 32, 32, 32)
    assert embedding.nbytes > 0


def test_anchor_is_needed(model):
    with pytest.raises(ValueError, match="anchor"):
        model.encode(torch.zeros(1, 1, 32, 32, 32), 4.0)


def test_prompts_outside_of_the_window_are_harmless(model):
    embedding = model.encode(torch.zeros(1, 1, 32, 32, 32), 4.0, Anchor(0.0, (-20.0, 50.0, 16.0)))
    prompts = WindowPrompts(
        np.array([[-9.0, 40, 5]]), np.array([1]), np.array([[[-5.0, -5, -5], [-2.0, -2, -2]]])
    )
    assert torch.isfinite(model.decode(embedding, prompts)).all()


def test_wrong_weights_name_the_key():
    state = CompactNet(CONFIG).state_dict()
    state.pop("decoder.head.bias")
    with pytest.raises(WeightsError, match=r"decoder\.head\.bias"):
        build(state, META)
    with pytest.raises(WeightsError, match="other shape"):
        build(CompactNet(CONFIG).state_dict(), {})


@pytest.mark.parametrize(("config", "cause"), [("{", "JSON"), ("3", "JSON"), ('{"depth": 4}', "depth")])
def test_damaged_metadata_is_named(config: str, cause: str):
    with pytest.raises(WeightsError, match=cause):
        build(CompactNet(CONFIG).state_dict(), {"config": config})
