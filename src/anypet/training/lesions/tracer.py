"""Training of the tracer discriminator: projections of simulated scans, cut short and changed at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anypet.errors import AnyPETError
from anypet.lesions.discriminator import MipCNN, picture
from anypet.training.lesions.scans import LesionScan
from anypet.training.objective import Scores


@dataclass(frozen=True)
class Projection:
    """One picture, (1, 224, 224), and whether the tracer is PSMA."""

    image: Tensor
    psma: bool


class Projections:
    """Draws pictures from scans: another uptake, size, noise and side, and in half of them less of the body.

    Args:
        scans: FDG and PSMA ones, drawn alike often; those of other tracers are left out.

    Raises:
        AnyPETError: one of the tracers is missing.
    """

    def __init__(self, scans: list[LesionScan]) -> None:
        self.mips: dict[bool, list[tuple[npt.NDArray[np.float32], float]]] = {False: [], True: []}
        for scan in (s for s in scans if s.tracer):
            spacing = float(np.linalg.norm(scan.affine[:3, 0]))
            self.mips[scan.tracer == "PSMA"].append((np.asarray(scan.pet, np.float32).max(1), spacing))
        if not all(self.mips.values()):
            raise AnyPETError("the discriminator needs scans of FDG and of PSMA; simulate more studies")

    def __call__(self, rng: np.random.Generator) -> Projection:
        psma = bool(rng.random() < 0.5)
        mip, spacing = self.mips[psma][int(rng.integers(len(self.mips[psma])))]
        mip = mip[::-1] if rng.random() < 0.5 else mip
        if rng.random() < 0.5:  # heads, legs or both are often not scanned
            n = mip.shape[1]
            length = int(rng.uniform(0.4, 1.0) * n)
            start = int(rng.integers(0, n - length + 1))
            mip = mip[:, start : start + length]
        mip = mip * float(np.exp(rng.normal(0, 0.15)))
        mip = mip * np.exp(rng.normal(0, rng.uniform(0, 0.1), mip.shape)).astype(np.float32)
        size = spacing * float(np.exp(rng.normal(0, 0.07)))
        return Projection(picture(mip, (size, size)), psma)


class TracerObjective(nn.Module):
    """Cross entropy; the scores `dice_first` and `dice_last` hold the accuracy.

    Args:
        net: what learns.
    """

    def __init__(self, net: MipCNN) -> None:
        super().__init__()
        self.net = net

    def turns(self, rng: np.random.Generator) -> int:
        """One: there are no prompts."""
        return 1

    def forward(
        self, patches: list[Projection], rngs: list[np.random.Generator], count: int, share: float
    ) -> tuple[Tensor, Scores]:
        """Loss with gradient, and scores, of a batch."""
        device = next(self.net.parameters()).device
        logits = self.net(torch.stack([p.image for p in patches]).to(device))
        truth = torch.tensor([float(p.psma) for p in patches], device=device)
        loss = F.binary_cross_entropy_with_logits(logits, truth)
        right = float(((logits > 0) == (truth > 0.5)).float().mean())
        return loss, Scores(float(loss.detach()), 0.0, right, right)
