"""The compact network's two halves, as they are exported."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from anypet.models.base import Anchor
from anypet.models.compact.model import CompactModel, build
from anypet.models.compact.network import IMAGE_CHANNELS, PROMPT_CHANNELS, Decoder, Encoder
from anypet.models.exported.graph import Graph, Piece
from anypet.prompts import WindowPrompts

__all__ = ["build", "pieces", "probability", "put_in"]


class _Encoder(nn.Module):
    """Features as a tuple, which is what is traced."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.encoder(image))


class _Decoder(nn.Module):
    """The object's logits alone: nobody asks for the named parts after training."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, prompts: Tensor, *features: Tensor) -> Tensor:
        logits: Tensor = self.decoder(list(features), prompts)[0]
        return logits


class _GraphDecoder(nn.Module):
    """An exported decoder with the signature of `Decoder`."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, features: list[Tensor], prompts: Tensor) -> tuple[Tensor, None]:
        return self.graph(prompts, *features)[0], None


def pieces(model: CompactModel) -> list[Piece]:
    """Encoder and decoder."""
    n = model.net.config.window
    net = model.net.to(memory_format=torch.contiguous_format)
    image, prompts = torch.zeros(1, IMAGE_CHANNELS, n, n, n), torch.zeros(1, PROMPT_CHANNELS, n, n, n)
    with torch.inference_mode():
        features = net.encoder(image)
    given = (prompts, *features)
    return [
        Piece("encoder", _Encoder(net.encoder), (image,), (tuple(image.shape),)),
        Piece("decoder", _Decoder(net.decoder), given, tuple(tuple(t.shape) for t in given)),
    ]


def put_in(model: CompactModel, graphs: Mapping[str, Graph]) -> None:
    """Exported halves in the place of the network's own."""
    model.net.encoder = graphs["encoder"]  # type: ignore[assignment]
    model.net.decoder = _GraphDecoder(graphs["decoder"])  # type: ignore[assignment]


def probability(model: CompactModel) -> Tensor:
    """Of a made-up window: a warm ball in noise, clicked, and clicked again beside it."""
    n = model.net.config.window
    random = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*(np.arange(n),) * 3, indexing="ij"))
    distance = np.linalg.norm(grid - (n - 1) / 2, axis=0)
    suv = np.where(distance < n / 4, 6.0, 1.0) * random.gamma(20, 1 / 20, (n, n, n))
    middle = (n / 2, n / 2, n / 2)
    embedding = model.encode(torch.from_numpy(suv).float()[None, None], 4.0, Anchor(6.0, middle))
    first = model.decode(embedding, WindowPrompts(np.array([middle]), np.array([1])))
    both = WindowPrompts(np.array([middle, (n / 8, n / 2, n / 2)]), np.array([1, 0]))
    return torch.sigmoid(torch.cat([first, model.decode(embedding, both, first)]))
