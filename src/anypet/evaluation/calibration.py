"""Whether a probability means what it says: reliability, expected calibration error, temperature scaling.

Guo et al., On calibration of modern neural networks, ICML 2017 (arXiv 1706.04599). One temperature divides
all logits; masks, which begin at a logit of 0, stay what they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from anypet.clicks import BoolArray, bounding_box, first_click, next_click
from anypet.errors import AnyPETError
from anypet.evaluation.cases import Case
from anypet.evaluation.protocol import first_click_rng
from anypet.models.base import PromptableModel
from anypet.session import Session

Floats = npt.NDArray[np.float64]
EDGE = 1e-4  # probabilities nearer to 0 or 1 count as this: float16 tells no more


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram.

    Args:
        ece: mean of |confidence - share of object voxels| over the bins, weighted by their voxels.
        confidence, share: (bins,) mean probability, and share of voxels that are object; NaN where empty.
        count: (bins,) voxels.
    """

    ece: float
    confidence: Floats
    share: Floats
    count: npt.NDArray[np.int64]


def reliability(probability: Floats, truth: BoolArray, bins: int = 15) -> Reliability:
    """Bins of equal width over the probability of the object.

    Raises:
        AnyPETError: the two do not have one length, or there is no voxel.
    """
    if probability.shape != truth.shape or not probability.size:
        raise AnyPETError(f"{probability.size} probabilities for {truth.size} voxels of truth; give as many")
    at = np.minimum((probability * bins).astype(int), bins - 1)
    count = np.bincount(at, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(at, probability, bins) / count
        share = np.bincount(at, truth, bins) / count
    gap = np.abs(np.nan_to_num(confidence) - np.nan_to_num(share))
    return Reliability(float((gap * count).sum() / count.sum()), confidence, share, count)


def scaled(probability: Floats, temperature: float) -> Floats:
    """Probabilities whose logits are divided by the temperature."""
    p = np.clip(probability, EDGE, 1 - EDGE)
    odds = (p / (1 - p)) ** (1 / temperature)
    return odds / (1 + odds)


def fit_temperature(probability: Floats, truth: BoolArray) -> float:
    """The temperature (0.2 to 5) with the lowest mean log loss."""

    def log_loss(log_t: float) -> float:
        p = np.clip(scaled(probability, float(np.exp(log_t))), 1e-9, 1 - 1e-9)
        return float(-np.where(truth, np.log(p), np.log1p(-p)).mean())

    found = minimize_scalar(log_loss, bounds=(np.log(0.2), np.log(5.0)), method="bounded")
    return float(np.exp(found.x))


@dataclass(frozen=True)
class Voxels:
    """Voxels in and around targets.

    Args:
        probability: of the object, at the model's own temperature.
        truth: whether the voxel is object.
        patient: index of the patient that it is of.
    """

    probability: Floats
    truth: BoolArray
    patient: npt.NDArray[np.int64]


def collect(
    cases: Iterable[Case], model: PromptableModel, clicks: int = 1, seed: int = 0, margin_mm: float = 20.0
) -> Voxels:
    """Clicks on every target of every case; keeps the box of object and mask and `margin_mm` around it.

    Each target gives at most 20,000 voxels, drawn at random, so that livers do not drown lesions.
    """
    probabilities, truths, patients = [], [], []
    known: dict[str, int] = {}
    for case in cases:
        scan = case.load()
        session = Session(scan.pet, model)
        for name, target in scan.targets.items():
            rng = first_click_rng(case.name, name, seed)
            session.new_object(name)
            click, positive = first_click(target, rng, scan.pet.spacing), True
            for _ in range(clicks):
                mask = session.add_point(click, positive)
                following = next_click(target, mask, scan.pet.spacing)
                if following is None:
                    break
                click, positive = following
            margin = int(np.ceil(margin_mm / scan.pet.spacing.min()))
            box = bounding_box(target | session.mask, margin)
            assert box is not None
            p, t = session.probability[box].ravel().astype(np.float64), target[box].ravel()
            drawn = rng.permutation(p.size)[:20_000]
            probabilities.append(p[drawn])
            truths.append(t[drawn])
            patients.append(np.full(len(drawn), known.setdefault(case.patient, len(known))))
    if not truths:
        raise AnyPETError("no target to calibrate on: the cases hold none")
    return Voxels(np.concatenate(probabilities), np.concatenate(truths), np.concatenate(patients))


def cross_fitted(voxels: Voxels, folds: int = 5) -> tuple[float, Floats]:
    """-> (temperature of all voxels, probabilities scaled with that of the *other* patients).

    The scaled probabilities are for measuring: no patient's own voxels chose the temperature used on them.
    """
    count = int(voxels.patient.max()) + 1
    folds = min(folds, count)
    if folds < 2:
        raise AnyPETError("calibration needs at least two patients: one to fit, one to measure")
    out = np.empty_like(voxels.probability)
    for fold in range(folds):
        held = voxels.patient % folds == fold
        temperature = fit_temperature(voxels.probability[~held], voxels.truth[~held])
        out[held] = scaled(voxels.probability[held], temperature)
    return fit_temperature(voxels.probability, voxels.truth), out
