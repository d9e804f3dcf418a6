"""How far disease is spread: the number of lesions and the distances between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from anypet.objects import Patch
from anypet.volume import FloatArray, Volume


@dataclass(frozen=True)
class Spread:
    """Lesions and the distances between their centroids; None where there are fewer than two lesions.

    Args:
        lesions: how many components the union of all objects has.
        connectivity: which voxels touch: 6 (faces), 18 (and edges) or 26 (and corners).
        dmax_mm: largest distance between two lesions.
        sdmax_per_m: Dmax in m / body surface in m2; None too where the body surface is not known.
        dmax_bulk_mm: largest distance between the largest lesion and another.
    """

    lesions: int
    connectivity: int
    dmax_mm: float | None = None
    sdmax_per_m: float | None = None
    dmax_bulk_mm: float | None = None


def centroid(patch: Patch, scan: Volume) -> FloatArray:
    """(3,) mean place of a mask's voxel centres, RAS mm."""
    return scan.to_mm(np.argwhere(patch.values).mean(axis=0) + np.array(patch.start))


def spread(
    lesions: Sequence[Patch], scan: Volume, connectivity: int, body_surface_m2: float | None = None
) -> Spread:
    """Distances between lesions.

    Args:
        lesions: one mask each (bool, not empty).
        scan: gives their place.
        connectivity: that told the lesions apart, to be stated.
        body_surface_m2: of the patient, for SDmax.

    Source: Cottereau AS et al., J Nucl Med 2020;61:40 (Dmax) and Ann Oncol 2021;32:404 (SDmax); DmaxBulk as
    in Eertink JJ et al., Eur J Nucl Med Mol Imaging 2022;49:932.
    """
    if len(lesions) < 2:
        return Spread(len(lesions), connectivity)
    centres = np.array([centroid(patch, scan) for patch in lesions])
    distances = cdist(centres, centres)
    largest = int(np.argmax([np.count_nonzero(patch.values) for patch in lesions]))
    dmax = float(distances.max())
    return Spread(
        lesions=len(lesions),
        connectivity=connectivity,
        dmax_mm=dmax,
        sdmax_per_m=dmax / 1000.0 / body_surface_m2 if body_surface_m2 else None,
        dmax_bulk_mm=float(distances[largest].max()),
    )
