"""Other people's programs that check what we write; tests skip where they are not installed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813

from anypet.grids import affine_of
from anypet.io import write
from anypet.volume import Volume
from dicom_factory import Edit

Masks = dict[str, npt.NDArray[np.bool_]]


def reversed_slices(count: int) -> Edit:
    """An edit after which the first file lies where the last did, and so on."""

    def edit(ds: Any, k: int) -> None:
        normal = np.cross(ds.ImageOrientationPatient[:3], ds.ImageOrientationPatient[3:])
        move = (count - 1 - 2 * k) * float(ds.SliceThickness) * normal
        ds.ImagePositionPatient = (np.array(ds.ImagePositionPatient, float) + move).tolist()

    return edit


def geometries(slices: int) -> dict[str, dict[str, Any]]:
    """Arguments of `make_series`: how a series may lie in the patient and in its files."""
    return {
        "axial": {},
        "feet first": {"orientation": (1, 0, 0, 0, -1, 0)},
        "files reversed": {"edit": reversed_slices(slices)},
        "coronal": {"orientation": (1, 0, 0, 0, 0, -1)},
        "oblique": {"orientation": (0.96, 0.28, 0, -0.224, 0.768, 0.6)},
    }


def _program(name: str, debian: str) -> str:
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed ({debian})")
    return found


def dciodvfy_errors(path: Path) -> list[str]:
    """What David Clunie's DICOM verifier calls errors."""
    program = _program("dciodvfy", "apt-get install dicom3tools")
    done = subprocess.run([program, "-new", str(path)], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    assert not any(line.startswith("Abort") for line in lines), lines
    return [line for line in lines if line.startswith("Error")]


def plastimatch_masks(rtstruct: Path, scan: Volume, folder: Path) -> Masks:
    """The regions of an RTSTRUCT on the scan's grid, filled by plastimatch."""
    program = _program("plastimatch", "apt-get install plastimatch")
    folder.mkdir()
    write(scan, folder / "fixed.mha")
    command = [program, "convert", "--input", str(rtstruct), "--fixed", str(folder / "fixed.mha")]
    command += ["--output-prefix", str(folder / "masks"), "--prefix-format", "mha"]
    subprocess.run(command, capture_output=True, check=True)
    return {
        path.stem: sitk.GetArrayFromImage(sitk.ReadImage(str(path))).transpose(2, 1, 0) > 0
        for path in (folder / "masks").glob("*.mha")
    }


def dcmqi_masks(seg: Path, scan: Volume, folder: Path) -> Masks:
    """The segments of a SEG on the scan's grid, read by dcmqi."""
    program = _program("segimage2itkimage", "pip install dcmqi")
    folder.mkdir()
    command = [program, "--inputDICOM", str(seg), "--outputDirectory", str(folder), "--outputType", "nrrd"]
    subprocess.run(command, capture_output=True, check=True)
    told = json.loads((folder / "meta.json").read_text())["segmentAttributes"]
    masks = {}
    for number, (attributes,) in enumerate(told, start=1):
        image = sitk.ReadImage(str(folder / f"{number}.nrrd"))
        inside = np.argwhere(sitk.GetArrayFromImage(image).transpose(2, 1, 0))
        affine = affine_of(image)
        voxels = scan.to_voxel(inside @ affine[:3, :3].T + affine[:3, 3])
        mask = np.zeros(scan.shape, bool)
        mask[tuple(np.rint(voxels).astype(int).T)] = True
        assert np.abs(voxels - np.rint(voxels)).max(initial=0) < 1e-2
        masks[attributes["SegmentLabel"]] = mask
    return masks


def dcmqi_report(report: Path, folder: Path) -> dict[str, Any]:
    """A TID 1500 report as dcmqi reads it."""
    program = _program("tid1500reader", "pip install dcmqi")
    target = folder / "report.json"
    subprocess.run(
        [program, "--inputDICOM", str(report), "--outputMetadata", str(target)],
        capture_output=True,
        check=True,
    )
    told: dict[str, Any] = json.loads(target.read_text())
    return told


def assert_same(found: Masks, expected: Masks) -> None:
    assert list(found) == list(expected)
    for name, mask in expected.items():
        np.testing.assert_array_equal(found[name], mask, err_msg=name)


def seg_by_hand(path: Path, scan: Volume) -> Masks:
    """Decodes the frames with pydicom and puts them where their position says, by the equation of PS3.3."""
    seg = pydicom.dcmread(path)
    shared = seg.SharedFunctionalGroupsSequence[0]
    row, column = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    apart, beside = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    masks = {s.SegmentLabel: np.zeros(scan.shape, bool) for s in seg.SegmentSequence}
    labels = {int(s.SegmentNumber): s.SegmentLabel for s in seg.SegmentSequence}
    frames = np.atleast_3d(seg.pixel_array).reshape(-1, seg.Rows, seg.Columns)
    for frame, group in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        place = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        r, c = np.nonzero(frame)
        lps = place + c[:, None] * beside * row + r[:, None] * apart * column
        voxels = np.rint(scan.to_voxel(lps * [-1, -1, 1])).astype(int)
        which = (group if "SegmentIdentificationSequence" in group else shared).SegmentIdentificationSequence
        masks[labels[which[0].ReferencedSegmentNumber]][tuple(voxels.T)] = True
    return masks
