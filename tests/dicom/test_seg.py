"""DICOM SEG written by highdicom and read back onto the scan."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

import anypet
from anypet.errors import ReadError
from anypet.io import read_masks
from anypet.volume import Volume
from dicom_factory import FRAME_UID, make_series

TYPES = hd.seg.SegmentationTypeValues


def make_seg(
    path: Path, sources: list[Path], masks: np.ndarray, kind: str = "BINARY", **options: object
) -> Path:
    """A SEG with the segments "lesion 1", "lesion 2", ...; masks are (slices, rows, columns, segments)."""
    algorithm = hd.AlgorithmIdentificationSequence("test", codes.DCM.ArtificialIntelligence, "1")
    segments = [
        hd.seg.SegmentDescription(
            segment_number=n + 1,
            segment_label=f"lesion {n + 1}",
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Neoplasm,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
        )
        for n in range(masks.shape[-1])
    ]
    seg = hd.seg.Segmentation(
        source_images=[pydicom.dcmread(p) for p in sources],
        pixel_array=masks,
        segmentation_type=TYPES[kind],
        segment_descriptions=segments,
        series_instance_uid=hd.UID(),
        series_number=9,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="test",
        manufacturer_model_name="test",
        software_versions="1",
        device_serial_number="1",
        **options,
    )
    seg.save_as(path)
    return path


def two_lesions() -> np.ndarray:
    """(4 slices, 5 rows, 6 columns, 2 segments), in slices 1 to 2 only, overlapping in one voxel."""
    masks = np.zeros((4, 5, 6, 2), np.uint8)
    masks[1:3, 1:3, 4:6, 0] = 1
    masks[2, 2:5, 5, 1] = 1
    return masks


@pytest.mark.parametrize(
    "orientation", [(1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0, -1), (0.96, 0.28, 0, -0.224, 0.768, 0.6)]
)
@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL"])
def test_masks_come_back_on_the_scan(tmp_path: Path, kind: str, orientation: tuple[float, ...]) -> None:
    sources = make_series(tmp_path / "pet", orientation=orientation)
    scan = anypet.read(tmp_path / "pet")
    masks = two_lesions()
    options = (
        {"fractional_type": hd.seg.SegmentationFractionalTypeValues.PROBABILITY}
        if kind == "FRACTIONAL"
        else {}
    )
    stored = masks.astype(float) if kind == "FRACTIONAL" else masks
    path = make_seg(tmp_path / "seg.dcm", sources, stored, kind, **options)
    found = read_masks(path, scan)
    assert list(found) == ["lesion 1", "lesion 2"]
    for n, mask in enumerate(found.values()):
        np.testing.assert_array_equal(mask, masks[..., n].transpose(2, 1, 0) > 0)
    labels = anypet.read_labels(path, scan)
    assert labels.meta["names"] == {1: "lesion 1", 2: "lesion 2"}
    assert (labels.array == 2).sum() == 3  # the smaller one is on top


def test_label_map(tmp_path: Path) -> None:
    sources = make_series(tmp_path / "pet")
    masks = two_lesions()[..., :1]
    path = make_seg(tmp_path / "seg.dcm", sources, masks, "LABELMAP")
    found = read_masks(path, anypet.read(tmp_path / "pet"))
    np.testing.assert_array_equal(found["lesion 1"], masks[..., 0].transpose(2, 1, 0) > 0)


def test_own_grid_and_another_grid(tmp_path: Path) -> None:
    sources = make_series(tmp_path / "pet")
    scan = anypet.read(tmp_path / "pet")
    path = make_seg(tmp_path / "seg.dcm", sources, two_lesions())
    own = anypet.read_labels(path)
    assert own.shape[:2] == scan.shape[:2]
    np.testing.assert_array_equal(
        np.argwhere(own.array > 0) @ own.affine[:3, :3].T + own.affine[:3, 3],
        scan.to_mm(np.argwhere(anypet.read_labels(path, scan).array > 0)),
    )
    fine = scan.affine.copy()
    fine[:3, :3] /= 2
    fine[:3, 3] -= scan.affine[:3, :3] @ [0.25, 0.25, 0.25]
    on_fine = anypet.read_labels(path, Volume(np.zeros((12, 10, 8)), fine, "SUVbw"))
    assert (on_fine.array > 0).sum() == 8 * (own.array > 0).sum()


def test_another_frame_of_reference_is_warned_of(tmp_path: Path) -> None:
    sources = make_series(tmp_path / "pet")
    scan = anypet.read(tmp_path / "pet")
    assert scan.meta["frame_of_reference"] == FRAME_UID
    path = make_seg(tmp_path / "seg.dcm", sources, two_lesions())
    moved = scan.with_array(scan.array, frame_of_reference="9.9")
    assert any("another frame" in w for w in anypet.read_labels(path, moved).meta["warnings"])
    far = Volume(scan.array, np.diag([1.0, 1, 1, 1]) + np.eye(4, k=3) * 5000, "SUVbw")
    assert any("covers no voxel" in w for w in anypet.read_labels(path, far).meta["warnings"])


def test_several_objects_must_be_chosen_from(tmp_path: Path) -> None:
    sources = make_series(tmp_path / "pet")
    make_seg(tmp_path / "one.dcm", sources, two_lesions())
    make_seg(tmp_path / "two.dcm", sources, two_lesions())
    scan = anypet.read(tmp_path / "pet")
    with pytest.raises(ReadError, match="several RTSTRUCT or SEG"):
        anypet.read_labels(tmp_path, scan)
    assert anypet.read_labels(tmp_path / "two.dcm", scan).array.max() == 2
    uid = str(pydicom.dcmread(tmp_path / "two.dcm").SeriesInstanceUID)
    assert anypet.read_labels(tmp_path, scan, series=uid).array.max() == 2
