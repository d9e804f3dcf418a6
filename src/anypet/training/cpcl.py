"""Cross prompting confident learning: equations (2) to (6) of the SegAnyPET paper (arXiv 2502.14351).

Everything is a plain function of probabilities (B, ...), so that each can be checked by hand. Where the paper
leaves a choice open, it is an argument, and the docstring says which value is the default and why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Reduction = Literal["mean", "sum"]
Ramp = Literal["exponential", "gaussian"]
LN2 = math.log(2.0)  # the highest entropy of a yes or no


@dataclass(frozen=True)
class CPCL:
    """The strategy's constants; the defaults are the paper's where it gives one.

    Args:
        omega: highest weight of what low-quality labels teach (omega_max, 0.1).
        beta: weight of the rectified labels beside the consistency (5).
        ramp: how lambda rises, see `ramp_up`.
        threshold: H of equation (5), as a share of the highest entropy, ln 2. The paper does not say how H is
            chosen; a share of 0.9 flips where the averaged probability lies within 0.32 to 0.68.
        direction: what (5) may do, see `rectify`.
        consistency: "mean" over voxels in place of the sum that (3) writes, so that the weight does not
            depend on the size of the window; "sum" is (3) to the letter.
    """

    omega: float = 0.1
    beta: float = 5.0
    ramp: Ramp = "exponential"
    threshold: float = 0.9
    direction: Literal["both", "towards"] = "both"
    consistency: Reduction = "mean"


def average_prediction(predictions: Sequence[Tensor]) -> Tensor:
    """Equation (2): the mean of the probabilities (B, ...) that the prompts of a loop gave."""
    return torch.stack(list(predictions)).mean(0)


def consistency_loss(predictions: Sequence[Tensor], reduction: Reduction = "mean") -> Tensor:
    """Equation (3): squared distance of every prediction to their average, summed over the prompts -> (B,).

    Args:
        predictions: probabilities (B, ...), one for every prompt, with gradient.
        reduction: over the voxels. The gradient runs through the average too.
    """
    stacked = torch.stack(list(predictions))
    square = (stacked - stacked.mean(0, keepdim=True)).square().flatten(2)
    return (square.sum(2) if reduction == "sum" else square.mean(2)).sum(0)


def predictive_entropy(mean: Tensor) -> Tensor:
    """Equation (4): entropy in nats of the averaged probability, voxel by voxel; 0 to ln 2.

    The sum runs over the two classes, object and background.
    """
    return -(torch.xlogy(mean, mean) + torch.xlogy(1 - mean, 1 - mean))


def rectify(
    label: Tensor,
    mean: Tensor,
    threshold: float,
    direction: Literal["both", "towards"] = "both",
) -> Tensor:
    """Equation (5): the label, flipped where the uncertainty exceeds H.

    The rule is applied to the given label anew in every step, never to a label that it changed before: as (5)
    is written, a voxel that stays uncertain would otherwise flip to and fro.

    Args:
        label: (B, ...) 0 or 1.
        mean: averaged probability, of the same shape.
        threshold: H as a share of the highest entropy, ln 2.
        direction: "both" as the paper writes it: an uncertain voxel is flipped whichever way the prediction
            leans; "towards" flips only where the averaged prediction disagrees with the label.
    """
    uncertain = predictive_entropy(mean) > threshold * LN2
    if direction == "towards":
        uncertain &= (mean > 0.5) != (label > 0.5)
    return torch.where(uncertain, 1 - label, label)


def ramp_up(share: float, omega: float = 0.1, ramp: Ramp = "exponential") -> float:
    """lambda at t / t_max = `share`: omega exp(-5 (1 - share)), as the paper's appendix prints it.

    The paper calls it Gaussian; the Gaussian of the literature has (1 - share) squared, which "gaussian"
    gives.

    Args:
        share: t / t_max, 0 to 1.
        omega: its highest value.
        ramp: which of the two.
    """
    rest = 1.0 - min(max(share, 0.0), 1.0)
    return omega * math.exp(-5.0 * (rest if ramp == "exponential" else rest * rest))


def total_loss(
    high: Tensor, consistency: Tensor, rectified: Tensor, weight: float, beta: float = 5.0
) -> Tensor:
    """Equation (6): L_seg^H + lambda (L_cps + beta L_seg^L).

    Args:
        high: supervised loss of high-quality samples (0 where there is none).
        consistency, rectified: losses (3) and with the labels of (5), of low-quality samples.
        weight: lambda, from `ramp_up`.
        beta: as in (6).
    """
    return high + weight * (consistency + beta * rectified)
