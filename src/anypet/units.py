"""The units a volume may have, and whether its values can be what the unit says."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import numpy.typing as npt

from anypet.errors import ReadError

log = logging.getLogger(__name__)

SUV_UNITS = ("SUVbw", "SUVlbm", "SUVlbm-james", "SUVibw", "SUVbsa")
UNITS = (*SUV_UNITS, "Bq/mL", "kBq/mL", "HU", "label", "probability", "1")

MAX_NONFINITE = 0.01
HIGHEST_SUV = 3000.0  # urine of a small dose in a heavy patient reaches several hundred
LOWEST_SUV = -5.0  # filtered back projection may undershoot a little
HIGHEST_BODY_MEDIAN = 15.0


def check_unit(unit: str) -> str:
    """The unit in its own spelling, whatever the case it was given in.

    Raises:
        ReadError: not one of `UNITS`.
    """
    for known in UNITS:
        if unit.strip().lower() == known.lower():
            return known
    raise ReadError(f"unknown unit {unit!r}: give one of {', '.join(UNITS)}")


def finite(array: npt.NDArray[Any], source: str, warnings: list[str]) -> npt.NDArray[Any]:
    """The array with NaN and infinity replaced by 0, with a warning.

    Raises:
        ReadError: 1 % of the voxels or more are not finite.
    """
    if not np.issubdtype(array.dtype, np.inexact):
        return array
    bad = ~np.isfinite(array)
    count = int(bad.sum())
    if not count:
        return array
    share = count / array.size
    if share >= MAX_NONFINITE:
        raise ReadError(
            f"{source}: {share:.1%} of the voxels are NaN or infinite; "
            f"only less than {MAX_NONFINITE:.0%} would be set to 0"
        )
    warn(warnings, source, f"{count} voxels are NaN or infinite and were set to 0")
    return np.where(bad, array.dtype.type(0), array)


def check_values(array: npt.NDArray[Any], unit: str, source: str, warnings: list[str]) -> None:
    """Warns where values that are called SUV or HU cannot be that.

    Args:
        array: (i, j, k) in `unit`, finite.
        warnings: the findings are appended here, and logged.
    """
    sample = array[::2, ::2, ::2] if array.size > 4_000_000 else array
    low, high = float(sample.min()), float(sample.max())
    if unit in SUV_UNITS:
        for text in _odd_suv(sample, low, high):
            warn(warnings, source, f"{text}: is the unit really {unit}?")
    elif unit == "HU" and (low >= 0 or high > 100_000):
        warn(warnings, source, f"values from {low:g} to {high:g}: is the unit really HU?")
    elif unit == "Bq/mL" and 0 < high < 100:
        warn(warnings, source, f"the highest value is {high:g}: is the unit really Bq/mL?")


def _odd_suv(sample: npt.NDArray[Any], low: float, high: float) -> list[str]:
    found = []
    if low < -100 and bool(np.all(sample.ravel()[:100_000] % 1 == 0)):
        found.append(f"whole numbers down to {low:g} look like HU")
    elif low < LOWEST_SUV:
        found.append(f"the lowest value is {low:g}")
    if high <= 0:
        found.append("no voxel is above 0")
    elif high > HIGHEST_SUV:
        found.append(f"the highest value is {high:g}")
    body = sample[sample > max(0.1, high * 1e-3)]
    if body.size and float(np.median(body)) > HIGHEST_BODY_MEDIAN:
        found.append(f"the median of the body is {float(np.median(body)):g}")
    return found


def warn(warnings: list[str], source: str, text: str) -> None:
    """Logs a finding and keeps it for `Volume.meta["warnings"]`."""
    log.warning("%s: %s", source, text)
    warnings.append(text)
