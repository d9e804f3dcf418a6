"""Pictures of a report: places in planes, numbers that do not collide, and the same page for any grid."""

from __future__ import annotations

import io

import matplotlib.image
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from anypet.objects import Patch
from anypet.planes import AXIAL, CORONAL, SAGITTAL, Upright
from anypet.report.pictures import Marked, _shadows, projections, sampled, slice_width, slices, spread_out
from anypet.volume import Volume
from spheres import GRIDS, ball, grid, painted


@given(st.lists(st.floats(0, 100), max_size=12), st.floats(0.5, 12))
def test_heights_are_apart_inside_and_in_order(heights: list[float], gap: float) -> None:
    placed = spread_out(heights, gap, 0.0, 100.0)
    gap = min(gap, 100.0 / max(len(heights) - 1, 1))
    assert all(-1e-6 <= y <= 100 + 1e-6 for y in placed)
    assert all(b - a >= gap - 1e-6 for a, b in zip(sorted(placed), sorted(placed)[1:], strict=False))
    order = np.argsort(heights, kind="stable")
    assert np.all(np.diff(np.array(placed)[order]) >= 0 if len(set(heights)) == len(heights) else True)


def test_heights_move_as_little_as_possible() -> None:
    """Against a general solver of the same least-squares problem."""
    heights, gap = np.array([10.0, 11.0, 12.0, 40.0, 41.0, 90.0]), 5.0
    limits = [{"type": "ineq", "fun": lambda y, n=n: y[n + 1] - y[n] - gap} for n in range(5)]
    best = minimize(lambda y: ((y - heights) ** 2).sum(), heights + np.arange(6) * gap, constraints=limits)
    assert spread_out(list(heights), gap, 0, 100) == pytest.approx(best.x, abs=1e-3)
    assert spread_out([50.0], 5, 0, 100) == [50.0]
    assert spread_out([], 5, 0, 100) == []


@pytest.mark.parametrize("name", GRIDS)
def test_a_plane_shows_what_lies_there(name: str) -> None:
    """A ball 30 mm to the right, 20 to the back and 10 to the head of the middle, on any grid."""
    centre, radius = (30.0, -20.0, 10.0), 12.0
    scan = painted(grid(name), (centre, radius, 8.0))
    for view, across, up in ((AXIAL, 30, -20), (CORONAL, 30, 10), (SAGITTAL, -20, 10)):
        middle = [0.0, 0.0, 0.0]
        middle[view.along] = centre[view.along]
        plane = sampled(scan, view, middle, 120.0)
        rows, columns = np.nonzero(plane > 4)
        steps = np.linspace(-60, 60, plane.shape[0])
        assert steps[columns].mean() == pytest.approx(across, abs=1.5)
        assert steps[rows].mean() == pytest.approx(up, abs=1.5)
        area = (plane > 4).sum() * (steps[1] - steps[0]) ** 2
        assert area == pytest.approx(np.pi * radius**2, rel=0.15)


def test_outside_of_the_scan() -> None:
    scan = grid("isotropic 2 mm", 40.0)
    plane = sampled(scan.with_array(scan.array + 5), AXIAL, (0, 0, 0), 120.0, outside=-1024.0)
    assert plane[0, 0] == -1024
    assert plane[plane.shape[0] // 2, plane.shape[0] // 2] == 5


def marked(scan: Volume, mask: np.ndarray, number: int = 1, colour: str = "#d1345b") -> Marked:
    hottest = scan.to_mm(np.argwhere(mask)[np.argmax(scan.array[mask])])
    x, y, z = (float(v) for v in hottest)
    return Marked(number, colour, Patch.tight(mask, mask), (x, y, z))


def pixels(png: bytes) -> np.ndarray:
    return matplotlib.image.imread(io.BytesIO(png))[..., :3]


def coloured(image: np.ndarray, colour: str) -> np.ndarray:
    wanted = np.array([int(colour[n : n + 2], 16) for n in (1, 3, 5)]) / 255
    return np.abs(image - wanted).max(-1) < 0.06


def test_projections_number_their_lesions() -> None:
    scan = painted(grid("isotropic 2 mm", 200.0), ((40.0, 0.0, 40.0), 14.0, 9.0))
    lesion = marked(scan, ball(scan, (40.0, 0.0, 40.0), 14.0))
    image, bare = pixels(projections(scan, [lesion], 186.0)), pixels(projections(scan, [], 186.0))
    assert image.shape[1] == pytest.approx(186 / 25.4 * 220, abs=2)
    red = coloured(image, lesion.colour)
    assert red.sum() > 500
    assert not coloured(bare, lesion.colour).any()
    assert image.shape == bare.shape
    rows, columns = np.nonzero(red)
    assert columns.min() < 0.25 * image.shape[1]  # the patient's right, on the left of the page
    assert rows.mean() < 0.5 * image.shape[0]  # towards the head
    unnumbered = coloured(pixels(projections(scan, [lesion], 186.0, numbered=0)), lesion.colour)
    assert 100 < unnumbered.sum() < red.sum() - 300


@pytest.mark.parametrize("name", ["GE 4.7 mm", "Siemens 4.07 mm", "coronal"])
def test_outlines_are_cast_like_the_scan(name: str) -> None:
    """Against the projection of the whole mask, on grids whose axes run in any order and direction."""
    scan = grid(name)
    mask = ball(scan, (30.0, -20.0, 10.0), 15.0) | ball(scan, (-10.0, 30.0, -40.0), 8.0)
    upright = Upright(scan)
    views = (CORONAL, SAGITTAL, AXIAL)
    found = _shadows(upright, scan, Patch.tight(mask, mask), views)
    for view, shadow in zip(views, found, strict=True):
        assert np.array_equal(shadow, upright.turn(mask).any(axis=view.along))


def test_slices_over_a_ct_and_alone() -> None:
    scan = painted(grid("oblique", 120.0), ((0.0, 0.0, 0.0), 10.0, 9.0))
    mask = ball(scan, (0.0, 0.0, 0.0), 10.0)
    one = marked(scan, mask)
    other = marked(scan, ball(scan, (0.0, 30.0, 0.0), 8.0), 2, "#0077b6")
    ct = grid("coronal", 300.0)
    ct = Volume(np.full(ct.shape, 40.0, np.float32), ct.affine, "HU")
    alone = pixels(slices(scan, None, one, [one, other], 10.0, 91.0))
    fused = pixels(slices(scan, ct, one, [one, other], 10.0, 91.0))
    for image in (alone, fused):
        assert coloured(image, one.colour).sum() > 300
        assert coloured(image, other.colour).sum() > 30
    grey = np.ptp(alone, axis=2).max(initial=0) < 0.02
    assert not grey  # outlines are coloured
    assert np.ptp(fused, axis=2).max() > 0.5  # so is the uptake on the CT
    corner = fused[40:50, 40:50]
    assert corner.mean() == pytest.approx((40 + 160) / 400, abs=0.08)  # HU 40 in the window -160..240


def test_slices_show_the_object_and_as_much_around_it() -> None:
    scan = grid("isotropic 2 mm", 300.0)
    small, large, huge = (marked(scan, ball(scan, (0, 0, 0), r)) for r in (10.0, 60.0, 140.0))
    assert slice_width(scan, small.patch) == 150.0
    assert slice_width(scan, large.patch) == pytest.approx(240.0, abs=6)
    assert slice_width(scan, huge.patch) == 420.0
