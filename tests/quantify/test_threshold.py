"""Thresholds inside a mask: levels worked by hand, on labels and on overlapping masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anypet.errors import AnyPETError
from anypet.quantify.regions import Form, liver_sphere, organ, placed
from anypet.quantify.threshold import (
    above_liver,
    fixed,
    of_maximum,
    parse,
    percist,
    percist_level,
    resegment,
)
from anypet.volume import Volume
from spheres import ball, empty, places

SCAN = empty((2.0, 2.0, 2.0), 120.0)


def cone(suv: float = 10.0, slope: float = 0.25) -> Volume:
    """Uptake falling from the middle: 10 - 0.25 |x|, not below 0.5."""
    distance = np.linalg.norm(places(SCAN), axis=-1)
    return SCAN.with_array(np.maximum(suv - slope * distance, 0.5).astype(np.float32))


def test_levels_cut_a_cone_at_the_right_radius() -> None:
    pet, mask = cone(), ball(SCAN, (0, 0, 0), 50.0)
    top = float(pet.array[mask].max())
    for rule, level in ((of_maximum(0.41), 0.41 * top), (of_maximum(0.5), 0.5 * top), (fixed(4.0), 4.0)):
        kept = resegment(pet, {"cone": mask}, rule)
        assert isinstance(kept, dict)
        np.testing.assert_array_equal(kept["cone"], mask & (pet.array >= level))
        radius = (10 - level) / 0.25
        assert kept["cone"].sum() * SCAN.voxel_volume_ml == pytest.approx(
            4 / 3 * np.pi * radius**3 / 1000, rel=0.03
        )


def test_reference_levels_worked_by_hand() -> None:
    rng = np.random.default_rng(0)
    pet = SCAN.with_array(rng.normal(2.0, 0.25, SCAN.shape).astype(np.float32))
    liver, blood = liver_sphere(pet, centre_mm=(20, 0, 0)), placed(pet, Form(10, 20), (0, 0, 0), "blood pool")
    assert percist_level(liver) == pytest.approx(1.5 * liver.mean + 2 * liver.sd)
    assert percist_level(blood) == pytest.approx(2.0 * blood.mean + 2 * blood.sd)
    assert percist_level(liver) == pytest.approx(1.5 * 2 + 2 * 0.25, abs=0.1)
    assert percist(liver).level(np.ones(1)) == percist_level(liver)
    assert above_liver(liver).level(np.ones(1)) == pytest.approx(liver.mean + 3 * liver.sd)
    assert "1.5 x liver mean + 2 SD = SUVbw" in percist(liver).text
    assert "2.0 x blood pool" in percist(blood).text
    with pytest.raises(AnyPETError, match="liver or the blood pool"):
        percist_level(organ(pet, ball(SCAN, (0, 0, 0), 9.0), "spleen"))


def test_each_object_has_its_own_maximum() -> None:
    pet = SCAN.with_array(np.full(SCAN.shape, 1.0, np.float32))
    left, right = ball(SCAN, (-30, 0, 0), 12.0), ball(SCAN, (30, 0, 0), 12.0)
    pet.array[ball(SCAN, (-30, 0, 0), 6.0)] = 4.0
    pet.array[ball(SCAN, (30, 0, 0), 8.0)] = 40.0
    labels = Volume((left + 2 * right).astype(np.uint8), SCAN.affine, "label", {"names": {1: "a", 2: "b"}})
    kept = resegment(pet, labels, of_maximum(0.41))
    assert isinstance(kept, Volume)
    assert kept.meta["names"] == {1: "a", 2: "b"}
    np.testing.assert_array_equal(kept.array == 1, ball(SCAN, (-30, 0, 0), 6.0))
    np.testing.assert_array_equal(kept.array == 2, ball(SCAN, (30, 0, 0), 8.0))
    gone = resegment(pet, labels, fixed(10.0))
    assert isinstance(gone, Volume)
    assert set(np.unique(gone.array)) == {0, 2}


def test_only_the_part_with_the_hottest_voxel() -> None:
    pet = SCAN.with_array(np.full(SCAN.shape, 1.0, np.float32))
    mask = ball(SCAN, (0, 0, 0), 40.0)
    first, second = ball(SCAN, (-20, 0, 0), 8.0), ball(SCAN, (20, 0, 0), 8.0)
    pet.array[first], pet.array[second] = 9.0, 10.0
    both = resegment(pet, {"m": mask}, of_maximum(0.41))
    one = resegment(pet, {"m": mask}, of_maximum(0.41), hottest_only=True)
    assert isinstance(both, dict)
    assert isinstance(one, dict)
    np.testing.assert_array_equal(both["m"], first | second)
    np.testing.assert_array_equal(one["m"], second)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.05, 0.95), st.floats(0.05, 0.95))
def test_a_higher_share_keeps_less_and_never_the_outside(seed: int, one: float, other: float) -> None:
    rng = np.random.default_rng(seed)
    scan = empty((4.0, 4.0, 4.0), 32.0)
    pet = scan.with_array(rng.gamma(2.0, 2.0, scan.shape).astype(np.float32))
    mask = ball(scan, (0, 0, 0), 12.0)
    low, high = (resegment(pet, {"m": mask}, of_maximum(s)) for s in sorted((one, other)))
    assert isinstance(low, dict)
    assert isinstance(high, dict)
    assert not (high["m"] & ~low["m"]).any()
    assert not (low["m"] & ~mask).any()
    hottest = np.unravel_index(np.argmax(np.where(mask, pet.array, -1)), mask.shape)
    assert high["m"][hottest]


def test_words_of_the_command_line() -> None:
    pet = cone()
    liver = liver_sphere(pet, centre_mm=(0, 0, 0))
    assert parse("41%").text == "at least 41 % of the object's SUVmax"
    assert parse(" 2.5 ", unit="SUVlbm").unit == "SUVlbm"
    assert "Boellaard" in parse("4.0").source
    assert parse("PERCIST", liver).name == "percist"
    assert parse("liver", liver).unit == "SUVbw"
    for text, message in (
        ("percist", "reference region"),
        ("half", "give 41%"),
        ("141%", "less than 100"),
        ("-2", "positive"),
    ):
        with pytest.raises(AnyPETError, match=message):
            parse(text)


def test_units_must_agree() -> None:
    pet, mask = cone(), ball(SCAN, (0, 0, 0), 20.0)
    with pytest.raises(AnyPETError, match="threshold is in SUVlbm"):
        resegment(pet, {"m": mask}, fixed(4.0, "SUVlbm"))
    empty_mask = {"none": np.zeros(SCAN.shape, bool)}
    kept = resegment(pet, empty_mask, of_maximum(0.41))
    assert isinstance(kept, dict)
    assert not kept["none"].any()
