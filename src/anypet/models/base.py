"""The interface that every promptable network offers: encode a window once, decode it for each prompt."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anypet.prompts import WindowPrompts

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ModelSpec:
    """What a model says of itself.

    Args:
        name: registry name.
        window: voxels of its cubic-or-not input window (D, H, W).
        spacings: millimetres per window voxel that it was trained for: (lowest, highest); equal = fixed.
        needs_anchor: whether `encode` depends on the first prompt (then embeddings are cached per anchor).
        prompts: kinds of prompts that it takes, of {"point", "box", "mask"}.
        temperature: what its logits are divided by to give probabilities that mean what they say (masks do
            not depend on it); see `anypet.evaluation.calibration`.
        anatomy: registry name of the lesion network whose organ head takes the first look at a click; None
            where the model looks itself.
    """

    name: str
    window: tuple[int, int, int]
    spacings: tuple[float, float]
    needs_anchor: bool
    prompts: frozenset[str]
    temperature: float = 1.0
    anatomy: str | None = None


@dataclass(frozen=True)
class Anchor:
    """The first positive prompt, as the encoder sees it.

    Args:
        suv: SUVbw at the click (or the typical SUV in a box or mask).
        point: continuous (D, H, W) index in the window; it may lie outside.
    """

    suv: float
    point: tuple[float, float, float]


@dataclass(frozen=True)
class Embedding:
    """What `encode` made of one window: tensors for `decode`, and their size for the cache."""

    tensors: tuple[torch.Tensor, ...]
    meta: Any = None

    @property
    def nbytes(self) -> int:
        return sum(t.element_size() * t.nelement() for t in self.tensors)


class PromptableModel(ABC):
    """A network in evaluation mode on one device; `Session` is its only caller in normal use."""

    spec: ModelSpec

    @abstractmethod
    def encode(self, image: torch.Tensor, spacing: float, anchor: Anchor | None = None) -> Embedding:
        """One window (1, 1, D, H, W) of SUVbw at isotropic `spacing` mm -> embedding.

        The model normalises for itself. Voxels outside the scan are 0.
        """

    @abstractmethod
    def decode(
        self,
        embedding: Embedding,
        prompts: WindowPrompts,
        previous_logits: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Prompts and the logits of the step before -> logits (1, 1, d, h, w) of the object.

        The logits may be coarser than the window (a ViT's are a quarter of it); `Session` interpolates them
        trilinearly. `previous_logits` is None at the first step, or what this method returned before, or a
        mask given by the user turned into logits of either resolution.
        """
