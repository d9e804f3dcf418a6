"""Basins on profiles worked by hand, and their properties on random fields."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from anypet.lesions.basins import distinct_basins, nearer


def profile(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, -1, 1)


def basins(*values: float, distinct: float = 0.7) -> list[int]:
    suv = profile(*values)
    return distinct_basins(suv, suv > 0, distinct).ravel().tolist()


def test_a_deep_dip_parts_and_a_shallow_one_does_not() -> None:
    # the saddle of 4 is half of the lower peak
    a, b = basins(3, 8, 6, 4, 10, 5)[1], basins(3, 8, 6, 4, 10, 5)[4]
    assert a != b
    # 7 of 8 is more than 70 %
    assert basins(3, 8, 7, 10, 5) == [1] * 5
    # the share is a setting, and a dip of exactly the share does not part
    assert len(set(basins(3, 8, 7, 10, 5, distinct=0.9))) == 2
    assert basins(10, 7, 10) == [1, 1, 1]


def test_small_maxima_join_the_peak_over_the_highest_saddle() -> None:
    # 5.2 is noise on the flank of 10; the gap at 2 parts it from 6
    found = basins(10, 5, 5.2, 4, 2, 6, 3)
    assert found[0] == found[2] != found[5]
    assert len(set(found)) == 2


def test_merged_peaks_count_as_the_higher_of_them() -> None:
    # 8 and 10 merge at 7.9; 4 parts them from 5 at saddle 3 (60 % of 5)
    found = basins(8, 7.9, 10, 3, 5)
    assert found[0] == found[2] != found[4]


@pytest.mark.parametrize("value", [5.0, 0.0])
def test_a_flat_region_is_one_basin(value: float) -> None:
    region = np.zeros((4, 5, 6), bool)
    region[1:3, 1:4, 2:5] = True
    for mask in (region, np.ones((3, 2, 2), bool), np.ones((1, 1, 1), bool)):
        found = distinct_basins(np.full(mask.shape, value), mask)
        np.testing.assert_array_equal(found, mask.astype(int))


def test_hot_voxels_outside_of_the_region_do_not_count() -> None:
    suv = profile(50, 6, 5, 4, 60)
    region = (suv > 3) & (suv < 10)
    assert distinct_basins(suv, region).ravel().tolist() == [0, 1, 1, 1, 0]


@given(st.integers(0, 10**6), st.floats(0.0, 2.0), st.floats(0.1, 1.0))
@settings(max_examples=30, deadline=None)
def test_basins_part_the_region_into_connected_pieces(seed: int, smooth: float, distinct: float) -> None:
    rng = np.random.default_rng(seed)
    suv = ndimage.gaussian_filter(rng.gamma(1.0, 3.0, (9, 8, 7)), smooth)
    region = suv > np.median(suv)
    found = distinct_basins(suv, region, distinct)
    np.testing.assert_array_equal(found > 0, region)
    assert set(np.unique(found)) == set(range(found.max() + 1))
    for number in range(1, found.max() + 1):
        assert ndimage.label(found == number, np.ones((3, 3, 3)))[1] == 1
    # every piece of the region keeps a basin, and every basin a local maximum of the region
    peaks = (ndimage.maximum_filter(np.where(region, suv, -1), 3) == suv) & region
    assert set(found[peaks]) == set(range(1, found.max() + 1))
    # peaks of different basins within one piece: the best way between them dips below the share
    for one, other in zip(np.argwhere(peaks)[:4], np.argwhere(peaks)[1:5], strict=False):
        a, b = tuple(one), tuple(other)
        if found[a] != found[b]:
            lower = min(suv[found == found[a]].max(), suv[found == found[b]].max())
            level = ndimage.label(region & (suv >= max(distinct * lower, 1e-9)), np.ones((3, 3, 3)))[0]
            tops = [
                np.argwhere((found == n) & (suv == suv[found == n].max()))[0] for n in (found[a], found[b])
            ]
            assert distinct == 1.0 or level[tuple(tops[0])] != level[tuple(tops[1])]


@pytest.mark.parametrize("spacing", [(1, 1, 1), (1, 3, 2)])
def test_nearer_is_what_it_says_in_millimetres(spacing) -> None:
    these, those = [(0, 1, 0), (4, 4, 2)], [(2, 5, 1)]
    index = np.stack(np.indices((5, 6, 4)), -1) * np.array(spacing)
    away = [
        np.min([np.linalg.norm(index - np.array(v) * np.array(spacing), axis=-1) for v in voxels], axis=0)
        for voxels in (these, those)
    ]
    assert np.array_equal(nearer((5, 6, 4), spacing, these, those), away[0] < away[1])
