"""DICOM SEG objects (binary, fractional, label map) as masks, read with highdicom."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import numpy.typing as npt

from anypet.dicom.stack import LPS_TO_RAS
from anypet.errors import ReadError
from anypet.grids import resample
from anypet.units import warn
from anypet.volume import Volume

Mask = npt.NDArray[np.bool_]


def seg_masks(path: Path, reference: Volume | None, warnings: list[str]) -> tuple[Volume, dict[str, Mask]]:
    """Reads every segment of a SEG.

    Args:
        path: the SEG file.
        reference: the grid wanted (nearest voxel where the grids differ); None keeps the SEG's own.
        warnings: findings are appended here, and logged.

    Returns:
        A volume that stands for the grid, and segment label -> boolean array (i, j, k) on it. Fractional
        segments are cut at one half.

    Raises:
        ReadError: not a SEG, damaged, or its frames make no regular volume.
    """
    try:
        seg = hd.seg.segread(path)
        numbers = [int(n) for n in seg.segment_numbers]
        fractional = seg.segmentation_type == hd.seg.SegmentationTypeValues.FRACTIONAL
        volume = seg.get_volume(combine_segments=False, segment_numbers=numbers, allow_missing_positions=True)
    except Exception as error:  # highdicom raises many kinds on objects that break the standard
        raise ReadError(f"{path}: the DICOM SEG cannot be read as a volume: {error}") from error
    array = np.asarray(volume.array) >= 0.5 if fractional else np.asarray(volume.array) > 0
    affine = np.asarray(volume.affine, dtype=np.float64)[:, [2, 1, 0, 3]]
    if np.linalg.det(affine[:3, :3]) < 0:  # slices along the normal, as everywhere in this package
        array = array[::-1]
        affine[:3, 3] += affine[:3, 2] * (len(array) - 1)
        affine[:3, 2] *= -1
    affine = LPS_TO_RAS @ affine
    grid = Volume(array[..., 0].transpose(2, 1, 0), affine, "label", {"source": str(path)})
    place, own = (
        (reference.meta.get("frame_of_reference") if reference else None),
        seg.get("FrameOfReferenceUID"),
    )
    if place and own and str(own) != place:
        warn(
            warnings, str(path), "the SEG is in another frame of reference than the scan: check that it fits"
        )
    masks: dict[str, Mask] = {}
    for channel, number in enumerate(numbers):
        own_mask = grid.with_array(np.ascontiguousarray(array[..., channel].transpose(2, 1, 0)))
        on_grid = own_mask if reference is None else resample(own_mask, reference, linear=False)
        name = str(seg.get_segment_description(number).segment_label) or f"segment {number}"
        if name in masks:
            name = f"{name} ({number})"
        masks[name] = on_grid.array
        if own_mask.array.any() and not on_grid.array.any():
            warn(warnings, str(path), f"segment {name!r} covers no voxel centre of the scan")
    if not masks:
        raise ReadError(f"{path}: the DICOM SEG has no segment")
    return (grid if reference is None else reference), masks
