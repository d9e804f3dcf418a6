"""Clean-up against a straightforward loop, and what every click is promised."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from anypet.errors import AnyPETError
from anypet.lesions.clean_up import DEFAULT_RULE, PAPER_RULE, SmallRule, clean_up, grow

Array = npt.NDArray[Any]
SPACING = (4.0, 4.0, 4.0)


def blobs(
    shape: tuple[int, int, int],
    *peaks: tuple[tuple[float, float, float], float, float],
    spacing: tuple[float, float, float] = SPACING,
    floor: float = 0.5,
) -> Array:
    """Uptake of Gaussian blobs (centre in voxels, SUV, sigma in mm), the highest where they meet."""
    where = np.indices(shape).T
    suv = np.full(shape, floor)
    for centre, height, sigma in peaks:
        d2 = (((where - centre) * spacing) ** 2).sum(-1).T
        suv = np.maximum(suv, floor + height * np.exp(-d2 / (2 * sigma**2)))
    return suv.astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_the_papers_rule_is_a_loop_over_components(seed: int) -> None:
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(30, 25, 28)), 1.2)
    mask = field > 1.2 * field.std()
    suv = rng.gamma(2, 0.8, mask.shape).astype(np.float32)
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    expected, dropped = mask.copy(), []
    for number in range(1, count + 1):
        region = labels == number
        if region.sum() < 10 and suv[region].max() < 4:
            expected[region] = False
            dropped.append((region.sum() * 0.012, suv[region].max()))
    found, changes = clean_up(mask, suv, (2.0, 2.0, 3.0), rule=PAPER_RULE)
    assert 0 < len(dropped) < count
    np.testing.assert_array_equal(found, expected)
    assert all(c.action == "removed" and "below 10 voxels and SUVmax below 4" in c.reason for c in changes)
    listed = sorted((c.volume_ml, c.suv_max) for c in changes)
    np.testing.assert_allclose(listed, sorted(dropped), rtol=1e-5)
    for change in changes:
        assert suv[change.voxel] == pytest.approx(change.suv_max)
        assert mask[change.voxel]
        assert not found[change.voxel]


def lone(voxels: int, peak: float) -> tuple[Array, Array]:
    mask = np.zeros((30, 5, 5), bool)
    mask[2 : 2 + voxels, 2, 2] = True
    suv = np.ones(mask.shape, np.float32)
    suv[2, 2, 2] = peak
    return mask, suv


@pytest.mark.parametrize(
    ("voxels", "peak", "kept"), [(9, 3.99, False), (10, 3.99, True), (9, 4.0, True), (10, 4.0, True)]
)
def test_both_limits_are_strict(voxels: int, peak: float, kept: bool) -> None:
    mask, suv = lone(voxels, peak)
    assert clean_up(mask, suv, SPACING, rule=PAPER_RULE)[0].any() == kept
    # 10 voxels of 0.03 mL are 0.3 mL
    tenth = (3.0, 2.0, 5.0)
    assert clean_up(mask, suv, tenth, rule=SmallRule(0.3))[0].any() == kept


def test_the_default_is_a_volume_whatever_the_grid() -> None:
    mask, suv = lone(8, 2.0)
    assert not clean_up(mask, suv, (2.0, 2.0, 2.0))[0].any()  # 0.06 mL
    assert clean_up(mask, suv, (4.0, 4.0, 4.0))[0].any()  # 0.51 mL
    assert clean_up(mask, suv, (2.0, 2.0, 2.0), rule=None)[0].any()
    assert SmallRule(0.3, "mL", 4.0) == DEFAULT_RULE


def test_a_tumour_click_keeps_a_component_that_is_small_and_faint() -> None:
    mask, suv = lone(3, 2.0)
    found, changes = clean_up(mask, suv, (2.0, 2.0, 2.0), [(4, 2, 2)])
    np.testing.assert_array_equal(found, mask)
    assert changes == []


# A hot bladder with a fainter lesion beside it; the mask joins them.
JOINED = blobs((40, 24, 24), ((12, 12, 12), 30.0, 12.0), ((23, 12, 12), 8.0, 9.0))
JOINED_MASK = JOINED > 2.0
BLADDER, LESION = (12, 12, 12), (23, 12, 12)


def test_the_joined_peaks_are_one_component() -> None:
    assert ndimage.label(JOINED_MASK, np.ones((3, 3, 3)))[1] == 1


@pytest.mark.parametrize("with_tumour", [False, True])
def test_a_background_click_takes_its_basin_and_leaves_the_other_peak(with_tumour: bool) -> None:
    tumour = [LESION] if with_tumour else []
    found, changes = clean_up(JOINED_MASK, JOINED, SPACING, tumour, [BLADDER])
    assert found[LESION]
    assert not found[BLADDER]
    assert not (found & ~JOINED_MASK).any()
    # the cut follows the valley between the two
    valley = 12 + int(JOINED[12:24, 12, 12].argmin())
    assert not found[: valley - 1].any()
    np.testing.assert_array_equal(found[valley + 1 :], JOINED_MASK[valley + 1 :])
    (change,) = changes
    assert change.action == "cut"
    assert str(BLADDER) in change.reason
    assert change.voxel == BLADDER
    assert change.volume_ml == pytest.approx((JOINED_MASK.sum() - found.sum()) * 0.064)


def test_a_background_click_off_the_peak_takes_the_same_basin() -> None:
    on, _ = clean_up(JOINED_MASK, JOINED, SPACING, background=[BLADDER])
    off, _ = clean_up(JOINED_MASK, JOINED, SPACING, background=[(9, 14, 12), (12, 10, 11)])
    np.testing.assert_array_equal(on, off)


def test_a_background_click_on_a_lone_peak_takes_it_whole() -> None:
    suv = blobs((20, 20, 20), ((10, 10, 10), 9.0, 9.0))
    found, changes = clean_up(suv > 3, suv, SPACING, background=[(9, 10, 11)])
    assert not found.any()
    assert [c.action for c in changes] == ["removed"]
    assert changes[0].suv_max == pytest.approx(9.5)
    assert changes[0].volume_ml == pytest.approx((suv > 3).sum() * 0.064)


def test_clicks_of_both_kinds_on_one_peak_split_it() -> None:
    suv = blobs((24, 24, 24), ((12, 12, 12), 9.0, 12.0))
    mask = suv > 2
    found, changes = clean_up(mask, suv, SPACING, [(9, 12, 12)], [(12, 12, 12)])
    assert found[9, 12, 12]
    assert not found[12, 12, 12]
    # the border lies half way between the clicks, and what is much fainter than the rejected voxel stays
    assert found[:10][mask[:10]].all()
    assert not found[11:13, 12, 12].any()
    faint = mask & (suv < 0.5 * suv[12, 12, 12])
    assert found[faint].all()
    assert changes[0].action == "cut"
    assert "split from a tumour click" in changes[0].reason


def test_a_background_click_fainter_than_the_tumour_clicks_corrects_their_border() -> None:
    """autoPET IV's background clicks often lie a voxel beside a lesion: they must not take a half of it."""
    suv = blobs((32, 24, 24), ((14, 12, 12), 9.0, 40.0))
    mask, click = suv > 2, (19, 12, 12)
    assert mask[click]
    found, changes = clean_up(mask, suv, SPACING, [(14, 12, 12)], [click])
    assert not found[click]
    away = np.linalg.norm((np.stack(np.indices(suv.shape), -1) - click) * np.asarray(SPACING), axis=-1)
    assert found[mask & (away > 8)].all()
    assert found[mask & (suv > suv[click])].all()
    assert "at the rim" in changes[0].reason


def test_a_hot_neighbour_that_is_rejected_leaves_the_lesion_its_core() -> None:
    """A lesion clicked at its faint rim beside a hotter organ that the mask runs into."""
    suv = blobs((48, 24, 24), ((14, 12, 12), 9.0, 40.0), ((34, 12, 12), 16.0, 40.0))
    lesion, mask = np.indices(suv.shape)[0] < 24, suv > 2
    found, _ = clean_up(mask, suv, SPACING, [(6, 12, 12), (14, 5, 12), (20, 12, 12)], [(34, 12, 12)])
    kept = found & lesion & mask
    assert kept.sum() > 0.9 * (lesion & mask).sum()
    assert not (found & (np.indices(suv.shape)[0] > 30) & (suv > 8.5)).any()


def test_a_background_click_at_the_rim_corrects_the_border_alone() -> None:
    suv = blobs((24, 24, 24), ((12, 12, 12), 9.0, 12.0))
    mask, click = suv > 1, (17, 12, 12)
    assert mask[click]
    assert suv[click] < 4.5
    found, changes = clean_up(mask, suv, SPACING, [], [click])
    assert not found[click]
    assert found[mask & (suv > suv[click])].all()
    assert found[:12][mask[:12]].all()
    assert "at the rim" in changes[0].reason


def test_a_background_click_takes_no_more_of_a_clicked_tumour_than_its_own_depth_tells() -> None:
    """A tumour of two peaks, 200 mm long; a click 16 mm deep beside the far one takes 24 mm around itself."""
    suv = blobs((64, 30, 30), ((20, 15, 15), 6, 40), ((44, 15, 15), 6, 40))
    mask = suv > 3
    click = (44, 15, int(np.flatnonzero(mask[44, 15])[4 - 1]))
    found, changes = clean_up(mask, suv, SPACING, [(20, 15, 15)], [click])
    lost = np.argwhere(mask & ~found)
    away = np.linalg.norm((lost - click) * SPACING, axis=1)
    assert not found[click]
    assert away.max() <= 24.01
    assert found[44, 15, 20]
    assert [c.action for c in changes] == ["cut"]
    assert "beside a tumour click" in changes[0].reason
    everything, _ = clean_up(mask, suv, SPACING, [], [click])  # with no tumour click its basin goes
    assert not everything[44, 15, 20]


def test_what_is_left_of_a_cut_is_cleaned_too() -> None:
    suv = blobs((40, 24, 24), ((12, 12, 12), 30.0, 10.0), ((21, 12, 12), 2.5, 4.0))
    mask = suv > 0.9
    found, changes = clean_up(mask, suv, SPACING, background=[(12, 12, 12)], rule=SmallRule(3.0))
    assert not found.any()
    assert [c.action for c in changes] == ["cut", "removed"]


def test_clicks_elsewhere_change_nothing() -> None:
    found, changes = clean_up(JOINED_MASK, JOINED, SPACING, [LESION], [(0, 0, 0)])
    np.testing.assert_array_equal(found, JOINED_MASK)
    assert changes == []


def test_a_voxel_clicked_both_ways_is_tumour() -> None:
    found, _ = clean_up(JOINED_MASK, JOINED, SPACING, [BLADDER], [BLADDER])
    np.testing.assert_array_equal(found, JOINED_MASK)


@pytest.mark.parametrize("spacing", [(4.0, 4.0, 4.0), (2.0, 2.0, 5.0)])
@pytest.mark.parametrize("off_mm", [0.0, 4.0])
def test_a_missed_lesion_is_grown_to_half_of_its_contrast(
    spacing: tuple[float, float, float], off_mm: float
) -> None:
    shape = tuple(int(120 / s) for s in spacing)
    centre = tuple(n // 2 for n in shape)
    suv = blobs(shape, (centre, 8.0, 8.0), spacing=spacing, floor=2.0)
    suv += np.random.default_rng(0).normal(0, 0.1, shape).astype(np.float32)
    click = (centre[0] + round(off_mm / spacing[0]), centre[1], centre[2])
    found, changes = clean_up(np.zeros(shape, bool), suv, spacing, [click])
    truth = suv >= 6.0  # half way from 2 to 10
    dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    assert dice > 0.9
    (change,) = changes
    assert change.action == "added"
    assert change.suv_max == pytest.approx(suv.max())
    assert change.volume_ml == pytest.approx(found.sum() * np.prod(spacing) / 1000)


def test_a_grown_lesion_stops_at_the_hotter_organ_beside_it() -> None:
    box, region = grow(JOINED, SPACING, LESION)
    found = np.zeros(JOINED.shape, bool)
    found[box] = region
    assert found[LESION]
    assert not found[BLADDER]
    valley = 12 + int(JOINED[12:24, 12, 12].argmin())
    assert not found[:valley].any()
    assert found.sum() > 20


@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_a_click_where_nothing_stands_out_gives_a_ball_of_5_mm(value: float) -> None:
    suv = np.full((30, 30, 30), value, np.float32)
    found, changes = clean_up(np.zeros(suv.shape, bool), suv, (2.0, 2.0, 2.0), [(15, 15, 15), (0, 29, 0)])
    distance = np.linalg.norm((np.indices(suv.shape).T - (15, 15, 15)) * 2.0, axis=-1).T
    np.testing.assert_array_equal(found[5:], (distance <= 5.0)[5:])
    assert found[0, 29, 0]
    assert len(changes) == 2


def test_a_click_in_a_wide_plateau_does_not_flood_it() -> None:
    suv = np.full((60, 60, 60), 1.0, np.float32)
    suv[10:50, 10:50, 10:50] = 5.0
    box, region = grow(suv, (2.0, 2.0, 2.0), (30, 30, 30))
    assert region.sum() * 0.008 < 1.0
    assert region[tuple(30 - s.start for s in box)]


def test_a_click_beside_the_peak_of_a_long_vessel_does_not_follow_the_vessel() -> None:
    """At half of the contrast the region runs along the vessel to the rim; above, the click is not in it."""
    suv = np.full((40, 40, 40), 1.0, np.float32)
    suv[:, 18:23, 18:23] = 3.2
    suv[21, 20, 20] = 5.0
    box, region = grow(suv, (2.0, 2.0, 2.0), (20, 20, 20))
    inside = np.argwhere(region) + [s.start for s in box]
    np.testing.assert_allclose(np.linalg.norm((inside - (20, 20, 20)) * 2.0, axis=1).max(), 5.0, atol=1.0)


def test_a_tumour_click_grown_around_a_rejected_voxel_gives_it_back() -> None:
    suv = blobs((24, 24, 24), ((12, 12, 12), 9.0, 9.0))
    mask = np.zeros(suv.shape, bool)
    found, changes = clean_up(mask, suv, SPACING, [(12, 12, 12)], [(13, 12, 12)])
    assert found[12, 12, 12]
    assert not found[13, 12, 12]
    assert [c.action for c in changes] == ["added", "cut"]


CLICKS = st.lists(st.tuples(*(st.integers(0, n - 1) for n in (12, 10, 8))), max_size=5)


@given(st.integers(0, 10**6), CLICKS, CLICKS, st.sampled_from([PAPER_RULE, DEFAULT_RULE, None]))
@settings(max_examples=40, deadline=None)
def test_every_click_is_obeyed_and_the_records_add_up(
    seed: int, tumour: list[tuple[int, int, int]], background: list[tuple[int, int, int]], rule: SmallRule
) -> None:
    rng = np.random.default_rng(seed)
    suv = ndimage.gaussian_filter(rng.gamma(1.0, 4.0, (12, 10, 8)), rng.uniform(0, 1.5)).astype(np.float32)
    suv[rng.random(suv.shape) < 0.02] = np.nan
    mask = rng.random(suv.shape) < rng.uniform(0, 0.6)
    before = mask.copy()
    found, changes = clean_up(mask, suv, (3.0, 2.0, 4.0), tumour, background, rule=rule)
    np.testing.assert_array_equal(mask, before)
    assert all(found[c] for c in tumour)
    assert not any(found[c] for c in background if c not in tumour)
    volume = sum(c.volume_ml if c.action == "added" else -c.volume_ml for c in changes)
    assert (found.sum() - float(mask.sum())) * 0.024 == pytest.approx(volume, abs=1e-6)
    assert all(np.isfinite(c.suv_max) and c.volume_ml > 0 for c in changes)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 1), (1, 6, 5)])
def test_thin_scans_and_empty_masks(shape: tuple[int, int, int]) -> None:
    suv = np.full(shape, 2.0, np.float32)
    everything = np.ones(shape, bool)
    assert not clean_up(np.zeros(shape, bool), suv, SPACING)[0].any()
    assert not clean_up(everything, suv, SPACING, background=[(0, 0, 0)])[0].any()
    assert clean_up(everything, suv, SPACING, [(0, 0, 0)], rule=SmallRule(99.0))[0].all()
    assert clean_up(np.zeros(shape, bool), suv, SPACING, [(0, 0, 0)])[0][0, 0, 0]


def test_masks_of_other_types_and_bad_input() -> None:
    mask, suv = lone(12, 5.0)
    found, _ = clean_up(mask.astype(np.uint8), suv, SPACING)
    assert found.dtype == bool
    np.testing.assert_array_equal(found, mask)
    with pytest.raises(AnyPETError, match="one grid"):
        clean_up(mask[1:], suv, SPACING)
    with pytest.raises(AnyPETError, match="spacing"):
        clean_up(mask, suv, (1.0, 1.0, -1.0))
    with pytest.raises(AnyPETError, match="background click"):
        clean_up(mask, suv, SPACING, background=[(0, 0, 99)])
    for wrong in ({"size": -1}, {"size": 1, "unit": "mm"}, {"size": 1, "suv": -4}):
        with pytest.raises(AnyPETError, match="rule for small"):
            SmallRule(**wrong)
