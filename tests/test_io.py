"""`read` and `write` of image files, with nibabel and SimpleITK as independent readers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import anypet
from anypet.describe import describe, write_sidecar
from anypet.errors import ReadError
from anypet.grids import affine_of
from anypet.io import read_masks
from anypet.units import check_unit
from anypet.volume import Volume
from dicom_factory import make_series

SUFFIXES = [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd"]
OBLIQUE = np.array(
    [[-1.92, 0.84, 0, 30.0], [-0.448, -2.304, 1.8, -10], [0.336, 1.728, 2.4, 55], [0, 0, 0, 1]]
)


def scan(unit: str = "SUVbw", affine: np.ndarray = OBLIQUE) -> Volume:
    rng = np.random.default_rng(0)
    return Volume(rng.random((5, 6, 7)).astype(np.float32) * 5, affine, unit)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_written_volume_reads_back_without_a_word(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"scan{suffix}"
    anypet.write(scan(), path)
    again = anypet.read(path)
    np.testing.assert_array_equal(again.array, scan().array)
    np.testing.assert_allclose(again.affine, OBLIQUE, atol=1e-5)
    assert again.unit == "SUVbw"
    assert again.meta["warnings"] == []
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".anypet")]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_other_libraries_see_the_same_places(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"scan{suffix}"
    anypet.write(scan(), path)
    image = sitk.ReadImage(str(path))
    np.testing.assert_allclose(affine_of(image), OBLIQUE, atol=1e-4)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).transpose(2, 1, 0), scan().array)
    if suffix.startswith(".nii"):
        np.testing.assert_allclose(nib.load(path).affine, OBLIQUE, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(
    st.permutations([0, 1, 2]),
    st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
    hnp.arrays(np.float64, 3, elements=st.floats(0.5, 8, width=32)),
    st.sampled_from([".nii.gz", ".nrrd", ".mha"]),
)
def test_any_orientation_survives_files(
    tmp_path_factory: pytest.TempPathFactory,
    order: list[int],
    signs: tuple[float, float, float],
    spacing: np.ndarray,
    suffix: str,
) -> None:
    affine = np.eye(4)
    affine[:3, :3] = (np.diag(signs) * spacing)[:, order]
    affine[:3, 3] = [11, -7, 3]
    path = tmp_path_factory.mktemp("o") / f"a{suffix}"
    anypet.write(scan(affine=affine), path)
    again = anypet.read(path)
    np.testing.assert_allclose(again.affine, affine, atol=1e-4)
    np.testing.assert_array_equal(again.array, scan().array)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_masks_and_names(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mask{suffix}"
    mask = scan().array > 3
    anypet.write(scan().with_array(mask, "label", names={1: "liver"}), path)
    again = anypet.read_labels(path)
    assert again.array.dtype == np.uint8
    np.testing.assert_array_equal(again.array, mask)
    assert again.meta["names"] == {1: "liver"}
    np.testing.assert_array_equal(read_masks(path)["liver"], mask)


def test_wide_integers_shrink(tmp_path: Path) -> None:
    labels = np.zeros((3, 3, 3), np.int64)
    labels[1, 1, 1] = 70_000
    anypet.write(Volume(labels, np.eye(4), "label"), tmp_path / "a.nii.gz")
    again = anypet.read(tmp_path / "a.nii.gz")
    assert again.array[1, 1, 1] == 70_000
    anypet.write(Volume(labels > 0, np.eye(4), "label"), tmp_path / "b.nii.gz")
    assert nib.load(tmp_path / "b.nii.gz").get_data_dtype() == np.uint8
    anypet.write(Volume(np.ones((2, 2, 2), np.float16), np.eye(4), "SUVbw"), tmp_path / "c.nii")
    assert nib.load(tmp_path / "c.nii").get_data_dtype() == np.float32


def test_unit_must_be_said_and_may_be_overruled(tmp_path: Path) -> None:
    path = tmp_path / "pet.nii.gz"
    nib.save(nib.Nifti1Image(scan().array, OBLIQUE), path)
    with pytest.raises(ReadError, match=r"does not say what unit.*unit= one of SUVbw"):
        anypet.read(path)
    assert anypet.read(path, unit="suvBW").unit == "SUVbw"
    anypet.write(scan(), path)
    assert any("says its unit is SUVbw" in w for w in anypet.read(path, unit="Bq/mL").meta["warnings"])
    assert check_unit(" hu ") == "HU"


def test_scaled_integers(tmp_path: Path) -> None:
    image = nib.Nifti1Image((scan().array * 1000).astype(np.int16), OBLIQUE)
    image.header.set_slope_inter(0.001, 0)
    nib.save(image, tmp_path / "pet.nii")
    raw = nib.load(tmp_path / "pet.nii")
    volume = anypet.read(tmp_path / "pet.nii", unit="SUVbw")
    np.testing.assert_allclose(volume.array, raw.get_fdata(), atol=1e-6)
    assert volume.array.dtype == np.float32


def test_spatial_units_other_than_mm(tmp_path: Path) -> None:
    image = nib.Nifti1Image(scan().array, np.diag([0.004, 0.004, 0.003, 1]))
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "pet.nii")
    np.testing.assert_allclose(anypet.read(tmp_path / "pet.nii", unit="SUVbw").spacing, [4, 4, 3], rtol=1e-5)


def test_four_dimensions(tmp_path: Path) -> None:
    both = np.stack([scan().array, scan().array * 2], -1)
    nib.save(nib.Nifti1Image(both[..., :1], OBLIQUE), tmp_path / "one.nii")
    assert anypet.read(tmp_path / "one.nii", unit="SUVbw").shape == (5, 6, 7)
    nib.save(nib.Nifti1Image(both, OBLIQUE), tmp_path / "two.nii")
    volume = anypet.read(tmp_path / "two.nii", unit="SUVbw", frame=1)
    np.testing.assert_array_equal(volume.array, both[..., 1])
    image = sitk.GetImageFromArray(both.transpose(3, 2, 1, 0), isVector=False)
    sitk.WriteImage(image, str(tmp_path / "two.nrrd"))
    volume = anypet.read(tmp_path / "two.nrrd", unit="SUVbw", frame=1)
    np.testing.assert_array_equal(volume.array, both[..., 1])


def test_few_nan_are_replaced_with_a_warning(tmp_path: Path) -> None:
    array = np.ones((10, 10, 10), np.float32)
    array[0, 0, :3] = [np.nan, np.inf, -np.inf]
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "pet.nii")
    volume = anypet.read(tmp_path / "pet.nii", unit="SUVbw")
    assert np.isfinite(volume.array).all()
    assert volume.array.sum() == 997
    assert any("3 voxels are NaN" in w for w in volume.meta["warnings"])


@pytest.mark.parametrize(
    ("values", "pattern"),
    [
        ((-1000, 40, 40, 1000), "look like HU"),
        ((0, 5000.5, 7000.5, 20000.5), "the highest value is"),
        ((0, 25.5, 30.5, 60.5), "median of the body is"),
        ((-50.5, 1, 1, 2), "the lowest value is -50.5"),
        ((0, 0, 0, 0), "no voxel is above 0"),
    ],
)
def test_values_that_are_no_suv(tmp_path: Path, values: tuple[float, ...], pattern: str) -> None:
    array = np.resize(np.array(values, np.float32), (4, 4, 4))
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "a.nii")
    warnings = anypet.read(tmp_path / "a.nii", unit="SUVbw").meta["warnings"]
    assert any(pattern in w for w in warnings)


def test_values_of_other_units(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(scan().array, np.eye(4)), tmp_path / "a.nii")
    assert any("really HU" in w for w in anypet.read(tmp_path / "a.nii", unit="HU").meta["warnings"])
    assert any("really Bq/mL" in w for w in anypet.read(tmp_path / "a.nii", unit="Bq/mL").meta["warnings"])


def test_labels_move_to_the_reference(tmp_path: Path) -> None:
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[1, 2, 3] = 3
    anypet.write(Volume(labels, np.diag([4.0, 4, 4, 1]), "label"), tmp_path / "l.nii.gz")
    fine = np.diag([2.0, 2, 2, 1])
    fine[:3, 3] = -1
    moved = anypet.read_labels(tmp_path / "l.nii.gz", Volume(np.zeros((8, 8, 8)), fine, "SUVbw"))
    assert np.unique(moved.array).tolist() == [0, 3]
    assert (moved.array == 3).sum() == 8
    assert moved.meta["names"] == {3: "label 3"}


def test_study_from_files(tmp_path: Path) -> None:
    anypet.write(scan(), tmp_path / "pet.nii.gz")
    ct = Volume(np.full((9, 9, 9), 30.0, np.float32), np.diag([1.0, 1, 1, 1]), "HU")
    anypet.write(ct, tmp_path / "ct.nii.gz")
    study = anypet.read_study(tmp_path / "pet.nii.gz", ct=tmp_path / "ct.nii.gz")
    assert study.ct is not None
    assert study.ct.same_grid(study.pet)
    assert anypet.read_study(tmp_path / "pet.nii.gz").ct is None


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.nii.gz"
    anypet.write(scan(), path)
    before = path.read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(nib, "save", full_disk)
    with pytest.raises(anypet.errors.AnyPETError, match="no space left"):
        anypet.write(scan(), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii.gz"]


def test_sidecar_and_description(tmp_path: Path) -> None:
    make_series(tmp_path / "pet")
    volume = anypet.read(tmp_path / "pet")
    sidecar = write_sidecar(volume, tmp_path / "suv.nii.gz")
    told = json.loads(sidecar.read_text())
    assert sidecar.name == "suv.json"
    assert told["suv"]["factor"] == pytest.approx(volume.meta["suv"]["factor"])
    assert str(tmp_path) not in sidecar.read_text()
    assert describe(tmp_path / "pet")["geometry"]["orientation"] == "LPS"


def test_reading_needs_no_torch() -> None:
    code = "import sys, anypet.io; assert 'torch' not in sys.modules and 'highdicom' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
