"""The numbers of the table against known activity, reference objects, a real scan and hand-worked cases."""

from __future__ import annotations

import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import anypet
from anypet.dicom import body
from anypet.errors import AnyPETError, SUVError
from anypet.io import read_masks
from anypet.quantify.measures import measure
from anypet.quantify.parts import split_into_lesions
from anypet.quantify.suv import Patient, as_suv
from anypet.volume import Volume
from spheres import GRIDS, ball, empty, grid, painted, places

REFERENCES = ["0_0", "1_0", "2_0", "2_1", "2_3", "2_4", "2_5", "3_0", "3_1", "3_3", "4_1", "4_2"]
PATIENT = Patient(80.0, 1.75, "F")


@pytest.mark.parametrize("name", GRIDS)
def test_balls_of_known_activity(name: str) -> None:
    """Right to 1 %, whatever the voxels' size and orientation; the volume is that of the voxels."""
    radius = 40.0
    scan = painted(grid(name, 120.0), ((0.0, 0.0, 0.0), radius, 6.0))
    row = measure(scan, {"ball": ball(scan, (0, 0, 0), radius)}).rows[0]
    volume = 4 / 3 * math.pi * radius**3 / 1000
    assert row.suv_max == row.suv_mean == row.suv_median == pytest.approx(6.0)
    assert row.suv_peak == pytest.approx(6.0, rel=1e-6)
    assert row.suv_sd == pytest.approx(0.0, abs=1e-6)
    assert row.volume_ml == row.mtv_ml == pytest.approx(volume, rel=0.01)
    assert row.tlg == pytest.approx(6.0 * volume, rel=0.01)
    np.testing.assert_allclose(row.centroid_mm, 0.0, atol=0.25 * scan.spacing.max())


def test_graded_activity_does_not_depend_on_the_grid() -> None:
    """Uptake falling from 12 at a tip to 4: SUVmax, SUVpeak, MTV and TLG agree to 2 % over all grids."""
    tip, radius, slope = np.array([3.0, -4.0, 2.0]), 40.0, 0.2
    found = []
    for name in GRIDS:
        scan = grid(name, 120.0)
        distance = np.linalg.norm(places(scan) - tip, axis=-1)
        scan = scan.with_array((12 - slope * distance).astype(np.float32))
        row = measure(scan, {"cone": distance <= radius}).rows[0]
        found.append([row.suv_max, row.suv_peak, row.mtv_ml, row.tlg])
    values = np.array(found, float)
    np.testing.assert_allclose(values, np.broadcast_to(values.mean(0), values.shape), rtol=0.02)
    mean, volume = 12 - slope * 0.75 * radius, 4 / 3 * math.pi * radius**3 / 1000
    np.testing.assert_allclose(values[:, 3], mean * volume, rtol=0.01)


@pytest.mark.data
@pytest.mark.parametrize("name", REFERENCES)
def test_digital_reference_objects(shared_data: Path, name: str) -> None:
    """A body of SUV 1.00 with balls of 4.00 and 0.20, 20 mm in radius, of which every number is known."""
    folder = shared_data / "suv_reference" / f"DRO_{name}"
    pet = anypet.read(folder / "PT")
    body_mask = np.asarray(nib.load(folder / "mask.nii.gz").dataobj) > 0
    grid_places = np.stack(np.meshgrid(*(np.arange(n) for n in pet.shape), indexing="ij"), -1)
    hot, cold = (((grid_places - c) ** 2).sum(-1) <= 25 for c in ((158, 128, 10), (98, 128, 10)))
    around = np.zeros(pet.shape, bool)
    around[90:168, 118:139, 3:18] = True
    masks = {"hot": hot & body_mask, "cold": cold & body_mask, "all": around & body_mask}
    rows = {row.name: row for row in measure(pet, masks).rows}
    # 2_3 is stored in steps of 0.038 SUVbw and cannot come closer than one
    step = 0.01 * float(pet.meta["suv"]["factor"]) if name == "2_3" else 0.0
    for key, suv in (("hot", 4.0), ("cold", 0.2)):
        row, within = rows[key], max(0.01 * suv, step)
        for value in (row.suv_max, row.suv_mean, row.suv_median):
            assert value == pytest.approx(suv, abs=within)
        assert row.mtv_ml == pytest.approx(515 * 0.064)
        assert row.tlg == pytest.approx(515 * 0.064 * suv, rel=within / suv)
    assert rows["all"].suv_max == pytest.approx(4.0, abs=max(0.04, step))
    for key in ("hot", "all"):  # in the cold ball the sphere prefers the warm rim
        assert rows[key].suv_peak == pytest.approx(4.0, abs=max(0.04, step))
    assert rows["all"].suv_median == pytest.approx(1.0, abs=max(0.01, step))
    assert pet.array[rows["all"].suv_max_voxel] == rows["all"].suv_max
    assert hot[rows["all"].suv_max_voxel]


@pytest.mark.data
def test_real_scan_as_numpy_does_it(shared_data: Path) -> None:
    pet = anypet.read(shared_data / "sts_001_wholebody" / "PET")
    masks = read_masks(shared_data / "sts_001_wholebody" / "RTSTRUCT", pet)
    table = measure(pet, masks)
    assert [row.name for row in table.rows] == list(masks)
    for row, mask in zip(table.rows, masks.values(), strict=True):
        values = pet.array[mask].astype(np.float64)
        assert row.suv_max == values.max()
        assert row.suv_mean == pytest.approx(values.mean())
        assert row.suv_sd == pytest.approx(values.std())
        assert row.volume_ml == pytest.approx(len(values) * np.prod(pet.spacing) / 1000)
        assert row.suv_max_voxel == tuple(np.argwhere(mask)[values.argmax()])
        np.testing.assert_allclose(row.suv_max_mm, pet.to_mm(row.suv_max_voxel))
    assert table.rows[0].name == "GTV_Mass"
    assert table.rows[0].volume_ml == pytest.approx(366, abs=1)
    assert table.rows[0].suv_max == pytest.approx(7.9, abs=0.05)
    both = np.logical_or(*masks.values())
    assert table.total.voxels == both.sum()
    assert table.suv.unit == "SUVbw"


def test_suv_of_every_kind() -> None:
    scan = painted(empty((4.0, 4.0, 4.0), 60.0), ((0, 0, 0), 15.0, 8.0))
    mask = {"ball": ball(scan, (0, 0, 0), 15.0)}
    height_cm = 175.0
    bmi = 80.0 / 1.75**2
    expected = {
        "bw": 8.0,
        "lbm": 8.0 * 9270 / (8780 + 244 * bmi),
        "lbm-james": 8.0 * (1.07 * 80 - 148 * (80 / height_cm) ** 2) / 80,
        "ibw": 8.0 * (45.5 + 0.91 * (height_cm - 152)) / 80,
        "bsa": 8.0 * 0.007184 * height_cm**0.725 * 80**0.425 * 1e4 / 80e3,
    }
    for name, value in expected.items():
        table = measure(scan, mask, suv=name, patient=PATIENT)
        row = table.rows[0]
        for found in (row.suv_max, row.suv_peak, row.suv_mean):
            assert found == pytest.approx(value, rel=1e-6)
        assert row.tlg == pytest.approx(value * row.volume_ml, rel=1e-6)
        assert table.suv.name == name
        back = as_suv(as_suv(scan, name, PATIENT), "bw", PATIENT)
        np.testing.assert_allclose(back.array, scan.array, rtol=1e-6)


def test_the_patient_of_the_header_and_what_is_given() -> None:
    scan = empty((4.0, 4.0, 4.0), 20.0)
    known = scan.with_array(scan.array, patient={"weight_kg": 70.0, "height_m": None, "sex": "M"})
    assert Patient.of(known) == Patient(70.0, None, "M")
    assert Patient.of(known, 70.0, 1.8, "O") == Patient(70.0, 1.8, "O")
    grams = scan.with_array(scan.array, patient={"weight_kg": 70500.0, "height_m": 172.0, "sex": "F"})
    assert Patient.of(grams) == Patient(70.5, 1.72, "F")
    with pytest.raises(SUVError, match=r"made with the header's 70 kg"):
        Patient.of(known, 75.0)
    assert Patient.of(known).body_surface_m2() is None
    assert Patient.of(known, None, 1.8).body_surface_m2() == body.body_surface_area(70.0, 1.8)
    with pytest.raises(SUVError, match=r"height \(PatientSize\)"):
        as_suv(known, "lbm")
    with pytest.raises(SUVError, match=r"weight .*, height .*, sex"):
        as_suv(scan, "lbm-james")
    with pytest.raises(SUVError, match="unknown SUV 'sul'"):
        as_suv(scan, "sul")
    with pytest.raises(SUVError, match="Bq/mL"):
        as_suv(scan.with_array(scan.array, "Bq/mL"), "bw")


def test_spread_of_lesions_worked_by_hand() -> None:
    scan = empty((2.0, 2.0, 2.0), 120.0)
    centres, radii = ((-40.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 30.0, 40.0)), (6.0, 10.0, 6.0)
    mask = np.zeros(scan.shape, bool)
    for centre, radius in zip(centres, radii, strict=True):
        mask |= ball(scan, centre, radius)
    table = measure(scan, {"all": mask}, patient=PATIENT)
    spread, surface = table.spread, PATIENT.body_surface_m2()
    assert (spread.lesions, spread.connectivity) == (3, 26)
    assert spread.dmax_mm == pytest.approx(math.dist(centres[0], centres[2]), abs=0.5)
    assert spread.dmax_bulk_mm == pytest.approx(50.0, abs=0.5)
    assert spread.dmax_mm is not None
    assert surface is not None
    assert spread.sdmax_per_m == pytest.approx(spread.dmax_mm / 1000 / surface)
    assert measure(scan, {"all": mask}).spread.sdmax_per_m is None
    alone = measure(scan, {"one": ball(scan, centres[0], 6.0)}).spread
    assert (alone.lesions, alone.dmax_mm, alone.dmax_bulk_mm) == (1, None, None)


def test_connectivity_is_what_is_said() -> None:
    scan = empty((4.0, 4.0, 4.0), 40.0)
    mask = np.zeros(scan.shape, bool)
    mask[2, 2, 2] = mask[3, 3, 2] = mask[4, 4, 3] = True  # an edge, then a corner
    counts = {c: measure(scan, {"m": mask}, connectivity=c).spread.lesions for c in (6, 18, 26)}  # type: ignore[arg-type]
    assert counts == {6: 3, 18: 2, 26: 1}
    with pytest.raises(AnyPETError, match="connectivity of 8"):
        measure(scan, {"m": mask}, connectivity=8)  # type: ignore[arg-type]


def test_overlaps_count_once_in_the_total() -> None:
    scan = painted(empty((4.0, 4.0, 4.0), 80.0), ((0, 0, 0), 20.0, 4.0), ((0, 0, 0), 10.0, 9.0))
    masks = {"inner": ball(scan, (0, 0, 0), 10.0), "outer": ball(scan, (0, 0, 0), 20.0)}
    table = measure(scan, masks)
    inner, outer = table.rows
    assert table.total.voxels == outer.voxels
    assert table.total.tlg == pytest.approx(outer.tlg)
    assert table.total.suv_peak == max(inner.suv_peak, outer.suv_peak)  # type: ignore[type-var]
    assert table.total.surface_cm2 == pytest.approx(outer.surface_cm2)
    assert table.total.longest_mm == pytest.approx(outer.longest_mm)


def test_labels_masks_and_components_agree() -> None:
    scan = painted(empty((4.0, 4.0, 4.0), 100.0), ((-25, 0, 0), 12.0, 4.0), ((25, 0, 0), 16.0, 9.0))
    left, right = ball(scan, (-25, 0, 0), 12.0), ball(scan, (25, 0, 0), 16.0)
    labels = Volume(
        (left * 3 + right * 7).astype(np.uint8), scan.affine, "label", {"names": {3: "left", 7: "right"}}
    )
    by_label, by_mask = measure(scan, labels), measure(scan, {"left": left, "right": right})
    assert [(r.label, r.name) for r in by_label.rows] == [(3, "left"), (7, "right")]
    for one, other in zip(by_label.rows, by_mask.rows, strict=True):
        assert (one.suv_max, one.tlg, one.suv_peak_mm) == (other.suv_max, other.tlg, other.suv_peak_mm)
    lesions = measure(scan, split_into_lesions({"all": left | right}, scan))
    assert [r.name for r in lesions.rows] == ["lesion 1", "lesion 2"]
    assert lesions.rows[0].volume_ml == by_label.rows[1].volume_ml  # the largest first
    assert lesions.total.tlg == pytest.approx(by_label.total.tlg)


def test_distance_to_the_spleen() -> None:
    scan = empty((3.0, 3.0, 3.0), 120.0)
    spleen, lesion = ball(scan, (-30, -20, 0), 15.0), ball(scan, (30, 20, 10), 8.0)
    row = measure(scan, {"lesion": lesion}, spleen=spleen).rows[0]
    assert row.spleen_mm == pytest.approx(math.dist((-30, -20, 0), (30, 20, 10)), abs=0.5)
    assert measure(scan, {"lesion": lesion}).rows[0].spleen_mm is None
    with pytest.raises(AnyPETError, match="spleen's mask is empty"):
        measure(scan, {"lesion": lesion}, spleen=np.zeros(scan.shape, bool))
    with pytest.raises(AnyPETError, match="one grid"):
        measure(scan, {"lesion": lesion}, spleen=np.ones((2, 2, 2), bool))


def test_nothing_to_measure_is_an_empty_table() -> None:
    scan = empty((4.0, 4.0, 4.0), 40.0)
    table = measure(scan, {"none": np.zeros(scan.shape, bool)})
    assert table.rows == ()
    assert (table.total.voxels, table.total.volume_ml, table.total.tlg) == (0, 0.0, 0.0)
    assert table.total.suv_max is None
    assert table.spread.lesions == 0


def test_the_total_of_hottest_spheres_is_that_of_the_hottest_voxel() -> None:
    """A single hot voxel in a cool object against a broad warm one: the total follows SUVmax."""
    scan = painted(empty((4.0, 4.0, 4.0), 100.0), ((-25, 0, 0), 12.0, 2.0), ((25, 0, 0), 16.0, 9.0))
    array = scan.array.copy()
    array[tuple(np.rint(scan.to_voxel((-25, 0, 0))).astype(int))] = 12.0
    scan = scan.with_array(array)
    masks = {"spot": ball(scan, (-25, 0, 0), 12.0), "broad": ball(scan, (25, 0, 0), 16.0)}
    hottest, inside = measure(scan, masks, centre="hottest"), measure(scan, masks)
    assert hottest.total.suv_peak == hottest.rows[0].suv_peak
    assert inside.total.suv_peak == inside.rows[1].suv_peak == pytest.approx(9.0)


def test_grids_must_agree() -> None:
    scan, other = empty((4.0, 4.0, 4.0), 40.0), empty((2.0, 4.0, 4.0), 40.0)
    with pytest.raises(AnyPETError, match="one grid"):
        measure(scan, {"m": np.ones(other.shape, bool)})
    with pytest.raises(AnyPETError, match="read_labels"):
        measure(scan, other.with_array(np.ones(other.shape, np.uint8), "label"))
    with pytest.raises(AnyPETError, match="whole numbers"):
        measure(scan, scan)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.permutations([0, 1, 2]), st.tuples(*[st.booleans()] * 3))
def test_storage_order_changes_nothing(seed: int, axes: list[int], flips: tuple[bool, ...]) -> None:
    rng = np.random.default_rng(seed)
    scan = empty((4.0, 3.0, 5.0), 40.0)
    noise = ndimage.gaussian_filter(rng.normal(size=scan.shape), 3.0 / scan.spacing)
    scan = scan.with_array((5 + noise / noise.std()).astype(np.float32))
    mask = ball(scan, (1.0, 0.0, 2.0), 11.0)
    place = np.eye(4)
    place[:3, :3] = np.eye(3)[:, axes]
    array, stored = scan.array.transpose(axes), mask.transpose(axes)
    for axis in np.flatnonzero(flips):
        place = place @ _flip(int(axis), array.shape[axis])
        array, stored = np.flip(array, axis), np.flip(stored, axis)
    turned = Volume(array, scan.affine @ place, scan.unit)
    one, other = measure(scan, {"m": mask}).rows[0], measure(turned, {"m": stored}).rows[0]
    for name in ("voxels", "volume_ml", "suv_max", "suv_mean", "suv_median", "suv_sd", "tlg"):
        assert getattr(one, name) == pytest.approx(getattr(other, name))
    for name in ("surface_cm2", "longest_mm", "longest_axial_mm", "sphericity"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=0.02)
    assert one.suv_peak == pytest.approx(other.suv_peak, rel=5e-3)
    np.testing.assert_allclose(one.suv_max_mm, other.suv_max_mm, atol=1e-6)


def _flip(axis: int, count: int) -> np.ndarray:
    matrix = np.eye(4)
    matrix[axis, axis], matrix[axis, 3] = -1, count - 1
    return matrix
