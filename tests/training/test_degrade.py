"""Each fault does what its name says, measured by volume, centroid and by hand; seeded, and by strength."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anypet.errors import AnyPETError
from anypet.training.degrade import (
    FAULTS,
    blocky,
    by_threshold,
    degrade_labels,
    degrade_mask,
    grow,
    lose_part,
    shift,
    shrink,
)

ONE = (1.0, 1.0, 1.0)
RADIUS = 12.0
SEEDS = range(8)


def ball(spacing: tuple[float, ...] = ONE, half_mm: float = 24.0, radius: float = RADIUS) -> np.ndarray:
    """A ball in the middle of an array, bool."""
    sizes = [2 * int(half_mm / s) + 1 for s in spacing]
    mm = [(np.arange(n) - n // 2) * s for n, s in zip(sizes, spacing, strict=True)]
    i, j, k = np.meshgrid(*mm, indexing="ij")
    return i**2 + j**2 + k**2 <= radius**2


def radius_of(mask: np.ndarray) -> float:
    return float((mask.sum() * 3 / (4 * np.pi)) ** (1 / 3))


def centre_of(mask: np.ndarray) -> np.ndarray:
    return np.argwhere(mask).mean(axis=0)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.mark.parametrize("seed", SEEDS)
def test_shrink_and_grow_move_the_surface(seed: int) -> None:
    mask = ball()
    less = shrink(mask, ONE, np.random.default_rng(seed), 1.0)
    more = grow(mask, ONE, np.random.default_rng(seed), 1.0)
    assert not (less & ~mask).any()
    assert not (mask & ~more).any()
    for spoilt, sign in ((less, -1), (more, 1)):
        moved = sign * (radius_of(spoilt) - RADIUS)
        assert 0.2 * RADIUS - 1 <= moved <= 0.4 * RADIUS + 0.5  # a voxel of rounding at most
        assert centre_of(spoilt) == pytest.approx(centre_of(mask), abs=1e-9)


def test_the_surface_moves_by_millimetres_not_voxels() -> None:
    spacing = (1.0, 2.0, 3.0)
    mask = ball(spacing)
    for fault, sign in ((shrink, -1), (grow, 1)):
        spoilt = fault(mask, spacing, np.random.default_rng(0), 1.0)
        extents = [np.ptp(np.argwhere(m), axis=0) * np.asarray(spacing) / 2 for m in (mask, spoilt)]
        moved = sign * (extents[1] - extents[0])
        assert np.all(moved <= 0.4 * RADIUS + np.asarray(spacing))
        assert np.all(moved >= 0.2 * RADIUS - np.asarray(spacing))


@pytest.mark.parametrize("seed", SEEDS)
def test_shift_moves_the_object_as_it_is(seed: int) -> None:
    mask = ball()
    moved = shift(mask, ONE, np.random.default_rng(seed), 1.0)
    way = centre_of(moved) - centre_of(mask)
    assert 0.25 * RADIUS - 1 <= np.linalg.norm(way) <= 0.5 * RADIUS + 1
    assert np.array_equal(moved, np.roll(mask, np.round(way).astype(int), axis=(0, 1, 2)))


def test_shift_does_not_come_round_the_edge() -> None:
    mask = np.zeros((20, 20, 20), dtype=bool)
    mask[:, :, :8] = True
    for seed in SEEDS:
        moved = shift(mask, ONE, np.random.default_rng(seed), 1.0)
        assert not moved[:, :, 16:].any()
        assert moved.sum() <= mask.sum()


def test_shift_in_a_thin_scan() -> None:
    mask = np.ones((30, 30, 3), dtype=bool)
    for seed in range(100):
        moved = shift(mask, ONE, np.random.default_rng(seed), 1.0)
        assert moved.shape == mask.shape
        assert 0 < moved.sum() < mask.sum()  # some of it leaves the scan, never all


@pytest.mark.parametrize("seed", SEEDS)
def test_blocky_has_its_edges_on_a_coarse_grid(seed: int) -> None:
    mask = ball()
    spoilt = blocky(mask, ONE, np.random.default_rng(seed), 1.0)
    assert spoilt.shape == mask.shape
    for axis in range(3):
        edges = np.nonzero(np.diff(spoilt.astype(int), axis=axis))[axis]
        assert len(np.unique(edges % 6)) == 1  # half of the radius of 12
    assert spoilt.sum() == pytest.approx(mask.sum(), rel=0.25)
    assert 0.75 < dice(spoilt, mask) < 1


def test_blocky_by_hand() -> None:
    mask = np.zeros((8, 8, 8), dtype=bool)
    mask[1:6, 1:6, 1:6] = True  # 125 voxels: a radius of 3.1, so blocks of 2 at full strength
    seen = {blocky(mask, ONE, np.random.default_rng(seed), 1.0).sum() for seed in range(40)}
    # along each axis 1 to 5 becomes 0 to 5 or 1 to 6, if half a block is enough, or loses its odd end
    assert max(seen) <= 216
    assert all(count % 8 == 0 for count in seen)


@pytest.mark.parametrize("seed", SEEDS)
def test_lose_part_cuts_along_a_plane(seed: int) -> None:
    mask = ball()
    kept = lose_part(mask, ONE, np.random.default_rng(seed), 1.0)
    lost = mask & ~kept
    assert not (kept & ~mask).any()
    assert 0.29 <= lost.sum() / mask.sum() <= 0.61
    normal = centre_of(kept) - centre_of(lost)
    normal /= np.linalg.norm(normal)
    # of a ball, the centroids lie on the normal of the cut, to a voxel
    assert (np.argwhere(lost) @ normal).max() <= (np.argwhere(kept) @ normal).min() + 1.5


@pytest.mark.parametrize("seed", SEEDS)
def test_a_threshold_keeps_what_is_hotter(seed: int) -> None:
    mask = ball()
    i, j, k = np.indices(mask.shape) - 24.0
    image = 10 * np.exp(-((i + 3) ** 2 + j**2 + k**2) / 200)
    spoilt = by_threshold(mask, ONE, np.random.default_rng(seed), 0.5, image)
    assert 2.5 <= image[spoilt].min() <= 6.2  # 25 to 60 % of 10, and a step of the image
    assert image[mask & spoilt].min() > image[mask & ~spoilt].max(initial=0)
    far = i**2 + j**2 + k**2 > (1.25 * RADIUS + 1) ** 2
    assert not (spoilt & far).any()


def test_the_threshold_is_among_the_faults_of_a_mask_with_an_image() -> None:
    mask = ball()
    image = np.where(np.indices(mask.shape)[0] < 24, 10.0, 1.0) * mask  # only half of the object is hot
    half = mask & (image == 10)
    found = [degrade_mask(mask, ONE, np.random.default_rng(seed), 0.5, image) for seed in range(40)]
    assert any(np.array_equal(spoilt, half) for spoilt in found)
    without = [degrade_mask(mask, ONE, np.random.default_rng(seed), 0.5) for seed in range(40)]
    assert not any(np.array_equal(spoilt, half) for spoilt in without)


@pytest.mark.parametrize("name", FAULTS)
def test_faults_follow_seed_and_strength(name: str) -> None:
    mask, fault = ball(), FAULTS[name]

    def damage(strength: float) -> float:
        seeds = range(20)
        return float(
            np.mean([1 - dice(fault(mask, ONE, np.random.default_rng(s), strength), mask) for s in seeds])
        )

    assert damage(0.2) <= damage(0.5) < damage(1.0)
    one, again = (fault(mask, ONE, np.random.default_rng(7), 1.0) for _ in range(2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, fault(mask, ONE, np.random.default_rng(8), 1.0))


@settings(max_examples=80, deadline=None)
@given(
    shape=st.tuples(*[st.integers(4, 10)] * 3),
    spacing=st.tuples(*[st.floats(1.0, 2.0)] * 3),
    share=st.floats(0.01, 1.0),
    strength=st.floats(0.01, 1.0),
    seed=st.integers(0, 2**32 - 1),
    with_image=st.booleans(),
)
def test_a_mask_keeps_its_shape_and_is_never_empty(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    share: float,
    strength: float,
    seed: int,
    with_image: bool,
) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < share
    mask[tuple(n // 2 for n in shape)] = True
    before = mask.copy()
    image = rng.random(shape).astype(np.float32) if with_image else None
    spoilt = degrade_mask(mask, spacing, np.random.default_rng(seed), strength, image)
    assert spoilt.shape == shape
    assert spoilt.dtype == bool
    assert spoilt.any()
    assert np.array_equal(mask, before)
    again = degrade_mask(mask, spacing, np.random.default_rng(seed), strength, image)
    assert np.array_equal(spoilt, again)


def test_masks_that_are_empty_and_strengths_that_are_none() -> None:
    empty = np.zeros((4, 4, 4), dtype=bool)
    assert not degrade_mask(empty, ONE, np.random.default_rng(0)).any()
    for strength in (0.0, -1.0, 1.1):
        with pytest.raises(AnyPETError, match="strength must be above 0"):
            degrade_mask(ball(), ONE, np.random.default_rng(0), strength)


def two_kidneys() -> np.ndarray:
    labels = np.zeros((30, 12, 12), dtype=np.uint8)
    labels[3:11, 2:10, 2:10], labels[19:27, 2:10, 2:10] = 4, 7
    return labels


def test_a_label_map_hardly_touched_stays_as_it_is() -> None:
    labels = two_kidneys()
    names = {4: "left kidney", 7: "right kidney"}
    spoilt = degrade_labels(labels, ONE, np.random.default_rng(0), 1e-9, names=names)
    assert np.array_equal(spoilt, labels)
    assert spoilt.dtype == labels.dtype


def test_labels_are_left_out_and_sides_swapped_as_often_as_promised() -> None:
    labels, runs, strength = two_kidneys(), 300, 1.0
    names = {4: "left kidney", 7: "right kidney"}
    out = swapped = unnamed = 0
    for seed in range(runs):
        spoilt = degrade_labels(labels, ONE, np.random.default_rng(seed), strength, names=names)
        assert set(np.unique(spoilt)) <= {0, 4, 7}
        near = spoilt[3:11]
        out += not near.any()
        swapped += bool((near == 7).sum() > (near == 4).sum())
        plain = degrade_labels(labels, ONE, np.random.default_rng(seed), strength)
        unnamed += bool((plain[3:11] == 7).any())
    three_sigma = 3 * (0.24 * 0.76 * runs) ** 0.5
    assert out == pytest.approx(0.2 * runs, abs=three_sigma)
    assert swapped == pytest.approx(0.3 * 0.8 * runs, abs=three_sigma)  # a kidney left out shows no swap
    assert unnamed < 0.05 * runs  # a neighbour that grew or moved, never a swap


def test_label_maps_follow_seed_and_strength() -> None:
    labels = two_kidneys()

    def changed(strength: float) -> float:
        results = (degrade_labels(labels, ONE, np.random.default_rng(s), strength) for s in range(60))
        return float(np.mean([np.count_nonzero(result != labels) for result in results]))

    assert changed(0.2) < changed(0.5) < changed(1.0)
    one, again, other = (
        degrade_labels(labels, ONE, np.random.default_rng(s), 1.0, names={4: "left k", 7: "right k"})
        for s in (1, 1, 2)
    )
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_a_half_of_a_pair_is_not_swapped() -> None:
    labels = np.where(two_kidneys() == 4, 4, 0)
    names = {4: "left kidney", 7: "right kidney"}  # the right one is not in this scan
    for seed in range(20):
        assert 7 not in degrade_labels(labels, ONE, np.random.default_rng(seed), 1.0, names=names)


@pytest.mark.parametrize("radius", [2, 3, 5])
def test_small_objects_are_spoilt_too(radius: int):
    """A small lesion marked as of low quality must not have its perfect label."""
    axes = np.arange(16) - 8
    mask = sum(a**2 for a in np.meshgrid(axes, axes, axes, indexing="ij")) <= radius**2
    for name, fault in FAULTS.items():
        changed = [
            not np.array_equal(fault(mask, (4.0, 4.0, 4.0), np.random.default_rng(s), 0.5), mask)
            for s in range(10)
        ]
        assert np.mean(changed) > 0.8, name
