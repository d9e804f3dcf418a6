"""Enhanced and legacy converted PET: one file, many frames."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest

import anypet
from anypet.errors import ReadError, SUVError
from dicom_factory import FACTOR, HALF_LIFE, make_enhanced, make_series, values


@pytest.mark.parametrize("reverse", [False, True])
def test_enhanced_pet_equals_the_classic_series(tmp_path: Path, reverse: bool) -> None:
    make_series(tmp_path / "classic", slopes=2.0)
    classic = anypet.read(tmp_path / "classic")
    path = make_enhanced(tmp_path / "enhanced", reverse=reverse)
    for source in (path, tmp_path / "enhanced"):
        volume = anypet.read(source)
        np.testing.assert_allclose(volume.array, classic.array, rtol=1e-6)
        np.testing.assert_allclose(volume.affine, classic.affine)
    assert "DecayCorrectionDateTime (0018,9701)" in volume.meta["suv"]["time_rule"]


def test_enhanced_pet_in_suv_and_without_decay_correction(tmp_path: Path) -> None:
    suv = anypet.read(make_enhanced(tmp_path / "suv", unit="{SUVbw}g/ml", slope=0.001))
    np.testing.assert_allclose(suv.array, values() * 0.001, rtol=1e-6)
    raw = anypet.read(make_enhanced(tmp_path / "raw", decay="NO"))
    rate = np.log(2) / HALF_LIFE
    within = rate * 120 / (1 - np.exp(-rate * 120))
    np.testing.assert_allclose(raw.array, values() * 2 * FACTOR * within, rtol=1e-5)


def test_enhanced_pet_that_is_not_corrected_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(SUVError, match="without ATTN"):
        anypet.read(make_enhanced(tmp_path / "nac", attenuation="NO"))
    with pytest.raises(ReadError, match=r"4, but Per-Frame Functional Groups .* has 3"):
        anypet.read(make_enhanced(tmp_path / "damaged", drop_groups=1))


def test_legacy_converted_by_highdicom_equals_the_classic_series(tmp_path: Path) -> None:
    paths = make_series(tmp_path / "classic", slopes=[1.0, 2.0, 0.5, 3.0])
    classic = anypet.read(tmp_path / "classic")
    converted = hd.legacy.LegacyConvertedEnhancedPETImage(
        legacy_datasets=[pydicom.dcmread(p) for p in paths],
        series_instance_uid=hd.UID(),
        series_number=5,
        sop_instance_uid=hd.UID(),
        instance_number=1,
    )
    converted.save_as(tmp_path / "legacy.dcm", enforce_file_format=True)
    volume = anypet.read(tmp_path / "legacy.dcm")
    np.testing.assert_allclose(volume.array, classic.array, rtol=1e-6)
    np.testing.assert_allclose(volume.affine, classic.affine)


def test_every_frame_has_its_own_slope(tmp_path: Path) -> None:
    """Enhanced PET may map stored to real values frame by frame, beside a transformation shared by all."""
    slopes = [1.0, 2.0, 0.5, 3.0]
    make_series(tmp_path / "classic", slopes=slopes)
    path = make_enhanced(tmp_path / "enhanced")
    dataset = pydicom.dcmread(path)
    (mapping,) = dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    del dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    for group, slope in zip(dataset.PerFrameFunctionalGroupsSequence, slopes, strict=True):
        own = deepcopy(mapping)
        own.RealWorldValueSlope = slope
        group.RealWorldValueMappingSequence = [own]
    dataset.save_as(path)
    np.testing.assert_allclose(anypet.read(path).array, anypet.read(tmp_path / "classic").array, rtol=1e-6)


def test_every_frame_has_its_own_time(tmp_path: Path) -> None:
    path = make_enhanced(tmp_path / "enhanced")
    dataset = pydicom.dcmread(path)
    later = [deepcopy(group) for group in dataset.PerFrameFunctionalGroupsSequence]
    for group in later:
        group.FrameContentSequence[0].FrameAcquisitionDateTime = "20240305111000"
    dataset.PerFrameFunctionalGroupsSequence.extend(later)
    dataset.NumberOfFrames, dataset.PixelData = (
        8,
        dataset.PixelData + (values() * 2).transpose(2, 1, 0).astype("<i2").tobytes(),
    )
    dataset.save_as(path)
    first, second = (anypet.read(path, frame=n).array for n in (0, 1))
    np.testing.assert_allclose(second, 2 * first, rtol=1e-6)
