"""Finding, sorting and choosing series; geometry against SimpleITK's own reader."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

import anypet
from anypet.dicom.reader import all_series
from anypet.errors import ReadError
from anypet.grids import affine_of
from dicom_factory import FACTOR, add_pixels, drugging, make_series, setting, values

OBLIQUE = (0.96, 0.28, 0.0, -0.28 * 0.8, 0.96 * 0.8, 0.6)
ORIENTATIONS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "feet first": (-1, 0, 0, 0, 1, 0),
    "prone": (-1, 0, 0, 0, -1, 0),
    "coronal": (1, 0, 0, 0, 0, -1),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "oblique": OBLIQUE,
}


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_values_and_places_agree_with_simpleitk(tmp_path: Path, name: str) -> None:
    slopes = [1.0, 2.0, 0.5, 3.0]
    make_series(tmp_path, orientation=ORIENTATIONS[name], slopes=slopes)
    volume = anypet.read(tmp_path)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    image = reader.Execute()
    np.testing.assert_allclose(volume.affine, affine_of(image), atol=1e-4)
    theirs = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    np.testing.assert_allclose(volume.array, theirs * FACTOR, rtol=1e-6)
    expected = values() * np.array(slopes) * FACTOR
    np.testing.assert_allclose(volume.array, expected, rtol=1e-6)
    assert volume.array.dtype == np.float32


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(4)), st.integers(0, 3))
def test_file_order_and_names_do_not_matter(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], depth: int
) -> None:
    folder = tmp_path_factory.mktemp("shuffled")
    paths = make_series(folder / "made")
    deep = folder / "study" / "/".join("abc"[:depth])
    deep.mkdir(parents=True, exist_ok=True)
    for n, k in enumerate(order):
        shutil.copy(paths[k], deep / f"IM{n}")
    ours, theirs = anypet.read(folder / "study"), anypet.read(folder / "made")
    np.testing.assert_array_equal(ours.array, theirs.array)
    np.testing.assert_array_equal(ours.affine, theirs.affine)
    assert [Path(f).name for f in ours.meta["files"]] == [f"IM{order.index(k)}" for k in range(4)]


def test_one_file_stands_for_its_series(tmp_path: Path) -> None:
    paths = make_series(tmp_path)
    make_series(tmp_path, modality="CT", number=2)
    (tmp_path / "notes.txt").write_text("nothing")
    np.testing.assert_array_equal(anypet.read(paths[2]).array, anypet.read(tmp_path).array)


def test_files_without_preamble(tmp_path: Path) -> None:
    for path in make_series(tmp_path):
        raw = path.read_bytes()
        path.write_bytes(raw[132:])
    assert anypet.read(tmp_path).shape == (6, 5, 4)


def test_zip(tmp_path: Path) -> None:
    make_series(tmp_path / "scan" / "deep")
    archive = shutil.make_archive(str(tmp_path / "scan"), "zip", tmp_path / "scan")
    volume = anypet.read(archive)
    np.testing.assert_array_equal(volume.array, anypet.read(tmp_path / "scan").array)
    assert volume.meta["files"] == []


def test_corrected_series_goes_first(tmp_path: Path) -> None:
    make_series(
        tmp_path / "nac", number=1, edit=setting(CorrectedImage=["DECY", "NORM"], SeriesDescription="NAC")
    )
    make_series(tmp_path / "ac", number=2, edit=setting(SeriesDescription="AC"))
    taken = anypet.read(tmp_path).meta["series"]
    assert (taken["number"], taken["description"]) == (2, "AC")
    assert "with attenuation correction" in taken["why"]
    assert [o["description"] for o in taken["others"]] == ["NAC"]


def test_longer_field_of_view_goes_first(tmp_path: Path) -> None:
    make_series(tmp_path / "bed", values((6, 5, 3)), number=1)
    whole = make_series(tmp_path / "whole", values((6, 5, 9)), number=2)
    volume = anypet.read(tmp_path)
    assert volume.shape[2] == 9
    assert "longer field of view" in volume.meta["series"]["why"]
    assert anypet.read(tmp_path, series=1).shape[2] == 3
    assert anypet.read(tmp_path, series="1").shape[2] == 3
    uid = volume.meta["series_uid"]
    assert anypet.read(tmp_path, series=uid).meta["files"][0] == str(whole[0])
    with pytest.raises(ReadError, match=r"no series '7'.*series 1 .*series 2"):
        anypet.read(tmp_path, series="7")


def test_units_without_a_suv_and_projections_go_last(tmp_path: Path) -> None:
    make_series(tmp_path / "cps", number=1, edit=setting(Units="CPS"))
    make_series(
        tmp_path / "mip", values((6, 5, 9)), number=2, edit=setting(ImageType=["DERIVED", "PRIMARY", "MIP"])
    )
    make_series(tmp_path / "bq", number=3)
    assert anypet.read(tmp_path).meta["series"]["number"] == 3


def test_ambiguous_number(tmp_path: Path) -> None:
    make_series(tmp_path / "a")
    make_series(tmp_path / "b")
    with pytest.raises(ReadError, match="2 series have the number 1: give a UID"):
        anypet.read(tmp_path, series=1)


def test_dynamic_series(tmp_path: Path) -> None:
    first = make_series(tmp_path / "0", series_uid="1.2.3")
    for path, stored, time in (("1", values(seed=1), "111000"), ("2", values(seed=2), "112000")):
        make_series(tmp_path / path, stored, series_uid="1.2.3", edit=setting(AcquisitionTime=time))
    assert len(first) == 4
    with pytest.raises(ReadError, match=r"3 frames: choose one with frame=0 to frame=2"):
        anypet.read(tmp_path)
    for n in range(3):
        np.testing.assert_allclose(anypet.read(tmp_path, frame=n).array, values(seed=n) * FACTOR, rtol=1e-6)
    with pytest.raises(ReadError, match="frames 0 to 2"):
        anypet.read(tmp_path, frame=3)


def test_same_file_twice_is_taken_once(tmp_path: Path) -> None:
    paths = make_series(tmp_path)
    shutil.copy(paths[1], tmp_path / "copy.dcm")
    assert anypet.read(tmp_path).shape == (6, 5, 4)


def test_gaps_between_beds_are_accepted(tmp_path: Path) -> None:
    """Real scanners leave joints a few per cent short."""

    def edit(ds: Dataset, k: int) -> None:
        ds.ImagePositionPatient = [-20.0, -30.0, -40.0 + 3 * k - (0.08 if k > 1 else 0)]

    make_series(tmp_path, edit=edit)
    assert anypet.read(tmp_path).spacing[2] == pytest.approx(3 - 0.08 / 3)


def test_other_units(tmp_path: Path) -> None:
    make_series(tmp_path, edit=drugging(RadionuclideTotalDose=None))
    raw = anypet.read(tmp_path, unit="bq/ml")
    assert raw.unit == "Bq/mL"
    np.testing.assert_array_equal(raw.array, values())


@pytest.mark.parametrize(
    ("unit", "ratio"),
    [
        ("SUVlbm", 9270 / (8780 + 244 * 70 / 1.65**2)),
        ("SUVlbm-james", (1.07 * 70 - 148 * (70 / 165) ** 2) / 70),
        ("SUVibw", (45.5 + 0.91 * 13) / 70),
        ("SUVbsa", 0.007184 * 165**0.725 * 70**0.425 * 1e4 / 70_000),
    ],
)
def test_other_suvs(tmp_path: Path, unit: str, ratio: float) -> None:
    make_series(tmp_path)
    volume = anypet.read(tmp_path, unit=unit)
    np.testing.assert_allclose(volume.array, values() * FACTOR * ratio, rtol=1e-5)
    assert volume.meta["suv"]["normalisation"]["times_SUVbw"] == pytest.approx(ratio)


def test_ct(tmp_path: Path) -> None:
    make_series(tmp_path, values() - 2000, modality="CT", intercept=-24.0)
    volume = anypet.read(tmp_path, unit="HU")
    np.testing.assert_array_equal(volume.array, values() - 2024.0)
    assert volume.unit == "HU"


def test_compressed_slices(tmp_path: Path) -> None:
    def rle(ds: Dataset, _: int) -> None:
        ds.compress("1.2.840.10008.1.2.5")

    make_series(tmp_path, edit=rle)
    np.testing.assert_allclose(anypet.read(tmp_path).array, values() * FACTOR, rtol=1e-6)


def test_study_brings_the_ct_onto_the_pet(tmp_path: Path) -> None:
    make_series(tmp_path / "pet")
    fine = np.full((10, 12, 6), 40, np.int16)
    fine[5:] = -1000
    make_series(tmp_path / "ct", fine, modality="CT", spacing=(2, 2, 3), number=2)
    study = anypet.read_study(tmp_path)
    assert study.ct is not None
    assert study.ct.same_grid(study.pet)
    assert study.ct.array[0, 0, 0] == pytest.approx(40)
    assert study.ct.array[3, 0, 0] == pytest.approx(-1000)
    assert study.ct.array[5, 4, 0] == -1024
    assert study.meta["ct"]["number"] == 2
    assert len(study.meta["series"]) == 2


def test_study_without_a_fitting_ct(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_series(tmp_path / "pet")
    assert anypet.read_study(tmp_path).ct is None
    make_series(tmp_path / "ct", modality="CT", number=2, edit=setting(FrameOfReferenceUID="1.2.3"))
    study = anypet.read_study(tmp_path)
    assert study.ct is None
    assert "frame of reference" in study.meta["ct"]["why"]
    assert "frame of reference" in caplog.text
    chosen = anypet.read_study(tmp_path / "pet", ct=tmp_path / "ct")
    assert chosen.ct is not None
    assert chosen.ct.unit == "HU"


def test_study_with_a_broken_ct(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_series(tmp_path / "pet")
    ct = make_series(tmp_path / "ct", modality="CT", number=2)
    ct[1].unlink()
    assert anypet.read_study(tmp_path).ct is None
    assert "missing" in caplog.text


def test_series_labels_tell_them_apart(tmp_path: Path) -> None:
    make_series(tmp_path)
    with all_series(tmp_path) as found:
        assert "series 1 [PT] 'test', 4 slices, BQML, AC" in found[0].label()


def test_rows_and_columns_are_not_swapped(tmp_path: Path) -> None:
    """One hot voxel at column 5, row 1, slice 2."""
    stored = np.zeros((6, 5, 4), np.int16)
    stored[5, 1, 2] = 5000

    def edit(ds: Dataset, k: int) -> None:
        pixels = np.zeros((5, 6), np.int16)
        if k == 2:
            pixels[1, 5] = 5000
        add_pixels(ds, pixels)

    make_series(tmp_path, stored, edit=edit)
    volume = anypet.read(tmp_path)
    assert np.argwhere(volume.array > 0).tolist() == [[5, 1, 2]]
    # LPS (-20 + 5 x 4, -30 + 1 x 5, -40 + 2 x 3) is RAS (0, 25, -34)
    np.testing.assert_allclose(volume.to_mm((5, 1, 2)), [0, 25, -34])


@pytest.mark.data
def test_whole_body_agrees_with_the_published_crop(shared_data: Path) -> None:
    whole = anypet.read(shared_data / "sts_001_wholebody" / "PET")
    crop = anypet.read(shared_data / "sts" / "STS_001" / "PET.nii.gz", unit="SUVbw")
    start = whole.to_voxel(crop.to_mm((0, 0, 0)))
    np.testing.assert_allclose(start, np.round(start), atol=1e-3)
    i, j, k = np.round(start).astype(int)
    part = whole.array[i : i + crop.shape[0], j : j + crop.shape[1], k : k + crop.shape[2]]
    np.testing.assert_allclose(part, crop.array, atol=0.01)
