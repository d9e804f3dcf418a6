"""Real PET to train on: the sarcoma patients of the training split, cut anew for every draw."""

from __future__ import annotations

import numpy as np

from anypet.evaluation.cases import Case
from anypet.training.patches import Patch, cut_target, place_window
from anypet.volume import Volume
from anypet.windows import cut


class RealCases:
    """Draws patches around the targets of real cases; all of them stay in memory (cropped scans)."""

    def __init__(self, cases: list[Case], size: int, spacing: float | None = None):
        self.size, self.spacing = size, spacing
        self.scans = []
        for case in cases:
            scan = case.load()
            for mask in scan.targets.values():
                truth = Volume(np.asarray(mask, dtype=np.float32), scan.pet.affine, "label")
                self.scans.append((scan.pet, truth))

    def __len__(self) -> int:
        return len(self.scans)

    def draw(self, rng: np.random.Generator) -> Patch | None:
        """A patch of a random case, placed coarse or fine; None where the target is not in the window."""
        pet, truth = self.scans[int(rng.integers(len(self.scans)))]
        window = place_window(truth, self.size, rng, coarse=rng.random() < 0.45, spacing=self.spacing)
        target = cut_target(truth, window)
        if not bool(target.any()):
            return None
        return Patch(cut(pet, window)[0, 0], (target,), window.spacing, "real", mirror=True)
