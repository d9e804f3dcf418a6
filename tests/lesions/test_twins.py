"""Left and right of glands by the body's midline."""

from __future__ import annotations

import numpy as np
import pytest

from anypet.lesions.twins import told_by_side, twins

NAMES = ("brain", "skeleton", "left salivary gland", "right salivary gland")


def head(middle: int) -> np.ndarray:
    """A brain around a midline at index `middle` of R, a gland to either side of it, both called left."""
    p = np.zeros((5, 24, 6, 12), np.float32)
    p[0] = 1
    p[:, middle - 3 : middle + 4, 2:4, 4:9] = np.array([0, 1, 0, 0, 0])[:, None, None, None]
    for at in (middle - 5, middle + 5):
        p[:, at, 1:3, 5:7] = np.array([0.2, 0, 0, 0.7, 0.1])[:, None, None]
    return p


@pytest.mark.parametrize("middle", [8, 12, 16])
def test_the_side_of_the_midline_names_a_gland(middle: int) -> None:
    p = head(middle)
    kept = p.copy()
    classes = np.stack(told_by_side(p, NAMES))
    np.testing.assert_array_equal(p, kept)
    np.testing.assert_allclose(classes.sum(0), p.sum(0), atol=1e-6)
    label = classes.argmax(0)
    assert set(np.nonzero(label == 3)[0]) == {middle - 5}
    assert set(np.nonzero(label == 4)[0]) == {middle + 5}
    np.testing.assert_array_equal(label == 1, kept.argmax(0) == 1)


def test_in_a_mirror_sides_change_and_the_rest_stays() -> None:
    names = ("brain", "left kidney", "heart", "right kidney", "left lung")
    assert twins(names) == [0, 3, 2, 1, 4]


def test_without_a_head_the_middle_of_the_grid_counts() -> None:
    p = head(12)
    p[0], p[1] = p[0] + p[1], 0
    label = np.stack(told_by_side(p, NAMES)).argmax(0)
    assert set(np.nonzero(label == 4)[0]) == {17}


def test_other_organs_stay_as_they_are() -> None:
    p = head(12)
    for mine, theirs in zip(
        told_by_side(p, ("brain", "skeleton", "left kidney", "right kidney")), p, strict=True
    ):
        assert np.shares_memory(mine, theirs)
