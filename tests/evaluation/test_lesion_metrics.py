"""Figures over lesions against loops over components, by hand and on random masks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from anypet.errors import AnyPETError
from anypet.evaluation.lesion_metrics import Lesions, lesion_overlap, overlap_of
from anypet.evaluation.metrics import area_under_clicks, measure
from anypet.volume import Volume

TILTED = np.array([[2.0, 0.3, 0, -7], [-0.3, 1.5, 0, 4], [0, 0, 3, 1], [0, 0, 0, 1]])
EDGES = ndimage.generate_binary_structure(3, 2)


def volume(array: npt.NDArray[Any], affine: npt.NDArray[Any] = TILTED) -> Volume:
    return Volume(array, affine, "label")


def by_hand(true: npt.NDArray[Any], predicted: npt.NDArray[Any], iou: float) -> dict[str, float]:
    """Component by component, each as a mask of its own, as the challenges' scripts do it."""
    true, predicted = true != 0, predicted != 0
    one = [ndimage.label(true, EDGES)[0] == n + 1 for n in range(ndimage.label(true, EDGES)[1])]
    other = [ndimage.label(predicted, EDGES)[0] == n + 1 for n in range(ndimage.label(predicted, EDGES)[1])]
    ml = abs(np.linalg.det(TILTED[:3, :3])) / 1000

    def matches(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> bool:
        shared = (a & b).sum()
        return bool(shared and shared / (a | b).sum() >= iou)

    found = sum(any(matches(a, b) for b in other) for a in one)
    false = sum(not any(matches(a, b) for a in one) for b in other)
    missed = len(one) - found
    some = bool(one)
    return {
        "dice": 2 * (true & predicted).sum() / (true.sum() + predicted.sum()) if some else math.nan,
        "fpv": ml * sum(b.sum() for b in other if not (b & true).any()),
        "fnv": ml * sum(a.sum() for a in one if not (a & predicted).any()) if some else math.nan,
        "f1": 2 * found / (2 * found + false + missed) if some else math.nan,
        "counts": (len(one), found, missed, len(other), false),
    }


def random_pair(seed: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Two masks of blobs or of dust that overlap more or less; some are empty."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 14, 3))
    noise = rng.random((2, *shape))
    if seed % 3:
        noise = ndimage.gaussian_filter(noise, (0, 1, 1, 1))
        noise = (noise - noise.min()) / (np.ptp(noise) + 1e-9)
    noise[1] = np.where(rng.random(shape) < rng.random(), noise[0], noise[1])
    levels = rng.uniform(0.5, 1.05, 2)
    return noise[0] > levels[0], noise[1] > levels[1]


def test_two_hundred_random_masks_agree_with_loops_over_components() -> None:
    several = 0
    for seed in range(200):
        true, predicted = random_pair(seed)
        iou = [0.0, 0.1, 0.5, 1.0][seed % 4]
        expected = by_hand(true, predicted, iou)
        as_stored = np.asfortranarray(true) if seed % 2 else true.astype(np.uint8) * 3
        overlap = lesion_overlap(volume(as_stored), volume(predicted))
        found = overlap.detection(iou)
        assert overlap.dice == pytest.approx(expected["dice"], nan_ok=True)
        assert overlap.false_positive_volume == pytest.approx(expected["fpv"])
        assert overlap.false_negative_volume == pytest.approx(expected["fnv"], nan_ok=True)
        assert found.f1 == pytest.approx(expected["f1"], nan_ok=True)
        counts = (found.lesions, found.found, found.missed, found.predicted, found.false)
        assert counts == expected["counts"]
        several += found.lesions > 2 and 0 < found.found < found.lesions and found.false > 0
    assert several > 20  # the masks are not all trivial


def test_the_scripts_rules_for_empty_masks() -> None:
    nothing, something = np.zeros((4, 4, 4), bool), np.zeros((4, 4, 4), bool)
    something[1:3, 1:3, 1:3] = True
    ml = 8 * volume(nothing).voxel_volume_ml
    missed = lesion_overlap(volume(something), volume(nothing))
    assert (missed.dice, missed.false_positive_volume, missed.dmm) == (0.0, 0.0, 0.0)
    assert missed.false_negative_volume == pytest.approx(ml)
    assert math.isnan(missed.detection().precision)
    alarm = lesion_overlap(volume(nothing), volume(something))
    assert alarm.false_positive_volume == pytest.approx(ml)
    assert all(map(math.isnan, (alarm.dice, alarm.false_negative_volume, alarm.dmm, alarm.detection().f1)))
    assert (alarm.detection().false, alarm.detection().precision) == (1, 0.0)
    both = lesion_overlap(volume(nothing), volume(nothing))
    assert both.false_positive_volume == 0.0
    assert math.isnan(both.dice)
    assert math.isnan(both.detection().sensitivity)


def test_detection_matching_by_hand() -> None:
    true, predicted = np.zeros((40, 6, 6), bool), np.zeros((40, 6, 6), bool)
    true[0:10] = True  # predicted in two halves of IoU 4/10 each
    predicted[0:4] = predicted[5:9] = True
    true[15:25] = True  # IoU 1 voxel of 360: any overlap finds it, DMM does not
    predicted[24, 0, 0] = True
    true[30, 0, 0] = True  # missed
    predicted[35:37, 0, 0] = True  # false alarm
    overlap = lesion_overlap(volume(true), volume(predicted))
    loose = overlap.detection()
    assert (loose.lesions, loose.found, loose.predicted, loose.right) == (3, 2, 4, 3)
    assert (loose.sensitivity, loose.precision) == (pytest.approx(2 / 3), pytest.approx(3 / 4))
    assert loose.f1 == pytest.approx(4 / 6)  # found 2, false 1, missed 1
    strict = overlap.detection(0.1)
    assert (strict.found, strict.right, strict.false, strict.missed) == (1, 2, 2, 2)
    assert overlap.dmm == strict.f1 == pytest.approx(2 / 6)
    assert overlap.detection(0.4).found == 1  # the threshold itself counts
    assert overlap.detection(0.41).found == 0
    ml = overlap.voxel_ml
    assert overlap.false_positive_volume == pytest.approx(2 * ml)
    assert overlap.false_negative_volume == pytest.approx(1 * ml)
    with pytest.raises(AnyPETError, match="between 0 and 1"):
        overlap.detection(1.5)


def test_edges_join_and_corners_do_not() -> None:
    mask = np.zeros((4, 4, 4), bool)
    mask[0, 0, 0] = mask[1, 1, 0] = mask[2, 2, 1] = True
    assert [Lesions.of(volume(mask), c).sizes.tolist() for c in (6, 18, 26)] == [[1, 1, 1], [2, 1], [3]]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_exchanged_masks_exchange_their_sides(seed: int) -> None:
    true, predicted = (volume(mask) for mask in random_pair(seed))
    there, back = lesion_overlap(true, predicted), lesion_overlap(predicted, true)
    one, other = there.detection(0.1), back.detection(0.1)
    assert (one.found, one.right, one.lesions) == (other.right, other.found, other.predicted)
    if one.lesions and other.lesions:
        assert there.dice == pytest.approx(back.dice)
        assert there.false_positive_volume == pytest.approx(back.false_negative_volume)
    perfect = lesion_overlap(true, true)
    if perfect.true_voxels.size:
        assert (perfect.dice, perfect.detection(1.0).f1, perfect.false_negative_volume) == (1.0, 1.0, 0.0)


def test_lesions_labelled_once_serve_many_predictions() -> None:
    true, predicted = (volume(mask) for mask in random_pair(4))
    lesions = Lesions.of(true)
    for mask in (predicted, true):
        assert overlap_of(lesions, Lesions.of(mask)).dice == lesion_overlap(true, mask).dice


def test_masks_of_other_geometry_are_refused() -> None:
    mask = np.ones((3, 4, 5), bool)
    moved = TILTED.copy()
    moved[2, 3] += 0.5
    source = Volume(mask, moved, "label", {"source": "case_pred3.nii.gz"})
    with pytest.raises(
        AnyPETError, match=r"case_pred3\.nii\.gz does not lie on the grid of the truth"
    ) as told:
        lesion_overlap(volume(mask), source)
    assert "resample" in str(told.value)
    with pytest.raises(AnyPETError, match=r"3 x 4 x 4 voxels .* expected 3 x 4 x 5"):
        overlap_of(Lesions.of(volume(mask)), Lesions.of(volume(mask[..., :4])))
    lesion_overlap(volume(mask), volume(mask, TILTED + 1e-5))  # rounding of headers is no difference


def test_the_metrics_of_one_object_give_the_same_false_volumes() -> None:
    true, predicted = random_pair(7)
    affine = np.diag([2.0, 1.5, 3.0, 1.0])
    overlap = lesion_overlap(volume(true, affine), volume(predicted, affine))
    values = measure(true, predicted, (2.0, 1.5, 3.0), metrics=["fpv", "fnv"])
    expected = {"fpv": overlap.false_positive_volume, "fnv": overlap.false_negative_volume}
    assert values == pytest.approx(expected)


def test_the_area_under_eleven_steps() -> None:
    rising = [n / 10 for n in range(11)]
    assert area_under_clicks(rising, normalised=False) == pytest.approx(5.0)
    assert area_under_clicks(rising) == pytest.approx(0.5)
    assert area_under_clicks([1.0, 3.0, 0.0], normalised=False) == pytest.approx(2.0 + 1.5)
    assert math.isnan(area_under_clicks([math.nan, 1.0], normalised=False))
