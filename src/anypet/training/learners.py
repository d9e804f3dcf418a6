"""What the loop asks of a network that learns: one small class a family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anypet.models.compact.network import CompactNet, image_channels, prompt_channels
from anypet.models.registry import weights_file
from anypet.models.segany.model import SPACING, resample_logits, z_normalise
from anypet.models.segany.network import SegAnyNetwork
from anypet.models.weights import load_state_dict, load_strictly
from anypet.training.config import Settings
from anypet.training.dialogue import Dialogue


@dataclass(frozen=True)
class Answer:
    """What a learner makes of one turn.

    Args:
        logits: (B, 1, N, N, N) of the targets.
        state: (B, ...) without gradient, to give as `previous` in the next turn, one row a target.
        parts: logits (B, P, N/2, N/2, N/2) of the named parts of the body, where the network names them.
    """

    logits: Tensor
    state: Tensor
    parts: Tensor | None = None


class Learner(nn.Module, ABC):
    """A network in training.

    Attributes:
        window: voxels along a side of its windows.
        spacing: the one spacing in mm that it is trained at, or None for a range.
    """

    window: int
    spacing: float | None = None

    @abstractmethod
    def encode(self, images: Tensor, spacings: Tensor, rows: Tensor, talks: list[Dialogue]) -> Any:
        """Features of the windows as every target sees them.

        Args:
            images: SUV (W, N, N, N); spacings: mm per voxel (W,).
            rows: (B,) the window of each target.
            talks: the dialogue about each target, opened.
        """

    @abstractmethod
    def decode(self, features: Any, talks: list[Dialogue], previous: list[Tensor | None]) -> Answer:
        """One turn of the dialogues about B targets."""


class CompactLearner(Learner):
    """The compact network, which encodes a window for each target: it sees the first click.

    Args:
        net: the network.
        clicks: "all" clicks so far at every turn, as a session passes them, or the "latest" with the previous
            logits.
    """

    def __init__(self, net: CompactNet, clicks: Literal["all", "latest"] = "all") -> None:
        super().__init__()
        self.net, self.clicks = net, clicks
        self.window = net.config.window

    def encode(self, images: Tensor, spacings: Tensor, rows: Tensor, talks: list[Dialogue]) -> list[Tensor]:
        channels = image_channels(
            images[rows][:, None],
            torch.tensor([t.anchor_suv for t in talks], device=images.device),
            torch.tensor([t.anchor_point for t in talks], dtype=torch.float32, device=images.device),
            spacings[rows],
        )
        return self.net.encoder(channels.contiguous(memory_format=torch.channels_last_3d))

    def decode(self, features: list[Tensor], talks: list[Dialogue], previous: list[Tensor | None]) -> Answer:
        device = features[0].device
        kept = slice(None) if self.clicks == "all" else slice(-1, None)
        channels = [
            prompt_channels(
                torch.tensor(t.points[kept], dtype=torch.float32, device=device).reshape(-1, 3),
                torch.tensor(t.labels[kept], device=device),
                torch.tensor([t.box] if t.box else [], dtype=torch.float32, device=device).reshape(-1, 2, 3),
                None if before is None else before[None, None],
                self.window,
            )
            for t, before in zip(talks, previous, strict=True)
        ]
        prompts = torch.cat(channels).contiguous(memory_format=torch.channels_last_3d)
        logits, parts = self.net.decoder(features, prompts)
        return Answer(logits, logits.detach()[:, 0], parts)


class SegAnyLearner(Learner):
    """SegAnyPET's network: windows of 128^3 at 1.5 mm, normalised image by image, clicks but no boxes.

    Args:
        net: the network; `fast` attention has the same gradient as the padded one.
        clicks: "all" clicks so far at every turn, as the released inference passes them, or the "latest" with
            the previous logits, as the released training did.
    """

    spacing = SPACING

    def __init__(self, net: SegAnyNetwork, clicks: Literal["all", "latest"] = "latest") -> None:
        super().__init__()
        self.net, self.clicks = net, clicks
        self.window = net.config.image_size

    def encode(self, images: Tensor, spacings: Tensor, rows: Tensor, talks: list[Dialogue]) -> Tensor:
        return self.net.encode(torch.cat([z_normalise(image[None, None]) for image in images]))[rows]

    def decode(self, features: Tensor, talks: list[Dialogue], previous: list[Tensor | None]) -> Answer:
        size = 4 * self.net.config.grid
        masks = [
            features.new_zeros(1, 1, size, size, size)  # zeros at the first click, as released
            if before is None
            else resample_logits(before[None, None].to(features), size)
            for before in previous
        ]
        rows: list[Tensor | None] = [None] * len(talks)
        counts = [1 if self.clicks == "latest" and t.points else len(t.points) for t in talks]
        for count in sorted(set(counts)):  # dialogues of one length are one batch
            same = [n for n, c in enumerate(counts) if c == count]
            points = torch.tensor([talks[n].points[-count:] if count else [] for n in same])
            labels = torch.tensor([talks[n].labels[-count:] if count else [] for n in same]).long()
            found = self.net.decode(
                features[same],
                points.reshape(len(same), count, 3).to(features),
                labels.reshape(len(same), count).to(features.device),
                torch.cat([masks[n] for n in same]),
            )
            for n, row in zip(same, found.float(), strict=True):
                rows[n] = row
        low = torch.stack([row for row in rows if row is not None])
        logits = F.interpolate(low, size=(self.window,) * 3, mode="trilinear", align_corners=False)
        return Answer(logits, low.detach()[:, 0])


def make_learner(settings: Settings, start: str | Path | None = None) -> Learner:
    """The learner that settings ask for, from weights where some are given.

    Args:
        settings: of the run.
        start: a weights file, or the name of a registered model whose weights are at hand.

    Raises:
        WeightsError: no such weights, or they are of another network than the settings'.
    """
    state = None if start is None else load_state_dict(weights_file(start))
    if settings.family == "segany":
        segany = SegAnyNetwork()
        if state is not None:
            load_strictly(segany, state, "segany")
        return SegAnyLearner(segany, settings.click_policy)
    compact = CompactNet(settings.network)
    if state is not None:
        load_strictly(compact, {**_fresh_parts(compact), **state}, "compact")
    return CompactLearner(compact, settings.click_policy)


def _fresh_parts(net: CompactNet) -> dict[str, Tensor]:
    """Weights of the head that names parts, for files from before it was there."""
    return {k: v for k, v in net.state_dict().items() if k.startswith("decoder.parts.")}
