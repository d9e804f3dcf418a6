"""Do two or more readers measure the same? Limits of agreement and the intraclass correlation.

Bland and Altman, Stat Methods Med Res 1999;8:135; Shrout and Fleiss, Psychol Bull 1979;86:420; McGraw and
Wong, Psychol Methods 1996;1:30.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from anypet.errors import AnyPETError

NAN = float("nan")


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % confidence interval; NaN where there is not enough to tell."""

    value: float
    low: float = NAN
    high: float = NAN


@dataclass(frozen=True)
class BlandAltman:
    """How far two readers' measures lie apart.

    Args:
        cases: number of pairs.
        bias: mean of first minus second.
        sd: standard deviation of the differences.
        lower, upper: limits of agreement, bias -+ 1.96 SD, between which 95 % of differences are expected.
    """

    cases: int
    bias: Estimate
    sd: float
    lower: Estimate
    upper: Estimate


_Z = 1.959963984540054


def bland_altman(first: npt.ArrayLike, second: npt.ArrayLike, *, relative: bool = False) -> BlandAltman:
    """Bias and limits of agreement.

    Args:
        first, second: (N,) measures of the same cases; pairs that are not finite are left out.
        relative: differences in per cent of the pair's mean, as fits measures whose error grows with them;
            pairs of mean 0 are left out.

    Raises:
        AnyPETError: the lengths differ.
    """
    difference = differences(first, second, relative=relative)[1]
    n = len(difference)
    if n < 2:
        only = Estimate(float(difference[0]) if n else NAN)
        return BlandAltman(n, only, NAN, Estimate(NAN), Estimate(NAN))
    bias, sd = float(difference.mean()), float(difference.std(ddof=1))
    t = float(stats.t.ppf(0.975, n - 1))
    half = t * sd / np.sqrt(n)
    # variance of a limit, from those of the mean and of the standard deviation (section 2.1 there)
    limit_half = t * sd * np.sqrt(1 / n + _Z**2 / (2 * (n - 1)))

    def around(value: float, width: float) -> Estimate:
        return Estimate(float(value), float(value - width), float(value + width))

    return BlandAltman(
        n,
        around(bias, half),
        sd,
        around(bias - _Z * sd, limit_half),
        around(bias + _Z * sd, limit_half),
    )


def differences(
    first: npt.ArrayLike, second: npt.ArrayLike, *, relative: bool = False
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Means and differences of the pairs that count in `bland_altman`."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise AnyPETError(f"two readers must have measured the same cases, got {a.shape} and {b.shape}")
    mean, difference = (a + b) / 2, a - b
    kept = np.isfinite(difference) & ((mean != 0) | (not relative))
    mean, difference = mean[kept], difference[kept]
    return mean, 100 * difference / mean if relative else difference


@dataclass(frozen=True)
class ICC:
    """Intraclass correlation ICC(2,1): the share of the variance that is due to the cases.

    Two-way random effects, absolute agreement, a single reader: what to expect when any reader of this kind
    replaces another.

    Args:
        estimate: NaN with fewer than two cases or readers.
        cases, readers: how many.
    """

    estimate: Estimate
    cases: int
    readers: int


def icc(ratings: npt.ArrayLike) -> ICC:
    """ICC(2,1) with its interval.

    Args:
        ratings: (N, K), N cases by K readers; cases with a value that is not finite are left out.

    Raises:
        AnyPETError: not a table.
    """
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2:
        raise AnyPETError(f"ratings are a table of cases by readers, got shape {table.shape}")
    table = table[np.isfinite(table).all(axis=1)]
    n, k = table.shape
    if n < 2 or k < 2:
        return ICC(Estimate(NAN), n, k)
    grand, rows, columns = table.mean(), table.mean(axis=1), table.mean(axis=0)
    ms_rows = k * float(((rows - grand) ** 2).sum()) / (n - 1)
    ms_columns = n * float(((columns - grand) ** 2).sum()) / (k - 1)
    rest = table - rows[:, None] - columns + grand
    ms_error = float((rest**2).sum()) / ((n - 1) * (k - 1))
    below = ms_rows + (k - 1) * ms_error + k * (ms_columns - ms_error) / n
    if below <= 0:  # nobody differs from anybody
        return ICC(Estimate(NAN), n, k)
    value = (ms_rows - ms_error) / below
    return ICC(Estimate(value, *_icc_interval(n, k, value, ms_rows, ms_columns, ms_error)), n, k)


def _icc_interval(
    n: int, k: int, value: float, ms_rows: float, ms_columns: float, ms_error: float
) -> tuple[float, float]:
    """McGraw and Wong's interval for ICC(A,1), with Satterthwaite's degrees of freedom; their table 7."""
    if ms_error <= 1e-12 * ms_rows and ms_columns <= 1e-12 * ms_rows:
        return 1.0, 1.0
    a = k * value / (n * (1 - value))
    b = 1 + k * value * (n - 1) / (n * (1 - value))
    freedom = (a * ms_columns + b * ms_error) ** 2 / (
        (a * ms_columns) ** 2 / (k - 1) + (b * ms_error) ** 2 / ((n - 1) * (k - 1))
    )
    low_f, high_f = stats.f.ppf(0.975, n - 1, freedom), stats.f.ppf(0.975, freedom, n - 1)
    both = k * ms_columns + (k * n - k - n) * ms_error
    low = n * (ms_rows - low_f * ms_error) / (low_f * both + n * ms_rows)
    high = n * (high_f * ms_rows - ms_error) / (both + n * high_f * ms_rows)
    return float(low), float(high)
