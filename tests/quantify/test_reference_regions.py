"""Reference regions found in masks of any orientation, and put by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from anypet.errors import AnyPETError, SUVError
from anypet.quantify.regions import (
    BLOOD_POOL,
    LIVER,
    Form,
    blood_pool,
    liver_sphere,
    organ,
    parotid,
    placed,
    spleen_sphere,
)
from anypet.volume import Volume
from spheres import GRIDS, ball, grid, places


def liver_of(scan: Volume) -> np.ndarray:
    """A large right lobe around x = 25 and a thin left one towards x = -60."""
    x, y, z = np.moveaxis(places(scan), -1, 0)
    right = ((x - 25) / 40) ** 2 + (y / 32) ** 2 + (z / 45) ** 2 <= 1
    left = ((x + 30) / 40) ** 2 + ((y - 8) / 14) ** 2 + ((z - 15) / 16) ** 2 <= 1
    return np.asarray(right | left)


def aorta_of(scan: Volume) -> np.ndarray:
    """A descending tube of 24 mm at y = -30, an ascending one at y = 30 and an arch between them."""
    x, y, z = np.moveaxis(places(scan), -1, 0)
    down = (np.hypot(x, y + 30) <= 12) & (z >= -60) & (z <= 40)
    up = (np.hypot(x, y - 30) <= 15) & (z >= 0) & (z <= 40)
    arch = (np.hypot(np.hypot(y, z - 40) - 30, x) <= 12) & (z >= 40)
    return np.asarray(down | up | arch)


@pytest.mark.parametrize("name", GRIDS)
def test_liver_sphere_lies_in_the_middle_of_the_right_lobe(name: str) -> None:
    scan = grid(name, 170.0)
    liver = liver_of(scan)
    rng = np.random.default_rng(0)
    values = rng.normal(2.2, 0.2, scan.shape).astype(np.float32)
    values[~liver] = 50.0  # one voxel outside of the liver would show
    region = liver_sphere(scan.with_array(values), liver)
    assert region.centre_mm == pytest.approx((25, 0, 0), abs=8.0)
    assert region.volume_ml == pytest.approx(4 / 3 * math.pi * 15**3 / 1000, rel=0.08)
    assert region.mean == pytest.approx(2.2, abs=0.06)
    assert region.sd == pytest.approx(0.2, abs=0.03)
    assert region.maximum < 4
    assert (region.name, region.unit, str(region.form)) == ("liver", "SUVbw", "sphere of 30 mm")
    inside = values[region.patch.slices][region.patch.values].astype(float)
    assert (region.mean, region.median) == pytest.approx((inside.mean(), np.median(inside)))


@pytest.mark.parametrize("name", GRIDS)
def test_blood_pool_lies_in_the_descending_aorta(name: str) -> None:
    scan = grid(name, 170.0)
    aorta = aorta_of(scan)
    values = np.where(aorta, 1.6, 9.0).astype(np.float32)
    region = blood_pool(scan.with_array(values), aorta)
    x, y, z = region.centre_mm
    assert (x, y) == pytest.approx((0, -30), abs=5.0)
    assert -50 <= z <= 45
    assert region.mean == pytest.approx(1.6)
    assert region.maximum == pytest.approx(1.6)
    assert 0.9 < region.volume_ml < 2.6  # 1.57 mL, on voxels of up to 0.07 mL
    assert "descending" in region.rule


def test_a_cylinder_holds_what_it_should() -> None:
    form = Form(10.0, 20.0)
    offsets = np.array([[0, 0, 0], [5, 0, 10], [0, 5.1, 0], [0, 0, 10.1], [3, 4, -10], [4, 4, 0]], float)
    assert form.holds(offsets).tolist() == [True, True, False, False, True, False]
    assert Form(10.0).holds(offsets).tolist() == [True, False, False, False, False, False]
    assert str(form) == "cylinder of 10 x 20 mm along the head-foot axis"


def test_regions_can_be_moved() -> None:
    scan = grid("isotropic 2 mm", 100.0)
    scan = scan.with_array(places(scan)[..., 0].astype(np.float32) + 100)
    region = placed(scan, LIVER, (10.0, 0.0, 0.0), "liver")
    moved = region.at(scan, (-10.0, 5.0, 0.0))
    assert (region.mean, moved.mean) == pytest.approx((110.0, 90.0), abs=0.2)
    assert moved.rule == "placed by hand"
    assert liver_sphere(scan, centre_mm=(-10.0, 5.0, 0.0)).mean == moved.mean
    assert blood_pool(scan, centre_mm=(0, 0, 0)).form == BLOOD_POOL
    assert spleen_sphere(scan, centre_mm=(0, 0, 0)).volume_ml == pytest.approx(4.19, rel=0.05)
    told = region.as_dict()
    assert (told["form"], told["centre_mm"], told["unit"]) == ("sphere of 30 mm", [10.0, 0.0, 0.0], "SUVbw")


def test_spleen_and_parotid() -> None:
    scan = grid("GE 4.7 mm", 120.0)
    spleen = ball(scan, (-20, -10, 5), 25.0)
    scan = scan.with_array(np.where(spleen, 3.0, 0.5).astype(np.float32))
    region = spleen_sphere(scan, spleen)
    assert region.mean == pytest.approx(3.0)
    assert region.centre_mm == pytest.approx((-20, -10, 5), abs=4.0)
    gland = parotid(scan, spleen)
    assert gland.volume_ml == pytest.approx(spleen.sum() * scan.voxel_volume_ml)
    assert gland.form is None
    with pytest.raises(AnyPETError, match="whole organ"):
        gland.at(scan, (0, 0, 0))
    assert organ(scan, spleen, "spleen").as_dict()["form"] is None


def test_what_does_not_fit() -> None:
    scan = grid("isotropic 2 mm", 80.0)
    small = ball(scan, (0, 0, 0), 10.0)
    with pytest.raises(AnyPETError, match=r"no sphere of 30 mm fits in the mask of the liver.*centre_mm"):
        liver_sphere(scan, small)
    x = places(scan)[..., 0]
    with pytest.raises(AnyPETError, match="right lobe"):  # deep in the left part only
        liver_sphere(scan, ball(scan, (-18, 0, 0), 20.0) | (ball(scan, (0, 0, 0), 38.0) & (x > 34)))
    with pytest.raises(AnyPETError, match="no cylinder"):
        blood_pool(scan, ball(scan, (0, 0, 0), 6.0))
    with pytest.raises(AnyPETError, match="liver is unknown"):
        liver_sphere(scan)
    with pytest.raises(AnyPETError, match="aorta is empty"):
        blood_pool(scan, np.zeros(scan.shape, bool))
    with pytest.raises(AnyPETError, match="has shape"):
        spleen_sphere(scan, np.ones((3, 3, 3), bool))
    with pytest.raises(AnyPETError, match="outside of the scan"):
        liver_sphere(scan, centre_mm=(500, 0, 0))
    with pytest.raises(AnyPETError, match="three numbers"):
        liver_sphere(scan, centre_mm=(0, float("nan"), 0))
    with pytest.raises(AnyPETError, match="holds no voxel"):
        placed(scan, Form(0.1), (0.3, 0.4, 0.2), "spot")
    with pytest.raises(SUVError, match="unknown SUV"):
        liver_sphere(scan.with_array(scan.array, "HU"), centre_mm=(0, 0, 0))
