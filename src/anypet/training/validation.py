"""Looking at a run from outside: DSC of the averaged weights on targets that it does not learn from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from anypet.training.click_loop import LoopSettings, Talk, run_loop
from anypet.training.learners import Learner
from anypet.training.losses import hard_dice
from anypet.training.patches import Draw, Patch, draw_patch
from anypet.training.pool import PoolStudy

CLICKS = 3


class Validation:
    """A fixed set of windows, each clicked three times, the same every time.

    Args:
        studies: of patients that are not trained on.
        draw: how windows are cut from them; one target each.
        count: windows.
        seed: of the windows and of the clicks.

    Attributes:
        patches: the windows.
    """

    def __init__(self, studies: list[PoolStudy], draw: Draw, count: int = 48, seed: int = 0) -> None:
        self.seed = seed
        self.patches: list[Patch] = []
        for n in range(4 * count if studies else 0):
            rng = np.random.default_rng((seed, n))
            patch = draw_patch(studies[n % len(studies)], rng, draw)
            if patch is not None and len(self.patches) < count:
                self.patches.append(patch)

    def __len__(self) -> int:
        return len(self.patches)

    @torch.no_grad()
    def talk(self, learner: Learner, patches: list[Patch], clicks: int = CLICKS) -> Talk:
        """The loop over a few of the windows, in evaluation mode."""
        loop = LoopSettings(clicks, "all", 0.0, 0.0, once_share=0.0, answers=("deepest",))
        rngs = [np.random.default_rng((self.seed, 1, n)) for n in range(len(patches))]
        return run_loop(learner, patches, loop, rngs, clicks, next(learner.parameters()).device)

    def curves(
        self, learner: Learner, weights: Mapping[str, Tensor], clicks: int = CLICKS
    ) -> npt.NDArray[np.float64]:
        """DSC (windows, clicks) with these weights; each click at the deepest point of the largest error."""
        rows = []
        with swapped(learner, weights):
            for start in range(0, len(self.patches), 4):
                talk = self.talk(learner, self.patches[start : start + 4], clicks)
                rows.append(torch.stack([hard_dice(v, talk.target) for v in talk.logits], 1).cpu())
        return torch.cat(rows).double().numpy()

    def score(self, learner: Learner, weights: Mapping[str, Tensor]) -> tuple[float, float]:
        """Mean DSC with these weights after the first and the last click."""
        means = self.curves(learner, weights).mean(0)
        return float(means[0]), float(means[-1])

    def picture(self, learner: Learner, weights: Mapping[str, Tensor], path: Path, count: int = 8) -> None:
        """The first windows with the truth (green) and the mask after one and three clicks (red)."""
        from matplotlib.figure import Figure

        chosen = self.patches[:count]
        with swapped(learner, weights):
            talk = self.talk(learner, chosen)
        figure = Figure(figsize=(1.9 * len(chosen), 3.9), layout="constrained")
        axes = np.atleast_2d(figure.subplots(2, len(chosen), squeeze=False))
        for n, patch in enumerate(chosen):
            k = int(patch.targets[0].sum((0, 1)).argmax())
            for row, logits in enumerate((talk.logits[0], talk.logits[-1])):
                ax = axes[row, n]
                ax.imshow(patch.image[:, :, k].numpy().T, cmap="gray_r", origin="lower", vmin=0, vmax=8)
                ax.contour(patch.targets[0][:, :, k].numpy().T, [0.5], colors="tab:green", linewidths=1)
                mask = (logits[n, 0, :, :, k] > 0).float().cpu().numpy().T
                if 0 < mask.mean() < 1:
                    ax.contour(mask, [0.5], colors="tab:red", linewidths=1)
                ax.set_axis_off()
                score = (talk.first if row == 0 else talk.last)[n]
                ax.set_title(f"{patch.kind}, DSC {float(score):.2f}", fontsize=7)
        partial = path.with_suffix(".part")
        figure.savefig(partial, dpi=100, format="png")
        os.replace(partial, path)


@contextmanager
def swapped(learner: nn.Module, weights: Mapping[str, Tensor]) -> Any:
    """The learner with other weights, in evaluation mode, for as long as the block lasts."""
    own = {k: v.clone() for k, v in learner.state_dict().items()}
    learner.load_state_dict(dict(weights), strict=False)  # a network may know a tensor by several names
    learner.eval()
    try:
        yield
    finally:
        learner.load_state_dict(own)
        learner.train()
