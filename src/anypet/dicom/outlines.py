"""The outline of a mask on one slice as closed polygons along the edges of its voxels.

Such polygons enclose exactly the mask: the volume that a planning system computes from them is that of the
voxels, and every reader that asks whether a voxel's centre is inside gets the mask back. Holes are part of
their outer polygon through a channel of no width (the "keyhole" of DICOM PS3.3 C.8.8.6.3), which readers of
every kind understand; several polygons that cut holes into each other are filled by many.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Corner = tuple[int, int]

# Directions in the order in which they follow one another around a voxel, which is always on the same side.
_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))


def outlines(mask: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.float64]]:
    """Polygons around the voxels of a slice, one for each part that hangs together by edges.

    Args:
        mask: (I, J) bool.

    Returns:
        Each (n, 2), n >= 4, in continuous voxel indices (voxel (i, j) reaches from i - 0.5 to i + 0.5), not
        closed (the last point is not the first again). A polygon with holes passes its channels twice. They
        run along voxel edges inside the mask, so no voxel centre lies on them.
    """
    rings = _rings(mask)
    outer = [ring for ring in rings if _area(ring) > 0]
    home = {corner: n for n, ring in enumerate(outer) for corner in ring}
    # A channel goes up from a hole's first corner to whatever edge comes next: that of the part itself or of
    # a hole further up, which has its own channel by then. At a corner that two parts share, no channel ends.
    for hole in sorted((ring for ring in rings if _area(ring) < 0), key=min):
        start = hole.index(min(hole))
        hole = hole[start:] + hole[:start]
        i, j = hole[0]
        end = next((a, j) for a in range(i - 1, -1, -1) if (a, j) in home)
        n = home[end]
        place = outer[n].index(end)
        outer[n][place + 1 : place + 1] = [*hole, hole[0], end]
        home.update(dict.fromkeys(hole, n))
    return [_turns(ring) - 0.5 for ring in outer]


def _rings(mask: npt.NDArray[np.bool_]) -> list[list[Corner]]:
    """Every closed walk along the voxel edges between inside and outside, corner by corner.

    Corner (i, j) is the one of voxel (i, j) towards voxel (i - 1, j - 1). Where two voxels touch by a corner
    only, the walk stays with the voxel that it came from.
    """
    rows, columns = mask.shape
    around = np.pad(mask, 1)
    edges = np.zeros((4, rows + 1, columns + 1), dtype=bool)  # a direction, and the corner it starts from
    edges[0, :-1, :-1] = mask & ~around[:-2, 1:-1]
    edges[1, :-1, 1:] = mask & ~around[1:-1, 2:]
    edges[2, 1:, 1:] = mask & ~around[2:, 1:-1]
    edges[3, 1:, :-1] = mask & ~around[1:-1, :-2]
    known = [(d, i, j) for d, i, j in np.argwhere(edges).tolist()]
    left, rings = set(known), []
    for start in known:
        ring: list[Corner] = []
        edge = start
        while edge in left:
            left.remove(edge)
            direction, i, j = edge
            ring.append((i, j))
            i, j = i + _STEPS[direction][0], j + _STEPS[direction][1]
            turns = ((direction + turn) % 4 for turn in (1, 0, -1))
            edge = next((d, i, j) for d in turns if edges[d, i, j])
        if ring:
            rings.append(ring)
    return rings


def _area(ring: list[Corner]) -> int:
    """Twice the area in voxels, positive for an outer ring and negative for a hole."""
    i, j = np.array(ring).T
    return int(np.sum(np.roll(i, -1) * j - i * np.roll(j, -1)))


def _turns(ring: list[Corner]) -> npt.NDArray[np.float64]:
    """Where a walk changes its direction, and the ends of channels, which some readers look for."""
    corners = np.array(ring)
    leaving = np.sign(np.roll(corners, -1, axis=0) - corners)
    turns = np.any(leaving != np.roll(leaving, 1, axis=0), axis=1)
    _, which, visits = np.unique(corners @ [1 << 32, 1], return_inverse=True, return_counts=True)
    return corners[turns | (visits[which] > 1)].astype(np.float64)
