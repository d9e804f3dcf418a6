"""The compact network behind the interface that `Session` uses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from anypet.devices import wants_bfloat16
from anypet.errors import WeightsError
from anypet.models.base import Anchor, Embedding, ModelSpec, PromptableModel
from anypet.models.compact.network import CompactConfig, CompactNet, image_channels, prompt_channels
from anypet.prompts import WindowPrompts

SPACINGS = (2.0, 8.0)  # millimetres per voxel, as in training


class CompactModel(PromptableModel):
    """AnyPET compact in evaluation mode, in float32 or, where ANYPET_PRECISION says so, in bfloat16.

    Args:
        net: the network; it is moved to `device` and put in evaluation mode.
        device: "cpu", "cuda", "mps", ...
        name: registry name.
        temperature: see `ModelSpec`.
    """

    def __init__(
        self,
        net: CompactNet,
        device: str | torch.device = "cpu",
        name: str = "default",
        temperature: float = 1.0,
    ):
        self.device = torch.device(device)
        self.net = net.eval().to(self.device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self._half = wants_bfloat16(self.device)
        n = net.config.window
        prompts = frozenset({"point", "box", "mask"})
        self.spec = ModelSpec(name, (n, n, n), SPACINGS, True, prompts, temperature)

    @torch.inference_mode()
    def encode(self, image: Tensor, spacing: float, anchor: Anchor | None = None) -> Embedding:
        """One window (1, 1, N, N, N) of SUVbw -> features at five resolutions.

        Raises:
            ValueError: no anchor; what belongs to the object is judged relative to it.
        """
        if anchor is None:
            raise ValueError("the compact model needs the anchor: SUV and place of the first prompt")
        channels = image_channels(
            image.to(self.device, torch.float32),
            torch.tensor([anchor.suv], device=self.device),
            torch.tensor([anchor.point], device=self.device),
            torch.tensor([spacing], device=self.device),
        )
        channels = channels.contiguous(memory_format=torch.channels_last_3d)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._half):
            return Embedding(tuple(self.net.encoder(channels)))

    @torch.inference_mode()
    def decode(
        self, embedding: Embedding, prompts: WindowPrompts, previous_logits: Tensor | None = None
    ) -> Tensor:
        """Prompts and previous logits -> logits (1, 1, N, N, N) at the window's resolution."""
        n = self.net.config.window
        if previous_logits is not None:
            previous_logits = previous_logits.to(self.device, torch.float32)
            if previous_logits.shape[-1] != n:
                previous_logits = F.interpolate(previous_logits, size=(n, n, n), mode="trilinear")
        channels = prompt_channels(
            torch.from_numpy(np.asarray(prompts.points, dtype=np.float32)).to(self.device),
            torch.from_numpy(np.asarray(prompts.labels, dtype=np.int64)).to(self.device),
            torch.from_numpy(np.asarray(prompts.boxes, dtype=np.float32)).to(self.device),
            previous_logits,
            n,
        )
        channels = channels.contiguous(memory_format=torch.channels_last_3d)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._half):
            logits, _ = self.net.decoder(list(embedding.tensors), channels)
        return logits


def build(
    state_dict: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    device: str | torch.device = "cpu",
) -> CompactModel:
    """Weights and their metadata (`config`: JSON of `CompactConfig`; `temperature`) -> model.

    Raises:
        WeightsError: keys or shapes differ from the network's; the message names them.
    """
    metadata = metadata or {}
    try:
        fields = dict(json.loads(metadata.get("config", "{}")))
    except (json.JSONDecodeError, TypeError, ValueError) as error:
        raise WeightsError(f"the weights' metadata `config` is not a JSON object: {error}") from error
    unknown = sorted(fields.keys() - CompactConfig().to_dict().keys())
    if unknown:
        raise WeightsError(f"the weights' metadata `config` has unknown fields {unknown}")
    sizes: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    config = CompactConfig(**sizes)
    net = CompactNet(config)
    own = net.state_dict()
    missing, unexpected = sorted(own.keys() - state_dict.keys()), sorted(state_dict.keys() - own.keys())
    shapes = [k for k in own if k in state_dict and own[k].shape != state_dict[k].shape]
    if missing or unexpected or shapes:
        raise WeightsError(
            f"these weights are not of this compact network: missing {missing[:3]}, "
            f"unexpected {unexpected[:3]}, other shape {shapes[:3]}"
        )
    net.load_state_dict({k: v.float() for k, v in state_dict.items()})
    return CompactModel(net, device, metadata.get("name", "default"), _temperature(metadata))


def _temperature(metadata: Mapping[str, str]) -> float:
    text = metadata.get("temperature", "1")
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.05 <= value <= 20:
        raise WeightsError(
            f"the weights' metadata `temperature` is {text!r}; it must lie between 0.05 and 20"
        )
    return value
