"""How far one subject's network is from those of a reference cohort.

One scan gives no correlation, but it moves the cohort's: the subject is added to the reference and the change
of every correlation is noted (Liu et al., Nucleic Acids Res 2016;44:e164; for whole-body PET Sun et al., Eur
J Nucl Med Mol Imaging 2022;49:2994). What counts as a large change is learnt from the reference itself: each
of its members is left out and added again in the same way. Their changes give the mean and the spread for
z-scores, and their scores the p-values, without any assumption of normality, which such changes do not meet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anypet.errors import AnyPETError
from anypet.quantify.network.cohort import Cohort
from anypet.quantify.network.covariance import Estimator, from_pairs, pairs

FloatArray = npt.NDArray[np.float64]

MIN_REFERENCE = 10


@dataclass(frozen=True)
class Deviation:
    """How one subject deviates.

    Args:
        subject: name.
        group: of the subject.
        uptake: (P,) z-score of every organ's uptake itself, given the covariates.
        edges: (P, P) z-score of the change of every correlation.
        organs: (P,) root mean square of the z-scores of an organ's edges; about 1 in the reference.
        organ_p: (P,) share of the reference whose highest organ is at least as high (family-wise).
        total: root mean square over all edges.
        total_p: share of the reference with at least as much.
    """

    subject: str
    group: str
    uptake: FloatArray
    edges: FloatArray
    organs: FloatArray
    organ_p: FloatArray
    total: float
    total_p: float


class Reference:
    """A reference cohort, ready to compare subjects with.

    Args:
        cohort: healthy subjects, say; at least 10.
        estimator: of the correlation. "rank" is refused: a rank within the reference is no property of the
            subject.

    Raises:
        AnyPETError: the reference is too small for the covariates or organs.
    """

    def __init__(self, cohort: Cohort, estimator: Estimator) -> None:
        if len(cohort) < MIN_REFERENCE:
            raise AnyPETError(
                f"the reference has {len(cohort)} subjects; at least {MIN_REFERENCE} are needed"
            )
        if estimator.transform == "rank":
            raise AnyPETError("single subjects are compared by uptake or its logarithm, not by rank")
        self.cohort, self.estimator = cohort, estimator
        self._values = estimator.transformed(cohort.uptake)
        everyone = np.arange(len(cohort))
        changes, errors = [], []
        for n in range(len(cohort)):
            change, error = self._added(self._values[n], cohort.design[n], everyone[everyone != n])
            changes.append(change)
            errors.append(error)
        self._changes, self._errors = np.array(changes), np.array(errors)
        scores = [self._scores(_leave_one_z(self._changes, n)) for n in range(len(cohort))]
        self._highest = np.array([organs.max() for organs, _ in scores])
        self._totals = np.array([total for _, total in scores])

    def compare(self, cohort: Cohort, row: int) -> Deviation:
        """The deviation of the subject in a row of a table with the same organs and covariates.

        Raises:
            AnyPETError: the organs or the covariates are others.
        """
        if (cohort.organs, cohort.covariates) != (self.cohort.organs, self.cohort.covariates):
            raise AnyPETError("the subject must have the organs and the covariates of the reference")
        values = self.estimator.transformed(cohort.uptake)[row]
        change, error = self._added(values, cohort.design[row], np.arange(len(self.cohort)))
        z = _z(change, self._changes)
        organs, total = self._scores(z)
        return Deviation(
            subject=cohort.subjects[row],
            group=cohort.groups[row],
            uptake=error / np.sqrt((self._errors**2).mean(axis=0)),
            edges=from_pairs(z, len(organs)),
            organs=organs,
            organ_p=np.array([_share(self._highest, score) for score in organs]),
            total=total,
            total_p=_share(self._totals, total),
        )

    def _added(
        self, values: FloatArray, design: FloatArray, members: npt.NDArray[np.intp]
    ) -> tuple[FloatArray, FloatArray]:
        """Change of every pair's correlation when a subject joins some members, and its residuals.

        The covariates' effect is fitted to the members alone. The change is multiplied by the number of
        subjects, which makes it comparable between references of different sizes.
        """
        model = np.column_stack([np.ones(len(members)), self.cohort.design[members]])
        if len(members) <= np.linalg.matrix_rank(model):
            raise AnyPETError(
                f"a reference of {len(members)} subjects cannot have {model.shape[1] - 1} covariates "
                "regressed out; name fewer"
            )
        slopes = np.linalg.lstsq(model, self._values[members], rcond=None)[0]
        left = self._values[members] - model @ slopes
        error = values - np.concatenate([[1.0], design]) @ slopes
        without = pairs(self.estimator.correlation(left))
        joined = pairs(self.estimator.correlation(np.vstack([left, error])))
        return (joined - without) * (len(members) + 1), error

    def _scores(self, z: FloatArray) -> tuple[FloatArray, float]:
        """Root mean square of z by organ and over all pairs."""
        count = len(self.cohort.organs)
        squares = from_pairs(z**2, count)
        return np.sqrt(squares.sum(axis=0) / (count - 1)), float(np.sqrt((z**2).mean()))


def _z(change: FloatArray, reference: FloatArray) -> FloatArray:
    spread = reference.std(axis=0, ddof=1)
    return np.asarray((change - reference.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def _leave_one_z(changes: FloatArray, member: int) -> FloatArray:
    """A member's z-scores against the other members, so that it is treated like a subject from outside."""
    return _z(changes[member], np.delete(changes, member, axis=0))


def _share(reference: FloatArray, score: float) -> float:
    return float((1 + np.sum(reference >= score)) / (len(reference) + 1))
