"""Metrics against DeepMind's surface-distance, MONAI and hand-worked cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from anypet.errors import AnyPETError
from anypet.evaluation.metrics import (
    METRICS,
    area_under_clicks,
    dice,
    hausdorff95,
    measure,
    surface_area_table,
    surface_dice,
)

SPACING = (2.0, 4.1, 3.27)
SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6)
PAIRS = SHAPES.flatmap(lambda s: st.tuples(hnp.arrays(bool, s), hnp.arrays(bool, s)))


def blobs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two overlapping random shapes with holes and stray pieces, some cut by the border."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(24, 18, 20)), 2.5)
    other = field + 0.5 * ndimage.gaussian_filter(rng.normal(size=field.shape), 2.0)
    return field > 0.02, other > 0.03


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("tolerance", [0.5, 2.0, 4.5])
def test_surfaces_agree_with_surface_distance(seed: int, tolerance: float) -> None:
    oracle = pytest.importorskip("surface_distance")
    target, mask = blobs(seed)
    distances = oracle.compute_surface_distances(target, mask, SPACING)
    expected = oracle.compute_surface_dice_at_tolerance(distances, tolerance)
    assert surface_dice(target, mask, SPACING, tolerance) == pytest.approx(expected, abs=1e-6)
    expected = oracle.compute_robust_hausdorff(distances, 95)
    assert hausdorff95(target, mask, SPACING) == pytest.approx(expected, abs=1e-4)
    assert dice(target, mask) == pytest.approx(oracle.compute_dice_coefficient(target, mask))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), SPACING])
def test_area_table_is_the_one_of_surface_distance(spacing: tuple[float, float, float]) -> None:
    tables = pytest.importorskip("surface_distance.lookup_tables")
    expected = tables.create_table_neighbour_code_to_surface_area(spacing)
    np.testing.assert_allclose(surface_area_table(spacing), expected, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_monai(seed: int) -> None:
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    target, mask = blobs(seed)
    t, m = (torch.from_numpy(a)[None, None].float() for a in (target, mask))
    assert dice(target, mask) == pytest.approx(metrics.compute_dice(m, t).item(), abs=1e-6)
    expected = metrics.compute_surface_dice(
        m, t, [3.0], spacing=SPACING, use_subvoxels=True, include_background=True
    )
    assert surface_dice(target, mask, SPACING, 3.0) == pytest.approx(expected.item(), abs=1e-5)
    # MONAI measures between voxel centres and without areas: near, not equal
    near = metrics.compute_hausdorff_distance(
        m, t, percentile=95, spacing=SPACING, include_background=True
    ).item()
    assert hausdorff95(target, mask, SPACING) == pytest.approx(near, abs=max(SPACING))


def test_hand_worked_overlap_and_uptake() -> None:
    target, mask = np.zeros((2, 6, 6, 6), dtype=bool)
    target[1:3, 1:3, 1:3] = True  # 8 voxels
    mask[2:4, 1:3, 1:3] = True  # 8 voxels, 4 shared
    suv = np.full((6, 6, 6), 2.0, dtype=np.float32)
    suv[3] = 6.0  # half of the mask
    got = measure(target, mask, (10.0, 10.0, 10.0), suv, tolerance_mm=10.0)
    assert got["dsc"] == 0.5
    assert got["volume_error"] == 0.0
    assert got["suvmean_error"] == pytest.approx((4.0 - 2.0) / 2.0)
    assert got["tlg_error"] == pytest.approx((32.0 - 16.0) / 16.0)
    assert got["nsd"] == 1.0  # shifted by one voxel of 10 mm, the tolerance holds it
    assert got["hd95"] == pytest.approx(10.0)
    assert (got["fpv"], got["fnv"]) == (0.0, 0.0)


def test_surface_dice_of_shifted_cubes_worked_by_hand() -> None:
    target, mask = np.zeros((2, 30, 12, 12), dtype=bool)
    target[5:15, 1:11, 1:11] = True
    mask[8:18, 1:11, 1:11] = True
    # patches: 1 on a face, sqrt(1/2) on an edge, sqrt(3)/8 at a corner of a cube with sides of 10 voxels
    ring = 4 * 9 * 1 + 4 * math.sqrt(0.5)
    rim = 4 * 9 * math.sqrt(0.5) + 4 * math.sqrt(3) / 8
    # shared by both: the rings of 7 layers and the rim where the other cube ends
    expected = (7 * ring + rim) / (9 * ring + 2 * (81 + rim))
    assert surface_dice(target, mask, (1, 1, 1), 0.0) == pytest.approx(expected)
    assert hausdorff95(target, mask, (1, 1, 1)) == pytest.approx(3.0)
    assert hausdorff95(target, mask, (2.5, 1, 1)) == pytest.approx(7.5)


def test_false_components_are_counted_in_millilitres() -> None:
    target, mask = np.zeros((2, 10, 10, 10), dtype=bool)
    target[1:3, 1:3, 1:3] = True  # missed: 8 voxels
    target[6:9, 6:9, 6:9] = True  # hit in one voxel
    mask[8, 8, 8] = True
    mask[0, 8:10, 0] = True  # false: 2 voxels
    got = measure(target, mask, (10.0, 5.0, 4.0), metrics=["fpv", "fnv"])
    assert got == {"fpv": pytest.approx(0.4), "fnv": pytest.approx(1.6)}


def test_empty_masks_follow_the_table() -> None:
    empty, full = np.zeros((3, 3, 3), dtype=bool), np.ones((3, 3, 3), dtype=bool)
    suv = np.ones((3, 3, 3))
    inf, nan = math.inf, math.nan
    both = measure(empty, empty, (10, 10, 10), suv)
    no_target = measure(empty, full, (10, 10, 10), suv)
    no_mask = measure(full, empty, (10, 10, 10), suv)
    order = ("dsc", "nsd", "hd95", "volume_error", "tlg_error", "suvmean_error", "fpv", "fnv")
    assert set(order) == set(METRICS)
    np.testing.assert_equal([both[n] for n in order], [nan, nan, nan, nan, nan, nan, 0, nan])
    np.testing.assert_allclose([no_target[n] for n in order], [0, 0, inf, nan, nan, nan, 27, nan])
    np.testing.assert_allclose([no_mask[n] for n in order], [0, 0, inf, -1, -1, nan, 0, 27])


@given(PAIRS)
@settings(max_examples=40, deadline=None)
def test_bounds_symmetry_and_identity(masks: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = masks
    forth, back = measure(a, b, SPACING), measure(b, a, SPACING)
    np.testing.assert_allclose(
        [forth[n] for n in ("dsc", "nsd", "hd95")], [back[n] for n in ("dsc", "nsd", "hd95")]
    )
    if a.any() or b.any():
        assert 0 <= forth["dsc"] <= 1
        assert 0 <= forth["nsd"] <= 1
        assert forth["hd95"] >= 0
    if a.any():
        same = measure(a, a, SPACING)
        assert (same["dsc"], same["nsd"], same["hd95"], same["volume_error"]) == (1, 1, 0, 0)


@given(PAIRS, st.integers(0, 4))
@settings(max_examples=15, deadline=None)
def test_surroundings_and_layout_change_nothing(masks: tuple[np.ndarray, np.ndarray], width: int) -> None:
    a, b = masks
    padded = [np.asfortranarray(np.pad(m, width)) for m in masks]
    np.testing.assert_equal(measure(a, b, SPACING), measure(*padded, SPACING))


def test_arguments_are_checked() -> None:
    cube, longer = np.ones((3, 3, 3), dtype=bool), np.ones((3, 3, 4), dtype=bool)
    with pytest.raises(AnyPETError, match=r"mask.*\(3, 3, 4\)"):
        dice(cube, longer)
    with pytest.raises(AnyPETError, match="spacing"):
        hausdorff95(cube, cube, (1, 0, 1))
    with pytest.raises(AnyPETError, match="tolerance"):
        surface_dice(cube, cube, (1, 1, 1), -1)
    with pytest.raises(AnyPETError, match="unknown metric iou"):
        measure(cube, cube, (1, 1, 1), metrics=["iou"])
    with pytest.raises(AnyPETError, match="SUVbw"):
        measure(cube, cube, (1, 1, 1), metrics=["tlg_error"])
    with pytest.raises(AnyPETError, match="two values"):
        area_under_clicks([0.5])
    assert "tlg_error" not in measure(cube, cube, (1, 1, 1))


def test_area_under_clicks_is_the_mean_height() -> None:
    assert area_under_clicks([0.0, 1.0]) == 0.5
    assert area_under_clicks([0.2] * 11) == pytest.approx(0.2)
