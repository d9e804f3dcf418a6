"""Windows: geometry, sampling, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anypet import windows
from anypet.volume import Volume
from anypet.windows import Window, cut, lay
from fakes import ball_scan


def ramp(shape: tuple[int, int, int], affine: np.ndarray) -> Volume:
    """Value = R + 2 A + 3 S in mm."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    mm = grid @ affine[:3, :3].T + affine[:3, 3]
    return Volume((mm @ [1.0, 2.0, 3.0]).astype(np.float32), affine, "SUVbw")


OBLIQUE = np.array([[0, -3.9, 0.4, 20], [4.0, 0, 0, -60], [0.3, 0, 3.0, -50], [0, 0, 0, 1]], dtype=float)


@pytest.mark.parametrize("affine", [np.diag([-4.0, 4, 3, 1]), OBLIQUE])
def test_cut_samples_the_right_place(affine: np.ndarray) -> None:
    scan = ramp((30, 30, 30), affine)
    window = Window(tuple(scan.to_mm([15, 14, 16])), 2.0, (9, 8, 7))
    index = np.stack(np.meshgrid(*(np.arange(n) for n in window.shape), indexing="ij"), -1)
    expected = window.to_mm(index) @ [1.0, 2.0, 3.0]
    assert np.allclose(cut(scan, window)[0, 0], expected, atol=1e-2)


def test_cut_averages_where_the_window_is_coarser() -> None:
    rng = np.random.default_rng(0)
    scan = Volume(rng.normal(5, 1, (60, 60, 60)).astype(np.float32), np.diag([2.0, 2, 2, 1]), "SUVbw")
    window = Window((59.0, 59.0, 59.0), 8.0, (8, 8, 8))
    assert float(cut(scan, window).std()) < 0.5


def test_outside_of_the_scan_is_zero() -> None:
    scan = Volume(np.ones((5, 5, 5), np.float32), np.eye(4), "SUVbw")
    assert float(cut(scan, Window((100.0, 0, 0), 2.0, (4, 4, 4))).abs().max()) == 0
    values, box = lay(torch.ones(1, 1, 4, 4, 4), Window((100.0, 0, 0), 2.0, (4, 4, 4)), scan)
    assert values.numel() == 0
    assert scan.array[box].size == 0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_scan_of_one_slice_is_the_same_from_both_sides(axis: int) -> None:
    shape = [9, 9, 9]
    shape[axis] = 1
    array = np.random.default_rng(1).uniform(1, 2, shape).astype(np.float32)
    scan = Volume(array, np.diag([4.0, 4, 4, 1]), "SUVbw")
    flip = np.eye(4)
    flip[axis, axis] = -1
    turned = Volume(array, scan.affine @ flip, "SUVbw")  # the slice lies at 0: turning it changes nothing
    centre = scan.to_mm((np.array(shape) - 1) / 2)
    window = Window(tuple(centre), 2.0, (8, 8, 8))
    assert torch.allclose(cut(scan, window), cut(turned, window), atol=1e-5)
    assert float(cut(scan, window).max()) > 0.5


@pytest.mark.parametrize("affine", [np.diag([4.0, 4, 3, 1]), OBLIQUE])
def test_lay_is_the_way_back(affine: np.ndarray) -> None:
    scan = ramp((20, 20, 20), affine)
    window = Window(tuple(scan.to_mm([10, 10, 10])), 2.0, (24, 24, 24))
    laid, box = lay(cut(scan, window), window, scan, outside=-999.0)
    inside = np.zeros(scan.shape, bool)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in scan.shape), indexing="ij"), -1)
    index = window.to_index(scan.to_mm(grid))
    inside = ((index >= 0) & (index <= 23)).all(-1)
    assert inside.sum() > 100
    full = np.full(scan.shape, -999.0)
    full[box] = laid[0, 0].numpy()
    assert np.allclose(full[inside], scan.array[inside], atol=1e-1)
    assert np.all(full[((index < -2) | (index > 25)).any(-1)] == -999.0)


@settings(deadline=None, max_examples=20)
@given(st.permutations([0, 1, 2]), st.tuples(*[st.booleans()] * 3))
def test_the_tensor_follows_the_patient(order: list[int], flips: tuple[bool, bool, bool]) -> None:
    scan = ball_scan((14, 12, 16), radii_mm=(12, 16, 8), centre=(7, 6, 8))
    array, affine = np.transpose(scan.array, order), scan.affine[:, [*order, 3]].copy()
    for axis, flip in enumerate(flips):
        if flip:
            array = np.flip(array, axis)
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
            affine[:3, axis] *= -1
    window = Window(tuple(scan.to_mm([7, 6, 8])), 3.0, (16, 16, 16))
    assert torch.allclose(cut(scan, window), cut(Volume(array, affine, "SUVbw"), window), atol=1e-4)


@pytest.mark.parametrize("spacing", [2.0, 5.0, 8.0])
@pytest.mark.parametrize("turn", [False, True])
def test_the_quick_way_gives_what_the_general_way_gives(
    monkeypatch: pytest.MonkeyPatch, spacing: float, turn: bool
) -> None:
    scan = ball_scan((24, 20, 30), radii_mm=(12, 16, 8), centre=(9, 8, 10))
    if turn:
        affine = scan.affine[:, [2, 0, 1, 3]] @ np.diag([1.0, -1, 1, 1])
        scan = Volume(np.transpose(scan.array, (2, 0, 1)), affine, "SUVbw")
    window = Window(tuple(scan.to_mm(np.array(scan.shape) * 0.4)), spacing, (12, 16, 14))
    quick = cut(scan, window)
    quick_laid, box = lay(quick[..., ::2, ::2, ::2], window, scan, outside=-3.0)
    monkeypatch.setattr(windows, "_separable", lambda *_: None)
    assert torch.allclose(cut(scan, window), quick, atol=1e-4)
    laid, other = lay(quick[..., ::2, ::2, ::2], window, scan, outside=-3.0)
    assert box == other
    assert torch.allclose(laid, quick_laid, atol=1e-4)


@pytest.mark.parametrize("affine", [np.diag([4.0, 4, 4, 1]), OBLIQUE])
def test_one_bad_voxel_does_not_spoil_the_window(affine: np.ndarray) -> None:
    clean = Volume(np.ones((20, 20, 20), np.float32), affine, "SUVbw")
    array = clean.array.copy()
    array[10, 10, 10], array[9, 10, 10] = np.nan, np.inf
    r, a, s = clean.to_mm((10, 10, 10))
    window = Window((float(r), float(a), float(s)), 4.0, (8, 8, 8))
    whole, spoilt = cut(clean, window), cut(clean.with_array(array), window)
    assert torch.isfinite(spoilt).all()
    assert int((whole != spoilt).sum()) < 64
