"""The vision transformer's two halves, as they are exported."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from anypet.models.exported.graph import Graph, Piece
from anypet.models.segany.model import SPACING, SegAny, build
from anypet.models.segany.network import SegAnyNetwork
from anypet.prompts import WindowPrompts

__all__ = ["build", "pieces", "probability", "put_in"]


class _Decoder(nn.Module):
    """`SegAnyNetwork.decode` as what is traced."""

    def __init__(self, network: SegAnyNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, embedding: Tensor, points: Tensor, labels: Tensor, previous: Tensor) -> Tensor:
        return self.network.decode(embedding, points, labels, previous)


class _GraphNetwork(nn.Module):
    """Exported halves with the methods of `SegAnyNetwork`; torch keeps the step without clicks, which is rare
    and has other tokens."""

    def __init__(self, network: SegAnyNetwork, graphs: Mapping[str, Graph]) -> None:
        super().__init__()
        self.config = network.config
        self.encoder, self.decoder = graphs["encoder"], graphs["decoder"]
        self.network = network
        del network.image_encoder  # nine tenths of the memory

    def encode(self, image: Tensor) -> Tensor:
        return self.encoder(image)[0]  # type: ignore[no-any-return]

    def decode(self, embedding: Tensor, points: Tensor, labels: Tensor, previous: Tensor) -> Tensor:
        if points.shape[1] == 0:
            return self.network.decode(embedding, points, labels, previous)
        return self.decoder(embedding, points, labels, previous)[0]  # type: ignore[no-any-return]


def pieces(model: SegAny) -> list[Piece]:
    """Encoder, and decoder for any number of clicks."""
    config = model.network.config
    n, g = config.image_size, config.grid
    image, embedding = torch.zeros(1, 1, n, n, n), torch.zeros(1, config.embed_dim, g, g, g)
    points, labels = torch.full((1, 2, 3), n / 2.0), torch.tensor([[1, 0]])
    previous = torch.zeros(1, 1, 4 * g, 4 * g, 4 * g)
    fixed = [tuple(t.shape) for t in (image, embedding, previous)]
    return [
        Piece("encoder", model.network.image_encoder, (image,), (fixed[0],)),
        Piece(
            "decoder",
            _Decoder(model.network),
            (embedding, points, labels, previous),
            (fixed[1], (1, -1, 3), (1, -1), fixed[2]),
        ),
    ]


def put_in(model: SegAny, graphs: Mapping[str, Graph]) -> None:
    """Exported halves in the place of the network."""
    model.network = _GraphNetwork(model.network, graphs)  # type: ignore[assignment]


def probability(model: SegAny) -> Tensor:
    """Of a made-up window: a warm ball in noise, clicked, and clicked again beside it."""
    n = model.network.config.image_size
    random = np.random.default_rng(0)
    near = np.linalg.norm(np.stack(np.meshgrid(*(np.arange(n),) * 3, indexing="ij")) - n / 2, axis=0) < n / 4
    suv = np.where(near, 6.0, 1.0) * random.gamma(20, 1 / 20, (n, n, n))
    embedding = model.encode(torch.from_numpy(suv).float()[None, None], SPACING)
    middle = (n / 2, n / 2, n / 2)
    first = model.decode(embedding, WindowPrompts(np.array([middle]), np.array([1])))
    points = np.array([middle, (n / 8, n / 2, n / 2), (n / 2, n / 3, n / 2)])
    three = WindowPrompts(points, np.array([1, 0, 1]))
    return torch.sigmoid(torch.cat([first, model.decode(embedding, three, first)]))
