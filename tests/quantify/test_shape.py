"""Meshes against ellipsoids, SimpleITK and hand-worked bodies; diameters from every side."""

from __future__ import annotations

import math

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation

from anypet.errors import AnyPETError
from anypet.grids import to_sitk
from anypet.objects import Patch
from anypet.quantify.shape import Mesh
from anypet.volume import Volume
from spheres import GRIDS, empty, grid, places


def ellipsoid(scan: Volume, radii: tuple[float, float, float]) -> np.ndarray:
    return np.asarray(((places(scan) / np.array(radii)) ** 2).sum(-1) <= 1)


def mesh_of(scan: Volume, mask: np.ndarray) -> Mesh:
    return Mesh.around(Patch.tight(mask, mask), scan.affine)


@pytest.mark.parametrize("name", GRIDS)
def test_ellipsoid(name: str) -> None:
    scan, radii = grid(name, 100.0), (38.0, 24.0, 30.0)
    mask = ellipsoid(scan, radii)
    mesh = mesh_of(scan, mask)
    volume = 4 / 3 * math.pi * math.prod(radii)
    assert mesh.volume_mm3 == pytest.approx(volume, rel=0.03)
    assert mesh.volume_mm3 == pytest.approx(mask.sum() * scan.voxel_volume_ml * 1000, rel=0.03)
    # Knud Thomsen's formula for the surface, good to 1 %; the steps of the mask add some 8 %
    p = 1.6075
    a, b, c = (r**p for r in radii)
    surface = 4 * math.pi * ((a * b + a * c + b * c) / 3) ** (1 / p)
    assert 1.04 < mesh.area_mm2 / surface < 1.13
    assert mesh.longest_mm == pytest.approx(76.0, abs=1.5 * scan.spacing.max())
    assert mesh.longest_axial_mm == pytest.approx(76.0, abs=1.5 * scan.spacing.max())
    smooth = (36 * math.pi * volume**2) ** (1 / 3) / surface
    assert mesh.sphericity == pytest.approx(smooth / 1.08, rel=0.05)


def test_a_slanting_rod_is_long_in_space_and_short_in_its_axial_planes() -> None:
    """A rod of 80 mm at 60 degrees to the axial plane: a plane cuts it over its width / sin 60."""
    for angles in ((0.0, 0.0, 0.0), (90.0, 0.0, 0.0), (25.0, 40.0, 10.0)):
        scan = empty((2.0, 2.0, 2.0), 110.0, angles)
        turned = places(scan) @ Rotation.from_euler("y", 60, degrees=True).as_matrix()
        mask = (np.abs(turned[..., 0]) <= 40) & (np.hypot(turned[..., 1], turned[..., 2]) <= 5)
        mesh = mesh_of(scan, mask)
        assert mesh.longest_mm == pytest.approx(math.hypot(80, 10), abs=3.0)
        assert mesh.longest_axial_mm == pytest.approx(10 / math.sin(math.radians(60)), abs=3.5)


def test_a_box_worked_by_hand() -> None:
    """Marching cubes cuts edges and corners of a box of voxels off, half a voxel from each."""
    mask = np.zeros((12, 12, 12), bool)
    mask[2:8, 3:7, 4:6] = True  # 6 x 4 x 2 voxels
    mesh = mesh_of(Volume(np.zeros(mask.shape), np.eye(4), "SUVbw"), mask)
    faces = 2 * (5 * 3 + 5 * 1 + 3 * 1)
    edges = 4 * (5 + 3 + 1) * math.sqrt(0.5)
    corners = 8 * math.sqrt(3) / 8
    assert mesh.area_mm2 == pytest.approx(faces + edges + corners)
    assert mesh.volume_mm3 == pytest.approx(48 - 4 * (5 + 3 + 1) / 8 - 8 * (1 / 8 - 1 / 48))
    assert mesh.longest_mm == pytest.approx(pdist(mesh.vertices).max())
    assert mesh.longest_axial_mm == pytest.approx(math.hypot(6, 3))


def test_one_voxel_is_an_octahedron() -> None:
    mask = np.zeros((3, 3, 3), bool)
    mask[1, 1, 1] = True
    mesh = mesh_of(Volume(np.zeros(mask.shape), np.diag([4.0, 4.0, 2.0, 1.0]), "SUVbw"), mask)
    assert mesh.longest_mm == pytest.approx(4.0)
    assert mesh.volume_mm3 == pytest.approx(4 * 4 * 2 / 6)


@pytest.mark.parametrize("name", GRIDS)
def test_agrees_with_simpleitk(name: str) -> None:
    scan = grid(name, 80.0)
    mask = ellipsoid(scan, (30.0, 15.0, 20.0)) | (np.linalg.norm(places(scan) - (20, 10, 0), axis=-1) < 12)
    mesh = mesh_of(scan, mask)
    stats = sitk.LabelShapeStatisticsImageFilter()
    stats.ComputeFeretDiameterOn()
    stats.Execute(to_sitk(scan.with_array(mask.astype(np.uint8), "label")))
    assert mesh.volume_mm3 == pytest.approx(stats.GetPhysicalSize(1), rel=0.05)
    # SimpleITK estimates the surface of the smooth body from crossings (Crofton), and its Feret diameter is
    # between voxel centres, where ours is between voxel faces
    assert 1.02 < mesh.area_mm2 / stats.GetPerimeter(1) < 1.15
    assert stats.GetFeretDiameter(1) <= mesh.longest_mm <= stats.GetFeretDiameter(1) + scan.spacing.max()


def test_diameters_are_those_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    scan = empty((3.0, 4.0, 2.5), 40.0, (10.0, 20.0, 30.0))
    mask = rng.random(scan.shape) > 0.97
    mesh = mesh_of(scan, mask)
    assert mesh.longest_mm == pytest.approx(pdist(mesh.vertices).max())
    assert 0 < mesh.longest_axial_mm <= mesh.longest_mm


def test_several_meshes_as_one() -> None:
    scan = grid("isotropic 2 mm", 60.0)
    one, other = (np.linalg.norm(places(scan) - (x, 0, 0), axis=-1) < 8 for x in (-15, 15))
    joined = Mesh.joined([mesh_of(scan, one), mesh_of(scan, other)])
    together = mesh_of(scan, one | other)
    assert joined.area_mm2 == pytest.approx(together.area_mm2)
    assert joined.volume_mm3 == pytest.approx(together.volume_mm3)
    assert joined.longest_mm == pytest.approx(together.longest_mm)
    assert joined.longest_axial_mm == pytest.approx(46.0, abs=3.0)


def test_nothing_has_no_mesh() -> None:
    with pytest.raises(AnyPETError, match="at least one voxel"):
        Mesh.around(Patch((0, 0, 0), np.zeros((2, 2, 2), bool)), np.eye(4))
