"""The real whole-body scan as SEG, RTSTRUCT and SR: valid, and the same voxels by other programs too."""

from __future__ import annotations

from pathlib import Path

import pytest

import anypet
from anypet.dicom import find_source, write_measurements, write_segmentation, write_structures
from anypet.dicom.source import Source
from anypet.io import read_masks
from anypet.volume import Volume
from dicom_tools import (
    Masks,
    assert_same,
    dciodvfy_errors,
    dcmqi_masks,
    dcmqi_report,
    plastimatch_masks,
    seg_by_hand,
)

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def scan(shared_data: Path) -> Volume:
    return anypet.read(shared_data / "sts_001_wholebody" / "PET")


@pytest.fixture(scope="module")
def source(scan: Volume) -> Source:
    return find_source(scan)


@pytest.fixture(scope="module")
def masks(shared_data: Path, scan: Volume) -> Masks:
    return read_masks(shared_data / "sts_001_wholebody" / "RTSTRUCT", scan)


@pytest.mark.parametrize("kind", ["binary", "fractional"])
def test_seg(kind: str, scan: Volume, source: Source, masks: Masks, tmp_path: Path) -> None:
    path = tmp_path / "seg.dcm"
    write_segmentation(masks, source, path, kind=kind)  # type: ignore[arg-type]
    assert dciodvfy_errors(path) == []
    assert_same(read_masks(path, scan), masks)
    assert_same(seg_by_hand(path, scan), masks)


def test_seg_by_dcmqi(scan: Volume, source: Source, masks: Masks, tmp_path: Path) -> None:
    path = tmp_path / "seg.dcm"
    write_segmentation(masks, source, path)
    assert_same(dcmqi_masks(path, scan, tmp_path / "dcmqi"), masks)


def test_rtstruct(scan: Volume, source: Source, masks: Masks, tmp_path: Path) -> None:
    path = tmp_path / "rt.dcm"
    write_structures(masks, source, path)
    assert_same(read_masks(path, scan), masks)
    assert dciodvfy_errors(path) == []


def test_rtstruct_by_plastimatch(scan: Volume, source: Source, masks: Masks, tmp_path: Path) -> None:
    path = tmp_path / "rt.dcm"
    write_structures(masks, source, path)
    found = plastimatch_masks(path, scan, tmp_path / "plastimatch")
    for name, mask in masks.items():
        assert 2 * (found[name] & mask).sum() / (found[name].sum() + mask.sum()) >= 0.98


def test_sr(scan: Volume, source: Source, masks: Masks, tmp_path: Path) -> None:
    seg, path = tmp_path / "seg.dcm", tmp_path / "sr.dcm"
    write_segmentation(masks, source, seg)
    suv_max = {name: {"suv_max": float(scan.array[mask].max())} for name, mask in masks.items()}
    write_measurements(suv_max, seg, source, path)
    assert dciodvfy_errors(path) == []
    for group, values in zip(dcmqi_report(path, tmp_path)["Measurements"], suv_max.values(), strict=True):
        assert float(group["measurementItems"][0]["value"]) == pytest.approx(values["suv_max"], rel=1e-6)
