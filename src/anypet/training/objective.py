"""The loss of a batch: equation (6) of the SegAnyPET paper, beside it the loss of the named parts.

It is a module whose forward pass runs the click loop, so that `DistributedDataParallel` can hold it. Every
sample counts the same whatever its number of targets; hence a batch shared out among processes has, averaged
over them, the loss and the gradient of the whole batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from anypet.models.compact.parts import LESION, ORGAN_PARTS, PARTS
from anypet.training.click_loop import LoopSettings, Talk, run_loop, turns
from anypet.training.config import Settings
from anypet.training.cpcl import CPCL, average_prediction, consistency_loss, ramp_up, rectify, total_loss
from anypet.training.learners import Learner
from anypet.training.losses import dice_ce, parts_loss
from anypet.training.patches import Patch

TISSUE_WEIGHT = 0.25  # of what is no target (fat, muscle, ...) in the loss of the named parts


@dataclass(frozen=True)
class Scores:
    """Means over a batch, without gradient.

    Args:
        loss: of the masks, equation (6).
        parts: of the named parts.
        dice_first, dice_last: DSC after the first and the last turn.
        rectified: share of the voxels of low-quality labels that (5) changed.
    """

    loss: float
    parts: float
    dice_first: float
    dice_last: float
    rectified: float = 0.0


class Objective(nn.Module):
    """See the module.

    Args:
        learner: what learns.
        loop: how prompts are simulated.
        cpcl: constants for low-quality labels, or None to learn from all labels alike.
        parts_weight: of the loss of the named parts.
    """

    def __init__(
        self, learner: Learner, loop: LoopSettings, cpcl: CPCL | None = None, parts_weight: float = 0.5
    ) -> None:
        super().__init__()
        self.learner, self.loop, self.cpcl, self.parts_weight = learner, loop, cpcl, parts_weight

    def turns(self, rng: np.random.Generator) -> int:
        """How many turns the loop has in a batch."""
        return turns(self.loop, rng)

    def forward(
        self, patches: list[Patch], rngs: list[np.random.Generator], count: int, share: float
    ) -> tuple[Tensor, Scores]:
        """Loss with gradient, and scores, of a batch; `share` of the training is done."""
        device = next(self.learner.parameters()).device
        talk = run_loop(self.learner, patches, self.loop, rngs, count, device)
        masks, changed = self._mask_loss(talk, [p.high_quality for p in patches], share)
        named = named_loss(talk.parts, [patches[n] for n in talk.rows.tolist()])
        scores = Scores(
            float(masks.detach()),
            float(named.detach()),
            float(talk.first.mean()),
            float(talk.last.mean()),
            changed,
        )
        return masks + self.parts_weight * named, scores

    def _mask_loss(self, talk: Talk, high_quality: list[bool], share: float) -> tuple[Tensor, float]:
        """Equation (6) -> (loss, share of the low-quality labels' voxels that were rectified)."""
        device = talk.target.device
        weights = 1.0 / torch.bincount(talk.rows)[talk.rows] / len(high_quality)  # of every target
        supervised = torch.stack([dice_ce(v, talk.target) for v in talk.logits]).mean(0)
        if self.cpcl is None or all(high_quality):
            return (supervised * weights).sum(), 0.0
        high = torch.tensor(high_quality, device=device)[talk.rows]
        predictions = [torch.sigmoid(v) for v in talk.logits]
        mean = average_prediction(predictions).detach()
        label = rectify(talk.target, mean, self.cpcl.threshold, self.cpcl.direction)
        rectified = torch.stack([dice_ce(v, label) for v in talk.logits]).mean(0)
        each = total_loss(
            torch.where(high, supervised, 0.0),
            torch.where(high, 0.0, consistency_loss(predictions, self.cpcl.consistency)),
            torch.where(high, 0.0, rectified),
            ramp_up(share, self.cpcl.omega, self.cpcl.ramp),
            self.cpcl.beta,
        )
        changed = (label != talk.target)[~high].float().mean()
        return (each * weights).sum(), float(changed)


def promptable_objective(learner: nn.Module, settings: Settings, half: bool) -> Objective:
    """The objective that settings ask for; `half`: whether the network computes in bfloat16."""
    loop = LoopSettings(
        settings.clicks, settings.gradient_clicks, settings.box_share, settings.previous_share,
        settings.repeat_share, settings.once_share, half, settings.answers,
    )  # fmt: skip
    assert isinstance(learner, Learner)
    return Objective(learner, loop, settings.cpcl, settings.parts_weight)


def named_loss(logits: Tensor | None, patches: list[Patch]) -> Tensor:
    """Loss of the named parts, the mean over all targets; those of a window of unknown parts count 0.

    Args:
        logits: (B, P, n, n, n), or None from a network that names no parts.
        patches: the window of each target.
    """
    if logits is None:
        return torch.zeros(())
    blank = torch.full_like(patches[0].image, 255, dtype=torch.uint8)
    parts = torch.stack([blank if p.parts is None else p.parts for p in patches]).to(logits.device)
    weights = torch.full((len(PARTS),), TISSUE_WEIGHT, device=logits.device)
    weights[[*ORGAN_PARTS, LESION]] = 1.0
    return parts_loss(logits, parts, weights).mean()
