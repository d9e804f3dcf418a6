"""The objects of a label volume as named masks in their boxes, and the lesions that a mask falls into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from anypet.components import connected_components
from anypet.errors import AnyPETError
from anypet.objects import Patch
from anypet.volume import Volume

Connectivity = Literal[6, 18, 26]
Objects = Volume | Mapping[str, npt.NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class Part:
    """A named object of a scan.

    Args:
        label: its number in the label volume, or its place in the list, from 1.
        name: of the object.
        patch: its mask (bool) in its box.
    """

    label: int
    name: str
    patch: Patch


def parts_of(objects: Objects, scan: Volume) -> list[Part]:
    """The objects that have at least one voxel.

    Args:
        objects: labels on the scan's grid (`read_labels`), or name -> (I, J, K) bool (`read_masks`), which
            may overlap.
        scan: the scan they lie in.

    Raises:
        AnyPETError: the grids differ, or a volume does not hold labels.
    """
    if isinstance(objects, Volume):
        return _labelled(objects, scan)
    parts = []
    for label, (name, mask) in enumerate(objects.items(), start=1):
        if mask.shape != scan.shape:
            raise AnyPETError(
                f"mask {name!r} has shape {mask.shape}, the scan {scan.shape}: they need one grid"
            )
        patch = Patch.tight(mask.astype(bool, copy=False), mask.astype(bool, copy=False))
        if patch.values.size:
            parts.append(Part(label, name, patch))
    return parts


def _labelled(labels: Volume, scan: Volume) -> list[Part]:
    array = labels.array
    if array.dtype == bool:
        array = array.view(np.uint8)
    if array.dtype.kind not in "iu":
        raise AnyPETError(
            f"labels are whole numbers, got an array of {array.dtype}: read it with read_labels"
        )
    if not labels.same_grid(scan):
        raise AnyPETError(
            f"the labels' grid {labels.shape} is not that of the scan {scan.shape}, or lies elsewhere: "
            "read them with read_labels(path, scan)"
        )
    names = labels.meta.get("names") or {}
    parts = []
    for label, box in enumerate(ndimage.find_objects(array), start=1):
        if box is not None:
            i, j, k = (int(s.start) for s in box)
            name = str(names.get(label, f"label {label}"))
            parts.append(Part(label, name, Patch((i, j, k), array[box] == label)))
    return parts


def union(parts: Sequence[Part], shape: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    """(I, J, K) the voxels of any of the objects."""
    mask = np.zeros(shape, bool)
    for part in parts:
        mask[part.patch.slices] |= part.patch.values
    return mask


def lesions_of(mask: npt.NDArray[Any], connectivity: Connectivity = 26) -> list[Patch]:
    """The connected components of a mask, the largest first.

    Args:
        mask: (I, J, K) bool.
        connectivity: 6 (faces), 18 (and edges) or 26 (and corners).

    Raises:
        AnyPETError: another connectivity.
    """
    if connectivity not in (6, 18, 26):
        raise AnyPETError(
            f"a connectivity of {connectivity}: give 6 (faces), 18 (and edges) or 26 (and corners)"
        )
    labels = connected_components(np.asarray(mask, bool), connectivity)
    patches = []
    for n, (i, j, k) in enumerate(ndimage.find_objects(labels), start=1):
        patches.append(Patch((int(i.start), int(j.start), int(k.start)), labels[i, j, k] == n))
    return sorted(patches, key=lambda patch: -int(np.count_nonzero(patch.values)))


def split_into_lesions(
    objects: Objects, scan: Volume, connectivity: Connectivity = 26, smallest_ml: float = 0.0
) -> Volume:
    """Labels in which every connected component is an object of its own, numbered from the largest.

    Args:
        objects, scan: as for `parts_of`; objects that touch become one lesion.
        connectivity: as for `lesions_of`.
        smallest_ml: components of less volume are left out.
    """
    mask = union(parts_of(objects, scan), scan.shape)
    found = [
        patch
        for patch in lesions_of(mask, connectivity)
        if np.count_nonzero(patch.values) * scan.voxel_volume_ml >= smallest_ml
    ]
    array = np.zeros(scan.shape, np.uint8 if len(found) < 256 else np.uint16)
    for label, patch in enumerate(found, start=1):
        array[patch.slices][patch.values] = label
    names = {n: f"lesion {n}" for n in range(1, len(found) + 1)}
    return Volume(array, scan.affine, "label", {"names": names})


def within(voxels: npt.NDArray[Any], patch: Patch) -> npt.NDArray[np.bool_]:
    """(N,) whether voxels (N, 3) of the scan are in a patch's mask."""
    local = voxels - np.array(patch.start)
    valid = np.all((local >= 0) & (local < patch.values.shape), axis=1)
    valid[valid] = patch.values[tuple(local[valid].T)]
    return valid
