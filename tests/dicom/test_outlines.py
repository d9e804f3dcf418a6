"""Outlines of masks: exact areas, holes, parts that touch, against an independent filling of polygons."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path as Polygon
from scipy import ndimage

from anypet.dicom.outlines import outlines

Mask = npt.NDArray[np.bool_]


def filled(polygon: npt.NDArray[np.float64], shape: tuple[int, ...]) -> Mask:
    """Voxel centres inside one polygon, by matplotlib."""
    centres = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, 2)
    inside = Polygon(np.vstack([polygon, polygon[:1]]), closed=True).contains_points(centres)
    return np.asarray(inside.reshape(shape))


def area(polygon: npt.NDArray[np.float64]) -> float:
    """By the shoelace formula."""
    i, j = polygon.T
    return abs(float(np.sum(np.roll(i, -1) * j - i * np.roll(j, -1)))) / 2


@settings(max_examples=150, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.booleans()))
def test_polygons_enclose_exactly_the_mask(mask: Mask) -> None:
    """Each voxel in exactly one polygon, so that a union, an XOR and a sum of areas all give the mask."""
    polygons = outlines(mask)
    inside = np.sum([filled(polygon, mask.shape) for polygon in polygons] or [np.zeros(mask.shape)], axis=0)
    np.testing.assert_array_equal(inside, mask.astype(int))
    assert sum(map(area, polygons)) == mask.sum()
    assert len(polygons) == ndimage.label(mask)[1]  # parts by edges
    for polygon in polygons:
        assert len(polygon) >= 4
        steps = np.diff(np.vstack([polygon, polygon[:1]]), axis=0)
        assert np.all(np.count_nonzero(steps, axis=1) == 1)  # along the axes, no point twice in a row
        assert np.all(polygon % 1 == 0.5)  # no edge or channel passes a voxel centre


def test_one_voxel_is_its_square() -> None:
    mask = np.zeros((5, 6), bool)
    mask[2, 3] = True
    (square,) = outlines(mask)
    assert sorted(map(tuple, square.tolist())) == [(1.5, 2.5), (1.5, 3.5), (2.5, 2.5), (2.5, 3.5)]


def test_a_ring_is_one_polygon_with_a_channel() -> None:
    mask = np.ones((5, 5), bool)
    mask[2, 2] = False
    (ring,) = outlines(mask)
    corners, counts = np.unique(ring, axis=0, return_counts=True)
    assert corners[counts == 2].tolist() == [[-0.5, 1.5], [1.5, 1.5]]  # the channel's two ends
    assert area(ring) == 24
    np.testing.assert_array_equal(filled(ring, mask.shape), mask)


def test_island_in_a_hole_and_a_hole_below_a_hole() -> None:
    mask = np.ones((11, 9), bool)
    mask[2:5, 2:7] = False
    mask[3, 4] = True  # an island: a polygon of its own
    mask[7, 4] = False  # its channel ends at the hole above
    polygons = outlines(mask)
    assert sorted(map(area, polygons)) == [1, 99 - 15 - 1]
    np.testing.assert_array_equal(sum(filled(p, mask.shape) for p in polygons), mask)


def test_parts_that_touch_by_a_corner_stay_two() -> None:
    mask = np.eye(2, dtype=bool)
    assert [area(polygon) for polygon in outlines(mask)] == [1, 1]


@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (4, 5)])
def test_nothing_and_everything(shape: tuple[int, int]) -> None:
    assert outlines(np.zeros(shape, bool)) == []
    (whole,) = outlines(np.ones(shape, bool))
    assert len(whole) == 4
    assert area(whole) == shape[0] * shape[1]
