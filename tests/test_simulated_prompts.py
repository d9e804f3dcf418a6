"""Ways to click, boxes and scribbles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anypet.clicks import inside_distance
from anypet.errors import PromptError
from anypet.simulated_prompts import CORRECTORS, jittered_box, ritm_error, scribble

ONE = (1.0, 1.0, 1.0)


def block(shape: tuple[int, ...] = (24, 20, 22), lo: int = 4, hi: int = 14) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[lo:hi, lo:hi, lo:hi] = True
    return mask


@pytest.mark.parametrize("way", sorted(CORRECTORS))
def test_every_way_clicks_on_an_error_with_its_sign(way: str):
    target, mask = block(), block(lo=8, hi=18)
    for seed in range(20):
        found = CORRECTORS[way](target, mask, (2.0, 1.0, 3.0), np.random.default_rng(seed))
        assert found is not None
        voxel, positive = found
        assert target[voxel] != mask[voxel]
        assert target[voxel] == positive
        again = CORRECTORS[way](target, mask, (2.0, 1.0, 3.0), np.random.default_rng(seed))
        assert again == found
    assert CORRECTORS[way](target, target, ONE, np.random.default_rng(0)) is None


def test_random_errors_are_uniform_and_deepest_ones_are_not_random():
    target, empty = block(), np.zeros((24, 20, 22), dtype=bool)
    random = {CORRECTORS["random"](target, empty, ONE, np.random.default_rng(s))[0] for s in range(60)}  # type: ignore[index]
    deepest = {CORRECTORS["deepest"](target, empty, ONE, np.random.default_rng(s))[0] for s in range(60)}  # type: ignore[index]
    assert len(random) > 50
    assert len(deepest) == 1


def test_ritm_stays_in_the_inner_half_of_the_deeper_error():
    target, mask = block(), np.zeros((24, 20, 22), dtype=bool)
    mask[18:20, :, :] = True  # wide but shallow
    depth = inside_distance(target, ONE)
    for seed in range(30):
        found = ritm_error(target, mask, ONE, np.random.default_rng(seed))
        assert found is not None
        assert found[1]
        assert depth[found[0]] > depth.max() / 2


def test_perturbed_clicks_move():
    target, empty = block(), np.zeros((24, 20, 22), dtype=bool)
    moved = {CORRECTORS["perturbed"](target, empty, ONE, np.random.default_rng(s))[0] for s in range(30)}  # type: ignore[index]
    assert len(moved) > 10


@settings(deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 30))
def test_boxes_hold_the_object_and_stay_in_the_array(seed: int, jitter: float):
    mask = block()
    lo, hi = jittered_box(mask, (2.0, 1.0, 3.0), np.random.default_rng(seed), jitter)
    assert (lo <= 4).all()
    assert (hi >= 13).all()
    assert (lo >= np.maximum(0, 4 - jitter / np.array([2.0, 1.0, 3.0])) - 1e-9).all()
    assert (hi <= np.array(mask.shape) - 1).all()


def test_no_box_around_nothing():
    with pytest.raises(PromptError, match="no voxel"):
        jittered_box(np.zeros((4, 4, 4), dtype=bool), ONE, np.random.default_rng(0))


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_scribbles_are_connected_lines_inside(seed: int):
    mask = block()
    mask[8:10, 8:10, :] = False
    line = scribble(mask, (2.0, 1.0, 3.0), np.random.default_rng(seed), length_mm=12.0)
    assert len(line) >= 1
    assert mask[tuple(line.T)].all()
    assert len(np.unique(line, axis=0)) == len(line)
    assert np.abs(np.diff(line, axis=0)).max(initial=0) <= 1
    assert np.linalg.norm((line[-1] - line[0]) * [2.0, 1.0, 3.0]) <= 12.0 + np.linalg.norm([2.0, 1.0, 3.0])
