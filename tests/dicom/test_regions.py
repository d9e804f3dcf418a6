"""Masks onto the grid of a series: voxel orders, extents, other grids, names, bad input."""

from __future__ import annotations

import logging
from itertools import permutations, product

import numpy as np
import pytest

from anypet.dicom.regions import regions_on
from anypet.errors import AnyPETError
from anypet.volume import Volume

SHAPE = (6, 5, 4)


@pytest.fixture
def grid() -> Volume:
    affine = np.array([[-4.0, 0, 0, 20], [0, -5.0, 0, 30], [0, 0, 3.0, -40], [0, 0, 0, 1]])
    return Volume(np.zeros(SHAPE, np.uint8), affine, "label")


@pytest.fixture
def drawn() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:3, 1:3, 1:3], labels[4, 4, 3] = 2, 7
    return labels


def reordered(volume: Volume, axes: tuple[int, ...], flips: tuple[bool, ...]) -> Volume:
    """The same voxels in the same places, in another order in memory."""
    array, affine = volume.array.transpose(axes), volume.affine[:, [*axes, 3]].copy()
    for axis in np.flatnonzero(flips):
        affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
        affine[:3, axis] *= -1
        array = np.flip(array, axis)
    return Volume(array, affine, "label", volume.meta)


@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_any_voxel_order_is_moved_without_loss(
    grid: Volume, drawn: np.ndarray, axes: tuple[int, ...]
) -> None:
    for flips in product((False, True), repeat=3):
        mask = reordered(grid.with_array(drawn), axes, flips)
        regions = regions_on(grid, mask)
        np.testing.assert_array_equal(regions.array, np.select([drawn == 2, drawn == 7], [1, 2]))


def test_a_box_of_the_grid_and_a_larger_one(grid: Volume, drawn: np.ndarray) -> None:
    box = Volume(drawn[1:, 1:, 1:], grid.affine.copy(), "label")
    box.affine[:3, 3] = grid.to_mm((1, 1, 1))
    np.testing.assert_array_equal(regions_on(grid, box).array > 0, drawn > 0)
    larger = Volume(np.pad(drawn, 2), grid.affine.copy(), "label")
    larger.affine[:3, 3] = grid.to_mm((-2, -2, -2))
    np.testing.assert_array_equal(regions_on(grid, larger).array > 0, drawn > 0)
    larger.array[0, 0, 0] = 1
    with pytest.raises(AnyPETError, match="outside of the series"):
        regions_on(grid, larger)


def test_rounding_of_the_header_is_forgiven_and_a_shift_is_not(grid: Volume, drawn: np.ndarray) -> None:
    near = Volume(drawn, grid.affine.copy(), "label")
    near.affine[:3, 3] += 0.2
    np.testing.assert_array_equal(regions_on(grid, near).array > 0, drawn > 0)
    near.affine[:3, 3] += 0.2
    with pytest.raises(AnyPETError, match=r"another grid .*6 x 5 x 4 voxels of 4 x 5 x 3 mm"):
        regions_on(grid, near)


def test_another_grid_is_refused_or_resampled(grid: Volume, caplog: pytest.LogCaptureFixture) -> None:
    affine = grid.affine.copy()
    affine[:3, :3] /= 2
    affine[:3, 3] -= grid.affine[:3, :3] @ [0.25, 0.25, 0.25]
    fine = Volume(np.zeros([2 * n for n in SHAPE], np.uint8), affine, "label")
    fine.array[2:6, 2:6, 2:6] = 1
    with pytest.raises(AnyPETError, match="ask for resampling"):
        regions_on(grid, fine)
    with caplog.at_level(logging.WARNING):
        regions = regions_on(grid, fine, resample=True)
    assert np.argwhere(regions.array).tolist() == np.argwhere(np.pad(np.ones((2, 2, 2)), 1)).tolist()
    assert "0.48 mL became 0.48 mL" in caplog.text


def test_labels_are_numbered_from_one_and_named(grid: Volume, drawn: np.ndarray) -> None:
    labels = grid.with_array(drawn, names={2: "liver", 7: "lesion"})
    regions = regions_on(grid, labels)
    assert regions.names == ("liver", "lesion")
    np.testing.assert_array_equal(regions.mask(2), drawn == 7)
    assert regions_on(grid, labels, {7: "x"}).names == ("region 2", "x")
    assert regions_on(grid, grid.with_array(drawn > 0)).names == ("region 1",)


def test_a_named_label_without_voxels_is_kept(grid: Volume, caplog: pytest.LogCaptureFixture) -> None:
    labels = grid.with_array(grid.array, names={1: "lesion", 3: "spleen"})
    with caplog.at_level(logging.WARNING):
        regions = regions_on(grid, labels)
    assert regions.names == ("lesion", "spleen")
    assert not regions.array.any()
    assert "region 'spleen' has no voxel" in caplog.text
    with pytest.raises(AnyPETError, match="nothing to write"):
        regions_on(grid, grid)
    with pytest.raises(AnyPETError, match="no region"):
        regions_on(grid, {})


def test_masks_by_name_may_overlap(grid: Volume, drawn: np.ndarray) -> None:
    regions = regions_on(grid, {"a": drawn > 0, "b": drawn // 7, "c": grid.with_array(drawn == 2)})
    assert regions.array.shape == (*SHAPE, 3)
    assert not regions.fractional
    for number, expected in enumerate((drawn > 0, drawn == 7, drawn == 2), start=1):
        np.testing.assert_array_equal(regions.mask(number), expected)
    assert regions_on(grid, regions) is regions


def test_probabilities(grid: Volume) -> None:
    array = np.linspace(0, 1, 120).reshape(SHAPE)
    regions = regions_on(grid, Volume(array, grid.affine, "probability"), {1: "lesion"})
    assert regions.fractional
    assert regions.names == ("lesion",)
    np.testing.assert_array_equal(regions.mask(1), array >= 0.5)
    assert regions_on(grid, {"a": array}).fractional


def test_names_that_dicom_cannot_hold(grid: Volume) -> None:
    full = np.ones(SHAPE, bool)
    long = "l" * 80
    names = regions_on(grid, {"a\\b": full, "  ": full, long: full, long + "x": full}).names
    assert names == ("a/b", "region 2", "l" * 64, "l" * 60 + " (2)")
    many = dict.fromkeys((2, 7), "same")
    labels = grid.with_array(np.where(full, 2, 0), names=many)
    assert regions_on(grid, labels).names == ("same", "same (2)")


def test_bad_values(grid: Volume, drawn: np.ndarray) -> None:
    with pytest.raises(AnyPETError, match=r"float64 .*whole numbers"):
        regions_on(grid, grid.with_array(drawn / 2))
    with pytest.raises(AnyPETError, match="from -1"):
        regions_on(grid, grid.with_array(drawn.astype(int) - 1))
    with pytest.raises(AnyPETError, match="'a': values from 0 to 7"):
        regions_on(grid, {"a": drawn})
    with pytest.raises(AnyPETError, match=r"'a': an array of shape \(5, 5, 4\)"):
        regions_on(grid, {"a": drawn[1:]})
    with pytest.raises(AnyPETError, match="70000 is too large"):
        regions_on(grid, grid.with_array(drawn.astype(int) * 10_000))
