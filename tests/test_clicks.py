"""The click simulators: where clicks fall, and that chance comes from the generator alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from anypet.clicks import bounding_box, first_click, inside_distance, next_click
from anypet.errors import PromptError

SPACING = (4.0, 2.0, 3.0)
MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7))


def pairs() -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    shapes = hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7)
    return shapes.flatmap(lambda s: st.tuples(hnp.arrays(bool, s), hnp.arrays(bool, s)))


def ball(shape: tuple[int, int, int], centre: tuple[float, float, float], radius_mm: float) -> np.ndarray:
    mm = (np.indices(shape).T - centre) * SPACING
    return (np.linalg.norm(mm, axis=-1) <= radius_mm).T


def test_bounding_box_with_margin_stops_at_the_border() -> None:
    mask = np.zeros((5, 6, 7), dtype=bool)
    assert bounding_box(mask) is None
    mask[1, 2:4, 6] = True
    assert bounding_box(mask) == (slice(1, 2), slice(2, 4), slice(6, 7))
    assert bounding_box(mask, margin=2) == (slice(0, 4), slice(0, 6), slice(4, 7))


@given(MASKS)
@settings(max_examples=40, deadline=None)
def test_inside_distance_is_scipys_with_the_border_as_outside(mask: np.ndarray) -> None:
    expected = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=SPACING)[1:-1, 1:-1, 1:-1]
    np.testing.assert_allclose(inside_distance(mask, SPACING), expected, atol=1e-4)


@given(MASKS.filter(np.any), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_first_click_is_in_the_inner_half(target: np.ndarray, seed: int) -> None:
    click = first_click(target, np.random.default_rng(seed), SPACING)
    depth = inside_distance(target, SPACING)
    assert target[click]
    assert depth[click] >= depth.max() / 2
    assert click == first_click(target, np.random.default_rng(seed), SPACING)


def test_first_click_is_drawn_from_all_of_the_inner_half() -> None:
    target = ball((7, 13, 9), (3, 6, 4), 9.0)
    rng = np.random.default_rng(0)
    drawn = {first_click(target, rng, SPACING) for _ in range(400)}
    depth = inside_distance(target, SPACING)
    inner = {tuple(int(v) for v in p) for p in np.argwhere(depth >= depth.max() / 2)}
    assert drawn == inner


def test_first_click_needs_a_target() -> None:
    with pytest.raises(PromptError, match="no voxel"):
        first_click(np.zeros((3, 3, 3), dtype=bool), np.random.default_rng(0), SPACING)


@given(pairs())
@settings(max_examples=50, deadline=None)
def test_next_click_is_on_the_largest_error_and_has_its_sign(masks: tuple[np.ndarray, np.ndarray]) -> None:
    target, mask = masks
    click = next_click(target, mask, SPACING)
    if np.array_equal(target, mask):
        assert click is None
        return
    assert click is not None
    voxel, positive = click
    errors = (target & ~mask) if positive else (mask & ~target)
    assert errors[voxel]
    # an independent count of the components, by scipy
    sizes = []
    for region in (target & ~mask, mask & ~target):
        labels, n = ndimage.label(region, structure=np.ones((3, 3, 3)))
        sizes += [int((labels == i + 1).sum()) for i in range(n)]
    labels, _ = ndimage.label(errors, structure=np.ones((3, 3, 3)))
    component = labels == labels[voxel]
    assert component.sum() == max(sizes)
    depth = inside_distance(component, SPACING)
    assert depth[voxel] >= depth.max() - 2e-3
    fortran = next_click(np.asfortranarray(target), np.asfortranarray(mask), SPACING)
    assert fortran == click


def test_next_click_goes_to_the_centre_of_what_was_missed_then_of_what_is_too_much() -> None:
    shape = (20, 40, 30)
    target = ball(shape, (8, 12, 10), 12.0)
    empty = np.zeros(shape, dtype=bool)
    assert next_click(target, empty, SPACING) == ((8, 12, 10), True)
    surplus = ball(shape, (14, 30, 20), 14.0)
    assert next_click(target, target | surplus, SPACING) == ((14, 30, 20), False)
    assert next_click(target, target, SPACING) is None


def test_next_click_prefers_the_missed_of_two_equal_errors() -> None:
    target = np.zeros((9, 3, 3), dtype=bool)
    mask = target.copy()
    target[6:9], mask[0:3] = True, True
    assert next_click(target, mask, SPACING) == ((7, 1, 1), True)


def test_an_error_cut_by_the_border_is_not_deepest_at_the_border() -> None:
    target = np.zeros((9, 9, 9), dtype=bool)
    target[:5, 2:7, 2:7] = True
    click = next_click(target, np.zeros_like(target), (1.0, 1.0, 1.0))
    assert click == ((2, 4, 4), True)


def test_next_click_needs_one_grid() -> None:
    with pytest.raises(PromptError, match=r"\(2, 2, 2\)"):
        next_click(np.ones((2, 2, 2), dtype=bool), np.ones((2, 2, 3), dtype=bool), SPACING)
