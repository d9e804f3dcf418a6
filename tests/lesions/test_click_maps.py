"""Click maps against the paper's procedure written out with whole-volume filters, and against its corners."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from anypet.errors import AnyPETError
from anypet.lesions.click_maps import distance_map, gaussian_map

SHAPE = (40, 36, 32)
SPACING = (2.0, 2.5, 3.0)
TUMOUR = [(20, 18, 16), (23, 18, 16), (0, 0, 31)]
BACKGROUND = [(10, 20, 15), (12, 21, 15), (39, 35, 0), (22, 20, 16)]
FloatArray = npt.NDArray[np.floating]
Make = Callable[..., npt.NDArray[np.float32]]


def scan(shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).gamma(2.0, 1.5, shape).astype(np.float32)


def written_out(
    suv: FloatArray,
    tumour: list[tuple[int, int, int]],
    background: list[tuple[int, int, int]],
    sigma: FloatArray,
    background_sigma: FloatArray,
    peak_one: bool,
) -> FloatArray:
    """The procedure of the paper, sentence by sentence, on whole arrays in double precision."""

    def filtered(deltas: FloatArray, width: FloatArray) -> FloatArray:
        image = ndimage.gaussian_filter(deltas, width, mode="constant")
        if not peak_one:
            return image
        # the kernel's own height, from a delta that no border is near
        lone = np.zeros([2 * int(4 * w + 0.5) + 1 for w in width])
        lone[tuple(n // 2 for n in lone.shape)] = 1
        return image / ndimage.gaussian_filter(lone, width, mode="constant").max()

    heatmap_tumour = np.zeros(suv.shape)
    for click in tumour:
        local = np.zeros(suv.shape)
        local[click] = 1
        local = filtered(local, sigma)
        local[suv < min(suv[click], 3)] = 0
        heatmap_tumour += local
    heatmap_tumour = np.clip(heatmap_tumour, 0, 1)
    heatmap_background = np.zeros(suv.shape)
    for click in background:
        heatmap_background[click] = 1
    heatmap_background = filtered(heatmap_background, background_sigma)
    heatmap_background[heatmap_tumour > 0] = 0
    return heatmap_tumour - heatmap_background


@pytest.mark.parametrize("peak", ["one", "filter"])
@pytest.mark.parametrize("unit", ["mm", "voxel"])
def test_gaussian_map_is_the_papers_procedure(peak: str, unit: str) -> None:
    suv = scan()
    step = np.array(SPACING) if unit == "mm" else np.ones(3)
    sigma, wide = (5.0, 9.0) if unit == "mm" else (2.0, 3.0)
    expected = written_out(suv, TUMOUR, BACKGROUND, sigma / step, wide / step, peak == "one")
    found = gaussian_map(
        suv, SPACING, TUMOUR, BACKGROUND, sigma=sigma, background_sigma=wide, unit=unit, peak=peak
    )
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    # every part of the procedure is at work here: both signs, the clip, the cut and the crossing out
    assert found.max() > 0 > found.min()
    assert (found[20:24, 18, 16] == 1).any() == (peak == "one")


def test_defaults_are_millimetres_with_peaks_of_one() -> None:
    suv = np.full((60, 60, 60), 5.0, np.float32)
    found = gaussian_map(suv, (2.0, 2.0, 4.0), [(30, 30, 30)])
    assert found[30, 30, 30] == 1.0
    assert found[30, 34, 30] == pytest.approx(np.exp(-0.5 * (8 / 7) ** 2), rel=1e-6)
    # 8 mm are 4 voxels along j and 2 along k
    assert found[30, 30, 32] == pytest.approx(found[30, 34, 30], rel=1e-6)
    negative = gaussian_map(suv, (2.0, 2.0, 4.0), background=[(30, 30, 30)])
    assert negative[37, 30, 30] == pytest.approx(-np.exp(-0.5), rel=1e-6)


def test_background_is_clipped_when_asked() -> None:
    suv, near = scan(), [(20, 18, 16), (21, 18, 16), (20, 19, 16)]
    loose, tight = (gaussian_map(suv, SPACING, background=near, clip_background=c) for c in (False, True))
    assert loose.min() < -2.5
    np.testing.assert_array_equal(tight, np.maximum(loose, -1))


def test_uptake_below_the_click_and_below_3_is_cut() -> None:
    suv = np.full((21, 21, 21), 2.0, np.float32)
    suv[:10] = 1.0
    suv[15:] = 2.9
    suv[18:] = 8.0
    faint = gaussian_map(suv, (4.0, 4.0, 4.0), [(12, 10, 10)])
    assert faint[10:19, 10, 10].min() > 0  # up to 4 sigma
    assert faint[:10].max() == 0
    hot = gaussian_map(suv, (4.0, 4.0, 4.0), [(18, 10, 10)])
    assert hot[18:, 10, 10].min() > 0
    assert hot[:18].max() == 0
    lower = gaussian_map(suv, (4.0, 4.0, 4.0), [(18, 10, 10)], suv_ceiling=2.5)
    assert lower[15:, 10, 10].min() > 0


@pytest.mark.parametrize("make", [gaussian_map, distance_map])
def test_no_clicks_give_zeros_and_background_alone_is_never_positive(make: Make) -> None:
    suv = scan()
    assert not make(suv, SPACING).any()
    assert not make(suv, SPACING, [], np.zeros((0, 3))).any()
    alone = make(suv, SPACING, background=BACKGROUND)
    assert alone.max() <= 0
    assert all(alone[click] <= -0.99 for click in BACKGROUND)
    assert make(suv, SPACING, TUMOUR).min() == 0


@pytest.mark.parametrize("make", [gaussian_map, distance_map])
def test_voxels_that_are_not_finite_count_as_zero(make: Make) -> None:
    suv = scan()
    suv[20, 18, 16], suv[20, 19, 16], suv[21, 18, 16] = np.nan, np.inf, -np.inf
    clean = np.nan_to_num(suv, nan=0, posinf=0, neginf=0)
    found = make(suv, SPACING, TUMOUR, BACKGROUND)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, make(clean, SPACING, TUMOUR, BACKGROUND))


@pytest.mark.parametrize("make", [gaussian_map, distance_map])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 1), (2, 3, 50)])
def test_thin_scans_and_clicks_in_every_corner(make: Make, shape: tuple[int, int, int]) -> None:
    corners = np.argwhere(np.ones((2, 2, 2))) * (np.array(shape) - 1)
    found = make(scan(shape), SPACING, corners[:4], corners[4:])
    assert np.isfinite(found).all()
    assert all(found[tuple(c)] >= 0.99 for c in corners[:4])


@pytest.mark.parametrize("make", [gaussian_map, distance_map])
def test_bad_clicks_and_grids_are_refused(make: Make) -> None:
    suv = scan()
    for bad in ([(40, 0, 0)], [(0, -1, 0)], [(1, 2)], [(1.5, 2, 3)], [(np.nan, 2, 3)], (1, 2, 3)):
        for clicks in ({"tumour": bad}, {"background": bad}):
            with pytest.raises(AnyPETError, match=next(iter(clicks))):
                make(suv, SPACING, **clicks)
    with pytest.raises(AnyPETError, match="spacing"):
        make(suv, (2.0, 0.0, 3.0))
    with pytest.raises(AnyPETError, match="3D"):
        make(suv[0], SPACING)


def test_bad_settings_are_refused() -> None:
    suv = scan()
    for wrong in ({"sigma": 0.0}, {"background_sigma": -1.0}, {"unit": "cm"}, {"peak": "two"}):
        with pytest.raises(AnyPETError, match=r"sigma|unit"):
            gaussian_map(suv, SPACING, **wrong)
    with pytest.raises(AnyPETError, match="reach"):
        distance_map(suv, SPACING, reach_mm=0)


VOXELS = st.lists(st.tuples(*(st.integers(0, n - 1) for n in (9, 8, 7))), max_size=4)


@given(VOXELS, VOXELS, st.sampled_from([None, 3.0]), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_distance_map_is_scipys_distance_transform(
    tumour: list[tuple[int, int, int]],
    background: list[tuple[int, int, int]],
    ceiling: float | None,
    seed: int,
) -> None:
    suv, reach = scan((9, 8, 7), seed), 11.0

    def near(clicks: list[tuple[int, int, int]]) -> FloatArray:
        if not clicks:
            return np.zeros(suv.shape)
        seeds = np.ones(suv.shape, bool)
        seeds[tuple(np.transpose(clicks))] = False
        return np.clip(1 - ndimage.distance_transform_edt(seeds, sampling=SPACING) / reach, 0, 1)

    cut = [near([c]) * (suv >= (-1 if ceiling is None else min(suv[c], ceiling))) for c in tumour]
    positive, negative = np.max([np.zeros(suv.shape), *cut], axis=0), near(background)
    expected = np.where(negative > positive + 1e-6, -negative, positive)
    found = distance_map(suv, SPACING, tumour, background, reach_mm=reach, suv_ceiling=ceiling)
    tie = np.abs(negative - positive) < 1e-6
    np.testing.assert_allclose(np.where(tie, np.abs(found), found), expected, atol=1e-6)
