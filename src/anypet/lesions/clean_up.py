"""Clean-up of a lesion mask: small faint components go, and clicks have the last word.

The paper (QuantIF, autoPET IV, after Alloula et al., arXiv 2309.13675) drops 26-connected components of
fewer than 10 voxels whose SUVmax is below 4, whatever a voxel's size and whatever a reader clicked on. Here a
size is a volume by default, and every click is obeyed:

- a tumour click in no component gets one, grown around it (`grow`);
- of a component that holds a background click, the basin of that click goes; other distinct peaks stay; of a
  basin that holds tumour clicks too what lies nearer to the background click goes, where it is about as hot;
  a background click fainter than the tumour clicks of its basin, or than half of its peak where there are
  none, corrects the border and rejects nothing more; of a component that holds tumour clicks elsewhere a
  basin goes only as far around the click as its depth in the mask tells;
- a component that holds a tumour click is never removed for its size.

A voxel clicked both ways is tumour. Every change is listed with its reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import cc3d
import numpy as np
import numpy.typing as npt

from anypet.clicks import BoolArray, Spacing, Voxel, bounding_box, inside_distance
from anypet.components import connected_components
from anypet.errors import AnyPETError
from anypet.lesions.basins import distinct_basins, nearer
from anypet.lesions.click_maps import Box, around, checked_clicks, checked_grid

# A missed lesion is looked for within this distance of its click,
REACH_MM = 30.0
# and its peak within this one: clicks seldom are on the very hottest voxel.
AIM_MM = 5.0
# Shares of the contrast at which its border is tried; see `grow`.
_SHARES = (0.5, 0.6, 0.7, 0.8, 0.9)
# A background click at the rim of something hotter corrects its border this far around itself.
RIM_MM = 8.0
# Of a basin that was clicked both ways, voxels go that have at least this share of the rejected one's SUV;
# and a basin's peak is what a background click means only where it has this share of the peak's SUV.
_ALIKE = 0.5
# Of a component that holds tumour clicks elsewhere, a background click takes its basin as far as this many
# times its own depth in the mask: a false region is about as wide as its heart is deep, and the basins of a
# tumour of a litre are too large to go for one click.
_DEPTHS = 1.5


@dataclass(frozen=True)
class SmallRule:
    """Components go that are smaller than a size and nowhere as hot as an SUV; both strictly.

    Args:
        size: in `unit`.
        unit: "mL" or "voxels".
        suv: SUVmax.
    """

    size: float
    unit: Literal["mL", "voxels"] = "mL"
    suv: float = 4.0

    def __post_init__(self) -> None:
        if self.unit not in ("mL", "voxels") or not (self.size >= 0 and self.suv >= 0):
            raise AnyPETError(f"a rule for small components needs sizes in mL or voxels, at least 0: {self}")

    def voxels(self, voxel_ml: float) -> float:
        """The size in voxels."""
        return self.size if self.unit == "voxels" else self.size / voxel_ml


PAPER_RULE = SmallRule(10, "voxels")
# A ball of 8 mm, little more than a whole-body scanner resolves; 24 voxels of the challenge's median grid.
DEFAULT_RULE = SmallRule(0.3)


@dataclass(frozen=True)
class Change:
    """Something that clean-up did.

    Args:
        action: "removed" for a whole component, "cut" for a part of one, "added".
        reason: one phrase, with the numbers that decided.
        volume_ml: of the voxels that changed.
        suv_max: among them.
        voxel: (i, j, k) of the hottest of them.
    """

    action: Literal["removed", "cut", "added"]
    reason: str
    volume_ml: float
    suv_max: float
    voxel: Voxel


def clean_up(
    mask: npt.NDArray[Any],
    suv: npt.NDArray[Any],
    spacing: Spacing,
    tumour: npt.ArrayLike = (),
    background: npt.ArrayLike = (),
    *,
    rule: SmallRule | None = DEFAULT_RULE,
) -> tuple[BoolArray, list[Change]]:
    """Cleans a lesion mask; see the module.

    Args:
        mask: (I, J, K) bool, the network's; it is not changed.
        suv: (I, J, K) SUVbw; voxels that are not finite count as 0.
        spacing: millimetres along (i, j, k).
        tumour, background: (n, 3) and (m, 3) voxel indices (i, j, k); either may be empty.
        rule: which small components go; None keeps them.

    Returns:
        The new (I, J, K) bool mask, and what was done: added, cut or removed by clicks, removed for size.

    Raises:
        PromptError: a click is not in the scan.
        AnyPETError: mask and PET differ in shape, or a spacing is not positive.
    """
    steps = checked_grid(suv, spacing)
    if mask.shape != suv.shape:
        raise AnyPETError(f"the mask has shape {mask.shape}, the PET {suv.shape}: they need one grid")
    wanted = [_voxel(c) for c in checked_clicks(tumour, suv.shape, "tumour")]
    unwanted = [_voxel(c) for c in checked_clicks(background, suv.shape, "background")]
    voxel_ml = math.prod(float(s) for s in steps) / 1000
    result = mask.astype(bool, copy=True)
    changes: list[Change] = []
    for click in wanted:
        if not result[click]:
            box, region = grow(suv, steps, click)
            region &= ~result[box]
            result[box] |= region
            reason = f"tumour click at {click} was in no component"
            changes.append(_change("added", reason, region, box, suv, voxel_ml))
    rejected = [c for c in dict.fromkeys(unwanted) if result[c] and c not in wanted]
    if rejected:
        changes += _cut(result, suv, steps, wanted, rejected)
    if rule is not None:
        changes += _drop_small(result, suv, voxel_ml, wanted, rule)
    return result, changes


def grow(suv: npt.NDArray[Any], spacing: Spacing, click: Voxel) -> tuple[Box, BoolArray]:
    """The lesion around a click: what is connected to it above half of its contrast.

    The border is the mean of the local peak (SUVmax within `AIM_MM`; the clicked voxel's own SUV where that
    lies below the border) and the background (median near the rim of a ball of `REACH_MM`): the threshold of
    50 % of the peak, corrected for background. Only the basin of the click's own peak is taken, so that a
    hotter organ beside it stays out. Where the region still runs into the rim, the border goes up, to 90 % of
    the contrast; where that is no use, as in uptake without contrast, a ball of `AIM_MM` is taken.

    Args:
        suv: (I, J, K) SUVbw.
        spacing: millimetres along (i, j, k).
        click: voxel (i, j, k).

    Returns:
        A box, and the region in it; the clicked voxel is always part of it.
    """
    steps = np.asarray(spacing, dtype=np.float64)
    box, offsets = around(np.asarray(click, dtype=np.intp), suv.shape, REACH_MM / steps)
    i, j, k = ((o * s) ** 2 for o, s in zip(offsets, steps, strict=True))
    distance = np.sqrt(i[:, None, None] + j[:, None] + k)
    values = _finite(suv[box])
    at = _voxel(np.asarray(click) - [s.start for s in box])
    ball, rim = distance <= REACH_MM, (distance > 0.85 * REACH_MM) & (distance <= REACH_MM)
    near = distance <= AIM_MM
    around_it = float(np.median(values[rim])) if rim.any() else 0.0
    peak = float(values[near].max())
    if values[at] < (peak + around_it) / 2:
        peak = float(values[at])
    for share in _SHARES if peak > around_it else ():
        above = ball & (values >= around_it + share * (peak - around_it))
        if not above[at]:
            break
        labels = connected_components(above)
        region = labels == labels[at]
        basins = distinct_basins(values, region)
        region = basins == basins[at]
        if not (region & rim).any():
            return box, region
    return box, near


def _cut(
    mask: BoolArray,
    suv: npt.NDArray[Any],
    steps: npt.NDArray[np.float64],
    wanted: list[Voxel],
    rejected: list[Voxel],
) -> Iterator[Change]:
    """Takes the basins of rejected voxels, all in the mask, out of it."""
    labels = connected_components(mask)
    boxes = cc3d.statistics(labels)["bounding_boxes"]
    voxel_ml = float(np.prod(steps)) / 1000
    for number in dict.fromkeys(int(labels[c]) for c in rejected):
        box = boxes[number]
        corner = [s.start for s in box]
        component, values = labels[box] == number, _finite(suv[box])
        keep = [_voxel(np.subtract(c, corner)) for c in wanted if labels[c] == number]
        drop = {_voxel(np.subtract(c, corner)): c for c in rejected if labels[c] == number}
        basins = distinct_basins(values, component)
        depth = inside_distance(component, steps.tolist()) if keep else None
        for basin in dict.fromkeys(int(basins[c]) for c in drop):
            region = basins == basin
            theirs = [c for c in drop if basins[c] == basin]
            ours = [c for c in keep if basins[c] == basin]
            reason = f"background click at {', '.join(str(drop[c]) for c in theirs)}"
            peak = _voxel(np.array(np.unravel_index(int((values * region).argmax()), region.shape)))
            hottest = max(float(values[c]) for c in theirs)
            if hottest < (max(float(values[c]) for c in ours) if ours else _ALIKE * values[peak]):
                # at the rim of something hotter: its border is corrected, the thing itself is not rejected
                region &= nearer(region.shape, steps.tolist(), theirs, ours or [peak], RIM_MM)
                region &= values <= hottest
                reason = f"{reason}, at the rim"
            elif ours:
                # within one basin no dip tells the two apart: what is nearer to the rejected voxel goes, as
                # far as it is about as hot; a watershed would give a lesion's core to a hotter neighbour
                faintest = min(float(values[c]) for c in theirs)
                region &= nearer(region.shape, steps.tolist(), theirs, ours) & (values >= _ALIKE * faintest)
                reason = f"{reason}, split from a tumour click"
            elif depth is not None:
                # beside what was clicked as tumour: as far as such a click, deep in what is wrong, can tell
                reach = max(RIM_MM, _DEPTHS * max(float(depth[c]) for c in theirs))
                region &= nearer(region.shape, steps.tolist(), theirs, keep, reach)
                reason = f"{reason}, beside a tumour click"
            whole = np.array_equal(region, component)
            mask[box] &= ~region
            yield _change("removed" if whole else "cut", reason, region, box, suv, voxel_ml)


def _drop_small(
    mask: BoolArray, suv: npt.NDArray[Any], voxel_ml: float, wanted: list[Voxel], rule: SmallRule
) -> Iterator[Change]:
    """Takes components that the rule is for out of the mask, but those that hold a wanted voxel."""
    extent = bounding_box(mask)
    if extent is None:
        return
    labels = connected_components(mask[extent])
    facts = cc3d.statistics(labels)
    sizes = np.asarray(facts["voxel_counts"])
    hottest = np.full(len(sizes), -np.inf)
    np.maximum.at(hottest, labels[mask[extent]], _finite(suv[extent][mask[extent]]))
    small = (sizes < rule.voxels(voxel_ml)) & (hottest < rule.suv)
    small[0] = False
    for click in wanted:
        small[labels[_voxel(np.subtract(click, [s.start for s in extent]))]] = False
    for number in np.flatnonzero(small):
        inner = facts["bounding_boxes"][number]
        i, j, k = (slice(a.start + e.start, a.stop + e.start) for a, e in zip(inner, extent, strict=True))
        region = labels[inner] == number
        mask[i, j, k] &= ~region
        reason = f"below {rule.size:g} {rule.unit} and SUVmax below {rule.suv:g}"
        yield _change("removed", reason, region, (i, j, k), suv, voxel_ml)


def _change(
    action: Literal["removed", "cut", "added"],
    reason: str,
    region: BoolArray,
    box: Box,
    suv: npt.NDArray[Any],
    voxel_ml: float,
) -> Change:
    """The record of a change to the voxels of a region within a box."""
    values = np.where(region, _finite(suv[box]), -np.inf)
    hottest = np.unravel_index(int(values.argmax()), values.shape)
    voxel = _voxel(np.add(hottest, [s.start for s in box]))
    return Change(action, reason, int(region.sum()) * voxel_ml, float(values[hottest]), voxel)


def _finite(suv: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.nan_to_num(suv, nan=0.0, posinf=0.0, neginf=0.0)


def _voxel(index: npt.NDArray[np.integer[Any]]) -> Voxel:
    i, j, k = (int(v) for v in index)
    return i, j, k
