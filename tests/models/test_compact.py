"""The compact network behind the common interface."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from anypet.errors import WeightsError
from anypet.models.base import Anchor
from anypet.models.compact import CompactConfig, CompactNet, build
from anypet.models.compact.network import closeness, image_channels, prompt_channels
from anypet.models.compact.parts import PARTS
from anypet.prompts import WindowPrompts

CONFIG = CompactConfig(32, (8, 8, 8, 8, 8), (1, 1, 1, 1))
META = {"config": json.dumps(CONFIG.to_dict()), "name": "tiny"}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build(CompactNet(CONFIG).state_dict(), META)


def test_closeness_by_hand():
    field = closeness(torch.tensor([[1.0, 2.0, 3.0], [6.0, 6.0, 6.0]]), 8, 2.0)
    assert float(field[1, 2, 3]) == pytest.approx(1.0)
    assert float(field[1, 2, 5]) == pytest.approx(np.exp(-1))
    assert float(field[6, 6, 7]) == pytest.approx(np.exp(-0.5))
    assert float(closeness(torch.zeros(0, 3), 8, 2.0).sum()) == 0


def test_image_channels_are_relative_to_the_anchor():
    suv = torch.full((1, 1, 16, 16, 16), 3.0)
    channels = image_channels(suv, torch.tensor([6.0]), torch.tensor([[8.0, 8.0, 8.0]]), torch.tensor([8.0]))
    assert channels.shape == (1, 4, 16, 16, 16)
    values = [np.arcsinh(3.0), np.arcsinh(1.0), 1.0, 1.0]
    assert channels[0, :, 8, 8, 8].tolist() == pytest.approx(values, abs=1e-6)


def test_prompt_channels_hold_clicks_box_and_mask():
    points, labels = torch.tensor([[2.0, 2, 2], [9.0, 9, 9]]), torch.tensor([1, 0])
    boxes = torch.tensor([[[4.0, 4, 4], [7.0, 8, 9]]])
    maps = prompt_channels(points, labels, boxes, None, 16)
    assert maps.shape == (1, 7, 16, 16, 16)
    assert float(maps[0, 0, 2, 2, 2]) == 1.0
    assert float(maps[0, 2, 9, 9, 9]) == 1.0
    assert float(maps[0, 4].sum()) == 4 * 5 * 6
    assert float(maps[0, 5:].abs().sum()) == 0
    again = prompt_channels(points, labels, boxes, torch.zeros(1, 1, 16, 16, 16), 16)
    assert float(again[0, 5].mean()) == 0.5
    assert float(again[0, 6].min()) == 1.0


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


def test_bfloat16_gives_nearly_the_same_probabilities(model, monkeypatch: pytest.MonkeyPatch):
    state = model.net.state_dict()
    monkeypatch.setattr("anypet.models.compact.model.wants_bfloat16", lambda device: True)
    half = build(state, META)
    image, anchor = torch.rand(1, 1, 32, 32, 32) * 5, Anchor(3.0, (16.0, 16.0, 16.0))
    click = WindowPrompts(np.array([[16.0, 16, 16]]), np.array([1]))
    one, other = (m.decode(m.encode(image, 4.0, anchor), click) for m in (model, half))
    assert other.dtype == torch.float32
    assert not torch.equal(one, other)
    assert (torch.sigmoid(one) - torch.sigmoid(other)).abs().max() < 0.05
    assert half.encode(image, 4.0, anchor).nbytes < model.encode(image, 4.0, anchor).nbytes


def test_anchor_is_needed(model):
    with pytest.raises(ValueError, match="anchor"):
        model.encode(torch.zeros(1, 1, 32, 32, 32), 4.0)


def test_prompts_outside_of_the_window_are_harmless(model):
    embedding = model.encode(torch.zeros(1, 1, 32, 32, 32), 4.0, Anchor(0.0, (-20.0, 50.0, 16.0)))
    prompts = WindowPrompts(
        np.array([[-9.0, 40, 5]]), np.array([1]), np.array([[[-5.0, -5, -5], [-2.0, -2, -2]]])
    )
    assert torch.isfinite(model.decode(embedding, prompts)).all()


def test_parts_are_named_in_cells_of_two_voxels():
    net = CompactNet(CONFIG)
    features = net.encoder(torch.rand(2, 4, 32, 32, 32))
    logits, parts = net.decoder(features, torch.rand(2, 7, 32, 32, 32))
    assert logits.shape == (2, 1, 32, 32, 32)
    assert parts.shape == (2, len(PARTS), 16, 16, 16)


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


@pytest.mark.parametrize("text", ["warm", "0", "nan", "-1"])
def test_a_bad_temperature_is_named(text: str):
    with pytest.raises(WeightsError, match="temperature"):
        build(CompactNet(CONFIG).state_dict(), {**META, "temperature": text})
    assert build(CompactNet(CONFIG).state_dict(), {**META, "temperature": "1.5"}).spec.temperature == 1.5
