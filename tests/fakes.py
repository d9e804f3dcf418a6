"""A promptable model without weights: what is as bright as the anchor, or near to a click, is the object."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from anypet.models.base import Anchor, Embedding, ModelSpec, PromptableModel
from anypet.prompts import WindowPrompts
from anypet.volume import Volume


class FakeModel(PromptableModel):
    """Logits fall with |SUV - anchor|; clicks raise and lower them within a few voxels.

    Args:
        window: voxels along each axis.
        spacings: as in `ModelSpec`.
        coarse: the logits are this many times coarser than the window.
        stubborn: clicks change nothing.
    """

    def __init__(
        self,
        window: int = 32,
        spacings: tuple[float, float] = (2.0, 8.0),
        coarse: int = 1,
        stubborn: bool = False,
        prompts: tuple[str, ...] = ("point", "box", "mask"),
    ) -> None:
        self.spec = ModelSpec("fake", (window, window, window), spacings, True, frozenset(prompts))
        self.coarse = coarse
        self.stubborn = stubborn
        self.encoded: list[float] = []  # spacings of the windows encoded so far
        self.decoded: list[WindowPrompts] = []

    def encode(self, image: torch.Tensor, spacing: float, anchor: Anchor | None = None) -> Embedding:
        assert anchor is not None
        assert torch.isfinite(image).all()
        self.encoded.append(spacing)
        likeness = 6 * (1 - (image - anchor.suv).abs() / (0.4 * abs(anchor.suv) + 0.2))
        return Embedding((likeness.clamp(-8, 8),))

    def decode(
        self, embedding: Embedding, prompts: WindowPrompts, previous_logits: torch.Tensor | None = None
    ) -> torch.Tensor:
        self.decoded.append(prompts)
        logits = embedding.tensors[0].clone()
        axes = [torch.arange(n, dtype=torch.float32) for n in logits.shape[2:]]
        for point, label in zip(prompts.points, prompts.labels, strict=True):
            squares = [(axis - float(p)) ** 2 for axis, p in zip(axes, point, strict=True)]
            distance = squares[0][:, None, None] + squares[1][:, None] + squares[2]
            bump = 12 * torch.exp(-distance / 8)
            logits += 0 if self.stubborn else bump if label else -bump
        return F.avg_pool3d(logits, self.coarse) if self.coarse > 1 else logits


def ball_scan(
    shape: tuple[int, int, int] = (48, 40, 56),
    spacing: tuple[float, float, float] = (4.0, 4.0, 3.0),
    centre: tuple[float, float, float] = (24, 20, 30),
    radii_mm: tuple[float, float, float] = (20.0, 20.0, 20.0),
    suv: float = 8.0,
) -> Volume:
    """An ellipsoid of one SUV on a background of 0.5."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    inside = (((grid - np.array(centre)) * spacing / np.array(radii_mm)) ** 2).sum(-1) <= 1
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-90, -70, -400)
    return Volume(np.where(inside, suv, 0.5).astype(np.float32), affine, "SUVbw")


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Overlap of two masks."""
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())
