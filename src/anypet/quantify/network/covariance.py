"""Which organs' uptake goes together over subjects, with what the covariates explain taken away first.

Every organ is regressed on the covariates (ordinary least squares, with an intercept, or one for each group);
what is left is correlated. A plain correlation joins two organs for whatever reason; a partial one asks what
they still share once all other organs are known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from anypet.errors import AnyPETError

FloatArray = npt.NDArray[np.float64]

Kind = Literal["plain", "partial"]
Shrinkage = Literal["none", "ledoit-wolf"]
Transform = Literal["none", "log", "rank"]

_HIGHEST_R = 1.0 - 1e-12  # Fisher's z of a perfect correlation stays finite


@dataclass(frozen=True)
class Estimator:
    """How a correlation matrix is made.

    Args:
        kind: "plain" (Pearson) or "partial" (given all other organs).
        shrinkage: "ledoit-wolf" pulls correlations towards 0 by the share that makes the expected squared
            error least (J Multivariate Anal 2004;88:365); it makes partial correlations of more organs than
            subjects possible.
        transform: of the uptake before the regression: "log", as SUVs are skewed and covariates act as
            factors, or "rank" (Spearman), which single outliers do not move.
    """

    kind: Kind = "plain"
    shrinkage: Shrinkage = "none"
    transform: Transform = "none"

    def transformed(self, uptake: FloatArray) -> FloatArray:
        """(N, P) uptake -> (N, P), transformed."""
        if self.transform == "log":
            return np.log(uptake)
        if self.transform == "rank":
            return np.asarray(stats.rankdata(uptake, axis=0), dtype=np.float64)
        return uptake

    def correlation(self, residuals: FloatArray) -> FloatArray:
        """Correlation matrix of residuals.

        Args:
            residuals: (N, P), N subjects; need not be centred.

        Returns:
            (P, P), symmetric, ones on the diagonal.

        Raises:
            AnyPETError: there are too few subjects, or an organ does not vary.
        """
        standardised = standardise(residuals)
        matrix = standardised.T @ standardised / len(standardised)
        if self.shrinkage == "ledoit-wolf":
            share = ledoit_wolf(standardised)
            matrix = (1 - share) * matrix + share * np.eye(len(matrix))
        if self.kind == "partial":
            matrix = _partial(matrix, len(standardised), self.shrinkage)
        np.fill_diagonal(matrix, 1.0)
        return np.clip((matrix + matrix.T) / 2, -1.0, 1.0)

    def fisher_error(self, subjects: int, organs: int, controlled: int) -> float:
        """Standard error of Fisher's z, 1 / sqrt(N - 3 - number of variables held constant).

        Args:
            controlled: columns of the design, without the intercept.

        Returns:
            NaN with shrinkage, for which there is no such formula.
        """
        if self.shrinkage != "none":
            return float("nan")
        left = subjects - 3 - controlled - (organs - 2 if self.kind == "partial" else 0)
        return float(left**-0.5) if left > 0 else float("nan")


def residuals(values: FloatArray, design: FloatArray, groups: npt.ArrayLike | None = None) -> FloatArray:
    """What the covariates do not explain of every column.

    Args:
        values: (N, P).
        design: (N, C) covariates; C may be 0. Columns that say the same twice do no harm.
        groups: (N,) names: each group gets its own mean and all share the slopes. None for one group.

    Returns:
        (N, P), of mean 0 in every group.

    Raises:
        AnyPETError: no more subjects than covariates.
    """
    model = _model(design, groups)
    if len(values) <= np.linalg.matrix_rank(model):
        raise AnyPETError(
            f"{len(values)} subjects cannot have {model.shape[1] - 1} covariates regressed out; name fewer"
        )
    left: FloatArray = values - model @ np.linalg.lstsq(model, values, rcond=None)[0]
    # what is left of an organ that the covariates explain wholly is rounding, and must not be correlated
    explained = np.linalg.norm(left, axis=0) < 1e-9 * np.linalg.norm(values - values.mean(0), axis=0)
    left[:, explained] = 0.0
    return left


def _model(design: FloatArray, groups: npt.ArrayLike | None) -> FloatArray:
    """Intercepts, then covariates scaled to unit variance, which keeps the least squares well-conditioned."""
    if groups is None:
        intercepts = np.ones((len(design), 1))
    else:
        names = np.asarray(groups)
        intercepts = (names[:, None] == np.unique(names)).astype(np.float64)
    centred = design - design.mean(axis=0)
    spread = centred.std(axis=0)
    return np.hstack([intercepts, centred / np.where(spread > 0, spread, 1.0)])


def standardise(values: FloatArray) -> FloatArray:
    """(N, P) values with mean 0 and variance 1 (divided by N) in every column.

    Raises:
        AnyPETError: a column does not vary.
    """
    centred = values - values.mean(axis=0)
    spread = np.sqrt((centred**2).mean(axis=0))
    flat = np.flatnonzero(spread <= 1e-12 * np.maximum(1.0, np.abs(values).max(axis=0)))
    if flat.size:
        raise AnyPETError(
            f"organ column {', '.join(str(c + 1) for c in flat)} does not vary over these {len(values)} "
            "subjects once the covariates are regressed out; leave it out"
        )
    result: FloatArray = centred / spread
    return result


def ledoit_wolf(standardised: FloatArray) -> float:
    """Ledoit and Wolf's shrinkage towards the identity, between 0 and 1.

    Args:
        standardised: (N, P), mean 0 and variance 1 (divided by N) in every column.
    """
    n, p = standardised.shape
    sample = standardised.T @ standardised / n
    distance = float(np.sum((sample - np.eye(p)) ** 2))
    if distance == 0.0:
        return 1.0
    # mean squared Frobenius distance of x x' from the sample's matrix, without forming any x x'
    noise = float(np.mean(np.sum(standardised**2, axis=1) ** 2) - np.sum(sample**2)) / n
    return min(noise, distance) / distance


def _partial(matrix: FloatArray, subjects: int, shrinkage: Shrinkage) -> FloatArray:
    """-P_ij / sqrt(P_ii P_jj) of the inverse P."""
    condition = float(np.linalg.cond(matrix))
    if not condition < 1e10:
        raise AnyPETError(
            f"partial correlations of {len(matrix)} organs cannot be had from {subjects} subjects; "
            "use plain ones, name fewer organs, or shrink them (ledoit-wolf)"
        )
    precision = np.linalg.inv(matrix)
    scale = np.sqrt(np.diag(precision))
    partial: FloatArray = -precision / np.outer(scale, scale)
    return partial


def fisher_z(correlation: npt.ArrayLike) -> FloatArray:
    """Fisher's variance-stabilising artanh r; finite also for r = 1."""
    return np.arctanh(np.clip(np.asarray(correlation, dtype=np.float64), -_HIGHEST_R, _HIGHEST_R))


def interval(correlation: npt.ArrayLike, error: float, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
    """Ends of the confidence interval of correlations, by Fisher's z.

    Args:
        correlation: any shape.
        error: of z, from `Estimator.fisher_error`.
        level: share of such intervals that hold the true value.
    """
    z = fisher_z(correlation)
    half = float(stats.norm.ppf((1 + level) / 2)) * error
    return np.tanh(z - half), np.tanh(z + half)


def pairs(matrix: FloatArray) -> FloatArray:
    """The P (P - 1) / 2 values above the diagonal, row by row."""
    return np.asarray(matrix[np.triu_indices(len(matrix), k=1)], dtype=np.float64)


def from_pairs(values: npt.ArrayLike, organs: int, diagonal: float = 0.0) -> FloatArray:
    """The symmetric (P, P) matrix whose `pairs` are the values."""
    matrix = np.full((organs, organs), diagonal)
    upper = np.triu_indices(organs, k=1)
    matrix[upper] = np.asarray(values)
    matrix.T[upper] = matrix[upper]
    return matrix
