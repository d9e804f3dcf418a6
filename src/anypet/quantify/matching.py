"""Which lesion of one scan is which of the next: the same, new, vanished, merged or split.

The baseline's lesions are laid into the follow-up (`registration`). Lesions that overlap are paired one to
one with the greatest sum of Dice coefficients (Kuhn-Munkres, scipy's linear_sum_assignment). What is left
over joins a lesion in which it lies by half or more: as a part of one that split, or as one of several that
merged. What is still alone is paired over the smallest gaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from anypet.errors import AnyPETError
from anypet.objects import Patch
from anypet.quantify.parts import Objects, Part, parts_of, within
from anypet.quantify.registration import Alignment
from anypet.volume import FloatArray, Volume

Kind = Literal["same", "split", "merged", "regrouped", "new", "vanished"]

MAX_GAP_MM = 15.0
RULE = (
    "Every connected component of a mask is a lesion. The baseline is laid over the follow-up by a "
    "registration of the PETs or CTs (Mattes mutual information): rigid, affine or with a free-form "
    "deformation.",
    "same: lesions that overlap, paired one to one so that their Dice coefficients add up to the most.",
    "split, merged: what is left over and lies by half or more in a lesion of the other scan belongs to it.",
    f"Lesions that overlap with none are paired over the smallest gaps, up to {MAX_GAP_MM:g} mm between "
    "voxel centres.",
    "new, vanished: alone after that. A new lesion below 1 mL is warned of, as it may be a stray voxel.",
)
SOURCE = "AnyPET; registration: Mattes D et al., IEEE Trans Med Imaging 2003;22:120"
_SHARE = 0.5  # of the smaller lesion that must lie in the other for a leftover to join it
_NEVER = 1e6


@dataclass(frozen=True)
class Match:
    """Lesions of the baseline and the lesions of the follow-up that they became.

    Args:
        kind: "same" (one to one), "split" (one to several), "merged" (several to one), "regrouped" (several
            to several), "new" (no baseline) or "vanished" (no follow-up).
        baseline, followup: names.
        gap_mm: smallest distance between voxel centres of both after alignment, 0 where they overlap; None
            where one side is empty.
        overlap: part of the smaller side, 0 to 1, that lies in the other after alignment.
    """

    kind: Kind
    baseline: tuple[str, ...]
    followup: tuple[str, ...]
    gap_mm: float | None = None
    overlap: float = 0.0


@dataclass(frozen=True)
class Matches:
    """All matches of two scans, in the order of the baseline's lesions, new ones last."""

    matches: tuple[Match, ...]
    alignment: str

    def of(self, kind: Kind) -> list[Match]:
        """The matches of one kind."""
        return [match for match in self.matches if match.kind == kind]

    @property
    def new(self) -> list[str]:
        """Names of the follow-up's lesions that the baseline does not have."""
        return [name for match in self.of("new") for name in match.followup]

    @property
    def vanished(self) -> list[str]:
        """Names of the baseline's lesions that the follow-up does not have."""
        return [name for match in self.of("vanished") for name in match.baseline]


def match_lesions(
    baseline: Volume,
    baseline_lesions: Objects,
    followup: Volume,
    followup_lesions: Objects,
    alignment: Alignment | None = None,
    max_gap_mm: float = MAX_GAP_MM,
) -> Matches:
    """Matches the lesions of two scans of a patient.

    Args:
        baseline, followup: the scans; only their grids matter here.
        baseline_lesions, followup_lesions: one object a lesion, see `parts_of`; `split_into_lesions` makes
            them of any mask.
        alignment: from `align(baseline, followup)`; by default both share their coordinates.
        max_gap_mm: lesions further apart after alignment are not the same.

    Raises:
        AnyPETError: a grid differs from its lesions', or the gap is negative.
    """
    if not max_gap_mm >= 0:
        raise AnyPETError(f"the largest gap must be 0 mm or more, got {max_gap_mm}")
    alignment = alignment or Alignment.none()
    first, last = parts_of(baseline_lesions, baseline), parts_of(followup_lesions, followup)
    pairs = _Pairs.of(
        [alignment.move(_voxels_mm(part, baseline)) for part in first],
        [_voxels_mm(part, followup) for part in last],
        followup,
        [part.patch for part in last],
        (baseline.voxel_volume_ml, followup.voxel_volume_ml),
        max_gap_mm,
    )
    groups = _groups(pairs, max_gap_mm)
    matches = [
        _match([first[n] for n in g.rows], [last[n] for n in g.columns], pairs.part(g.rows, g.columns))
        for g in groups
    ]
    return Matches(tuple(sorted(matches, key=lambda m: m.kind == "new")), alignment.model)


def _between_boxes(one: FloatArray, other: FloatArray) -> float:
    """Distance in mm between the bounding boxes of two sets of places (N, 3); 0 where they meet."""
    apart = np.maximum(one.min(axis=0) - other.max(axis=0), other.min(axis=0) - one.max(axis=0))
    return float(np.linalg.norm(np.maximum(apart, 0.0)))


def _voxels_mm(part: Part, scan: Volume) -> FloatArray:
    return scan.to_mm(np.argwhere(part.patch.values) + np.array(part.patch.start))


@dataclass(frozen=True, eq=False)
class _Pairs:
    """What is known of every pair of a baseline's lesion (rows) and a follow-up's (columns).

    Args:
        gap: smallest distance between their voxel centres in mm; 0 where they overlap.
        share: part of the smaller lesion that lies in the other.
        dice: Dice similarity coefficient.
    """

    gap: FloatArray
    share: FloatArray
    dice: FloatArray

    @classmethod
    def of(
        cls,
        first: Sequence[FloatArray],
        last: Sequence[FloatArray],
        scan: Volume,
        patches: Sequence[Patch],
        voxel_ml: tuple[float, float],
        far_mm: float,
    ) -> _Pairs:
        """From the places (N, 3) of the lesions' voxels in the follow-up's scan.

        Pairs whose bounding boxes are further apart than `far_mm` get the boxes' distance as their gap.
        """
        gap, share, dice = (np.zeros((len(first), len(last))) for _ in range(3))
        trees = [cKDTree(places) for places in last]
        for a, places in enumerate(first):
            voxels = np.rint(scan.to_voxel(places)).astype(int)
            for b, tree in enumerate(trees):
                gap[a, b] = _between_boxes(places, last[b])
                if gap[a, b] > far_mm:
                    continue
                common = np.count_nonzero(within(voxels, patches[b])) * voxel_ml[0]
                gap[a, b] = 0.0 if common else tree.query(places)[0].min()
                sizes = len(places) * voxel_ml[0], len(last[b]) * voxel_ml[1]
                share[a, b] = min(common / min(sizes), 1.0)
                dice[a, b] = min(2 * common / sum(sizes), 1.0)
        return cls(gap, share, dice)

    def part(self, rows: Sequence[int], columns: Sequence[int]) -> _Pairs:
        """The pairs of some lesions."""
        grid = np.ix_(list(rows), list(columns))
        return _Pairs(self.gap[grid], self.share[grid], self.dice[grid])


def _groups(pairs: _Pairs, max_gap_mm: float) -> list[_Group]:
    """The rows and columns that belong together; every row and column is in one group."""
    count, other = pairs.gap.shape
    groups = [_Group([a], []) for a in range(count)] + [_Group([], [b]) for b in range(other)]
    _pair(groups, 1 - pairs.dice, pairs.dice > 0)
    _join(groups, pairs.share)
    _pair(groups, pairs.gap / (2 * max_gap_mm + 1e-9), pairs.gap <= max_gap_mm)
    return groups


@dataclass(frozen=True)
class _Group:
    """Rows (baseline) and columns (follow-up) that are one lesion's fate."""

    rows: list[int]
    columns: list[int]


def _pair(groups: list[_Group], cost: FloatArray, eligible: npt.NDArray[np.bool_]) -> None:
    """Joins lonely rows and lonely columns one to one, at the least sum of costs (0 to 1).

    To stay alone costs 0.5 on either side: any eligible pair is better than none, but two poor pairs are not
    better than a good one.
    """
    lonely = [g for g in groups if not g.columns], [g for g in groups if not g.rows]
    rows, columns = [g.rows[0] for g in lonely[0]], [g.columns[0] for g in lonely[1]]
    n, m = len(rows), len(columns)
    padded = np.full((n + m, n + m), 0.5)
    padded[:n, :m] = np.where(eligible, cost, _NEVER)[np.ix_(rows, columns)]
    padded[n:, m:] = 0.0
    for a, b in zip(*linear_sum_assignment(padded), strict=True):
        if a < n and b < m:
            lonely[0][a].columns.extend(lonely[1][b].columns)
            groups.remove(lonely[1][b])


def _join(groups: list[_Group], share: FloatArray) -> None:
    """Gives lonely rows and columns to the group of the lesion in which they lie by half or more."""
    for group in [g for g in groups if not g.rows or not g.columns]:
        overlaps = share[group.rows[0]] if group.rows else share[:, group.columns[0]]
        if not overlaps.size or overlaps.max() < _SHARE:
            continue
        best = int(np.argmax(overlaps))
        home = next(g for g in groups if best in (g.columns if group.rows else g.rows))
        home.rows.extend(group.rows)
        home.columns.extend(group.columns)
        groups.remove(group)


def _match(first: Sequence[Part], last: Sequence[Part], pairs: _Pairs) -> Match:
    names = tuple(part.name for part in first), tuple(part.name for part in last)
    kinds: dict[tuple[int, int], Kind] = {
        (0, 1): "new",
        (1, 0): "vanished",
        (1, 1): "same",
        (1, 2): "split",
        (2, 1): "merged",
        (2, 2): "regrouped",
    }
    kind = kinds[min(len(first), 2), min(len(last), 2)]
    if not first or not last:
        return Match(kind, *names)
    return Match(kind, *names, float(pairs.gap.min()), float(pairs.share.max()))
