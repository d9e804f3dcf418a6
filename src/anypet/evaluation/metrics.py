"""How far a mask is from the truth: overlap, surfaces, and the numbers a report would carry.

Surfaces follow Nikolov et al. (doi:10.2196/26151; the surface-distance package): a surface element sits at
each corner of the voxel grid whose eight neighbours are neither all in nor all out, and weighs as much as its
marching-cubes patch (mm^2). Relative errors are (mask - target) / target, with their sign.

What an empty mask or target gives:

| metric | both empty | target empty | mask empty |
|---|---|---|---|
| dsc, nsd | NaN | 0 | 0 |
| hd95 | NaN | inf | inf |
| volume_error, tlg_error | NaN | NaN | -1 |
| suvmean_error | NaN | NaN | NaN |
| fpv | 0 | volume of the mask | 0 |
| fnv | NaN | NaN | volume of the target |

dsc, fpv and fnv agree with the autoPET challenges on empty targets but for dsc: there it is NaN whenever the
target is empty; here a false alarm counts as 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import edt
import numpy as np
import numpy.typing as npt
from skimage.measure import marching_cubes, mesh_surface_area

from anypet.clicks import BoolArray, Spacing, bounding_box
from anypet.errors import AnyPETError
from anypet.evaluation.lesion_metrics import Overlap, lesion_overlap
from anypet.volume import Volume

# A distance is a float32 root of sums of squares; a tolerance that equals it must still hold it.
_ROUNDING_MM = 1e-4


@dataclass(frozen=True)
class Surfaces:
    """The surface elements of two masks and how far each lies from the other mask's surface.

    Args:
        to_mask, to_target: distances in mm of the target's elements to the mask's surface and the reverse,
            rising; inf where the other mask is empty.
        target_areas, mask_areas: mm^2, in the same order.
    """

    to_mask: npt.NDArray[np.float64]
    to_target: npt.NDArray[np.float64]
    target_areas: npt.NDArray[np.float64]
    mask_areas: npt.NDArray[np.float64]


class Pair:
    """A target and a mask on one grid, cropped to what either holds; surfaces are found once, when asked for.

    Args:
        target: (I, J, K) bool, the truth.
        mask: (I, J, K) bool, what is measured.
        spacing: millimetres along (i, j, k).
        suv: (I, J, K) SUVbw, or None where no measure of uptake is wanted.
        tolerance_mm: how far apart two surfaces may lie and still agree, for `nsd`.

    Raises:
        AnyPETError: the shapes differ, or the spacing or the tolerance is not positive.
    """

    def __init__(
        self,
        target: npt.NDArray[Any],
        mask: npt.NDArray[Any],
        spacing: Spacing,
        suv: npt.NDArray[Any] | None = None,
        tolerance_mm: float = 3.0,
    ) -> None:
        shapes = {
            "target": target.shape,
            "mask": mask.shape,
            "suv": target.shape if suv is None else suv.shape,
        }
        if len(set(shapes.values())) != 1 or target.ndim != 3:
            raise AnyPETError(f"target, mask and SUV need one 3D shape, got {shapes}")
        steps = tuple(float(s) for s in spacing)
        if len(steps) != 3 or not all(s > 0 for s in steps):
            raise AnyPETError(f"the spacing must be three positive millimetres, got {steps}")
        if not tolerance_mm >= 0:
            raise AnyPETError(f"the NSD tolerance must be 0 mm or more, got {tolerance_mm}")
        target, mask = target.astype(bool, copy=False), mask.astype(bool, copy=False)
        box = bounding_box(target | mask) or (slice(0, 1),) * 3
        self.target: BoolArray = target[box]
        self.mask: BoolArray = mask[box]
        self.suv = None if suv is None else suv[box]
        self.spacing = steps
        self.tolerance_mm = tolerance_mm

    @cached_property
    def sizes(self) -> tuple[int, int]:
        """Voxels in the target and in the mask."""
        return int(np.count_nonzero(self.target)), int(np.count_nonzero(self.mask))

    @cached_property
    def surfaces(self) -> Surfaces:
        """The surface elements of both; see `Surfaces`."""
        areas = surface_area_table(self.spacing)
        target_codes, mask_codes = _corner_codes(self.target), _corner_codes(self.mask)
        on_target, on_mask = _on_surface(target_codes), _on_surface(mask_codes)
        to_mask = _distance_to(on_mask, self.spacing)[on_target]
        to_target = _distance_to(on_target, self.spacing)[on_mask]
        first, second = np.argsort(to_mask, kind="stable"), np.argsort(to_target, kind="stable")
        return Surfaces(
            to_mask=to_mask[first].astype(np.float64),
            to_target=to_target[second].astype(np.float64),
            target_areas=areas[target_codes[on_target][first]],
            mask_areas=areas[mask_codes[on_mask][second]],
        )

    @cached_property
    def lesions(self) -> Overlap:
        """What the components of both share."""
        grid = np.diag([*self.spacing, 1.0])
        return lesion_overlap(Volume(self.target, grid, "label"), Volume(self.mask, grid, "label"))

    def uptake(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """SUVs of the target's and of the mask's voxels.

        Raises:
            AnyPETError: the pair was made without a PET.
        """
        if self.suv is None:
            raise AnyPETError("this metric measures uptake; give the PET in SUVbw as `suv`")
        return self.suv[self.target], self.suv[self.mask]


@lru_cache(maxsize=64)
def surface_area_table(spacing: tuple[float, float, float]) -> npt.NDArray[np.float64]:
    """Area in mm^2 of the surface patch within each of the 256 patterns of 2 x 2 x 2 voxels.

    Bit 7 - (4 i + 2 j + k) of the index says whether voxel (i, j, k) is inside. A pattern and its complement
    share their surface: ambiguous ones are cut as by the 1987 marching cubes with the fewer voxels inside.
    """
    table = np.zeros(256)
    bits = _BITS.reshape(2, 2, 2)
    for code in range(1, 255):
        fewer = code if code.bit_count() <= 4 else 255 - code
        cube = ((fewer & bits) > 0).astype(np.float32)
        vertices, faces, _, _ = marching_cubes(
            cube, 0.5, spacing=spacing, method="lorensen", allow_degenerate=False
        )
        table[code] = mesh_surface_area(vertices, faces)
    table.setflags(write=False)
    return table


_BITS = 2 ** np.arange(7, -1, -1)


def _corner_codes(mask: BoolArray) -> npt.NDArray[np.uint8]:
    """(I + 1, J + 1, K + 1) index into `surface_area_table` at each corner of the voxel grid."""
    padded = np.pad(mask, 1).astype(np.uint8)
    i, j, k = (n - 1 for n in padded.shape)
    codes = np.zeros((i, j, k), dtype=np.uint8)
    for bit, (a, b, c) in zip(_BITS, np.ndindex(2, 2, 2), strict=True):
        codes |= padded[a : a + i, b : b + j, c : c + k] * np.uint8(bit)
    return codes


def _on_surface(codes: npt.NDArray[np.uint8]) -> BoolArray:
    return (codes > 0) & (codes < 255)


def _distance_to(surface: BoolArray, spacing: tuple[float, float, float]) -> npt.NDArray[np.float32]:
    """Millimetres from each corner to the nearest surface element; inf where there is none."""
    if not surface.any():
        return np.full(surface.shape, np.inf, dtype=np.float32)
    distance: npt.NDArray[np.float32] = edt.edt(np.ascontiguousarray(~surface), anisotropy=spacing)
    return distance


def _dsc(pair: Pair) -> float:
    total = sum(pair.sizes)
    return 2.0 * int(np.count_nonzero(pair.target & pair.mask)) / total if total else float("nan")


def _nsd(pair: Pair) -> float:
    if not all(pair.sizes):
        return float("nan") if not any(pair.sizes) else 0.0
    s, within = pair.surfaces, pair.tolerance_mm + _ROUNDING_MM
    agreed = s.target_areas[s.to_mask <= within].sum() + s.mask_areas[s.to_target <= within].sum()
    return float(agreed / (s.target_areas.sum() + s.mask_areas.sum()))


def _hd95(pair: Pair) -> float:
    if not all(pair.sizes):
        return float("nan") if not any(pair.sizes) else float("inf")
    s = pair.surfaces
    return max(_percentile(s.to_mask, s.target_areas, 0.95), _percentile(s.to_target, s.mask_areas, 0.95))


def _percentile(rising: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], share: float) -> float:
    """The first value below or at which at least a share of the weight lies."""
    cumulated = np.cumsum(weights) / weights.sum()
    return float(rising[min(int(np.searchsorted(cumulated, share)), len(rising) - 1)])


def _relative(measured: float, true: float) -> float:
    return (measured - true) / true if true else float("nan")


def _volume_error(pair: Pair) -> float:
    target, mask = pair.sizes
    return _relative(mask, target)


def _suvmean_error(pair: Pair) -> float:
    target, mask = pair.uptake()
    if not target.size or not mask.size:
        return float("nan")
    return _relative(float(mask.mean(dtype=np.float64)), float(target.mean(dtype=np.float64)))


def _tlg_error(pair: Pair) -> float:
    # total lesion glycolysis = SUVmean x volume, so the sum of the SUVs serves: the voxel's volume cancels
    target, mask = pair.uptake()
    return _relative(float(mask.sum(dtype=np.float64)), float(target.sum(dtype=np.float64)))


def _fpv(pair: Pair) -> float:
    return pair.lesions.false_positive_volume


def _fnv(pair: Pair) -> float:
    return pair.lesions.false_negative_volume


@dataclass(frozen=True)
class Metric:
    """A way to compare a mask with the truth.

    Args:
        name: short name, as in tables and on the command line.
        long_name: what it is, with its unit.
        higher_is_better: True or False; None where 0 is best and the sign tells too much from too little.
        function: takes a `Pair`, gives the value.
        needs_suv: whether the pair needs the PET.
    """

    name: str
    long_name: str
    higher_is_better: bool | None
    function: Callable[[Pair], float]
    needs_suv: bool = False


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("dsc", "Dice similarity coefficient", True, _dsc),
        Metric("nsd", "Normalised surface Dice at the tolerance", True, _nsd),
        Metric("hd95", "95th percentile of the Hausdorff distance (mm)", False, _hd95),
        Metric("volume_error", "Relative error of the volume", None, _volume_error),
        Metric("suvmean_error", "Relative error of the SUVmean", None, _suvmean_error, needs_suv=True),
        Metric(
            "tlg_error", "Relative error of the total lesion glycolysis", None, _tlg_error, needs_suv=True
        ),
        Metric("fpv", "Volume of predicted components without any truth (mL)", False, _fpv),
        Metric("fnv", "Volume of true components without any prediction (mL)", False, _fnv),
    )
}


def measure(
    target: npt.NDArray[Any],
    mask: npt.NDArray[Any],
    spacing: Spacing,
    suv: npt.NDArray[Any] | None = None,
    *,
    tolerance_mm: float = 3.0,
    metrics: Iterable[str] | None = None,
) -> dict[str, float]:
    """Several metrics at once, at the price of one set of surfaces.

    Args:
        target: (I, J, K) bool, the truth.
        mask: (I, J, K) bool.
        spacing: millimetres along (i, j, k).
        suv: (I, J, K) SUVbw; without it, the metrics of uptake are left out unless named.
        tolerance_mm: of `nsd`.
        metrics: names from `METRICS`; all that the arguments allow by default.

    Raises:
        AnyPETError: the shapes differ, a name is unknown, or a metric of uptake is named without `suv`.
    """
    names = (
        [m.name for m in METRICS.values() if suv is not None or not m.needs_suv]
        if metrics is None
        else [*metrics]
    )
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise AnyPETError(f"unknown metric {', '.join(unknown)}; known are {', '.join(METRICS)}")
    pair = Pair(target, mask, spacing, suv, tolerance_mm)
    return {name: METRICS[name].function(pair) for name in names}


def dice(target: npt.NDArray[Any], mask: npt.NDArray[Any]) -> float:
    """Dice similarity coefficient of two (I, J, K) masks; NaN when both are empty."""
    return _dsc(Pair(target, mask, (1.0, 1.0, 1.0)))


def surface_dice(
    target: npt.NDArray[Any], mask: npt.NDArray[Any], spacing: Spacing, tolerance_mm: float
) -> float:
    """Share of both surfaces' area within the tolerance (mm) of the other; NaN when both are empty."""
    return _nsd(Pair(target, mask, spacing, tolerance_mm=tolerance_mm))


def hausdorff95(target: npt.NDArray[Any], mask: npt.NDArray[Any], spacing: Spacing) -> float:
    """The larger of both directions' 95th percentile of surface distance, weighted by area, in mm."""
    return _hd95(Pair(target, mask, spacing))


def area_under_clicks(values: Sequence[float], *, normalised: bool = True) -> float:
    """Trapezoid area under a metric over clicks, one unit apart; NaN where a value is.

    Args:
        values: after 0, 1, 2, ... clicks.
        normalised: divide by the width, which gives the mean height of the curve; False gives the area itself
            (of Dice over 11 steps at most 10), which the autoPET challenges rank by.

    Raises:
        AnyPETError: fewer than two values.
    """
    if len(values) < 2:
        raise AnyPETError(f"an area under clicks needs two values or more, got {len(values)}")
    return float(np.trapezoid(values)) / (len(values) - 1 if normalised else 1)
