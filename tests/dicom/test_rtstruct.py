"""Contours to masks: half-voxel conventions, holes, overlaps, askew planes, real data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.path import Path as Polygon

import anypet
from anypet.dicom.rtstruct import fill_contours
from anypet.errors import ReadError
from anypet.io import read_masks
from anypet.volume import Volume
from dicom_factory import make_rtstruct, make_series

RAS = np.array([-1.0, -1.0, 1.0])


def grid(shape: tuple[int, int, int] = (20, 18, 10), affine: np.ndarray | None = None) -> Volume:
    base = np.array([[-2.0, 0, 0, 30], [0, -3.0, 0, 20], [0, 0, 4.0, -50], [0, 0, 0, 1]])
    return Volume(np.zeros(shape, np.float32), base if affine is None else affine, "SUVbw")


def rectangle(volume: Volume, lo: tuple[float, float], hi: tuple[float, float], k: float) -> np.ndarray:
    """Corners in voxel units on slice k, as RAS mm."""
    (a, b), (c, d) = lo, hi
    return volume.to_mm([[a, b, k], [c, b, k], [c, d, k], [a, d, k]])


def test_voxel_edges_enclose_exactly_their_voxels() -> None:
    volume = grid()
    mask = fill_contours([rectangle(volume, (2.5, 3.5), (6.5, 5.5), k) for k in (4, 5)], volume)
    assert np.argwhere(mask).min(axis=0).tolist() == [3, 4, 4]
    assert np.argwhere(mask).max(axis=0).tolist() == [6, 5, 5]
    assert mask.sum() == 4 * 2 * 2


def test_contours_through_voxel_centres_include_them() -> None:
    volume = grid()
    mask = fill_contours([rectangle(volume, (3, 4), (6, 5), 4)], volume)
    assert mask.sum() == 4 * 2


def test_inner_contour_and_keyhole_cut_the_same_hole() -> None:
    volume = grid()
    outer, inner = (
        rectangle(volume, (1.5, 1.5), (10.5, 10.5), 4),
        rectangle(volume, (4.5, 4.5), (7.5, 7.5), 4),
    )
    two = fill_contours([outer, inner], volume)
    keyhole = np.concatenate([outer, outer[:1], inner, inner[:1]])
    one = fill_contours([keyhole], volume)
    np.testing.assert_array_equal(one, two)
    assert two.sum() == 81 - 9
    assert not two[6, 6, 4]


def test_several_islands_on_a_slice() -> None:
    volume = grid()
    mask = fill_contours(
        [rectangle(volume, (0.5, 0.5), (2.5, 2.5), 4), rectangle(volume, (6.5, 6.5), (8.5, 8.5), 4)], volume
    )
    assert mask.sum() == 8


def test_coarse_contours_fill_the_slices_between_but_no_gap() -> None:
    """Drawn every second slice; two slices left out between the two halves stay empty."""
    volume = grid((20, 18, 24))
    mask = fill_contours([rectangle(volume, (1.5, 1.5), (4.5, 4.5), k) for k in (2, 4, 6, 14, 16)], volume)
    assert np.flatnonzero(mask.any(axis=(0, 1))).tolist() == [1, 2, 3, 4, 5, 6, 7, 13, 14, 15, 16, 17]


def test_fine_contours_are_thinned_out() -> None:
    volume = grid()
    mask = fill_contours([rectangle(volume, (1.5, 1.5), (4.5, 4.5), k / 4) for k in range(8, 21)], volume)
    assert np.flatnonzero(mask.any(axis=(0, 1))).tolist() == [2, 3, 4, 5]


def test_slices_a_little_off_the_grid() -> None:
    """Rounded coordinates: 0.3 mm off with slices 4 mm apart."""
    volume = grid()
    mask = fill_contours([rectangle(volume, (1.5, 1.5), (4.5, 4.5), k + 0.07) for k in (3, 4, 5)], volume)
    assert np.flatnonzero(mask.any(axis=(0, 1))).tolist() == [3, 4, 5]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_contours_in_any_plane_of_voxels(axis: int) -> None:
    volume = grid()
    flat = [a for a in range(3) if a != axis]
    contours = []
    for n in (3, 4):
        corners = np.full((4, 3), float(n))
        corners[:, flat] = [[1.5, 2.5], [5.5, 2.5], [5.5, 6.5], [1.5, 6.5]]
        contours.append(volume.to_mm(corners))
    mask = np.moveaxis(fill_contours(contours, volume), axis, 0)
    assert mask.sum() == 2 * 16
    assert np.argwhere(mask).min(axis=0).tolist() == [3, 2, 3]


def rotated(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) * [2.0, 2.5, 3.0]
    affine[:3, 3] = [-20, -10, 5]
    return affine


def test_oblique_grid_with_contours_in_its_own_planes() -> None:
    volume = grid(affine=rotated(0.4))
    mask = fill_contours([rectangle(volume, (2.5, 3.5), (6.5, 5.5), k) for k in (4, 5)], volume)
    assert mask.sum() == 16
    assert np.argwhere(mask).min(axis=0).tolist() == [3, 4, 4]


def test_contours_askew_to_the_grid() -> None:
    """A ball drawn on axial planes covers the same voxels of a tilted grid as the ball itself."""
    volume = grid((24, 24, 24), affine=rotated(0.35))
    centre, radius = volume.to_mm((12, 12, 12)), 14.0
    contours = []
    for z in np.arange(-13.5, 14, 1.0):
        angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
        r = np.sqrt(radius**2 - z**2)
        contours.append(centre + np.stack([r * np.cos(angle), r * np.sin(angle), np.full(90, z)], -1))
    mask = fill_contours(contours, volume)
    index = np.stack(np.meshgrid(*[np.arange(24)] * 3, indexing="ij"), -1)
    ball = np.linalg.norm(volume.to_mm(index) - centre, axis=-1) < radius
    dice = 2 * (mask & ball).sum() / (mask.sum() + ball.sum())
    assert dice > 0.98


def test_polygons_agree_with_an_independent_rasteriser() -> None:
    volume = grid((40, 40, 3))
    rng = np.random.default_rng(1)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 30))
    star = np.stack([20 + (8 + 9 * rng.random(30)) * np.cos(angle), 20 + 15 * np.sin(angle)], -1)
    corners = np.concatenate([star, np.ones((30, 1))], -1)
    mask = fill_contours([volume.to_mm(corners)], volume)[:, :, 1]
    index = np.stack(np.meshgrid(np.arange(40), np.arange(40), indexing="ij"), -1).reshape(-1, 2)
    np.testing.assert_array_equal(mask, Polygon(star).contains_points(index).reshape(40, 40))


def test_outside_of_the_scan_is_cut_off() -> None:
    volume = grid()
    mask = fill_contours([rectangle(volume, (-5, -5), (2.5, 2.5), k) for k in (-1, 0, 1)], volume)
    assert mask.sum() == 9 * 2


@pytest.fixture
def scan(tmp_path: Path) -> Volume:
    make_series(tmp_path / "pet")
    return anypet.read(tmp_path / "pet")


def test_file_with_overlapping_regions(tmp_path: Path, scan: Volume) -> None:
    small = rectangle(scan, (0.5, 0.5), (2.5, 2.5), 1) * RAS
    large = rectangle(scan, (-0.5, -0.5), (4.5, 3.5), 1) * RAS
    path = make_rtstruct(tmp_path / "rt.dcm", {"tumour": [small], "oedema": [large], "point": []})
    masks = read_masks(path, scan)
    assert {n: int(m.sum()) for n, m in masks.items()} == {"tumour": 4, "oedema": 20}
    labels = anypet.read_labels(path, scan)
    assert labels.meta["names"] == {1: "tumour", 2: "oedema"}
    assert np.bincount(labels.array.ravel()).tolist() == [100, 4, 16]
    assert any("tumour" in w and "on top" in w for w in labels.meta["warnings"])
    assert any("'point' has no closed contour" in w for w in labels.meta["warnings"])


def test_found_in_a_folder_with_the_scan(tmp_path: Path, scan: Volume) -> None:
    make_rtstruct(tmp_path / "rt" / "x", {"a": [rectangle(scan, (0.5, 0.5), (2.5, 2.5), 1) * RAS]})
    assert anypet.read_labels(tmp_path, scan).array.sum() == 4


def test_another_frame_of_reference_is_warned_of(tmp_path: Path, scan: Volume) -> None:
    path = make_rtstruct(tmp_path / "rt.dcm", {"a": [rectangle(scan, (0.5, 0.5), (2.5, 2.5), 1) * RAS]})
    moved = scan.with_array(scan.array, frame_of_reference="9.9")
    assert any("another frame of reference" in w for w in anypet.read_labels(path, moved).meta["warnings"])


def test_far_away_contours_are_warned_of(tmp_path: Path, scan: Volume) -> None:
    path = make_rtstruct(tmp_path / "rt.dcm", {"a": [rectangle(scan, (50, 50), (60, 60), 1) * RAS]})
    labels = anypet.read_labels(path, scan)
    assert any("covers no voxel" in w for w in labels.meta["warnings"])


def test_twisted_contours_are_refused() -> None:
    volume = grid()
    flat = rectangle(volume, (1, 1), (9, 9), 4)
    bent = flat.copy()
    bent[2, 2] += 3
    with pytest.raises(ReadError, match="out of the common plane"):
        fill_contours([flat, bent], volume)
    with pytest.raises(ReadError, match="without an area"):
        fill_contours([np.array([[0.0, 0, 0], [1, 1, 1], [2, 2, 2]])], volume)


@pytest.mark.data
def test_expert_contour_of_a_real_patient(shared_data: Path) -> None:
    scan = anypet.read(shared_data / "sts_001_wholebody" / "PET")
    masks = read_masks(shared_data / "sts_001_wholebody" / "RTSTRUCT", scan)
    published = anypet.read_labels(shared_data / "sts" / "STS_001" / "GTV.nii.gz")
    i, j, k = np.round(scan.to_voxel(published.to_mm((0, 0, 0)))).astype(int)
    truth = np.zeros(scan.shape, bool)
    a, b, c = published.shape
    truth[i : i + a, j : j + b, k : k + c] = published.array > 0
    mine = masks["GTV_Mass"]
    dice = 2 * (mine & truth).sum() / (mine.sum() + truth.sum())
    assert dice >= 0.99
    assert mine.sum() * scan.voxel_volume_ml == pytest.approx(366, abs=1)
