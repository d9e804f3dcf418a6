"""Which lesion of one scan is which of the next: the same, new, vanished, merged or split.

The baseline's lesions are laid into the follow-up (`registration`). Pairs that touch or lie within a gap are
assigned one to one at the least cost (Kuhn-Munkres, scipy's linear_sum_assignment); what is left over joins a
lesion that it lies in by half or more: as one of the parts of a split lesion, or as one of several that
merged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from anypet.errors import AnyPETError
from anypet.objects import Patch
from anypet.quantify.parts import Objects, Part, parts_of, within
from anypet.quantify.registration import Alignment
from anypet.volume import FloatArray, Volume

Kind = Literal["same", "split", "merged", "regrouped", "new", "vanished"]

MAX_GAP_MM = 15.0
_SHARE = 0.5  # of the smaller lesion that must lie in the other for a leftover to join it
_NEVER = 1e6


@dataclass(frozen=True)
class Match:
    """Lesions of the baseline and the lesions of the follow-up that they became.

    Args:
        kind: "same" (one to one), "split" (one to several), "merged" (several to one), "regrouped" (several
        to
            several), "new" (no baseline) or "vanished" (no follow-up).
        baseline, followup: names.
        gap_mm: smallest distance between voxel centres of both after alignment; None where one side is empty.
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
        them
            of any mask.
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
    matches = [_match([first[n] for n in a], [last[n] for n in b], pairs.part(a, b)) for a, b in groups]
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
        gap: smallest distance in mm.
        share: part of the smaller lesion that lies in the other.
    """

    gap: FloatArray
    share: FloatArray

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
        gap, share = (np.zeros((len(first), len(last))) for _ in range(2))
        trees = [cKDTree(places) for places in last]
        for a, places in enumerate(first):
            voxels = np.rint(scan.to_voxel(places)).astype(int)
            for b, tree in enumerate(trees):
                gap[a, b] = _between_boxes(places, last[b])
                if gap[a, b] > far_mm:
                    continue
                gap[a, b] = tree.query(places)[0].min()
                common = np.count_nonzero(within(voxels, patches[b])) * voxel_ml[0]
                smaller = min(len(places) * voxel_ml[0], len(last[b]) * voxel_ml[1])
                share[a, b] = min(common / smaller, 1.0)
        return cls(gap, share)

    def part(self, rows: Sequence[int], columns: Sequence[int]) -> _Pairs:
        """The pairs of some lesions."""
        grid = np.ix_(list(rows), list(columns))
        return _Pairs(self.gap[grid], self.share[grid])


def _groups(pairs: _Pairs, max_gap_mm: float) -> list[tuple[list[int], list[int]]]:
    """Rows and columns that belong together; every row and column is in one group."""
    count, other = pairs.gap.shape
    cost = pairs.gap / max(max_gap_mm, 1e-9) + 1.0 - pairs.share
    # a lesion that stays alone costs 1, so two poor pairs are not preferred to a good one
    padded = np.full((count + other, count + other), 1.0)
    padded[:count, :other] = np.where(pairs.gap <= max_gap_mm, cost, _NEVER)
    padded[count:, other:] = 0.0
    rows, columns = linear_sum_assignment(padded)
    partner = {int(a): int(b) for a, b in zip(rows, columns, strict=True) if a < count and b < other}
    groups = [([a], [partner[a]] if a in partner else []) for a in range(count)]
    assigned = set(partner.values())
    for b in range(other):
        if b in assigned:
            continue
        best = int(np.argmax(pairs.share[:, b])) if count else -1
        if count and pairs.share[best, b] >= _SHARE:
            groups[best][1].append(b)
            assigned.add(b)
        else:
            groups.append(([], [b]))
    return _merge(groups, pairs)


def _merge(groups: list[tuple[list[int], list[int]]], pairs: _Pairs) -> list[tuple[list[int], list[int]]]:
    """Gives lesions of the baseline without a partner to the group of the lesion they lie in."""
    for group in [g for g in groups if len(g[0]) == 1 and not g[1]]:
        a = group[0][0]
        if not pairs.share.shape[1]:
            break
        b = int(np.argmax(pairs.share[a]))
        if pairs.share[a, b] >= _SHARE:
            home = next(g for g in groups if b in g[1])
            home[0].append(a)
            groups.remove(group)
    return groups


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
