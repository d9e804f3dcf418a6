"""Contours of an RTSTRUCT as masks on the grid of a scan.

A voxel belongs to a region when its centre lies inside an odd number of the region's contours of its slice
(so inner contours cut holes, and keyhole contours work); a centre on a contour counts as inside that contour.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
from matplotlib.path import Path as Polygon
from pydicom.dataset import Dataset
from skimage.draw import polygon

from anypet.dicom.header import number
from anypet.errors import ReadError
from anypet.units import warn
from anypet.volume import Volume

log = logging.getLogger(__name__)

Mask = npt.NDArray[np.bool_]
Float = npt.NDArray[np.float64]

_CLOSED = {"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"}
_FLAT_MM = 0.2  # points of one contour may lie this far out of its plane: rounding of text coordinates


def rtstruct_masks(path: Path, reference: Volume, warnings: list[str]) -> dict[str, Mask]:
    """Rasterises every region of an RTSTRUCT.

    Args:
        path: the RTSTRUCT file.
        reference: gives the grid; its `meta["frame_of_reference"]` is compared with the contours'.
        warnings: findings are appended here, and logged.

    Returns:
        Region name -> boolean array (i, j, k) on the reference's grid, in the order of the file.

    Raises:
        ReadError: no region has a closed contour, or the coordinates are damaged.

    Source: DICOM PS3.3 C.8.8.5, C.8.8.6.
    """
    try:
        dataset = pydicom.dcmread(path)
    except Exception as error:  # pydicom raises many kinds on damaged files
        raise ReadError(f"{path}: cannot be read as DICOM: {error}") from error
    _check_place(dataset, reference, str(path), warnings)
    masks: dict[str, Mask] = {}
    names = {
        int(r.ROINumber): str(r.get("ROIName") or "") for r in dataset.get("StructureSetROISequence") or ()
    }
    for region in dataset.get("ROIContourSequence") or ():
        roi = int(region.get("ReferencedROINumber", 0))
        name = names.get(roi) or f"ROI {roi}"
        contours = _contours(region, name, str(path), warnings)
        if not contours:
            warn(warnings, str(path), f"region {name!r} has no closed contour and was left out")
            continue
        mask = fill_contours(contours, reference, _spacing(region))
        if not mask.any():
            warn(warnings, str(path), f"region {name!r} covers no voxel centre of the scan")
        masks[_unique(name, masks)] = mask
    if not masks:
        raise ReadError(f"{path}: no region with a closed contour in ROI Contour Sequence (3006,0039)")
    return masks


def fill_contours(contours: list[Float], reference: Volume, spacing: float | None = None) -> Mask:
    """Voxels of the reference whose centre lies inside planar contours that belong together.

    Contours drawn on other slices than the reference's reach half the distance to the next drawn slice, so a
    region drawn on a fine CT is thinned out and one drawn on a coarse scan is filled up.

    Args:
        contours: each (n, 3) RAS mm, in parallel planes of any orientation.
        reference: gives the grid.
        spacing: mm between the slices that were drawn on; None takes the usual distance of drawn ones, which
            is wrong for a region whose drawn slices lie far apart.

    Returns:
        (i, j, k) boolean.

    Raises:
        ReadError: contours that are not planar or not parallel.
    """
    normal = _common_normal(contours)
    axes = reference.affine[:3, :3] / reference.spacing
    aligned = int(np.argmax(np.abs(axes.T @ normal)))
    if abs(axes[:, aligned] @ normal) > 0.9999 and _orthogonal(axes):
        return _fill_aligned(contours, reference, aligned, spacing)
    return _fill_oblique(contours, reference, normal, spacing)


def _fill_aligned(contours: list[Float], reference: Volume, axis: int, spacing: float | None) -> Mask:
    """Contours parallel to a plane of voxels: scan conversion in voxel units, one voxel plane at a time."""
    flat = [a for a in range(3) if a != axis]
    mask = np.zeros(reference.shape, dtype=bool)
    planes = np.moveaxis(mask, axis, 0)  # a view: (slices, the two other axes)
    # 1e-6 voxel of rounding keeps centres that lie on a contour on it
    voxels = [np.round(reference.to_voxel(c), 6) for c in contours]
    drawn, members = _group_planes(np.array([v[:, axis].mean() for v in voxels]) * reference.spacing[axis])
    slices = np.arange(reference.shape[axis]) * reference.spacing[axis]
    reach = _reach(drawn, spacing, float(reference.spacing[axis]))
    for n, plane in enumerate(_nearest_plane(slices, drawn, reach)):
        if plane < 0:
            continue
        for index in members[plane]:
            corners = voxels[index][:, flat]
            rows, columns = polygon(corners[:, 0], corners[:, 1], planes.shape[1:])
            planes[n][rows, columns] ^= True
    return mask


def _fill_oblique(contours: list[Float], reference: Volume, normal: Float, spacing: float | None) -> Mask:
    """Contours in planes askew to the grid: every voxel centre near them is tested in its nearest plane."""
    across = np.cross(normal, np.eye(3)[int(np.argmin(np.abs(normal)))])
    across /= np.linalg.norm(across)
    frame = np.stack([across, np.cross(normal, across), normal])  # rows: u, v, along the normal
    drawn, members = _group_planes(np.array([(c @ normal).mean() for c in contours]))
    reach = _reach(drawn, spacing, float(np.min(reference.spacing)))
    points = np.concatenate(contours)
    corners = np.concatenate([points - normal * reach, points + normal * reach])
    box = reference.to_voxel(corners)
    lo = np.clip(np.floor(box.min(axis=0)).astype(int), 0, reference.shape)
    hi = np.clip(np.ceil(box.max(axis=0)).astype(int) + 1, 0, reference.shape)
    mask = np.zeros(reference.shape, dtype=bool)
    for k in range(lo[2], hi[2]):
        grid = np.stack(np.meshgrid(np.arange(lo[0], hi[0]), np.arange(lo[1], hi[1]), [k], indexing="ij"), -1)
        uvw = reference.to_mm(grid.reshape(-1, 3)) @ frame.T
        nearest = _nearest_plane(uvw[:, 2], drawn, reach)
        inside = np.zeros(len(uvw), dtype=bool)
        for plane in np.unique(nearest[nearest >= 0]):
            here = np.flatnonzero(nearest == plane)
            for index in members[plane]:
                outline = Polygon(contours[index] @ frame[:2].T, closed=False)
                inside[here] ^= outline.contains_points(uvw[here, :2])
        mask[lo[0] : hi[0], lo[1] : hi[1], k] = inside.reshape(hi[0] - lo[0], hi[1] - lo[1])
    return mask


def _group_planes(along: Float) -> tuple[Float, list[list[int]]]:
    """Positions (mm) of the drawn planes in ascending order, and the contours of each."""
    places: list[float] = []
    members: list[list[int]] = []
    for index in np.argsort(along, kind="stable").tolist():
        if places and along[index] - places[-1] < _FLAT_MM:
            members[-1].append(index)
        else:
            places.append(float(along[index]))
            members.append([index])
    return np.array(places), members


def _reach(drawn: Float, spacing: float | None, thickness: float) -> float:
    """How far (mm) a contour reaches: half the spacing of the slices that were drawn on.

    Where that is not known, half the usual distance of neighbouring drawn planes; half a voxel where there is
    only one.
    """
    if spacing is None:
        spacing = float(np.median(np.diff(drawn))) if len(drawn) > 1 else thickness
    return spacing / 2


def _nearest_plane(along: Float, drawn: Float, reach: float) -> npt.NDArray[np.int64]:
    """For each position the index of the nearest drawn plane, or -1 where none is within reach."""
    above = (
        np.clip(np.searchsorted(drawn, along), 1, len(drawn) - 1)
        if len(drawn) > 1
        else np.zeros(len(along), int)
    )
    below = np.maximum(above - 1, 0)
    nearest = np.where(np.abs(drawn[below] - along) <= np.abs(drawn[above] - along), below, above)
    return np.where(np.abs(drawn[nearest] - along) <= reach * 1.001, nearest, -1)


def _common_normal(contours: list[Float]) -> Float:
    """(3,) unit normal of the plane of the largest contour, which all others must share."""
    areas = [_area_vector(c) for c in contours]
    largest = max(areas, key=lambda a: float(np.linalg.norm(a)))
    size = float(np.linalg.norm(largest))
    if size < 1e-6:
        raise ReadError("contours without an area: their points lie on a line")
    normal = largest / size
    for contour in contours:
        off = float(np.ptp(contour @ normal))
        if off > _FLAT_MM:
            raise ReadError(
                f"a contour reaches {off:.2f} mm out of the common plane: expected planar, parallel ones"
            )
    return normal


def _area_vector(contour: Float) -> Float:
    centred = contour - contour.mean(axis=0)
    return np.asarray(np.cross(centred, np.roll(centred, -1, axis=0)).sum(axis=0) / 2)


def _orthogonal(axes: Float) -> bool:
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() < 1e-3)


def _contours(region: Dataset, name: str, source: str, warnings: list[str]) -> list[Float]:
    """The closed contours of a region, each (n, 3) RAS mm."""
    found = []
    for contour in region.get("ContourSequence") or ():
        kind = str(contour.get("ContourGeometricType") or "").strip().upper()
        try:
            numbers = np.array([float(x) for x in contour.get("ContourData") or ()], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ReadError(
                f"{source}: region {name!r}: Contour Data (3006,0050) is no number: {error}"
            ) from error
        if numbers.size % 3 or not np.isfinite(numbers).all():
            raise ReadError(
                f"{source}: region {name!r}: Contour Data (3006,0050) has {numbers.size} values, expected "
                "finite triples"
            )
        if kind not in _CLOSED or numbers.size < 9:
            log.info("%s: region %r: a contour of type %s was left out", source, name, kind or "unknown")
            continue
        found.append(numbers.reshape(-1, 3) * [-1.0, -1.0, 1.0])
    return found


def _spacing(region: Dataset) -> float | None:
    """Millimetres between the slices that a region was drawn on, where the file says so."""
    planes = region.get("SourcePixelPlanesCharacteristicsSequence")
    spacing = number(planes[0], "SpacingBetweenSlices") if planes else None
    return abs(spacing) if spacing else None


def _check_place(dataset: Dataset, reference: Volume, source: str, warnings: list[str]) -> None:
    """Warns when contours and scan are in different frames of reference."""
    place = reference.meta.get("frame_of_reference")
    named = {str(item.get("FrameOfReferenceUID") or "") for item in _references(dataset)} - {""}
    if place and named and place not in named:
        warn(
            warnings,
            source,
            "the contours are in another frame of reference than the scan: check that they fit",
        )


def _references(dataset: Dataset) -> list[Dataset]:
    return [
        dataset,
        *(dataset.get("ReferencedFrameOfReferenceSequence") or ()),
    ]


def _unique(name: str, taken: dict[str, Mask]) -> str:
    if name not in taken:
        return name
    return next(f"{name} ({n})" for n in range(2, 10_000) if f"{name} ({n})" not in taken)
