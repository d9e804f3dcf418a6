"""SUVpeak against formulas, against brute force, and from every side."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from anypet.errors import AnyPETError
from anypet.objects import Patch
from anypet.quantify.ball import BallWeights
from anypet.quantify.peak import RADIUS_MM, PeakFinder
from anypet.volume import Volume
from spheres import GRIDS, ball, empty, grid, painted, places


def mean_of_points(scan: Volume, centre_mm: np.ndarray, parts: int) -> float:
    """Mean of the sphere; a voxel's weight is the share of its parts^3 points that lie in it."""
    fine = (np.arange(parts) + 0.5) / parts - 0.5
    within = np.stack(np.meshgrid(fine, fine, fine, indexing="ij"), -1).reshape(-1, 3) @ scan.affine[:3, :3].T
    centres, values = places(scan).reshape(-1, 3), scan.array.ravel().astype(float)
    near = np.flatnonzero(((centres - centre_mm) ** 2).sum(1) < (RADIUS_MM + scan.spacing.max()) ** 2)
    weights = (((centres[near, None] + within - centre_mm) ** 2).sum(-1) <= RADIUS_MM**2).mean(1)
    return float(values[near] @ weights / weights.sum())


def brute_force(scan: Volume, mask: np.ndarray) -> float:
    """The best mean over all places 1.5 mm apart, then over those 0.4 mm apart around the best of them."""

    def allowed(start: np.ndarray, step: float, reach: float) -> np.ndarray:
        axis = np.arange(-reach, reach + 1e-9, step)
        tried = start + np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
        voxels = np.rint(scan.to_voxel(tried) + 1e-7).astype(int)  # on a face: the upper voxel
        return tried[mask[tuple(voxels.T)]]

    coarse = allowed(scan.to_mm(np.argwhere(mask).mean(0)), 1.5, 12.0)
    best = coarse[np.argmax([mean_of_points(scan, place, 5) for place in coarse])]
    return max(mean_of_points(scan, place, 6) for place in allowed(best, 0.4, 1.2))


@pytest.mark.parametrize("name", GRIDS)
def test_weights_add_up_to_a_millilitre(name: str) -> None:
    scan = grid(name, 40.0)
    weights = BallWeights(scan.affine, RADIUS_MM)
    for offset in ((0.0, 0.0, 0.0), (0.25, -0.4, 0.1), (-0.5, 0.5, 0.3)):
        parts = weights.weights(offset)
        assert parts.sum() * scan.voxel_volume_ml == pytest.approx(1.0, rel=2e-3)
        assert parts.min() >= 0
        assert parts.max() <= 1 + 1e-12
        middle = parts @ weights.steps / parts.sum()
        np.testing.assert_allclose(middle, offset, atol=0.02)


def test_weights_of_a_sheared_grid_are_those_of_points() -> None:
    affine = np.eye(4)
    affine[:3, :3] = [[3.0, 0.8, 0.0], [0.0, 3.5, -0.6], [0.3, 0.0, 4.0]]
    weights = BallWeights(affine, RADIUS_MM)
    fine = (np.arange(14) + 0.5) / 14 - 0.5
    within = np.stack(np.meshgrid(fine, fine, fine, indexing="ij"), -1).reshape(-1, 3)
    points = (weights.steps[:, None] + within - np.array([0.2, 0.1, -0.3])) @ affine[:3, :3].T
    expected = ((points**2).sum(-1) <= RADIUS_MM**2).mean(1)
    np.testing.assert_allclose(weights.weights((0.2, 0.1, -0.3)), expected, atol=0.02)


@pytest.mark.parametrize("name", GRIDS)
def test_uniform_ball_has_its_own_activity(name: str) -> None:
    scan = painted(grid(name, 80.0), ((3.0, -2.0, 5.0), 20.0, 7.5))
    mask = scan.array > 1
    peak = PeakFinder(scan).find(Patch.tight(mask, mask))
    assert peak.value == pytest.approx(7.5, rel=1e-6)
    assert np.linalg.norm(np.array(peak.centre_mm) - (3.0, -2.0, 5.0)) < 20 - RADIUS_MM + scan.spacing.max()


@pytest.mark.parametrize("name", GRIDS)
def test_cone_of_activity_has_the_mean_of_the_integral(name: str) -> None:
    """Uptake 10 - 0.2 |x|: the mean of a ball around the tip is 10 - 0.2 * 3/4 of its radius."""
    scan, tip = grid(name, 80.0), np.array([1.5, 2.5, -1.0])
    distance = np.linalg.norm(places(scan) - tip, axis=-1)
    scan = scan.with_array((10 - 0.2 * distance).astype(np.float32))
    mask = distance < 25
    peak = PeakFinder(scan).find(Patch.tight(mask, mask))
    assert peak.value == pytest.approx(10 - 0.2 * 0.75 * RADIUS_MM, rel=0.01)
    assert np.linalg.norm(peak.centre_mm - tip) < 1.0


@pytest.mark.parametrize(
    ("seed", "spacing"), [(0, (4.0, 4.0, 3.27)), (1, (5.5, 5.5, 5.0)), (2, (3.0, 2.6, 4.0))]
)
def test_agrees_with_brute_force(seed: int, spacing: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(seed)
    scan = empty(spacing, 56.0)
    noise = ndimage.gaussian_filter(rng.normal(size=scan.shape), 3.0 / np.array(spacing))
    scan = scan.with_array((5 + 2 * noise / noise.std()).astype(np.float32))
    mask = ball(scan, (1.0, 2.0, -1.0), 7.0)
    found = PeakFinder(scan).find(Patch.tight(mask, mask))
    assert found.value == pytest.approx(mean_of_points(scan, np.array(found.centre_mm), 14), rel=0.002)
    assert np.abs(np.argwhere(mask) - scan.to_voxel(found.centre_mm)).max(1).min() <= 0.5 + 1e-6
    expected = brute_force(scan, mask)  # a lower bound: its places lie up to 0.35 mm from the best
    assert expected * 0.998 <= found.value <= expected * 1.015


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(sorted(GRIDS)))
def test_no_place_inside_is_better(seed: int, name: str) -> None:
    rng = np.random.default_rng(seed)
    scan = grid(name, 60.0)
    noise = ndimage.gaussian_filter(rng.normal(size=scan.shape), 4.0 / scan.spacing)
    scan = scan.with_array((4 + noise / noise.std()).astype(np.float32))
    mask = ball(scan, (0.0, 0.0, 0.0), 10.0)
    finder = PeakFinder(scan)
    best = finder.find(Patch.tight(mask, mask))
    assert finder.mean_at(best.centre_mm) == pytest.approx(best.value, rel=1e-4)
    voxels = np.argwhere(mask)
    tried = voxels[rng.integers(len(voxels), size=40)] + rng.uniform(-0.49, 0.49, (40, 3))
    assert max(finder.mean_at(scan.to_mm(v)) for v in tried) <= best.value * 1.003


def test_many_voxels_take_the_way_of_fourier_to_the_same_place(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    scan = empty((2.0, 2.5, 2.0), 70.0)
    scan = scan.with_array(ndimage.gaussian_filter(rng.normal(size=scan.shape), 2).astype(np.float32) + 3)
    mask = ball(scan, (0.0, 0.0, 0.0), 30.0)
    mask[0] = True  # reaches the border
    patch = Patch.tight(mask, mask)
    direct = PeakFinder(scan).find(patch)
    monkeypatch.setattr("anypet.quantify.peak._FFT_FROM", 0)
    assert PeakFinder(scan).find(patch) == direct
    monkeypatch.setattr("anypet.quantify.peak._FFT_FROM", 1e9)
    assert PeakFinder(scan).find(patch) == direct


def test_where_the_centre_may_lie() -> None:
    """Beside the object lies something hotter: only `near` may look at it; `hottest` stays on one voxel."""
    scan = painted(empty((4.0, 4.0, 4.0), 80.0), ((0, 0, 0), 12.0, 5.0), ((21.0, 0, 0), 8.0, 20.0))
    array = scan.array.copy()
    array[tuple(np.rint(scan.to_voxel((-3, 0, 0))).astype(int))] = 9.0
    scan, mask = scan.with_array(array), ball(scan, (0, 0, 0), 12.0)
    patch = Patch.tight(mask, mask)
    inside, near, hottest = (PeakFinder(scan, c).find(patch) for c in ("inside", "near", "hottest"))
    assert near.value > inside.value > hottest.value
    assert near.centre_mm[0] > 12.0
    voxel = np.rint(scan.to_voxel(inside.centre_mm)).astype(int)
    assert mask[tuple(voxel)]
    np.testing.assert_allclose(hottest.centre_mm, scan.to_mm(np.rint(scan.to_voxel((-3, 0, 0)))), atol=1e-9)
    expected = 5.0 + 4.0 * 0.064 / 1.0  # one hotter voxel of 0.064 mL in a sphere of 1 mL
    assert hottest.value == pytest.approx(expected, rel=2e-3)


def test_the_edge_of_the_scan_is_left_out() -> None:
    scan = empty((4.0, 4.0, 4.0), 40.0)
    scan = scan.with_array(np.full(scan.shape, 3.0, np.float32))
    mask = np.zeros(scan.shape, bool)
    mask[0, 0, 0] = True
    assert PeakFinder(scan).find(Patch.tight(mask, mask)).value == pytest.approx(3.0)
    assert PeakFinder(scan, "near").find(Patch.tight(mask, mask)).value == pytest.approx(3.0)
    with pytest.raises(AnyPETError, match="outside"):
        PeakFinder(scan).mean_at((500, 0, 0))


def test_bad_input() -> None:
    scan = empty((4.0, 4.0, 4.0), 40.0)
    with pytest.raises(AnyPETError, match="inside, near, hottest"):
        PeakFinder(scan, "anywhere")  # type: ignore[arg-type]
    with pytest.raises(AnyPETError, match="at least one voxel"):
        PeakFinder(scan).find(Patch((0, 0, 0), np.zeros((2, 2, 2), bool)))


def test_the_sphere_holds_one_millilitre() -> None:
    assert 4 / 3 * math.pi * RADIUS_MM**3 == pytest.approx(1000.0)
    assert pytest.approx(12.4, abs=0.01) == 2 * RADIUS_MM
