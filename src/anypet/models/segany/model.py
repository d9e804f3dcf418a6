"""SegAnyPET and SAM-Med3D behind AnyPET's model interface."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from anypet.errors import AnyPETError, PromptError
from anypet.models.base import Anchor, Embedding, ModelSpec, PromptableModel
from anypet.models.segany.network import SegAnyNetwork, config_of
from anypet.models.weights import load_strictly, uninitialised
from anypet.prompts import WindowPrompts

logger = logging.getLogger(__name__)

SPACING = 1.5  # mm per voxel, isotropic: what the published weights were trained and are used at

Clicks = Literal["all", "latest"]


def z_normalise(image: Tensor) -> Tensor:
    """(1, 1, D, H, W) -> (image - mean) / std, both over its voxels above 0 (std unbiased), as released.

    Zeros where that is undefined (no voxel above 0, or all of them alike): such a window shows nothing, and
    a session that clicks into air should get an empty answer rather than stop.

    Raises:
        AnyPETError: a voxel is not a finite number.
    """
    if not torch.isfinite(image).all():
        raise AnyPETError(
            "the window holds voxels that are not finite numbers; mend the scan before encoding it"
        )
    inside = image[image > 0]
    std = inside.std() if inside.numel() > 1 else image.new_zeros(())
    if std == 0:
        logger.warning("the window holds no uptake to normalise by; it is encoded as an empty one")
        return torch.zeros_like(image)
    return (image - inside.mean()) / std


def resample_logits(logits: Tensor, size: int) -> Tensor:
    """(1, 1, d, h, w) -> (1, 1, size, size, size): means where it shrinks, so that thin masks survive."""
    if tuple(logits.shape[2:]) == (size,) * 3:
        return logits
    if min(logits.shape[2:]) >= size:
        return F.adaptive_avg_pool3d(logits, size)
    return F.interpolate(logits, size=(size,) * 3, mode="trilinear", align_corners=False)


class SegAny(PromptableModel):
    """A SegAnyPET or SAM-Med3D network in evaluation mode on one device, in float32.

    Args:
        network: with its weights.
        device: "cpu", "cuda", "cuda:1", "mps" or a `torch.device`.
        name: what `spec.name` says.
        clicks: which clicks each step passes: "all" of them, as the released inference does, or the "latest"
            alone with the previous logits, as the released training did.
    """

    def __init__(
        self,
        network: SegAnyNetwork,
        device: str | torch.device = "cpu",
        *,
        name: str = "segany-vit-b",
        clicks: Clicks = "all",
    ) -> None:
        if clicks not in ("all", "latest"):
            raise AnyPETError(f"clicks is {clicks!r}; use 'all' or 'latest'")
        self.device = torch.device(device)
        self.network = network.to(self.device, torch.float32).eval().requires_grad_(False)
        self.clicks = clicks
        self.spec = ModelSpec(
            name=name,
            window=(network.config.image_size,) * 3,
            spacings=(SPACING, SPACING),
            needs_anchor=False,
            prompts=frozenset({"point", "mask"}),
        )

    @torch.inference_mode()
    def encode(self, image: Tensor, spacing: float, anchor: Anchor | None = None) -> Embedding:
        """One window (1, 1, D, H, W) of SUVbw at 1.5 mm -> embedding (1, C, D / 16, H / 16, W / 16).

        Raises:
            AnyPETError: the window has another shape or spacing than `spec` says, or is not finite.
        """
        if tuple(image.shape) != (1, 1, *self.spec.window):
            raise AnyPETError(
                f"the window is {tuple(image.shape)}; {self.spec.name} takes (1, 1, *{self.spec.window})"
            )
        if abs(spacing - SPACING) > 1e-3:
            raise AnyPETError(
                f"the window's spacing is {spacing} mm; {self.spec.name} takes {SPACING} mm only"
            )
        normalised = z_normalise(image.to(self.device, torch.float32))
        return Embedding((self.network.encode(normalised),))

    @torch.inference_mode()
    def decode(
        self, embedding: Embedding, prompts: WindowPrompts, previous_logits: Tensor | None = None
    ) -> Tensor:
        """Clicks and the logits of the step before -> logits (1, 1, D / 4, H / 4, W / 4) of the object.

        Without clicks it is the mask-only step of the published training: previous logits alone.

        Raises:
            PromptError: there is a box (the network was made without box embeddings), or nothing at all.
        """
        if len(prompts.boxes):
            raise PromptError(f"{self.spec.name} takes clicks and masks, not boxes; click inside the object")
        if not len(prompts.points) and previous_logits is None:
            raise PromptError(f"{self.spec.name} needs a click or a previous mask")
        first = len(prompts.points) - 1 if self.clicks == "latest" and len(prompts.points) else 0
        points = torch.as_tensor(prompts.points[first:], dtype=torch.float32, device=self.device)[None]
        labels = torch.as_tensor(prompts.labels[first:], dtype=torch.int64, device=self.device)[None]
        (features,) = embedding.tensors
        size = 4 * self.network.config.grid
        if previous_logits is None:
            # zeros, not the "no mask" embedding: what the published networks saw at every first click
            previous = torch.zeros(1, 1, size, size, size, device=self.device)
        else:
            previous = resample_logits(previous_logits.to(self.device, torch.float32), size)
        return self.network.decode(features.to(self.device), points, labels, previous)


def build(
    state_dict: dict[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    device: str | torch.device = "cpu",
    *,
    clicks: Clicks = "all",
) -> SegAny:
    """A model from published (or fine-tuned) weights.

    Args:
        state_dict: key -> tensor, as `anypet.models.weights.load_state_dict` gives it.
        metadata: "name" becomes the model's name.
        device: where it runs.
        clicks: see `SegAny`.

    Raises:
        WeightsError: a key is missing, unexpected or of another shape.
    """
    with uninitialised():
        network = SegAnyNetwork(config_of(state_dict))
    load_strictly(network, state_dict, family="segany")
    return SegAny(network, device, name=(metadata or {}).get("name", "segany-vit-b"), clicks=clicks)
