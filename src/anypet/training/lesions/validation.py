"""Looking at a lesion run from outside: lesion DSC of the averaged weights without and with clicks."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from anypet.lesions.network import TwoHeadedUNet
from anypet.training.config import LesionSettings
from anypet.training.lesions.patches import LesionPatch, LesionPatches
from anypet.training.lesions.scans import LesionScan
from anypet.training.validation import swapped


class LesionLook:
    """A fixed set of patches around lesions, each once without a click and once with.

    Args:
        scans: of patients that are not trained on.
        settings: of the run.
        count: patches.
        seed: of the draws.
    """

    def __init__(
        self, scans: list[LesionScan], settings: LesionSettings, count: int = 32, seed: int = 0
    ) -> None:
        told = {"lesion_share": 1.0, "misalign_share": 0.0, "tracer_share": 1.0, "silent_share": 0.0}
        fixed = settings.model_copy(update=told)
        self.silent = _drawn(scans, fixed.model_copy(update={"silent_share": 1.0}), count, seed)
        self.clicked = _drawn(scans, fixed, count, seed)

    @torch.no_grad()
    def score(self, net: TwoHeadedUNet, weights: dict[str, Tensor]) -> tuple[float, float]:
        """DSC of all lesion voxels together, without and with clicks."""
        with swapped(net, weights):
            return _dice(net, self.silent), _dice(net, self.clicked)

    @torch.no_grad()
    def picture(self, net: TwoHeadedUNet, weights: dict[str, Tensor], path: Path, count: int = 8) -> None:
        """Coronal maximum projections with the truth (green) and the mask (red), without and with clicks."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(1.9 * count, 3.9), layout="constrained")
        axes = np.atleast_2d(figure.subplots(2, count, squeeze=False))
        with swapped(net, weights):
            for row, patches in zip(axes, (self.silent, self.clicked), strict=True):
                for ax, patch in zip(row, patches, strict=False):
                    mask = _mask(net, patch)
                    mip = patch.inputs[0].amax(1).numpy().T
                    ax.imshow(mip, cmap="gray_r", origin="lower", vmin=0, vmax=3)
                    for part, colour in ((patch.lesion, "tab:green"), (mask, "tab:red")):
                        flat = part.any(1).float().numpy().T
                        if 0 < flat.mean() < 1:
                            ax.contour(flat, [0.5], colors=colour, linewidths=1)
                    ax.set_axis_off()
        partial = path.with_suffix(".part")
        figure.savefig(partial, dpi=100, format="png")
        os.replace(partial, path)


def _drawn(scans: list[LesionScan], settings: LesionSettings, count: int, seed: int) -> list[LesionPatch]:
    """Patches with a lesion in them."""
    source = LesionPatches([s for s in scans if np.asarray(s.lesions).any()], settings)
    found: list[LesionPatch] = []
    for n in range(4 * count):
        patch = source(np.random.default_rng((seed, n)))
        if patch is not None and bool(patch.lesion.any()) and len(found) < count:
            found.append(patch)
    return found


def _mask(net: TwoHeadedUNet, patch: LesionPatch) -> Tensor:
    device = next(net.parameters()).device
    logits = net(patch.inputs[None].to(device)).lesion[0]
    return logits.argmax(1)[0].bool().cpu()


def _dice(net: TwoHeadedUNet, patches: list[LesionPatch]) -> float:
    overlap = total = 0
    for patch in patches:
        mask = _mask(net, patch)
        overlap += 2 * int((mask & patch.lesion).sum())
        total += int(mask.sum() + patch.lesion.sum())
    return overlap / max(1, total)
